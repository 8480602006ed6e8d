//! The configuration of a machine, which its controller fetches.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use postbell_core::{SandboxId, UserRecord, update_user};
use postbell_protocol::api::{MachineAccount, MachineConfig, Problem};
use postbell_protocol::routes;
use tracing::info;

use super::Platform;
use super::auth::query;
use super::check_in::{MachineTokens, verified};
use super::error::ApiError;
use crate::ChangeError;
use crate::request_limit::RequestLimit;
use crate::variables::Tarball;

/// Limits how often a machine fetches its configuration. It has credentials in it, and costs a decryption.
pub(super) fn fetch_limit() -> RequestLimit<SandboxId> {
    RequestLimit::new(30, Duration::from_secs(2))
}

/// The machine that asks. Controllers before the header have it in the query, where access logs get what may be an address.
pub(super) struct ShownSandboxId(String);

impl FromRequestParts<Platform> for ShownSandboxId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, ApiError> {
        const REQUIRED: ApiError = ApiError::Invalid("x-postbell-sandbox-id is required");
        let id = match parts.headers.get(routes::SANDBOX_ID) {
            Some(id) => id.to_str().ok().map(str::to_owned),
            None => query(parts, "sandboxId"),
        };
        let id = id.filter(|id| !id.is_empty());
        id.map(Self).ok_or(REQUIRED)
    }
}

/// The configuration of a machine, with the credentials of its mailbox
#[utoipa::path(
    get,
    path = routes::MACHINE_CONFIG,
    operation_id = "getMachineConfig",
    tag = "machine",
    params(
        ("x-postbell-sandbox-id" = Option<String>, Header, description = "The machine's sandbox id"),
        ("sandboxId" = Option<String>, Query, description = "The same, for controllers that do not send the header"),
    ),
    security(("gatewayToken" = [])),
    responses(
        (status = OK, body = MachineConfig),
        (status = BAD_REQUEST, body = Problem),
        (status = UNAUTHORIZED, body = Problem),
        (status = GONE, body = Problem, description = "The token is right, but no user has a machine with this sandbox id any more"),
        (status = TOO_MANY_REQUESTS, body = Problem),
    )
)]
pub(super) async fn machine_config(
    MachineTokens(tokens): MachineTokens,
    ShownSandboxId(sandbox_id): ShownSandboxId,
    State(platform): State<Platform>,
) -> Result<Json<MachineConfig>, ApiError> {
    const OPERATION: &str = "config";
    let failed = |error: ChangeError| ApiError::from_change(OPERATION, error);
    let users = platform.users();
    let (sandbox_id, _) = verified(&platform, &sandbox_id, tokens)?;
    let user = users.store.user_by_sandbox(&sandbox_id).await;
    let user = user.map_err(|error| failed(error.into()))?;
    let user = user.ok_or(ApiError::FormerMachine)?;
    let record = users.store.get(&user).await;
    let record = record.map_err(|error| failed(error.into()))?;
    let record = record.filter(|record| record.sandbox_id == sandbox_id);
    let record = record.ok_or(ApiError::FormerMachine)?;
    let limit = &platform.0.config_fetches;
    if !limit.take(&record.sandbox_id, users.clock.elapsed()) {
        return Err(ApiError::TooMany);
    }
    let config = config_of(&platform, &record).await?;
    let fetched = update_user(&*users.store, &user, None, &*users.clock, |stored| {
        stored.fetch_config(users.clock.now());
        // A change after the record was read is still to be fetched.
        if stored.pending_sync == record.pending_sync {
            stored.pending_sync = None;
        }
        Ok::<_, ChangeError>(())
    });
    fetched.await.map_err(failed)?;
    info!(
        user.id = %user.masked(), has_account = config.account.is_some(),
        "The machine of {} fetched its configuration", user.masked()
    );
    Ok(Json(config))
}

async fn config_of(platform: &Platform, record: &UserRecord) -> Result<MachineConfig, ApiError> {
    let parts = platform.parts();
    let tarball = parts.tarballs.of(record).await;
    let tarball = tarball.map_err(|error| ApiError::internal("config", &*error))?;
    let email = record
        .google
        .as_ref()
        .and_then(|google| google.email.as_ref());
    let account = match (tarball, email) {
        (Tarball::Remove, _) => None,
        (Tarball::Set(gog_config_tarball), Some(email)) => Some(MachineAccount {
            email: email.as_str().to_owned(),
            gog_config_tarball,
            last_history_id: record.last_history_id,
        }),
        // The machine keeps what it has.
        (Tarball::Keep, _) => return Err(ApiError::NoKey),
        (Tarball::Set(_), None) => return Err(ApiError::NoAddress),
    };
    Ok(MachineConfig {
        account,
        gmail_notifications_enabled: record.notifications_enabled,
        further_accounts: Vec::new(),
        watcher_arguments: parts.watcher_arguments.clone(),
    })
}
