//! What setup tools exchange with the platform.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{AccountStatus, UserRequest};
use crate::credential_envelope::CredentialEnvelope;

/// The key that credentials are encrypted for
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// SPKI, as PEM
    pub public_key: String,
    /// The public base URL of the relay that delivers to the platform's machines, if the platform knows it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_url: Option<String>,
}

/// A Google account to connect
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoogleCredentials {
    /// The encrypted credentials tarball
    pub gog_config_tarball: CredentialEnvelope,
    /// The account's address
    pub email: Option<String>,
    /// The service account that signs the pushes of the user's own subscription
    pub gmail_push_oidc_email: Option<String>,
}

/// Credentials, as a setup tool sends them
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Offered)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsOffer {
    // Parsed after the user is known: a missing user is reported first.
    #[schema(value_type = GoogleCredentials)]
    #[serde(default)]
    google_credentials: Value,
    /// Whether the account is connected beside the user's others. If not, it replaces the first one. `email` is required then.
    /// Not sent by KiloClaw
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub further_account: bool,
}

/// Credentials of a named user
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Connect)]
#[serde(rename_all = "camelCase")]
pub struct ConnectRequest {
    /// The user
    #[serde(flatten)]
    pub user: UserRequest,
    /// The credentials
    #[serde(flatten)]
    pub offer: CredentialsOffer,
}

/// The connection after a change
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Connection)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// Whether a Google account is connected
    #[serde(default)]
    #[schema(required = true)]
    pub google_connected: bool,
    /// Whether notifications are on
    #[serde(default)]
    #[schema(required = true)]
    pub gmail_notifications_enabled: bool,
    /// The change is stored, but the machine could not be restarted with it
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub restart_failed: bool,
}

/// A user's connection, without the credentials
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[schema(as = Shown)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// Whether a Google account is connected
    #[serde(default)]
    #[schema(required = true)]
    pub google_connected: bool,
    /// The account's address
    #[serde(default)]
    pub email: Option<String>,
    /// The service account that signs the pushes of the user's own subscription
    #[serde(default)]
    pub gmail_push_oidc_email: Option<String>,
    /// Whether notifications are on
    #[serde(default)]
    #[schema(required = true)]
    pub gmail_notifications_enabled: bool,
    /// The last delivered history id, null if there is none: a setup tool sees by it that a
    /// notification arrived. Not sent by KiloClaw, which is `None` here
    #[serde(
        default,
        deserialize_with = "some",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "18446744073709551615")]
    pub gmail_last_history_id: Option<Option<String>>,
    /// The user's further accounts; left out if there are none. Not sent by KiloClaw
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub further_accounts: Vec<AccountStatus>,
}

impl CredentialsOffer {
    /// Offers these credentials.
    ///
    /// # Errors
    ///
    /// [`serde_json::Error`], which has not been seen.
    pub fn new(credentials: &GoogleCredentials) -> serde_json::Result<Self> {
        let google_credentials = serde_json::to_value(credentials)?;
        Ok(Self {
            google_credentials,
            further_account: false,
        })
    }

    /// The credentials, if the offer has the right form.
    ///
    /// # Errors
    ///
    /// [`serde_json::Error`], whose text may contain parts of the credentials.
    pub fn credentials(self) -> serde_json::Result<GoogleCredentials> {
        serde_json::from_value(self.google_credentials)
    }
}

/// Distinguishes null from a missing field.
fn some<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}
