//! What is wrong with the configuration.

/// What is wrong with the configuration: the key, where it came from, and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is no TOML.
    #[error("{file}: not TOML: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// What the parser says, with line and column.
        problem: String,
    },

    /// A value is none that its key can have, or there is no such key.
    #[error("{key} (from {source_name}): {problem}")]
    Value {
        /// The key, with its tables.
        key: String,
        /// The file or the variable that it came from.
        source_name: String,
        /// What was expected.
        problem: String,
    },

    /// A key is missing, or contradicts another.
    #[error("{key}: expected {expected}")]
    Contradiction {
        /// The key, with its tables.
        key: &'static str,
        /// What was expected.
        expected: &'static str,
    },

    /// A file that the configuration names, or the configuration file itself, cannot be read.
    #[error("{what}: cannot read {file}: {problem}")]
    Unreadable {
        /// What the file is for.
        what: String,
        /// The file.
        file: String,
        /// What the system says.
        problem: String,
    },
}

/// A store, for messages: `sqlite:` with its path, and of anything else no more than what it begins
/// with, for it may hold a password.
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
