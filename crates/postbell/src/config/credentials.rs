//! Secrets that the service manager passes as files.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::ConfigError;

/// Variable that names the folder of the credentials
/// (<https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#Credentials>).
const FOLDER_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Adds a variable for each credential that is named like a variable, such as
/// `POSTBELL_PLATFORM__API_KEY`. A variable of the environment wins over a credential. White space at the
/// end is not part of a secret, and an empty credential sets nothing.
///
/// # Errors
///
/// [`ConfigError::Unreadable`] if a credential exists and cannot be read.
pub(super) fn add_to(variables: &mut Vec<(OsString, OsString)>) -> Result<(), ConfigError> {
    let folder = variables.iter().find(|(name, _)| name == FOLDER_VARIABLE);
    let Some(folder) = folder.map(|(_, folder)| folder.clone()) else {
        return Ok(());
    };
    let folder = Path::new(&folder);
    let unreadable = |file: &Path, error: &std::io::Error| ConfigError::Unreadable {
        what: FOLDER_VARIABLE.to_owned(),
        file: file.display().to_string(),
        problem: error.to_string(),
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Of a service that has started this process and has ended since.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let (name, path) = (entry.file_name(), entry.path());
        let is_set = |(set, _): &(OsString, OsString)| *set == name;
        if !is_variable(name.as_encoded_bytes()) || variables.iter().any(is_set) {
            continue;
        }
        let content = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let content = content.trim_ascii_end();
        if !content.is_empty() {
            variables.push((name, OsString::from_vec(content.to_vec())));
        }
    }
    Ok(())
}

/// Whether a credential is named like one of the variables that Postbell reads. Others belong to
/// whatever else runs in the service.
fn is_variable(name: &[u8]) -> bool {
    let prefixes: [&[u8]; 4] = [b"POSTBELL_", b"KILOCLAW_", b"OPENCLAW_", b"GOG_"];
    let is_allowed =
        |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    prefixes.iter().any(|prefix| name.starts_with(prefix)) && name.iter().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_credentials(files: &[(&str, &str)], set: &[(&str, &str)]) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let set = set
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let mut variables: Vec<_> = set.collect();
        variables.push((FOLDER_VARIABLE.into(), folder.path().into()));
        add_to(&mut variables).unwrap();
        variables.retain(|(name, _)| name != FOLDER_VARIABLE);
        let text = |text: OsString| text.into_string().unwrap();
        let texts = variables.into_iter();
        texts
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    #[test]
    fn a_credential_sets_the_variable_of_its_name() {
        let read = with_credentials(&[("POSTBELL_PLATFORM__API_KEY", "hunter2\n")], &[]);
        let expected = (
            "POSTBELL_PLATFORM__API_KEY".to_owned(),
            "hunter2".to_owned(),
        );
        assert_eq!(read, [expected]);
    }

    #[test]
    fn a_variable_wins_and_an_empty_or_foreign_credential_sets_nothing() {
        let files = [
            ("POSTBELL_PLATFORM__API_KEY", "of the file"),
            ("POSTBELL_RELAY__URL_TOKEN_SECRET", "\n"),
            ("PATH", "/tmp"),
            ("google.json", "{}"),
        ];
        let set = [("POSTBELL_PLATFORM__API_KEY", "of the variable")];
        let expected = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(with_credentials(&files, &set), expected);
    }

    #[test]
    fn a_folder_that_is_gone_sets_nothing_and_an_unreadable_credential_is_an_error() {
        let mut gone = vec![(FOLDER_VARIABLE.into(), "/nowhere/at/all".into())];
        add_to(&mut gone).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("POSTBELL_PLATFORM__API_KEY")).unwrap();
        let mut unreadable = vec![(FOLDER_VARIABLE.into(), folder.path().into())];
        let error = add_to(&mut unreadable).unwrap_err().to_string();
        assert!(error.contains("POSTBELL_PLATFORM__API_KEY"), "{error}");
    }
}
