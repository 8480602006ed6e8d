//! Errors in environment variables.

use std::ffi::OsStr;
use std::fmt;

use crate::Variables;

/// Longer numbers are not shown.
const MAX_NUMBER_LENGTH: usize = 12;

/// An invalid variable: its name, what was expected and what was found. The value may be a secret:
/// only short numbers in place of numbers are shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidVariable {
    variable: &'static str,
    expected: &'static str,
    found: String,
}

/// All invalid variables.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InvalidVariables(Vec<InvalidVariable>);

impl InvalidVariable {
    pub(super) fn new(variables: &Variables, name: &'static str, expected: &'static str) -> Self {
        let found = match variables.get(name).map(OsStr::to_str) {
            None => "is not set".to_owned(),
            Some(None) => "is no text".to_owned(),
            Some(Some("")) => "is empty".to_owned(),
            Some(Some(text)) => describe(text),
        };
        Self {
            variable: name,
            expected,
            found,
        }
    }

    /// The error for a variable that should be a number, and so is no secret.
    pub(super) fn number(
        variables: &Variables,
        name: &'static str,
        expected: &'static str,
    ) -> Self {
        let text = variables.get(name).and_then(OsStr::to_str);
        let text = text.unwrap_or_default();
        let is_number = text.bytes().all(|byte| b"+-.0123456789".contains(&byte));
        let error = Self::new(variables, name, expected);
        if is_number && (1..=MAX_NUMBER_LENGTH).contains(&text.len()) {
            let found = format!("is {text}");
            Self { found, ..error }
        } else {
            error
        }
    }
}

/// Describes a value without showing it.
fn describe(text: &str) -> String {
    let kind = match serde_json::from_str(text) {
        Ok(serde_json::Value::Array(_)) => "a JSON array with something else in it",
        Ok(serde_json::Value::Object(_)) => "a JSON object",
        Ok(serde_json::Value::String(_)) => "a JSON string",
        _ => "text",
    };
    format!("is {kind} of {} characters", text.chars().count())
}

impl fmt::Display for InvalidVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            expected,
            found,
        } = self;
        write!(f, "{variable}: expected {expected}; it {found}")
    }
}

impl std::error::Error for InvalidVariable {}

impl InvalidVariables {
    /// Returns the value, or keeps the error.
    pub(super) fn collect<T>(&mut self, value: Result<T, InvalidVariable>) -> Option<T> {
        value.map_err(|error| self.0.push(error)).ok()
    }

    /// Returns `settings` if there are no errors.
    pub(super) fn into_result<T>(self, settings: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(settings)
        } else {
            Err(self)
        }
    }
}

impl<'a> IntoIterator for &'a InvalidVariables {
    type Item = &'a InvalidVariable;
    type IntoIter = std::slice::Iter<'a, InvalidVariable>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
