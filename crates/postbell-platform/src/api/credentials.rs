//! Google accounts come and go.

use axum::Json;
use axum::extract::State;
use postbell_core::{EmailAddress, GoogleConnection, Timestamp, UserId};
use postbell_protocol::credential_envelope::CredentialEnvelope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Platform;
use super::auth::{About, Internal};
use super::body::{Body, Named};
use super::error::{ApiError, Problem};
use crate::{Changed, NewConnection, SyncOutcome};

/// The largest body: `gog`'s configuration has some kilobytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;

/// A Google account that is to be connected.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GoogleCredentials {
    gog_config_tarball: CredentialEnvelope,
    /// The account's address
    email: Option<String>,
    /// The service account that signs the pushes of the user's own subscription
    gmail_push_oidc_email: Option<String>,
}

/// Whose.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connect {
    #[serde(flatten)]
    named: Named,
    #[serde(flatten)]
    offered: Offered,
}

/// What a setup tool sends.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Offered {
    /// Read once it is known whose it is: whoever names nobody is told that first.
    #[schema(value_type = GoogleCredentials)]
    #[serde(default)]
    google_credentials: Value,
}

impl Offered {
    /// What is to be connected, or what is wrong with it.
    pub(super) fn read(self, now: Timestamp) -> Result<NewConnection, ApiError> {
        const EXPECTED: ApiError =
            ApiError::Invalid("googleCredentials: expected gogConfigTarball, an envelope");
        let offered: GoogleCredentials =
            serde_json::from_value(self.google_credentials).map_err(|_| EXPECTED)?;
        let envelope = offered.gog_config_tarball;
        envelope.check().map_err(ApiError::Invalid)?;
        let address = |text: Option<String>, problem| {
            let text = text.filter(|text| !text.is_empty());
            let address: Option<Result<EmailAddress, _>> = text.map(|text| text.parse());
            address.transpose().map_err(|_| ApiError::Invalid(problem))
        };
        let connection = GoogleConnection {
            email: address(offered.email, "email: expected a mail address")?,
            push_account: address(
                offered.gmail_push_oidc_email,
                "gmailPushOidcEmail: expected a service account's address",
            )?,
            connected_at: now,
        };
        Ok(NewConnection {
            envelope,
            connection,
        })
    }
}

/// How the connection stands after a change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection {
    google_connected: bool,
    gmail_notifications_enabled: bool,
    /// It is stored, but the machine could not be restarted with it
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    restart_failed: bool,
}

impl From<Changed> for Connection {
    fn from(changed: Changed) -> Self {
        Self {
            google_connected: changed.record.google.is_some(),
            gmail_notifications_enabled: changed.record.notifications_enabled,
            restart_failed: changed.machine == SyncOutcome::Failed,
        }
    }
}

/// Connects a user's Google account, and turns notifications on
#[utoipa::path(
    post,
    path = "/api/platform/google-credentials",
    operation_id = "connectGoogle",
    tag = "settings",
    request_body = Connect,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Connection),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
        (status = CONFLICT, body = Problem),
        (status = PAYLOAD_TOO_LARGE, body = Problem),
    )
)]
pub(super) async fn connect(
    _: Internal,
    State(platform): State<Platform>,
    Body(Connect { named, offered }): Body<Connect, BODY_LIMIT>,
) -> Result<Json<Connection>, ApiError> {
    connect_user(&platform, &named.user()?, offered).await
}

/// Forgets a user's Google account, and turns notifications off
#[utoipa::path(
    delete,
    path = "/api/platform/google-credentials",
    operation_id = "disconnectGoogle",
    tag = "settings",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Connection),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = NOT_FOUND, body = Problem),
    )
)]
pub(super) async fn disconnect(
    _: Internal,
    State(platform): State<Platform>,
    About(user): About,
) -> Result<Json<Connection>, ApiError> {
    disconnect_user(&platform, &user).await
}

pub(super) async fn connect_user(
    platform: &Platform,
    user: &UserId,
    offered: Offered,
) -> Result<Json<Connection>, ApiError> {
    let users = platform.users();
    let new = offered.read(users.clock.now())?;
    let changed = users.connect(user, new).await;
    let changed = changed.map_err(|error| ApiError::of("google-credentials", error))?;
    Ok(Json(changed.into()))
}

pub(super) async fn disconnect_user(
    platform: &Platform,
    user: &UserId,
) -> Result<Json<Connection>, ApiError> {
    let changed = platform.users().disconnect(user).await;
    let changed = changed.map_err(|error| ApiError::of("google-credentials", error))?;
    Ok(Json(changed.into()))
}
