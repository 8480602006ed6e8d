//! What the process finds around it: its variables and its configuration file.

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
    variables: Vec<(String, String)>,
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
        let variables: Vec<_> = std::env::vars_os()
            // What is no text sets none of our keys.
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let named = |(name, value): &(String, String)| {
            (name == FILE_VARIABLE).then(|| PathBuf::from(value))
        };
        let file = file.or_else(|| variables.iter().find_map(named));
        Self { variables, file }
    }

    /// The value of a variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// Reads the configuration file, if there is one, and the variables.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the key, where it came from, and what was expected.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let (name, text) = self.read_file()?;
        Config::parse(&text, &name, &self.variables, &read)
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
