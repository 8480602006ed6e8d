//! What is asked of values in more than one table.

use postbell_store::OpenError;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::ConfigError;

/// Whether something can be asked at a URL.
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Whether a URL is one that paths are added to, and that people paste: nothing in it means anything to
/// a shell.
pub(super) fn is_plain_base(url: &Url) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%[]".contains(&byte);
    is_http(url) && url.as_str().bytes().all(is_plain)
}

/// Finds out whether others can show a secret in a header. Some have a blank in them, as Fly's tokens do.
pub(super) fn sendable(secret: &SecretString, key: &'static str) -> Result<(), ConfigError> {
    let text = secret.expose_secret();
    let is_visible = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if is_visible && !text.is_empty() && text.trim() == text {
        return Ok(());
    }
    let expected = "visible characters of ASCII, and no blank or line break at an end";
    Err(ConfigError::contradiction(key, expected))
}

const SCHEME: &str = "sqlite: and a path, such as sqlite:postbell.db";
const FOLDER: &str = "sqlite: and the path of a file in an existing folder";

/// Finds out whether a text names a kind of store that we have. Looks at no disk.
pub(super) fn check_scheme(key: &'static str, store: &str) -> Result<(), ConfigError> {
    match postbell_store::check(store) {
        Err(OpenError::UnknownScheme) => Err(ConfigError::contradiction(key, SCHEME)),
        _ => Ok(()),
    }
}

/// Finds out whether a store could be there.
pub(super) fn check_folder(key: &'static str, store: &str) -> Result<(), ConfigError> {
    match postbell_store::check(store) {
        Err(OpenError::NoFolder) => Err(ConfigError::contradiction(key, FOLDER)),
        _ => check_scheme(key, store),
    }
}
