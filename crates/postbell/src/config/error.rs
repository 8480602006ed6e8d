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

    /// Two or more of the above.
    #[error("{}", joined(.0))]
    Several(Vec<ConfigError>),
}

/// Why a command cannot run with what it was given, besides the configuration. Like [`ConfigError`], a restart
/// does not cure it, and the process exits with 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadSetting(pub(crate) String);

impl BadSetting {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An error with its causes, whose message says which setting is meant.
    pub(crate) fn from_error(error: impl Into<anyhow::Error>) -> Self {
        Self(format!("{:#}", error.into()))
    }
}

impl ConfigError {
    pub(super) fn contradiction(key: &'static str, expected: &'static str) -> Self {
        Self::Contradiction { key, expected }
    }

    /// The same error, of a key in one of several tables.
    pub(crate) fn in_table(&self, table: &str) -> Self {
        let (key, source_name, problem) = match self {
            Self::Value {
                key,
                source_name,
                problem,
            } => (key.as_str(), source_name.clone(), problem.clone()),
            other => (
                other.subject(),
                "configuration".to_owned(),
                other.to_string(),
            ),
        };
        Self::Value {
            key: format!("{table}: {key}"),
            source_name,
            problem,
        }
    }

    /// Returns each error alone.
    pub(crate) fn each(&self) -> &[Self] {
        match self {
            Self::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }

    /// The key or the file that it is about.
    fn subject(&self) -> &str {
        match self {
            Self::Syntax { file, .. } => file,
            Self::Value { key: named, .. } | Self::Unreadable { what: named, .. } => {
                named.strip_suffix("_file").unwrap_or(named)
            }
            Self::Contradiction { key, .. } => key,
            Self::Several(_) => "",
        }
    }
}

fn joined(errors: &[ConfigError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

/// Collects the errors of a configuration, to report all of them at once: the first one of each key, because
/// others may follow from it.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<ConfigError>);

impl Mistakes {
    pub(crate) fn push(&mut self, error: ConfigError) {
        match error {
            ConfigError::Several(errors) => errors.into_iter().for_each(|error| self.push(error)),
            error if self.0.iter().any(|one| one.subject() == error.subject()) => (),
            error => self.0.push(error),
        }
    }

    /// Returns the value of a check that succeeded.
    pub(crate) fn check<T>(&mut self, checked: Result<T, ConfigError>) -> Option<T> {
        checked.map_err(|error| self.push(error)).ok()
    }

    /// Whether a key of this table is wrong.
    pub(super) fn concern(&self, table: &str) -> bool {
        self.0.iter().any(|one| one.subject().starts_with(table))
    }

    pub(super) fn refuse_if(&mut self, is_wrong: bool, key: &'static str, expected: &'static str) {
        if is_wrong {
            self.push(ConfigError::contradiction(key, expected));
        }
    }

    /// # Errors
    ///
    /// The mistakes, if there are any.
    pub(crate) fn into_result(mut self) -> Result<(), ConfigError> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(ConfigError::Several(self.0)),
        }
    }
}
