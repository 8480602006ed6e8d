//! Secrets from variables, or from the files that variables name.

use std::path::Path;

use anyhow::Context;
use postbell_protocol::webhook::SigningKeys;
use secrecy::{ExposeSecret, SecretString};

use crate::config::Env;

const HOOK_TOKEN_VARIABLE: &str = "POSTBELL_WATCH_HOOK_TOKEN";
const HOOK_SECRET_VARIABLE: &str = "POSTBELL_WATCH_HOOK_SECRET";

/// Returns a secret from the flag, else from the variable, else from the file that the variable with
/// `_FILE` names.
pub(super) fn secret(
    flag: Option<&str>,
    variable: &str,
    env: &Env,
) -> anyhow::Result<Option<SecretString>> {
    let given = flag.or_else(|| env.variable(variable));
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return Ok(Some(given.into()));
    }
    let file_variable = format!("{variable}_FILE");
    let Some(file) = env.variable(&file_variable) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(Path::new(file))
        .with_context(|| format!("cannot read {file} ({file_variable})"))?;
    Ok(Some(text.trim_end().into()))
}

/// Returns the bearer token of the bot's webhook.
pub(super) fn hook_token(flag: Option<&str>, env: &Env) -> anyhow::Result<Option<SecretString>> {
    secret(flag, HOOK_TOKEN_VARIABLE, env)
}

/// Returns the keys that sign requests to the bot's webhook.
pub(super) fn hook_signing(flag: Option<&str>, env: &Env) -> anyhow::Result<Option<SigningKeys>> {
    let secrets = secret(flag, HOOK_SECRET_VARIABLE, env)?;
    let keys = secrets.map(|secrets| secrets.expose_secret().parse());
    keys.transpose()
        .with_context(|| format!("the webhook's signing secret ({HOOK_SECRET_VARIABLE})"))
}
