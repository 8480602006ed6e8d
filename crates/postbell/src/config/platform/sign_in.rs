//! The `[platform.sign_in]` table.

use std::collections::{BTreeMap, BTreeSet};

use postbell_core::{EmailAddress, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

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

    /// Users of Google accounts that are not the connected account of a bot.
    pub allowed: BTreeMap<EmailAddress, UserId>,
}

impl SignInConfig {
    /// Checks combinations of values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the OAuth client is incomplete.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.client()?;
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
        let is_required =
            !self.operators.is_empty() || !self.viewers.is_empty() || !self.allowed.is_empty();
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
