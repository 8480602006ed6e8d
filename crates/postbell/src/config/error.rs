//! Errors in the configuration.

/// An error in the configuration: the key, its source, and the expected value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not valid TOML.
    #[error("{file}: not TOML: {problem}")]
    Syntax {
        /// Path of the file.
        file: String,
        /// Message of the parser, with line and column.
        problem: String,
    },

    /// The value is not valid for its key, or the key does not exist.
    #[error("{key} (from {source_name}): {problem}")]
    Value {
        /// Key with its tables.
        key: String,
        /// File or variable that sets it.
        source_name: String,
        /// Expected value.
        problem: String,
    },

    /// A key is missing, or contradicts another.
    #[error("{key}: expected {expected}")]
    Contradiction {
        /// Key with its tables.
        key: &'static str,
        /// Expected value.
        expected: &'static str,
    },

    /// The configuration file, or a file that it names, cannot be read.
    #[error("{what}: cannot read {file}: {problem}")]
    Unreadable {
        /// Purpose of the file.
        what: String,
        /// Path of the file.
        file: String,
        /// Error of the operating system.
        problem: String,
    },
}

/// Returns a store URL for messages: `sqlite:` with its path, and only the scheme of others, because
/// they may contain a password.
pub(crate) fn shown_store(url: &str) -> &str {
    match url.split_once(':') {
        Some(("sqlite", _)) => url,
        Some((scheme, _)) => scheme,
        None => "",
    }
}

impl ConfigError {
    pub(super) fn contradiction(key: &'static str, expected: &'static str) -> Self {
        Self::Contradiction { key, expected }
    }
}
