//! Merges variables into the configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError, ReadSecret};

/// Prefix of variables that set a key.
const PREFIX: &str = "POSTBELL_";

/// Separator of table and key in the name of a variable.
const SEPARATOR: &str = "__";

/// The secrets, as tables and key. Each can be set as `key_file` instead.
const SECRETS: [(&[&str], &str); 10] = [
    (&["alerts"], "targets"),
    (&["directory"], "api_key"),
    (&["platform"], "api_key"),
    (&["platform"], "gateway_secret"),
    (&["platform"], "private_key"),
    (&["platform"], "storage_keys"),
    (&["platform", "fly"], "env_key"),
    (&["platform", "fly"], "token"),
    (&["platform", "sign_in"], "client_secret"),
    (&["relay"], "url_token_secret"),
];

/// Other keys with the path of a file.
const FILES: [(&[&str], &str); 5] = [
    (&["google"], "credentials_file"),
    (&["google"], "sign_in_client_file"),
    (&["tls"], "acme_root_file"),
    (&["tls"], "certificate_file"),
    (&["tls"], "key_file"),
];

/// Describes a syntax error with its position. Omits the line itself, which may contain a secret.
fn describe_syntax_error(error: &toml::de::Error, file: &str) -> String {
    let before = error.span().and_then(|span| file.get(..span.start));
    let place = before.map_or_else(String::new, |before| {
        let line = before.matches('\n').count() + 1;
        let last = before.rsplit('\n').next().unwrap_or_default();
        format!("line {line}, column {}: ", last.chars().count() + 1)
    });
    format!("{place}{}", error.message().trim_end())
}

/// Keys that are set by variables, with the variable's name and value.
type SetBy<'a> = BTreeMap<String, (&'a String, &'a String)>;

/// Builds the configuration; see [`Config::parse`].
pub(super) fn parse(
    text: &str,
    file: &Path,
    variables: &[(String, String)],
    read_secret: &ReadSecret<'_>,
) -> Result<Config, ConfigError> {
    let file_name = file.display().to_string();
    let mut table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| ConfigError::Syntax {
            file: file_name.clone(),
            problem: describe_syntax_error(&error, text),
        })?;
    resolve_paths(&mut table, file);
    let mut set_by = BTreeMap::new();
    for (name, text) in variables {
        if let Some(key) = key_of(name) {
            set_by.insert(key.join("."), (name, text));
        }
    }
    for (tables, key) in SECRETS {
        remove_overridden(&mut table, tables, key, &set_by);
    }
    for (key, (_, text)) in &set_by {
        let path: Vec<_> = key.split('.').map(str::to_owned).collect();
        set(&mut table, &path, Value::String((*text).clone()));
    }
    for (tables, key) in SECRETS {
        if let Some(inner) = inner_table(&mut table, tables) {
            let path = format!("{}.{key}", tables.join("."));
            put_secret(inner, &path, key, read_secret)?;
        }
    }
    deserialize(table, &set_by, &file_name)
}

/// Deserializes the table. A variable is a string first. If its key has another type, it is parsed as
/// TOML.
fn deserialize(
    mut table: Table,
    set_by: &SetBy<'_>,
    file_name: &str,
) -> Result<Config, ConfigError> {
    let mut as_toml = Vec::new();
    loop {
        let (key, problem) = match read(table.clone()) {
            Ok(config) => return Ok(config),
            Err(invalid) => invalid,
        };
        let source = set_by
            .iter()
            .find(|(set, _)| key == **set || key.starts_with(&format!("{set}.")));
        let Some((set_key, (name, text))) = source else {
            return Err(ConfigError::Value {
                key,
                source_name: file_name.to_owned(),
                problem,
            });
        };
        let literal = toml::from_str::<Table>(&format!("value = {text}")).ok();
        match literal.and_then(|mut table| table.remove("value")) {
            Some(value) if !as_toml.contains(set_key) => {
                let path: Vec<_> = set_key.split('.').map(str::to_owned).collect();
                set(&mut table, &path, value);
                as_toml.push(set_key.clone());
            }
            _ => {
                return Err(ConfigError::Value {
                    key,
                    source_name: (*name).clone(),
                    problem,
                });
            }
        }
    }
}

