//! The files that `gog` keeps for an account, packed as a controller receives them: the folder
//! `gogcli` with its keyring of files (<https://github.com/99designs/keyring>, `file.go`), its OAuth
//! client, and the state of its watch (<https://github.com/openclaw/gogcli>).

use std::io;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::{Builder, Header};

use crate::{Sandbox, pubsub};

/// KiloClaw's keyring password, which is public.
const PASSWORD: &[u8] = b"kiloclaw";

/// PBKDF2 iterations, as in jose2go.
const ITERATIONS: u32 = 8192;

/// The topic of the watch.
const TOPIC: &str = "gmail";

/// Grants access to `email`, starts its watch, and packs the files that `gog` would keep.
pub(crate) fn tarball(sandbox: &Sandbox, email: &str) -> io::Result<String> {
    let user = sandbox.oauth().grant(email);
    let client = json!({ "client_id": user.client_id, "client_secret": user.client_secret });
    let token = json!({ "refresh_token": user.refresh_token }).to_string();
    let key = format!("token:default:{}", email.to_lowercase());
    let item = json!({ "Key": key, "Data": BASE64_STANDARD.encode(token) }).to_string();
    let item = encrypt(item.as_bytes()).map_err(io::Error::other)?;
    let (topic, _) = pubsub::prepare(sandbox, TOPIC);
    let expires_at = sandbox.gmail().begin_watch(email, &topic);
    let state = json!({
        "account": email,
        "topic": topic,
        "labels": ["INBOX"],
        "historyId": sandbox.gmail().history_id(email).to_string(),
        "expirationMs": expires_at,
        "providerExpirationMs": expires_at,
    });
    pack(&[
        ("gogcli/credentials.json".to_owned(), client.to_string()),
        (format!("gogcli/keyring/{key}"), item),
        (state_file(email), state.to_string()),
    ])
}

fn state_file(email: &str) -> String {
    let plain = |character: char| match character {
        'a'..='z' | '0'..='9' => character,
        _ => '_',
    };
    let name: String = email.to_lowercase().chars().map(plain).collect();
    format!("gogcli/state/gmail-watch/{name}.json")
}

fn pack(files: &[(String, String)]) -> io::Result<String> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, path, content.as_bytes())?;
    }
    let gzip = tar.into_inner()?.finish()?;
    Ok(BASE64_STANDARD.encode(gzip))
}

/// Encrypts with a password, as a compact JWE (RFC 7516, section 7.1; RFC 7518, sections 4.8 and 5.3).
fn encrypt(content: &[u8]) -> Result<String, Unspecified> {
    let (mut salt, mut nonce, mut key, mut kek) = ([0; 12], [0; 12], [0; 32], [0; 16]);
    for random in [&mut salt[..], &mut nonce, &mut key] {
        rand::fill(random)?;
    }
    let header = json!({
        "alg": "PBES2-HS256+A128KW",
        "enc": "A256GCM",
        "p2c": ITERATIONS,
        "p2s": BASE64_URL_SAFE_NO_PAD.encode(salt),
    });
    let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let salt = [&b"PBES2-HS256+A128KW\0"[..], &salt].concat();
    let iterations = ITERATIONS.try_into().map_err(|_| Unspecified)?;
    derive(PBKDF2_HMAC_SHA256, iterations, &salt, PASSWORD, &mut kek);
    let mut wrapped = [0; 40];
    AesKek::new(&AES_128, &kek)?.wrap(&key, &mut wrapped)?;
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key)?);
    let mut sealed = content.to_vec();
    let tag = cipher.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(header.as_bytes()),
        &mut sealed,
    )?;
    let parts = [&wrapped[..], &nonce, &sealed, tag.as_ref()];
    let parts = parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    Ok(format!("{header}.{}", parts.join(".")))
}
