//! `gog`'s credentials, if its keyring is a folder of files (protocol, section 6;
//! <https://github.com/99designs/keyring>, `file.go`; <https://github.com/openclaw/gogcli>,
//! `internal/secrets`).

mod write;

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use self::write::KeyringItem;
use crate::private_file::{FileError, read_small};

/// How an item is encrypted under the password (RFC 7518, section 4.8).
const ALGORITHM: &str = "PBES2-HS256+A128KW";
const ENCRYPTION: &str = "A256GCM";

/// The largest accepted iteration count: a file with a larger one would take too long.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Newer versions of `gog` write this before the key in a file's name.
const SAFE_PREFIX: &str = "_gogcli_key_v1_";

/// The OAuth client without a name.
const DEFAULT_CLIENT: &str = "default";

/// The folders in which `gog` keeps its credentials.
#[derive(Clone, Debug)]
pub struct GogKeyring {
    /// The folder with one file per key.
    pub keyring: PathBuf,
    /// The folders that may contain the OAuth client, in order of preference.
    pub clients: Vec<PathBuf>,
}

/// An OAuth client and the refresh token that a user granted it.
#[derive(Clone, Debug)]
pub struct GogCredentials {
    /// The OAuth client's id.
    pub client_id: String,
    /// The OAuth client's secret.
    pub client_secret: SecretString,
    /// The refresh token.
    pub refresh_token: SecretString,
}

/// Why the keyring gives no credentials. Contains nothing of a file's content.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file cannot be read, or has unexpected content.
    #[error(transparent)]
    File(#[from] FileError),

    /// The password does not decrypt the item.
    #[error("{file}: the password of gog's keyring does not open it (GOG_KEYRING_PASSWORD)")]
    WrongPassword {
        /// The file.
        file: PathBuf,
    },

    /// The keyring has no item for the account.
    #[error("gog has no credentials for this account in {folder}: run `gog auth add` first")]
    Missing {
        /// The keyring's folder.
        folder: PathBuf,
    },

    /// Neither the client's file nor the keyring has the client's secret.
    #[error(
        "gog has no secret of the OAuth client in {folder}: run `gog auth credentials set` first"
    )]
    NoClientSecret {
        /// The keyring's folder.
        folder: PathBuf,
    },
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
    /// `None` if the keyring has it, as since version 0.19 of `gog`.
    client_secret: Option<SecretString>,
}

impl GogKeyring {
    /// Reads the credentials of `account` with the OAuth client called `client`. As in `gog`, the client's
    /// name has no upper case, and an empty one is the default. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`KeyringError`]
    pub fn credentials(
        &self,
        account: &str,
        client: &str,
        password: &str,
    ) -> Result<GogCredentials, KeyringError> {
        const NO_TOKEN: &str = "an item that holds a refresh token";
        let client = match client.trim().to_lowercase() {
            name if name.is_empty() => DEFAULT_CLIENT.to_owned(),
            name => name,
        };
        let file = self.token_file(account, &client)?;
        let token = open(&file, password, NO_TOKEN)?;
        let token: Token =
            serde_json::from_slice(&token).map_err(|_| FileError::unexpected(&file, NO_TOKEN))?;
        let Client {
            client_id,
            client_secret,
        } = self.client(&client)?;
        let client_secret = match client_secret.filter(|secret| !is_blank(secret)) {
            Some(secret) => secret,
            None => self.client_secret(&client, password)?,
        };
        Ok(GogCredentials {
            client_id,
            client_secret,
            refresh_token: token.refresh_token,
        })
    }

    fn token_file(&self, account: &str, client: &str) -> Result<PathBuf, KeyringError> {
        let account = account.trim().to_lowercase();
        let mut keys = vec![format!("token:{client}:{account}")];
        if client == DEFAULT_CLIENT {
            keys.push(format!("token:{account}"));
        }
        let file = keys.iter().find_map(|key| self.item_file(key));
        file.ok_or_else(|| KeyringError::Missing {
            folder: self.keyring.clone(),
        })
    }

