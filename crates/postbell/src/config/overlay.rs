//! Merges variables into the configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use strsim::levenshtein;
use toml::{Table, Value};
use url::Url;

use super::expected::in_words;
use super::{Config, ConfigError, Mistakes, ReadSecret, watch};

/// Prefix of variables that set a key.
const PREFIX: &str = "POSTBELL_";

/// Separator of table and key in the name of a variable.
const SEPARATOR: &str = "__";

/// The secrets, and URLs with a password, as tables and key. Each can be set as `key_file` instead.
const SECRETS: [(&[&str], &str); 17] = [
    (&["controller"], "hook_token"),
    (&["alerts"], "mail_server"),
    (&["alerts"], "targets"),
    (&["directory"], "api_key"),
    (&["google", "client"], "client_secret"),
    (&["platform"], "api_key"),
    (&["platform"], "gateway_secret"),
    (&["platform"], "private_key"),
    (&["platform"], "storage_keys"),
    (&["platform"], "store"),
    (&["platform", "fly"], "env_key"),
    (&["platform", "fly"], "token"),
    (&["platform", "sign_in"], "client_secret"),
    (&["platform", "sign_in", "issuer"], "client_secret"),
    (&["relay"], "inbox"),
    (&["relay"], "url_token_secret"),
    (&["telemetry"], "otlp_headers"),
];

/// Other keys with the path of a file.
const FILES: [(&[&str], &str); 5] = [
    (&["google"], "credentials_file"),
    (&["google"], "sign_in_client_file"),
    (&["tls"], "acme_root_file"),
    (&["tls"], "certificate_file"),
    (&["tls"], "key_file"),
];

/// Describes a syntax error with its position. Omits the line itself, which may contain a secret; of a key
/// that stands there twice, only the key.
fn describe_syntax_error(error: &toml::de::Error, file: &str) -> String {
    let before = error.span().and_then(|span| file.get(..span.start));
    let at_fault = error.span().and_then(|span| file.get(span));
    let is_key = |text: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]".contains(&byte);
        text.len() < 40 && text.bytes().all(is_plain)
    };
    let key = at_fault
        .filter(|_| error.message() == "duplicate key")
        .filter(is_key);
    let key = key.map_or_else(String::new, |key| format!(" {key}: it stands there twice"));
    let place = before.map_or_else(String::new, |before| {
        let line = before.matches('\n').count() + 1;
        let last = before.rsplit('\n').next().unwrap_or_default();
        format!("line {line}, column {}: ", last.chars().count() + 1)
    });
    format!("{place}{}{key}", error.message().trim_end())
}

/// Keys that are set by variables, with the variable's name and value.
type SetBy<'a> = BTreeMap<String, (&'a String, &'a String)>;

/// Builds the configuration without what is wrong in it, and reports that; see [`Config::parse`].
///
/// # Errors
///
/// [`ConfigError::Syntax`] if the file is not TOML.
pub(super) fn parse(
    text: &str,
    file: &Path,
    variables: &[(String, String)],
    read_secret: &ReadSecret<'_>,
) -> Result<(Config, Mistakes), ConfigError> {
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
    let mut mistakes = Mistakes::default();
    for (tables, key) in SECRETS {
        if let Some(inner) = inner_table(&mut table, tables) {
            let path = format!("{}.{key}", tables.join("."));
            mistakes.check(put_secret(inner, &path, key, read_secret));
        }
    }
    watch::prepare(&mut table, file, read_secret, &mut mistakes);
    let config = deserialize(table, &set_by, &file_name, &mut mistakes)?;
    Ok((config, mistakes))
}

/// The files of secrets that the file or the variables name.
pub(super) fn secret_files(
    text: &str,
    file: &Path,
    variables: &[(String, String)],
) -> Vec<PathBuf> {
    let mut table: Table = text.parse().unwrap_or_default();
    resolve_paths(&mut table, file);
    let keys = SECRETS.map(|(tables, key)| (tables, format!("{key}_file")));
    let keys = keys.into_iter().chain([
        (&["google"][..], "credentials_file".to_owned()),
        (&["tls"][..], "key_file".to_owned()),
    ]);
    let mut files = Vec::new();
    for (tables, key) in keys {
        let path = tables
            .iter()
            .map(|&part| part.to_owned())
            .chain([key.clone()]);
        let path: Vec<_> = path.collect();
        let by_variable = variables
            .iter()
            .find(|(name, _)| key_of(name).as_ref() == Some(&path));
        let in_file = inner_table(&mut table, tables).and_then(|inner| inner.get(&key)?.as_str());
        let named = by_variable.map(|(_, value)| value.as_str()).or(in_file);
        files.extend(named.map(PathBuf::from));
    }
    files
}

