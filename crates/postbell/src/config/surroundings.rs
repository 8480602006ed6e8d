//! What the process finds around it: its variables and its configuration file.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError};

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "POSTBELL_CONFIG";

/// Where the configuration file is looked for, in this order, where none is named.
const USUAL_FILES: [&str; 2] = ["./postbell.toml", "/etc/postbell/postbell.toml"];

/// What the process finds around it. The only place that reads the environment.
#[derive(Clone, Debug)]
pub struct Surroundings {
    variables: Vec<(OsString, OsString)>,
    file: Option<PathBuf>,
}

impl Surroundings {
    /// Reads the environment; `file` is what `--config` named.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let variables: Vec<_> = std::env::vars_os().collect();
        let named = |(name, value): &(OsString, OsString)| {
            (name == FILE_VARIABLE).then(|| PathBuf::from(value))
        };
        let file = file.or_else(|| variables.iter().find_map(named));
        Self { variables, file }
    }

    /// The same with other variables than those of the process.
    #[must_use]
    pub fn with_variables<'a>(self, pairs: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) -> Self {
        let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            variables: variables.collect(),
            ..self
        }
    }

    /// All variables, what is no text included.
    #[must_use]
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// The text of a variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.variables.iter();
        variables
            .find(|(given, _)| given == name)
            .and_then(|(_, value)| value.to_str())
    }

    /// Reads the configuration file, if there is one, and the variables.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, where it came from, and what was expected.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let (name, text) = self.read_file()?;
        self.refuse_what_is_no_text()?;
        let texts = self.variables.iter().filter_map(|(name, value)| {
            let text = |text: &OsString| text.to_str().map(str::to_owned);
            Some((text(name)?, text(value)?))
        });
        let variables: Vec<_> = texts.collect();
        Config::parse(&text, &name, &variables, &read)
    }

    /// What is no text is a mistake where it is meant for us. A path may be none.
    fn refuse_what_is_no_text(&self) -> Result<(), ConfigError> {
        let is_wrong = |(name, value): &&(OsString, OsString)| {
            let is_ours = name.as_encoded_bytes().starts_with(b"POSTBELL_");
            is_ours
                && name != FILE_VARIABLE
                && (name.to_str().is_none() || value.to_str().is_none())
        };
        match self.variables.iter().find(is_wrong) {
            None => Ok(()),
            Some((name, _)) => Err(ConfigError::Value {
                key: name.to_string_lossy().into_owned(),
                source_name: "variable".to_owned(),
                problem: "expected text in UTF-8".to_owned(),
            }),
        }
    }

    /// The file that was named, by `--config` or by the variable.
    #[must_use]
    pub fn named_file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Names the file that is read.
    #[must_use]
    pub fn file_in_words(&self) -> String {
        match self.path() {
            Some(path) => path.display().to_string(),
            None => "no file: defaults and variables".to_owned(),
        }
    }

    fn path(&self) -> Option<PathBuf> {
        let usual = || {
            USUAL_FILES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
        };
        self.file.clone().or_else(usual)
    }

    fn read_file(&self) -> Result<(String, String), ConfigError> {
        let Some(path) = self.path() else {
            return Ok(("defaults".to_owned(), String::new()));
        };
        let name = path.display().to_string();
        match read(&path) {
            Ok(text) => Ok((name, text)),
            Err(problem) => Err(ConfigError::Unreadable {
                what: "configuration".to_owned(),
                file: name,
                problem,
            }),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => "it is no text".to_owned(),
        _ => error.to_string(),
    })
}