    /// The file of a key, in the form of newer versions of `gog` or of older ones.
    fn item_file(&self, key: &str) -> Option<PathBuf> {
        let safe = format!("{SAFE_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(key));
        let names = [safe, key.to_owned()];
        // A name with a separator would be a path out of the folder.
        let names = names.into_iter().filter(|name| !name.contains('/'));
        let mut files = names.map(|name| self.keyring.join(name));
        files.find(|file| file.is_file())
    }

    fn client(&self, client: &str) -> Result<Client, KeyringError> {
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
        let text = read_small(&file)?;
        let expected = "client_id, a text, and client_secret, unless the keyring has it";
        serde_json::from_slice(&text).map_err(|_| FileError::unexpected(&file, expected).into())
    }

    /// Reads the secret of an OAuth client from the keyring, where `gog` keeps it since version 0.19.
    fn client_secret(&self, client: &str, password: &str) -> Result<SecretString, KeyringError> {
        const NO_SECRET: &str = "an item that holds the secret of an OAuth client";
        let key = format!("client/{client}/client-secret");
        let file = self
            .item_file(&key)
            .ok_or_else(|| KeyringError::NoClientSecret {
                folder: self.keyring.clone(),
            })?;
        let secret = String::from_utf8(open(&file, password, NO_SECRET)?);
        let secret = secret.map_err(|_| FileError::unexpected(&file, NO_SECRET))?;
        Ok(secret.trim().into())
    }
}

fn is_blank(secret: &SecretString) -> bool {
    secret.expose_secret().trim().is_empty()
}

/// Reads and decrypts an item, and returns its data.
fn open(file: &Path, password: &str, expected: &'static str) -> Result<Vec<u8>, KeyringError> {
    let item = match decrypt(&read_small(file)?, password.as_bytes()) {
        Ok(item) => item,
        Err(DecryptError::WrongPassword) => {
            let file = file.to_owned();
            return Err(KeyringError::WrongPassword { file });
        }
        Err(DecryptError::NotAnItem) => {
            let expected = "an item of gog's keyring (a compact JWE)";
            return Err(FileError::unexpected(file, expected).into());
        }
    };
    let item: Option<Item> = serde_json::from_slice(&item).ok();
    let data = item.and_then(|item| BASE64_STANDARD.decode(item.data).ok());
    data.ok_or_else(|| FileError::unexpected(file, expected).into())
}

/// Why an item cannot be decrypted.
#[derive(Debug, Eq, PartialEq)]
enum DecryptError {
    WrongPassword,
    NotAnItem,
}

/// Decrypts a compact JWE (RFC 7516, section 7.1).
fn decrypt(jwe: &[u8], password: &[u8]) -> Result<Vec<u8>, DecryptError> {
    use DecryptError::{NotAnItem, WrongPassword};

    let text = str::from_utf8(jwe).map_err(|_| NotAnItem)?.trim();
    let parts: Vec<_> = text.split('.').collect();
    let [header, wrapped, nonce, sealed, tag] = parts[..] else {
        return Err(NotAnItem);
    };
    let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| NotAnItem);
    let fields: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| NotAnItem)?;
    if fields.alg != ALGORITHM || fields.enc != ENCRYPTION || fields.p2c > MAX_ITERATIONS {
        return Err(NotAnItem);
    }
    let iterations = fields.p2c.try_into().map_err(|_| NotAnItem)?;
    let salt = [ALGORITHM.as_bytes(), &[0], &decoded(&fields.p2s)?].concat();
    let mut kek = [0; 16];
    derive(PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut kek);
    let kek = AesKek::new(&AES_128, &kek).map_err(|_| NotAnItem)?;
    let wrapped = decoded(wrapped)?;
    // 256 bits, and 64 that show whether the password is right.
    if wrapped.len() != 40 {
        return Err(NotAnItem);
    }
    let mut key = [0; 32];
    kek.unwrap(&wrapped, &mut key).map_err(|_| WrongPassword)?;
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| NotAnItem)?;
    let nonce = Nonce::try_assume_unique_for_key(&decoded(nonce)?).map_err(|_| NotAnItem)?;
    let mut content = [decoded(sealed)?, decoded(tag)?].concat();
    let length = LessSafeKey::new(key)
        .open_in_place(nonce, Aad::from(header.as_bytes()), &mut content)
        .map_err(|_| NotAnItem)?
        .len();
    content.truncate(length);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
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
    fn an_item_of_gog_is_read_from_each_name_that_gog_uses() {
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
    fn a_wrong_password_and_a_missing_account_are_different_errors() {
        let (keyring, _folder) = keyring("token:default:ann@example.com", ITEM);
        let refusal = |account: &str, password: &str| {
            let refused = keyring.credentials(account, "default", password);
            refused.unwrap_err().to_string()
        };
        assert!(refusal("ann@example.com", "x").contains("GOG_KEYRING_PASSWORD"));
        assert!(refusal("bob@example.com", "open sesame").contains("no credentials"));
        assert!(
            refusal("../token:default:ann@example.com", "open sesame").contains("no credentials")
        );
    }

    #[test]
    fn the_secret_of_a_client_is_in_the_keyring_since_version_0_19_of_gog() {
        // Made by the library that gog uses, <https://github.com/99designs/keyring> 1.2.2.
        const SECRET: &str = include_str!("../fixtures/gog-keyring-client-secret");
        let (keyring, folder) = keyring("token:default:ann@example.com", ITEM);
        fs::write(
            folder.path().join("credentials.json"),
            r#"{"client_id":"id"}"#,
        )
        .unwrap();
        let read = || keyring.credentials("ann@example.com", " DEFAULT ", "open sesame");
        let missing = read().unwrap_err();
        assert!(
            matches!(missing, KeyringError::NoClientSecret { .. }),
            "{missing}"
        );
        let name = "_gogcli_key_v1_Y2xpZW50L2RlZmF1bHQvY2xpZW50LXNlY3JldA";
        fs::write(folder.path().join(name), SECRET).unwrap();
        let read = read().unwrap();
        assert_eq!(read.client_secret.expose_secret(), "the-client-secret");
    }

    #[test]
    fn a_file_that_takes_too_long_to_decrypt_is_refused() {
        let header = r#"{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","p2s":"AA","p2c":4294967295}"#;
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        let jwe = format!("{header}.AA.AA.AA.AA");
        assert_eq!(decrypt(jwe.as_bytes(), b"x"), Err(DecryptError::NotAnItem));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, parts in "[A-Za-z0-9._-]{0,80}", at in 0..400_usize) {
            let _ = decrypt(&bytes, b"x");
            let _ = decrypt(parts.as_bytes(), b"x");
            let mut changed = ITEM.trim().as_bytes().to_vec();
            let at = at % changed.len();
            changed[at] ^= 1;
            // A change in the header could raise the iteration count.
            if at > ITEM.find('.').unwrap() {
                prop_assert!(decrypt(&changed, b"open sesame").is_err());
            }
        }
    }
}
