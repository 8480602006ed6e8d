//! The credentials that `gog` got: its keyring, where that is files
//! (<https://github.com/99designs/keyring>, `file.go`; <https://github.com/openclaw/gogcli>,
//! `internal/secrets`).

mod write;

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde::Deserialize;

pub use self::write::GogToken;
use crate::credentials::{AuthorizedUser, CredentialsError, read};

/// How items are encrypted: with a password (RFC 7518, section 4.8).
const ALGORITHM: &str = "PBES2-HS256+A128KW";
const ENCRYPTION: &str = "A256GCM";

/// How often the password may be hashed: a file that asks for more would hold us up.
const MOST_ITERATIONS: u32 = 10_000_000;

/// What newer versions of `gog` put before a key in the name of its file.
const SAFE_PREFIX: &str = "_gogcli_key_v1_";

/// The client whose credentials have no name.
const DEFAULT_CLIENT: &str = "default";

/// Where `gog` keeps its credentials.
#[derive(Clone, Debug)]
pub struct GogKeyring {
    /// The folder with a file for each key.
    pub keyring: PathBuf,
    /// The folders that may hold the OAuth client, the first first.
    pub clients: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
    p2s: String,
    p2c: u32,
}

#[derive(Deserialize)]
struct Item {
    /// Base64, as Go writes bytes.
    #[serde(rename = "Data")]
    data: String,
}

#[derive(Deserialize)]
struct Token {
    refresh_token: SecretString,
}

#[derive(Deserialize)]
struct Client {
    client_id: String,
    client_secret: SecretString,
}

impl GogKeyring {
    /// Reads what opens the mailbox of `account`, through the OAuth client of this name.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`]
    pub fn credentials(
        &self,
        account: &str,
        client: &str,
        password: &str,
    ) -> Result<AuthorizedUser, CredentialsError> {
        let file = self.token_file(account, client)?;
        let unexpected = |expected| CredentialsError::Unexpected {
            file: file.clone(),
            expected,
        };
        let jwe = read(&file)?;
        let item = match decrypt(&jwe, password.as_bytes()) {
            Ok(item) => item,
            Err(Undecryptable::WrongPassword) => {
                return Err(CredentialsError::WrongPassword { file });
            }
            Err(Undecryptable::NoItem) => {
                return Err(unexpected("an item of gog's keyring (a compact JWE)"));
            }
        };
        const NO_TOKEN: &str = "an item that holds a refresh token";
        let item: Item = serde_json::from_slice(&item).map_err(|_| unexpected(NO_TOKEN))?;
        let token = BASE64_STANDARD.decode(item.data).ok();
        let token = token.and_then(|token| serde_json::from_slice::<Token>(&token).ok());
        let refresh_token = token.ok_or_else(|| unexpected(NO_TOKEN))?.refresh_token;
        let client = self.client(client)?;
        Ok(AuthorizedUser {
            client_id: client.client_id,
            client_secret: client.client_secret,
            refresh_token,
        })
    }

