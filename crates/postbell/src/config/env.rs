//! The process environment: variables and the configuration file.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, credentials};

/// Variable that names the configuration file.
const FILE_VARIABLE: &str = "POSTBELL_CONFIG";

/// Default paths of the configuration file, in this order.
const DEFAULT_FILES: [&str; 2] = ["./postbell.toml", "/etc/postbell/postbell.toml"];

/// The process environment. Nothing else reads it.
#[derive(Clone, Debug)]
pub struct Env {
    variables: Vec<(OsString, OsString)>,
    file: Option<PathBuf>,
}

impl Env {
    /// Reads the variables, and the credentials of the service manager, which set further ones. `file`
    /// is the argument of `--config`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`] if a credential cannot be read.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn from_process(file: Option<PathBuf>) -> Result<Self, ConfigError> {
        let mut variables: Vec<_> = std::env::vars_os().collect();
        credentials::add_to(&mut variables)?;
        let named = |(name, value): &(OsString, OsString)| {
            (name == FILE_VARIABLE).then(|| PathBuf::from(value))
        };
        let file = file.or_else(|| variables.iter().find_map(named));
        Ok(Self { variables, file })
    }

    /// Replaces the variables.
    #[must_use]
    pub fn with_variables<'a>(self, pairs: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) -> Self {
        let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            variables: variables.collect(),
            ..self
        }
    }

    /// Returns all variables, including those that are not UTF-8.
    #[must_use]
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// Returns the value of a variable, if it is UTF-8.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.variables.iter();
        variables
            .find(|(given, _)| given == name)
            .and_then(|(_, value)| value.to_str())
    }

    /// Reads the configuration file, if one exists, and the variables.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, its source, and the expected value.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let (file, text) = self.read_file()?;
        self.check_utf8()?;
        let texts = self.variables.iter().filter_map(|(name, value)| {
            let text = |text: &OsString| text.to_str().map(str::to_owned);
            Some((text(name)?, text(value)?))
        });
        let variables: Vec<_> = texts.collect();
        Config::parse(&text, &file, &variables, &read)
    }

    /// Refuses variables of Postbell that are not UTF-8. Only the path of the configuration file need
    /// not be.
    fn check_utf8(&self) -> Result<(), ConfigError> {
        let is_invalid = |(name, value): &&(OsString, OsString)| {
            let is_ours = name.as_encoded_bytes().starts_with(b"POSTBELL_");
            is_ours
                && name != FILE_VARIABLE
                && (name.to_str().is_none() || value.to_str().is_none())
        };
        match self.variables.iter().find(is_invalid) {
            None => Ok(()),
            Some((name, _)) => Err(ConfigError::Value {
                key: name.to_string_lossy().into_owned(),
                source_name: "variable".to_owned(),
                problem: "expected text in UTF-8".to_owned(),
            }),
        }
    }

    /// Returns the file named by `--config` or by the variable.
    #[must_use]
    pub fn named_file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns the path of the configuration file for messages.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.path() {
            Some(path) => path.display().to_string(),
            None => "no file: defaults and variables".to_owned(),
        }
    }

    /// Returns the configuration file, if there is one.
    pub(crate) fn existing_file(&self) -> Option<PathBuf> {
        self.path()
    }

    fn path(&self) -> Option<PathBuf> {
        let default = || {
            DEFAULT_FILES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
        };
        self.file.clone().or_else(default)
    }

    fn read_file(&self) -> Result<(PathBuf, String), ConfigError> {
        let Some(path) = self.path() else {
            return Ok((PathBuf::from("defaults"), String::new()));
        };
        match read(&path) {
            Ok(text) => Ok((path, text)),
            Err(problem) => Err(ConfigError::Unreadable {
                what: "configuration".to_owned(),
                file: path.display().to_string(),
                problem,
            }),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => "the file is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    })
}
