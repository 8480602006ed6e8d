//! Sign-in to the pages.

use std::sync::Arc;

use postbell_core::{Clock, Sessions};
use postbell_google::{IdTokenVerifier, Issuer, SignIn, SigningKeys};
use postbell_platform::{IssuerSignIn, SignInAccess, SignInLinks, system_random};
use reqwest::Client;

use crate::config::{Config, ConfigError, PlatformConfig};

/// Builds the sign-in with Google, if it is configured. Returns Google's keys if the platform must
/// refresh them, because it cannot share `relay_keys`.
pub(super) fn google(
    config: &Config,
    client: Client,
    clock: Arc<dyn Clock>,
    relay_keys: Option<Arc<SigningKeys>>,
) -> Result<(Option<SignIn>, Option<Arc<SigningKeys>>), ConfigError> {
    let settings = &config.platform.sign_in;
    let Some((client_id, client_secret)) = settings.client()? else {
        return Ok((None, None));
    };
    let (keys, own) = match relay_keys {
        Some(keys) => (keys, None),
        None => {
            let keys =
                SigningKeys::of_google(client.clone(), config.google.jwks_url.clone(), clock);
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
        basic_auth: false,
        id_tokens: Arc::new(IdTokenVerifier::new(keys)),
    };
    Ok((Some(sign_in), own))
}

/// Builds the sign-in with another issuer, if one is configured. Requests nothing yet.
pub(super) fn issuer(
    config: &PlatformConfig,
    client: Client,
    clock: Arc<dyn Clock>,
) -> Result<Option<IssuerSignIn>, ConfigError> {
    let Some(issuer) = config.sign_in.issuer.configured()? else {
        return Ok(None);
    };
    let (id, secret) = (issuer.client_id.to_owned(), issuer.client_secret.clone());
    Ok(Some(IssuerSignIn {
        name: issuer.name,
        issuer: Issuer::new(client, issuer.url.to_owned(), id, secret, clock),
    }))
}

/// What addresses give access to.
pub(super) fn access(config: &PlatformConfig) -> SignInAccess {
    let settings = &config.sign_in;
    SignInAccess {
        operators: settings.operators.clone(),
        viewers: settings.viewers.clone(),
        allowed: settings.allowed.clone(),
    }
}

/// Builds one-time sign-in links to the pages.
///
/// # Errors
///
/// [`ConfigError`] if the pages have no URL.
pub fn sign_in_links(
    config: &PlatformConfig,
    sessions: Arc<dyn Sessions>,
) -> Result<SignInLinks, ConfigError> {
    Ok(SignInLinks {
        sessions,
        random: system_random(),
        url: config.url()?,
    })
}
