//! Checks that several tables share.

use postbell_store::OpenError;
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use url::Url;

use super::{ConfigError, StoreUrl};

/// Whether a URL is http or https.
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Whether a URL is a base URL without a path, and without characters that have a meaning in a shell: people
/// paste it into commands.
pub(super) fn is_plain_base(url: &Url) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%[]".contains(&byte);
    is_http(url) && url.path() == "/" && url.as_str().bytes().all(is_plain)
}

/// Checks that a secret can be sent in a header. Some secrets contain a space, such as Fly's tokens.
pub(super) fn sendable(secret: &SecretString, key: &'static str) -> Result<(), ConfigError> {
    let text = secret.expose_secret();
    let is_visible = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if is_visible && !text.is_empty() && text.trim() == text {
        return Ok(());
    }
    let expected = "visible ASCII characters without leading or trailing white space";
    Err(ConfigError::contradiction(key, expected))
}

const SCHEME: &str =
    "sqlite: and a path, such as sqlite:postbell.db, or postgres://USER:PASSWORD@HOST/DATABASE";
const FOLDER: &str = "sqlite: and the path of a file in an existing directory";

/// Checks the scheme and the form of a store URL. Does not access the disk.
pub(super) fn check_scheme(key: &'static str, store: &StoreUrl) -> Result<(), ConfigError> {
    match postbell_store::check(store.expose()) {
        Err(OpenError::UnknownScheme) => Err(ConfigError::contradiction(key, SCHEME)),
        Err(OpenError::InvalidUrl { expected }) => Err(ConfigError::contradiction(key, expected)),
        _ => Ok(()),
    }
}

/// Checks that a store could be created at a URL.
pub(super) fn check_directory(key: &'static str, store: &StoreUrl) -> Result<(), ConfigError> {
    match postbell_store::check(store.expose()) {
        Err(OpenError::NoFolder) => Err(ConfigError::contradiction(key, FOLDER)),
        _ => check_scheme(key, store),
    }
}

/// Deserializes a list, or a text with one item per line.
pub(super) fn one_per_line<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a list of strings, or a string with one per line"
    )]
    enum Keys {
        List(Vec<SecretString>),
        Lines(SecretString),
    }
    Ok(match Keys::deserialize(deserializer)? {
        Keys::List(keys) => keys,
        Keys::Lines(text) => {
            let lines = text.expose_secret().lines().map(str::trim);
            let keys: Vec<_> = lines
                .filter(|line| !line.is_empty())
                .map(SecretString::from)
                .collect();
            // An empty list would silently fall back to a default.
            if keys.is_empty() {
                return Err(D::Error::custom("expected at least one line"));
            }
            keys
        }
    })
}
