//! How people sign in to the pages.

use std::sync::Arc;

use postbell_core::{Clock, Sessions};
use postbell_google::{GoogleKeys, IdTokenVerifier, SignIn};
use postbell_platform::{GoogleSignIn, SignInLinks, system_random};
use reqwest::Client;

use crate::config::{Config, ConfigError, PlatformConfig};

/// The way to Google, where it is configured, and the keys with which Google signs, if they are to be
/// kept fresh here: those of a relay beside it, `near`, are kept fresh there.
pub(super) fn google(
    config: &Config,
    client: Client,
    clock: Arc<dyn Clock>,
    near: Option<Arc<GoogleKeys>>,
) -> Result<(Option<GoogleSignIn>, Option<Arc<GoogleKeys>>), ConfigError> {
    let settings = &config.platform.sign_in;
    let Some((client_id, client_secret)) = settings.client()? else {
        return Ok((None, None));
    };
    let (keys, own) = match near {
        Some(near) => (near, None),
        None => {
            let keys = GoogleKeys::new(client.clone(), config.google.jwks_url.clone(), clock);
            let own = Arc::new(keys);
            (Arc::clone(&own), Some(own))
        }
    };
    let sign_in = SignIn {
        client,
        auth_url: config.google.auth_url.clone(),
        token_url: config.google.token_url.clone(),
        client_id: client_id.to_owned(),
        client_secret: client_secret.clone(),
        id_tokens: Arc::new(IdTokenVerifier::new(keys)),
    };
    let google = GoogleSignIn {
        sign_in,
        operators: settings.operators.clone(),
        allowed: settings.allowed.clone(),
    };
    Ok((Some(google), own))
}

/// Links that sign somebody in to the pages.
///
/// # Errors
///
/// [`ConfigError`] where the pages have no URL.
pub fn sign_in_links(
    config: &PlatformConfig,
    sign_ins: Arc<dyn Sessions>,
) -> Result<SignInLinks, ConfigError> {
    Ok(SignInLinks {
        sign_ins,
        random: system_random(),
        url: config.url()?,
    })
}
