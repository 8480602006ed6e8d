//! Checks that several tables share.

use postbell_store::OpenError;
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

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

/// Whether the host of a URL is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for (url, expected) in [
            ("https://127.0.0.1:8443/health", true),
            ("https://[::1]/health", true),
            ("https://localhost/health", true),
            ("https://localhost.example.com/health", false),
            ("https://10.0.0.1/health", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
