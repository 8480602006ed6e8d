//! The process environment: variables and the configuration file.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Mistakes, credentials, overlay, telemetry};

/// Variable that names the configuration file.
const FILE_VARIABLE: &str = "POSTBELL_CONFIG";

/// The variables without a table of the configuration. Those of secrets may end in `_FILE`.
const OTHER_VARIABLES: [&str; 10] = [
    FILE_VARIABLE,
    "POSTBELL_LOG",
    "POSTBELL_OPERATOR_KEY",
    "POSTBELL_SETUP_ACCESS_TOKEN",
    "POSTBELL_USER_TOKEN",
    "POSTBELL_WATCH_ALERT",
    "POSTBELL_WATCH_HOOK_SECRET",
    "POSTBELL_WATCH_HOOK_TOKEN",
    "POSTBELL_WATCH_HOOK_URL",
    "POSTBELL_WATCH_TOKEN",
];

/// Variables that Kubernetes sets for a service that is named postbell
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
const OF_KUBERNETES: [&str; 2] = ["POSTBELL_PORT", "POSTBELL_SERVICE_"];

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

    /// Sets a variable.
    #[must_use]
    pub(crate) fn with_variable(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.variables.retain(|(set, _)| set != name);
        changed.variables.push((name.into(), value.into()));
        changed
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
        let (config, mistakes) = self.examine()?;
        mistakes.into_result().map(|()| config)
    }

    /// Reads the configuration as [`Env::load`] does, without what is wrong in it, and reports that.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a file cannot be read or is not TOML, or a variable is not UTF-8.
    pub(crate) fn examine(&self) -> Result<(Config, Mistakes), ConfigError> {
        let (file, text) = self.read_file()?;
        self.check_utf8()?;
        let (mut config, mistakes) = overlay::parse(&text, &file, &self.texts(), &read)?;
        config.telemetry.complete(|name| self.variable(name));
        Ok((config, mistakes))
    }

    fn texts(&self) -> Vec<(String, String)> {
        let texts = self.variables.iter().filter_map(|(name, value)| {
            let text = |text: &OsString| text.to_str().map(str::to_owned);
            Some((text(name)?, text(value)?))
        });
        texts.collect()
    }

    /// Returns what is accepted and should be changed, as sentences without a full stop: weak values, files
    /// of secrets that every user of this machine can read, and variables that set nothing.
    pub(crate) fn warnings(&self, config: &Config) -> Vec<String> {
        let variables = self.texts();
        let mut warnings = config.warnings();
        if let Ok((file, text)) = self.read_file() {
            let named = overlay::secret_files(&text, &file, &variables);
            let itself = overlay::has_secret(&text).then_some(file);
            let open = named
                .into_iter()
                .chain(itself)
                .filter(|file| is_readable_by_all(file));
            warnings.extend(open.map(|file| readable_by_all(&file)));
        }
        let names = variables.iter().map(|(name, _)| name);
        warnings.extend(names.filter_map(|name| unknown_variable(name)));
        if config.telemetry.otlp_url.is_none() {
            warnings.extend(telemetry::unusable_variable(|name| self.variable(name)));
        }
        warnings
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

/// Says that a variable sets nothing although its name begins like ours.
fn unknown_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("POSTBELL_")?;
    let known = name.strip_suffix("_FILE").unwrap_or(name);
    let is_known = rest.contains("__")
        || OTHER_VARIABLES.contains(&known)
        || OF_KUBERNETES.iter().any(|prefix| name.starts_with(prefix));
    if is_known {
        return None;
    }
    let advice = rest
        .split_once('_')
        .map_or_else(String::new, |(table, key)| {
            format!(": two underscores separate table and key, as in POSTBELL_{table}__{key}")
        });
    Some(format!("the variable {name} sets nothing{advice}"))
}

fn readable_by_all(file: &Path) -> String {
    let file = file.display();
    format!("every user of this machine can read {file}, which has a secret: chmod 600 {file}")
}

/// Warns of a file with a secret that every user of this machine can read.
pub(crate) fn open_secret(file: &Path) -> Option<String> {
    is_readable_by_all(file).then(|| readable_by_all(file))
}

/// Whether others than owner and group can read a file.
fn is_readable_by_all(file: &Path) -> bool {
    let mode = |path: &Path| {
        path.metadata()
            .map_or(0, |metadata| metadata.permissions().mode())
    };
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    mode(file) & 0o004 != 0 && mode(folder.unwrap_or(Path::new("."))) & 0o001 != 0
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => "the file is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    })
}
