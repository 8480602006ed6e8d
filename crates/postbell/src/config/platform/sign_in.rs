//! The `[platform.sign_in]` table.

use std::collections::{BTreeMap, BTreeSet};

use postbell_core::{EmailAddress, UserId};
use postbell_http::is_loopback;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::ConfigError;

/// Sign-in to the web pages with Google.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignInConfig {
    /// Id of the OAuth client. Without it, people can sign in only with one-time links.
    pub client_id: Option<String>,

    /// Secret of the OAuth client.
    pub client_secret: Option<SecretString>,

    /// Google accounts of operators.
    pub operators: BTreeSet<EmailAddress>,

    /// Google accounts of operators who may only look: they change nothing and see no secrets.
    pub viewers: BTreeSet<EmailAddress>,

    /// Another OpenID Connect issuer, beside Google or in its place.
    pub issuer: IssuerConfig,

    /// Users of Google accounts that are not the connected account of a bot.
    pub allowed: BTreeMap<EmailAddress, UserId>,
}

/// An OpenID Connect issuer, whose endpoints are discovered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerConfig {
    /// Its identifier, a URL, exactly as it writes it. Without it, there is none.
    pub url: Option<String>,

    /// What the button calls it. The default is its host.
    pub name: Option<String>,

    /// Id of the client there.
    pub client_id: Option<String>,

    /// Secret of the client.
    pub client_secret: Option<SecretString>,
}

/// A configured issuer.
#[derive(Clone, Debug)]
pub struct ConfiguredIssuer<'a> {
    /// Its identifier.
    pub url: &'a str,
    /// What the button calls it.
    pub name: String,
    /// Id of the client there.
    pub client_id: &'a str,
    /// Secret of the client.
    pub client_secret: &'a SecretString,
}

impl IssuerConfig {
    /// Returns the issuer, if one is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the table is incomplete, or the URL is no issuer's.
    pub fn configured(&self) -> Result<Option<ConfiguredIssuer<'_>>, ConfigError> {
        const KEY: &str = "platform.sign_in.issuer.url";
        let missing = |key, expected| Err(ConfigError::contradiction(key, expected));
        let id = self.client_id.as_deref().filter(|id| !id.is_empty());
        let secret = self.client_secret.as_ref();
        let secret = secret.filter(|secret| !secret.expose_secret().is_empty());
        let (url, client_id, client_secret) = match (&self.url, id, secret) {
            (None, None, None) => return Ok(None),
            (Some(url), Some(id), Some(secret)) => (url, id, secret),
            (None, ..) => {
                return missing(
                    KEY,
                    "the URL of the issuer, which the rest of the table requires",
                );
            }
            (_, None, _) => {
                return missing(
                    "platform.sign_in.issuer.client_id",
                    "the id of a client at the issuer",
                );
            }
            (.., None) => {
                return missing(
                    "platform.sign_in.issuer.client_secret",
                    "the secret of the client",
                );
            }
        };
        let host = host_of_issuer(url).ok_or_else(|| {
            let expected = "the https URL of an issuer, such as https://id.example.com/realms/bots";
            ConfigError::contradiction(KEY, expected)
        })?;
        Ok(Some(ConfiguredIssuer {
            url,
            name: self.name.clone().unwrap_or(host),
            client_id,
            client_secret,
        }))
    }
}

/// The host of an issuer's identifier, which is an https URL without query and fragment (OpenID Connect Core,
/// section 2). On this machine, http is enough.
fn host_of_issuer(url: &str) -> Option<String> {
    let url: Url = url.parse().ok()?;
    let is_secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let is_plain = url.query().is_none() && url.fragment().is_none();
    let is_plain = is_plain && url.username().is_empty() && url.password().is_none();
    url.host_str()
        .filter(|_| is_secure && is_plain)
        .map(str::to_owned)
}

impl SignInConfig {
    /// Checks combinations of values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the OAuth client is incomplete.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.client()?;
        self.issuer.configured()?;
        Ok(())
    }

    /// Returns the OAuth client, if one is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is incomplete, or accounts are listed without a client.
    pub fn client(&self) -> Result<Option<(&str, &SecretString)>, ConfigError> {
        let id = self.client_id.as_deref().filter(|id| !id.is_empty());
        let secret = self.client_secret.as_ref();
        let secret = secret.filter(|secret| !secret.expose_secret().is_empty());
        let has_accounts =
            !self.operators.is_empty() || !self.viewers.is_empty() || !self.allowed.is_empty();
        let is_required = has_accounts && self.issuer.url.is_none();
        match (id, secret) {
            (Some(id), Some(secret)) => Ok(Some((id, secret))),
            (None, None) if !is_required => Ok(None),
            (None, _) => Err(ConfigError::contradiction(
                "platform.sign_in.client_id",
                "the id of an OAuth client of type web application, which the rest of the table requires",
            )),
            (Some(_), None) => Err(ConfigError::contradiction(
                "platform.sign_in.client_secret",
                "the secret of the OAuth client",
            )),
        }
    }
}
