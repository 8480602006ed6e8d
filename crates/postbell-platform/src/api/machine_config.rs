//! The configuration of a machine, which its controller fetches.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use postbell_core::{BoxError, SandboxId, StoreError, UserRecord, update_user};
use postbell_protocol::api::{FurtherAccount, MachineAccount, MachineConfig, Problem};
use postbell_protocol::routes;
use tracing::{error, info};

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
    let former = || ApiError::FormerMachine(sandbox_id.clone());
    let user = user.ok_or_else(former)?;
    let record = users.store.get(&user).await;
    let record = record.map_err(|error| failed(error.into()))?;
    // A further account has no machine of its own.
    let record = record.filter(|record| record.sandbox_id == sandbox_id && record.owner.is_none());
    let record = record.ok_or_else(former)?;
    let limit = &platform.0.config_fetches;
    if !limit.take(&record.sandbox_id, users.clock.elapsed()) {
        return Err(ApiError::TooMany);
    }
    let accounts = users.store.accounts_of(std::slice::from_ref(&user)).await;
    let accounts = accounts.map_err(|error| failed(error.into()))?;
    let account = account_of(&platform, &record, several_accounts).await?;
    let further_accounts = match several_accounts {
        true => Some(further_accounts(&platform, &accounts).await?),
        false => None,
    };
    let config = MachineConfig {
        account,
        gmail_notifications_enabled: record.notifications_enabled,
        further_accounts,
        watcher_arguments: platform.parts().watcher_arguments.clone(),
    };
    let fetched = record_fetch(&platform, &record, &accounts, several_accounts).await;
    fetched.map_err(failed)?;
    info!(
        user.id = %user.masked(), has_account = config.account.is_some(),
        further_accounts = config.further_accounts.as_ref().map(Vec::len),
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

/// The further accounts. None is left out for an error: the machine would forget it, and the mail that it has set aside.
async fn further_accounts(
    platform: &Platform,
    accounts: &[UserRecord],
) -> Result<Vec<FurtherAccount>, ApiError> {
    let mut further = Vec::new();
    for record in accounts {
        let account = account_of(platform, record, true).await?;
        further.extend(account.map(|account| FurtherAccount {
            account,
            gmail_notifications_enabled: record.notifications_enabled,
        }));
    }
    Ok(further)
}

/// The account of a record with its credentials; `None` if none is connected.
///
/// A machine that watches several accounts can keep the credentials that it has, so those that cannot be read do not keep it
/// from the changes of the other accounts.
async fn account_of(
    platform: &Platform,
    record: &UserRecord,
    can_keep: bool,
) -> Result<Option<MachineAccount>, ApiError> {
    let tarballs = &platform.parts().tarballs;
    if record.google.is_some() && tarballs.key.is_none() {
        return Err(ApiError::NoKey);
    }
    let tarball = match tarballs.of(record).await {
        Err(error) if can_keep && !may_pass(&error) => {
            let (user, error) = (record.user.masked(), &*error as &dyn std::error::Error);
            error!(user.id = %user, error, "Cannot read the credentials of {user}: their machine keeps those that it has");
            Tarball::Keep
        }
        tarball => tarball.map_err(|error| ApiError::internal("config", &*error))?,
    };
    let gog_config_tarball = match tarball {
        Tarball::Remove => return Ok(None),
        Tarball::Set(tarball) => Some(tarball),
        Tarball::Keep if can_keep => None,
        Tarball::Keep => return Err(ApiError::NoKey),
    };
    let google = record.google.as_ref();
    let email = google.and_then(|google| google.email.as_ref());
    let email = email.ok_or(ApiError::NoAddress)?;
    Ok(Some(MachineAccount {
        email: email.as_str().to_owned(),
        gog_config_tarball,
        last_history_id: record.last_history_id,
    }))
}

/// Whether the credentials may be read later.
fn may_pass(error: &BoxError) -> bool {
    let error = error.downcast_ref();
    matches!(error, Some(StoreError::Unavailable(_)))
}