/// Whether the file itself contains a secret. The URL of a store is one only with a password.
pub(super) fn has_secret(text: &str) -> bool {
    let mut table: Table = text.parse().unwrap_or_default();
    SECRETS.iter().any(|(tables, key)| {
        let value = inner_table(&mut table, tables).and_then(|inner| inner.get(*key));
        match (*key, value) {
            (_, None) => false,
            ("inbox" | "store", Some(Value::String(url))) => has_password(url),
            _ => true,
        }
    })
}

/// Whether the URL of a store has a password, or may have one: those with several hosts are not taken apart.
fn has_password(url: &str) -> bool {
    let in_parts = |url: Url| {
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
    };
    !url.starts_with("sqlite:") && Url::parse(url).map_or(true, in_parts)
}

/// Deserializes the table without what is wrong in it. A variable is a string first. If its key has another
/// type, it is parsed as TOML.
fn deserialize(
    mut table: Table,
    set_by: &SetBy<'_>,
    file_name: &str,
    mistakes: &mut Mistakes,
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
        if let Some((set_key, (_, text))) = source
            && !as_toml.contains(set_key)
            && let Ok(mut literal) = toml::from_str::<Table>(&format!("value = {text}"))
            && let Some(value) = literal.remove("value")
        {
            set(&mut table, &split(set_key), value);
            as_toml.push(set_key.clone());
            continue;
        }
        let name = source.map_or(file_name, |(_, (name, _))| name);
        let error = invalid_value(&key, name, &problem);
        if !remove(&mut table, &split(&key)) {
            return Err(error);
        }
        mistakes.push(error);
    }
}

fn split(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

/// A missing key is named by itself, not by its table.
fn invalid_value(key: &str, source_name: &str, problem: &str) -> ConfigError {
    let missing = problem.strip_prefix("missing field `");
    let missing = missing.and_then(|rest| rest.strip_suffix('`'));
    let (key, problem) = match missing {
        Some(field) => (
            format!("{key}.{field}"),
            format!("expected a value, because [{key}] is set"),
        ),
        None => {
            let unknown = unknown_key(key, problem);
            (
                key.to_owned(),
                unknown.unwrap_or_else(|| problem.to_owned()),
            )
        }
    };
    ConfigError::Value {
        key,
        source_name: source_name.to_owned(),
        problem,
    }
}

/// Names the key that may have been meant, else all keys of the table, those of files with secrets included.
fn unknown_key(key: &str, problem: &str) -> Option<String> {
    let (_, names) = problem
        .strip_prefix("unknown field `")?
        .split_once("expected ")?;
    let (table, unknown) = key.rsplit_once('.').unwrap_or(("", key));
    let mut known: Vec<_> = names
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let secrets = SECRETS
        .iter()
        .filter(|(tables, _)| tables.join(".") == table);
    known.extend(secrets.map(|(_, key)| format!("{key}_file")));
    let distances = known.iter().map(|name| (levenshtein(name, unknown), name));
    let (distance, nearest) = distances.min()?;
    Some(if distance * 3 <= unknown.len() {
        format!("unknown key; did you mean {nearest}?")
    } else {
        format!("unknown key; there are {}", known.join(", "))
    })
}

/// Removes a key, or the list in which an entry is wrong. Returns whether there was one.
fn remove(table: &mut Table, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    let first = first.split('[').next().unwrap_or(first);
    match table.get_mut(first) {
        Some(Value::Table(inner)) if !rest.is_empty() => {
            // The path of a missing key is that of its table.
            remove(inner, rest) || table.remove(first).is_some()
        }
        _ => table.remove(first).is_some(),
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
pub(super) fn put_secret(
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
        return Err(problem(&format!(
            "expected either the secret or its file, not both: remove {path}, or {path}_file"
        )));
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
        (key, in_words(error.into_inner().message()))
    })
}
