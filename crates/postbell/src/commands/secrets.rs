//! Secrets, and URLs that may contain one, from variables, or from the files that variables name.

use std::path::Path;

use postbell_protocol::webhook::SigningKeys;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::cli;
use crate::config::{BadSetting, Env};

const HOOK_URL_VARIABLE: &str = "POSTBELL_WATCH_HOOK_URL";
pub(super) const HOOK_TOKEN_VARIABLE: &str = "POSTBELL_WATCH_HOOK_TOKEN";
const HOOK_SECRET_VARIABLE: &str = "POSTBELL_WATCH_HOOK_SECRET";

/// Returns a secret from the flag, else from the variable, else from the file that the variable with
/// `_FILE` names. An empty flag says that there is none.
pub(super) fn secret(
    flag: Option<&str>,
    variable: &str,
    env: &Env,
) -> anyhow::Result<Option<SecretString>> {
    if flag.is_some_and(str::is_empty) {
        return Ok(None);
    }
    let given = flag.or_else(|| env.variable(variable));
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return Ok(Some(given.into()));
    }
    let file_variable = format!("{variable}_FILE");
    let Some(file) = env.variable(&file_variable) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(Path::new(file)).map_err(|error| {
        BadSetting::new(format!("cannot read {file} ({file_variable}): {error}"))
    })?;
    Ok(Some(text.trim_end().into()))
}

/// Returns the URL of the bot's webhook. That of a hosted automation is a secret itself, so that an error
/// does not contain it.
pub(super) fn hook_url(flag: Option<&Url>, env: &Env) -> anyhow::Result<Option<Url>> {
    if let Some(url) = flag {
        return Ok(Some(url.clone()));
    }
    let text = secret(None, HOOK_URL_VARIABLE, env)?;
    let url = text.map(|text| cli::webhook(text.expose_secret()));
    let refused = |problem| BadSetting::new(format!("{HOOK_URL_VARIABLE}: {problem}")).into();
    url.transpose().map_err(refused)
}

/// Returns the bearer token of the bot's webhook.
pub(super) fn hook_token(flag: Option<&str>, env: &Env) -> anyhow::Result<Option<SecretString>> {
    let token = secret(flag, HOOK_TOKEN_VARIABLE, env)?;
    if token
        .as_ref()
        .is_some_and(|token| token.expose_secret() == "…")
    {
        let problem = format!("{HOOK_TOKEN_VARIABLE}: expected the token in place of …");
        return Err(BadSetting::new(problem).into());
    }
    Ok(token)
}

/// Returns the keys that sign requests to the bot's webhook.
pub(super) fn hook_signing(flag: Option<&str>, env: &Env) -> anyhow::Result<Option<SigningKeys>> {
    let secrets = secret(flag, HOOK_SECRET_VARIABLE, env)?;
    let keys = secrets.map(|secrets| secrets.expose_secret().parse());
    keys.transpose().map_err(|error| {
        BadSetting::new(format!(
            "the webhook's signing secret ({HOOK_SECRET_VARIABLE}): {error}"
        ))
        .into()
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn env(name: &str, value: &str) -> Env {
        let pair = (OsStr::new(name), OsStr::new(value));
        Env::from_process(None)
            .unwrap()
            .with_variables([pair].into_iter())
    }

    #[test]
    fn the_webhook_is_that_of_the_flag_then_of_the_variable_then_of_the_file() {
        let of_variable = env(HOOK_URL_VARIABLE, "https://hooks.example.com/variable");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "https://hooks.example.com/file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let of_file = env("POSTBELL_WATCH_HOOK_URL_FILE", path);
        let flag = Url::parse("https://hooks.example.com/flag").unwrap();
        let shown = |flag: Option<&Url>, env: &Env| {
            let url = hook_url(flag, env).unwrap();
            url.map(|url| url.path().to_owned()).unwrap_or_default()
        };
        assert_eq!(shown(Some(&flag), &of_variable), "/flag");
        assert_eq!(shown(None, &of_variable), "/variable");
        assert_eq!(shown(None, &of_file), "/file");
        assert_eq!(shown(None, &env(HOOK_URL_VARIABLE, "")), "");
    }

    #[test]
    fn an_empty_flag_is_no_secret_whatever_the_environment_has() {
        let of_variable = env(HOOK_TOKEN_VARIABLE, "hunter2");
        assert!(hook_token(Some(""), &of_variable).unwrap().is_none());
        assert!(hook_token(None, &of_variable).unwrap().is_some());
        let of_file = env("POSTBELL_WATCH_HOOK_TOKEN_FILE", "/etc/hostname");
        assert!(hook_token(Some(""), &of_file).unwrap().is_none());
    }

    #[test]
    fn an_invalid_webhook_is_not_quoted_and_its_variable_is_named() {
        let error = hook_url(None, &env(HOOK_URL_VARIABLE, "hooks.example.com/hunter2"));
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(HOOK_URL_VARIABLE), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
