//! The `[platform.sign_in]` table.

use std::collections::{BTreeMap, BTreeSet};

use postbell_core::{EmailAddress, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::ConfigError;

/// How people sign in to the pages with Google.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignInConfig {
    /// The OAuth client of the pages; without it, people sign in by one-time links alone.
    pub client_id: Option<String>,

    /// Its secret.
    pub client_secret: Option<SecretString>,

    /// Whose Google accounts are operators'.
    pub operators: BTreeSet<EmailAddress>,

    /// Whose bot somebody sees who has another address than the connected one, or none connected yet.
    pub allowed: BTreeMap<EmailAddress, UserId>,
}

impl SignInConfig {
    /// Finds what each value alone does not show.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where the client is named in half.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.client()?;
        Ok(())
    }

    /// The OAuth client, where there is one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where half of it is missing, or those that it is for are named without it.
    pub fn client(&self) -> Result<Option<(&str, &SecretString)>, ConfigError> {
        let id = self.client_id.as_deref().filter(|id| !id.is_empty());
        let secret = self.client_secret.as_ref();
        let secret = secret.filter(|secret| !secret.expose_secret().is_empty());
        let is_wanted = !self.operators.is_empty() || !self.allowed.is_empty();
        match (id, secret) {
            (Some(id), Some(secret)) => Ok(Some((id, secret))),
            (None, None) if !is_wanted => Ok(None),
            (None, _) => Err(ConfigError::contradiction(
                "platform.sign_in.client_id",
                "the id of an OAuth client of type web application, to go with the rest of the table",
            )),
            (Some(_), None) => Err(ConfigError::contradiction(
                "platform.sign_in.client_secret",
                "the secret of the OAuth client",
            )),
        }
    }
}
