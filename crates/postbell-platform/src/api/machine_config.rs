//! The configuration of a machine, which its controller fetches.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use postbell_core::{SandboxId, UserRecord, update_user};
use postbell_protocol::api::{FurtherAccount, MachineAccount, MachineConfig, Problem};
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

/// Whether the machine says that it watches several accounts.
pub(super) struct WatchesSeveral(bool);

impl FromRequestParts<Platform> for WatchesSeveral {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Platform) -> Result<Self, Infallible> {
        let said = parts.headers.get(routes::ACCOUNTS);
        Ok(Self(said.is_some_and(|said| said == routes::SEVERAL)))
    }
}

/// The configuration of a machine, with the credentials of its mailboxes
#[utoipa::path(
    get,
    path = routes::MACHINE_CONFIG,
    operation_id = "getMachineConfig",
    tag = "machine",
    params(
        ("x-postbell-sandbox-id" = Option<String>, Header, description = "The machine's sandbox id"),
        ("x-postbell-accounts" = Option<String>, Header, description = "`several` from a machine that watches several accounts; others get the first one"),
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
    WatchesSeveral(several_accounts): WatchesSeveral,
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
    // A further account has no machine of its own.
    let record = record.filter(|record| record.sandbox_id == sandbox_id && record.owner.is_none());
    let record = record.ok_or(ApiError::FormerMachine)?;
    let limit = &platform.0.config_fetches;
    if !limit.take(&record.sandbox_id, users.clock.elapsed()) {
        return Err(ApiError::TooMany);
    }
    let accounts = users.store.accounts_of(std::slice::from_ref(&user)).await;
    let accounts = accounts.map_err(|error| failed(error.into()))?;
    let mut config = config_of(&platform, &record).await?;
    if several_accounts {
        config.further_accounts = further_accounts(&platform, &accounts).await?;
    }
    let fetched = record_fetch(&platform, &record, &accounts, several_accounts).await;
    fetched.map_err(failed)?;
    info!(
        user.id = %user.masked(), has_account = config.account.is_some(),
        further_accounts = config.further_accounts.len(),
        "The machine of {} fetched its configuration", user.masked()
    );
    Ok(Json(config))
}

/// Records that a machine has the configuration that was read. A change after that is still to be fetched.
async fn record_fetch(
    platform: &Platform,
    read: &UserRecord,
    accounts: &[UserRecord],
    several_accounts: bool,
) -> Result<(), ChangeError> {
    let users = platform.users();
    let (store, clock) = (&*users.store, &*users.clock);
    let fetched = update_user(store, &read.user, None, clock, |stored| {
        stored.fetch_config(clock.now());
        stored.several_accounts = several_accounts;
        stored
            .pending_sync
            .take_if(|it| read.pending_sync == Some(*it));
        Ok::<_, ChangeError>(())
    });
    fetched.await?;
    for account in accounts {
        let fetched = update_user(store, &account.user, None, clock, |stored| {
            stored
                .pending_sync
                .take_if(|it| account.pending_sync == Some(*it));
            Ok::<_, ChangeError>(())
        });
        fetched.await?;
        // A relay may have an answer by which its notifications wait, or do not.
        if read.several_accounts != several_accounts {
            users.relays.user_changed(&account.user).await;
        }
    }
    Ok(())
}

/// The further accounts with their credentials. None is left out for an error: the machine would forget it, and the mail
/// that it has set aside.
async fn further_accounts(
    platform: &Platform,
    accounts: &[UserRecord],
) -> Result<Vec<FurtherAccount>, ApiError> {
    let mut further = Vec::new();
    for record in accounts {
        let google = record.google.as_ref();
        let Some(email) = google.and_then(|google| google.email.as_ref()) else {
            continue;
        };
        let tarball = platform.parts().tarballs.of(record).await;
        let tarball = tarball.map_err(|error| ApiError::internal("config", &*error))?;
        match tarball {
            Tarball::Set(gog_config_tarball) => further.push(FurtherAccount {
                account: MachineAccount {
                    email: email.as_str().to_owned(),
                    gog_config_tarball,
                    last_history_id: record.last_history_id,
                },
                gmail_notifications_enabled: record.notifications_enabled,
            }),
            // The machine keeps what it has.
            Tarball::Keep => return Err(ApiError::NoKey),
            Tarball::Remove => (),
        }
    }
    Ok(further)
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