/// Makes the paths of files in the configuration file relative to its folder, whatever the current
/// folder is. Those in variables stay relative to the current folder, as a shell completes them.
fn resolve_paths(table: &mut Table, file: &Path) {
    let base = file.parent().unwrap_or(Path::new(""));
    let files = SECRETS.map(|(tables, key)| (tables, format!("{key}_file")));
    let others = FILES.map(|(tables, key)| (tables, key.to_owned()));
    for (tables, key) in files.into_iter().chain(others) {
        let inner = inner_table(table, tables);
        if let Some(Value::String(named)) = inner.and_then(|inner| inner.get_mut(&key))
            && let Some(resolved) = base.join(PathBuf::from(&*named)).to_str()
        {
            *named = resolved.to_owned();
        }
    }
}

/// Removes a secret of the configuration file, or the name of its file, if a variable sets the other one
/// of both.
fn remove_overridden(table: &mut Table, tables: &[&str], key: &str, set_by: &SetBy<'_>) {
    let file_key = format!("{key}_file");
    let is_set = |key: &str| set_by.contains_key(&format!("{}.{key}", tables.join(".")));
    let overridden = match (is_set(key), is_set(&file_key)) {
        (true, false) => &*file_key,
        (false, true) => key,
        _ => return,
    };
    if let Some(inner) = inner_table(table, tables) {
        inner.remove(overridden);
    }
}

fn inner_table<'a>(table: &'a mut Table, path: &[&str]) -> Option<&'a mut Table> {
    let mut inner = table;
    for name in path {
        let Some(Value::Table(next)) = inner.get_mut(*name) else {
            return None;
        };
        inner = next;
    }
    Some(inner)
}

/// Replaces `key_file` by `key` with the content of the file.
fn put_secret(
    table: &mut Table,
    path: &str,
    key: &str,
    read_secret: &ReadSecret<'_>,
) -> Result<(), ConfigError> {
    let Some(named) = table.remove(&format!("{key}_file")) else {
        return Ok(());
    };
    let problem = |problem: &str| ConfigError::Value {
        key: format!("{path}_file"),
        source_name: "file or variable".to_owned(),
        problem: problem.to_owned(),
    };
    let Value::String(file) = named else {
        return Err(problem("expected the path of a file"));
    };
    if table.contains_key(key) {
        return Err(problem("expected either the secret or its file, not both"));
    }
    let secret = read_secret(Path::new(&file)).map_err(|problem| ConfigError::Unreadable {
        what: format!("{path}_file"),
        file,
        problem,
    })?;
    // Editors end a file with a line break, which is not part of the secret.
    let secret = secret.trim_end();
    if secret.is_empty() {
        return Err(problem("expected a secret in the file, but it is empty"));
    }
    table.insert(key.to_owned(), Value::String(secret.to_owned()));
    Ok(())
}

/// Returns the key that a variable sets: `POSTBELL_RELAY__RETRY__FIRST` sets `relay.retry.first`.
///
/// Names without a table, such as `POSTBELL_LOG`, set no key.
fn key_of(name: &str) -> Option<Vec<String>> {
    let path = name.strip_prefix(PREFIX)?;
    path.contains(SEPARATOR)
        .then(|| path.split(SEPARATOR).map(str::to_ascii_lowercase).collect())
}

fn set(table: &mut Table, key: &[String], value: Value) {
    let Some((first, rest)) = key.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    let inner = table
        .entry(first.clone())
        .or_insert_with(|| Value::Table(Table::new()));
    if !inner.is_table() {
        *inner = Value::Table(Table::new());
    }
    if let Value::Table(inner) = inner {
        set(inner, rest, value);
    }
}

/// Deserializes the table, or returns the invalid key and the problem.
fn read(table: Table) -> Result<Config, (String, String)> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let key = error.path().to_string();
        (key, without_values(error.into_inner().message()))
    })
}

/// Removes the value from serde's message, because it may be a secret.
fn without_values(problem: &str) -> String {
    let expected = problem
        .split_once("expected ")
        .map(|(_, expected)| expected);
    match expected {
        Some(expected) if problem.starts_with("invalid") => format!("expected {expected}"),
        _ => problem.to_owned(),
    }
}
