//! How a wrong variable is told of.

use std::ffi::OsStr;
use std::fmt;

use crate::Variables;

/// The longest number that is repeated.
const LONGEST_NUMBER: usize = 12;

/// What is wrong with a variable: which, what was expected, and what it was. Of what it holds nothing
/// is repeated but a short number where a number belongs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    variable: &'static str,
    expected: &'static str,
    was: String,
}

/// All that is wrong with the variables.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problems(Vec<Problem>);

impl Problem {
    pub(super) fn of(variables: &Variables, name: &'static str, expected: &'static str) -> Self {
        let was = match variables.get(name).map(OsStr::to_str) {
            None => "is not set".to_owned(),
            Some(None) => "is no text".to_owned(),
            Some(Some("")) => "is empty".to_owned(),
            Some(Some(text)) => in_other_words(text),
        };
        Self {
            variable: name,
            expected,
            was,
        }
    }

    /// The same, of a variable that holds a number and no secret.
    pub(super) fn of_number(
        variables: &Variables,
        name: &'static str,
        expected: &'static str,
    ) -> Self {
        let text = variables.get(name).and_then(OsStr::to_str);
        let text = text.unwrap_or_default();
        let is_number = text.bytes().all(|byte| b"+-.0123456789".contains(&byte));
        let problem = Self::of(variables, name, expected);
        if is_number && (1..=LONGEST_NUMBER).contains(&text.len()) {
            let was = format!("is {text}");
            Self { was, ..problem }
        } else {
            problem
        }
    }
}

/// Says of a text only what it looks like.
fn in_other_words(text: &str) -> String {
    let kind = match serde_json::from_str(text) {
        Ok(serde_json::Value::Array(_)) => "a JSON array with something else in it",
        Ok(serde_json::Value::Object(_)) => "a JSON object",
        Ok(serde_json::Value::String(_)) => "a JSON string",
        _ => "text",
    };
    format!("is {kind} of {} characters", text.chars().count())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            expected,
            was,
        } = self;
        write!(f, "{variable}: expected {expected}; it {was}")
    }
}

impl std::error::Error for Problem {}

impl Problems {
    /// Keeps what is wrong, and gives what is right.
    pub(super) fn note<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.0.push(problem)).ok()
    }

    /// Gives `settings` if nothing is wrong.
    pub(super) fn none_or<T>(self, settings: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(settings)
        } else {
            Err(self)
        }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
