//! Connecting and disconnecting a Google account.

use axum::Json;
use axum::extract::State;
use postbell_core::{Actor, EmailAddress, GoogleConnection, Timestamp, UserId, is_printable};
use postbell_protocol::api::{ConnectRequest, Connected, CredentialsOffer, Problem};
use postbell_protocol::credential_envelope::{DecryptError, PlatformKey};
use postbell_protocol::routes;

use super::Platform;
use super::auth::{Internal, UserIdQuery};
use super::body::{JsonBody, required_user};
use super::error::{ApiError, UserErrors};
use crate::{Changed, NewConnection, SyncOutcome};

/// The largest body: `gog`'s configuration has a few kilobytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;

/// The largest credentials of a further account, encrypted and in base64: a machine fetches those of all accounts at once.
const FURTHER_LIMIT: usize = 64 * 1024;

/// Validates an offer. A platform without a key cannot tell what it contains.
fn new_connection(
    offer: CredentialsOffer,
    key: Option<&PlatformKey>,
    now: Timestamp,
) -> Result<NewConnection, ApiError> {
    const EXPECTED: ApiError =
        ApiError::Invalid("googleCredentials: expected gogConfigTarball, an envelope");
    let is_further = offer.further_account;
    let offered = offer.credentials().map_err(|_| EXPECTED)?;
    let envelope = offered.gog_config_tarball;
    envelope.check().map_err(ApiError::Invalid)?;
    if is_further && envelope.size() > FURTHER_LIMIT {
        return Err(ApiError::Invalid(
            "googleCredentials: expected at most 64 KiB of encryptedData for a further account",
        ));
    }
    if let Some(key) = key {
        key.check_tarball(&envelope).map_err(not_decrypted)?;
    }
    let address = |text: Option<String>, problem| {
        let text = text.filter(|text| !text.is_empty());
        if text.as_deref().is_some_and(|text| !is_printable(text)) {
            return Err(ApiError::Invalid(problem));
        }
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
    if is_further && connection.email.is_none() {
        return Err(ApiError::Invalid(
            "email: a further account needs its address",
        ));
    }
    Ok(NewConnection {
        envelope,
        connection,
        watch_expires_at: None,
        is_proven: false,
        added: None,
        is_further,
        grant: None,
    })
}

/// No machine would ever get credentials that the platform cannot decrypt.
fn not_decrypted(error: DecryptError) -> ApiError {
    ApiError::Invalid(match error {
        DecryptError::NotText => "googleCredentials: expected a tar.gz, as bytes or in base64",
        DecryptError::NotAnEnvelope | DecryptError::WrongKey => {
            "googleCredentials: the platform's key does not decrypt them. Encrypt them with the key \
             of GET /api/admin/public-key"
        }
    })
}

fn connected(changed: &Changed) -> Connected {
    Connected {
        google_connected: changed.record.google.is_some(),
        gmail_notifications_enabled: changed.record.notifications_enabled,
        restart_failed: changed.machine == SyncOutcome::Failed,
    }
}

/// Connects a user's Google account, and turns notifications on
#[utoipa::path(
    post,
    path = routes::GOOGLE_CREDENTIALS,
    operation_id = "connectGoogle",
    tag = "settings",
    request_body = ConnectRequest,
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Connected),
        UserErrors,
        (status = CONFLICT, body = Problem),
        (status = PAYLOAD_TOO_LARGE, body = Problem),
    )
)]
pub(super) async fn connect(
    Internal(by): Internal,
    State(platform): State<Platform>,
    JsonBody(ConnectRequest { user, offer }): JsonBody<ConnectRequest, BODY_LIMIT>,
) -> Result<Json<Connected>, ApiError> {
    connect_user(&platform, &required_user(&user)?, None, offer, &by).await
}

/// Disconnects a user's Google account, and turns notifications off
#[utoipa::path(
    delete,
    path = routes::GOOGLE_CREDENTIALS,
    operation_id = "disconnectGoogle",
    tag = "settings",
    params(("userId" = String, Query)),
    security(("internalKey" = [])),
    responses(
        (status = OK, body = Connected),
        UserErrors,
    )
)]
pub(super) async fn disconnect(
    Internal(by): Internal,
    State(platform): State<Platform>,
    UserIdQuery(user): UserIdQuery,
) -> Result<Json<Connected>, ApiError> {
    disconnect_user(&platform, &user, &by).await
}

pub(super) async fn connect_user(
    platform: &Platform,
    user: &UserId,
    added: Option<Timestamp>,
    offer: CredentialsOffer,
    by: &Actor,
) -> Result<Json<Connected>, ApiError> {
    let users = platform.users();
    let key = platform.parts().platform_key.as_deref();
    let mut new = new_connection(offer, key, users.clock.now())?;
    new.added = added;
    let mailboxes = &platform.parts().mailboxes;
    let changed = mailboxes.connect(users, user, new, by).await;
    let changed = changed.map_err(|error| ApiError::from_change("google-credentials", error))?;
    Ok(Json(connected(&changed)))
}

pub(super) async fn disconnect_user(
    platform: &Platform,
    user: &UserId,
    by: &Actor,
) -> Result<Json<Connected>, ApiError> {
    let changed = platform.users().disconnect(user, by).await;
    let changed = changed.map_err(|error| ApiError::from_change("google-credentials", error))?;
    Ok(Json(connected(&changed)))
}