    fn token_file(&self, account: &str, client: &str) -> Result<PathBuf, CredentialsError> {
        let account = account.trim().to_lowercase();
        let mut keys = vec![format!("token:{client}:{account}")];
        if client == DEFAULT_CLIENT {
            keys.push(format!("token:{account}"));
        }
        let names = keys.iter().flat_map(|key| {
            let safe = format!("{SAFE_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(key));
            [safe, key.clone()]
        });
        // A name with a separator in it would lead elsewhere.
        let names = names.filter(|name| !name.contains('/'));
        let mut files = names.map(|name| self.keyring.join(name));
        files
            .find(|file| file.is_file())
            .ok_or_else(|| CredentialsError::Missing {
                folder: self.keyring.clone(),
            })
    }

    fn client(&self, client: &str) -> Result<Client, CredentialsError> {
        let name = if client == DEFAULT_CLIENT {
            "credentials.json".to_owned()
        } else {
            format!("credentials-{client}.json")
        };
        let files = || self.clients.iter().map(|folder| folder.join(&name));
        let file = files()
            .find(|file| file.is_file())
            .or_else(|| files().next());
        let file = file.unwrap_or_else(|| Path::new(&name).to_owned());
        let text = read(&file)?;
        serde_json::from_slice(&text).map_err(|_| CredentialsError::Unexpected {
            file,
            expected: "client_id and client_secret, each a text",
        })
    }
}

/// Why an item cannot be had.
#[derive(Debug, Eq, PartialEq)]
enum Undecryptable {
    WrongPassword,
    NoItem,
}

/// Decrypts a compact JWE (RFC 7516, section 7.1).
fn decrypt(jwe: &[u8], password: &[u8]) -> Result<Vec<u8>, Undecryptable> {
    use Undecryptable::{NoItem, WrongPassword};

    let text = str::from_utf8(jwe).map_err(|_| NoItem)?.trim();
    let parts: Vec<_> = text.split('.').collect();
    let [header, wrapped, nonce, sealed, tag] = parts[..] else {
        return Err(NoItem);
    };
    let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| NoItem);
    let fields: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| NoItem)?;
    if fields.alg != ALGORITHM || fields.enc != ENCRYPTION || fields.p2c > MOST_ITERATIONS {
        return Err(NoItem);
    }
    let iterations = fields.p2c.try_into().map_err(|_| NoItem)?;
    let salt = [ALGORITHM.as_bytes(), &[0], &decoded(&fields.p2s)?].concat();
    let mut kek = [0; 16];
    derive(PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut kek);
    let kek = AesKek::new(&AES_128, &kek).map_err(|_| NoItem)?;
    let wrapped = decoded(wrapped)?;
    // 256 bits, and the 64 that show whether the password is right.
    if wrapped.len() != 40 {
        return Err(NoItem);
    }
    let mut key = [0; 32];
    kek.unwrap(&wrapped, &mut key).map_err(|_| WrongPassword)?;
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| NoItem)?;
    let nonce = Nonce::try_assume_unique_for_key(&decoded(nonce)?).map_err(|_| NoItem)?;
    let mut content = [decoded(sealed)?, decoded(tag)?].concat();
    let length = LessSafeKey::new(key)
        .open_in_place(nonce, Aad::from(header.as_bytes()), &mut content)
        .map_err(|_| NoItem)?
        .len();
    content.truncate(length);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    /// Made with Python's `hashlib` and `cryptography` as jose2go makes them, for the password
    /// `open sesame`.
    const ITEM: &str = include_str!("../fixtures/gog-keyring-item");

    fn keyring(name: &str, item: &str) -> (GogKeyring, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), item).unwrap();
        let client = r#"{"client_id":"id","client_secret":"secret"}"#;
        fs::write(folder.path().join("credentials.json"), client).unwrap();
        let keyring = GogKeyring {
            keyring: folder.path().to_owned(),
            clients: vec![folder.path().join("nowhere"), folder.path().to_owned()],
        };
        (keyring, folder)
    }

    #[test]
    fn what_gog_stored_opens_the_mailbox_whatever_the_file_is_called() {
        let safe = |key: &str| format!("{SAFE_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(key));
        for name in [
            "token:default:ann@example.com".to_owned(),
            "token:ann@example.com".to_owned(),
            safe("token:default:ann@example.com"),
        ] {
            let (keyring, _folder) = keyring(&name, ITEM);
            let user = keyring.credentials("Ann@Example.com", "default", "open sesame");
            let user = user.unwrap();
            assert_eq!(user.refresh_token.expose_secret(), "1//the-refresh-token");
            assert_eq!(user.client_id, "id");
        }
    }

    #[test]
    fn a_wrong_password_and_another_account_are_told_apart() {
        let (keyring, _folder) = keyring("token:default:ann@example.com", ITEM);
        let told = |account: &str, password: &str| {
            let refused = keyring.credentials(account, "default", password);
            refused.unwrap_err().to_string()
        };
        assert!(told("ann@example.com", "x").contains("GOG_KEYRING_PASSWORD"));
        assert!(told("bob@example.com", "open sesame").contains("no credentials"));
        assert!(told("../token:default:ann@example.com", "open sesame").contains("no credentials"));
    }

    #[test]
    fn a_file_that_would_hold_us_up_is_refused() {
        let header = r#"{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","p2s":"AA","p2c":4294967295}"#;
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        let jwe = format!("{header}.AA.AA.AA.AA");
        assert_eq!(decrypt(jwe.as_bytes(), b"x"), Err(Undecryptable::NoItem));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, parts in "[A-Za-z0-9._-]{0,80}", at in 0..400_usize) {
            let _ = decrypt(&bytes, b"x");
            let _ = decrypt(parts.as_bytes(), b"x");
            let mut changed = ITEM.trim().as_bytes().to_vec();
            let at = at % changed.len();
            changed[at] ^= 1;
            // The header alone says how long it takes: leave it.
            if at > ITEM.find('.').unwrap() {
                prop_assert!(decrypt(&changed, b"open sesame").is_err());
            }
        }
    }
}
