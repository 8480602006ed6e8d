//! What operators do, the same for the API, the pages and the command line.
//!
//! Each operation is a request type of the protocol, and [`Operator::perform`](Perform::perform) does it
//! for an [`Actor`]: a change and its entry in the audit log are one transaction.

mod access;
mod cursor;
mod import;
mod keys;
mod mail;
mod users;

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use postbell_core::{
    Actor, AuditEntry, AuditedPorts, BoxError, Clock, InvalidId, StoreError, UserId, UserRecord,
    UsersError,
};
use postbell_protocol::api::operator::Operation;
use postbell_protocol::gateway_token::GatewayTokens;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{info, warn};
use url::Url;

pub use self::import::{CsvUser, users_of_csv};
pub(crate) use self::keys::digest_of;
pub use self::keys::{ApiKey, ApiKeys};
pub(crate) use self::users::{WATCH_ENDS_SOON, cursor_after, user_listing, with_accounts};
use crate::random::Random;
use crate::{ChangeError, Controllers, OperatorClient, Relays, Reload, UserTokens};

/// The page size if a request names none, and the greatest one.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

/// How long a former machine may take to remove its credentials: an operator waits for it. It also asks by itself every hour.
const FORMER_MACHINE_LIMIT: Duration = Duration::from_secs(5);

/// How long relays may take to learn of many users, and of how many they learn at once.
const RELAYS_LIMIT: Duration = Duration::from_secs(10);
const NOTIFIED_AT_ONCE: usize = 16;

/// Does what operators ask for.
pub struct Operator {
    /// The users' store, for an actor.
    pub ports: Arc<dyn AuditedPorts>,
    /// The store of the delivery queue, and the bell of its dispatcher, if the relay is in this process.
    pub queue: Option<OperatedQueue>,
    /// Takes back permissions at Google, if the operator has an OAuth client.
    pub client: Option<Arc<OperatorClient>>,
    /// The relays that learn of changed users; none for a command beside them.
    pub relays: Option<Arc<dyn Relays>>,
    /// Reaches the machines of users who are removed.
    pub controllers: Option<Arc<dyn Controllers>>,
    /// The base URL of the pages. Without it there are no links.
    pub url: Option<Url>,
    /// Issues users' tokens. Without it there are none.
    pub user_tokens: Option<UserTokens>,
    /// Derives the machines' tokens. Without it there are none.
    pub gateway_tokens: Option<GatewayTokens>,
    /// Generates secrets.
    pub random: Random,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// The delivery queue, as operators use it.
#[derive(Clone)]
pub struct OperatedQueue {
    /// The store of the queue, for an actor.
    pub ports: Arc<dyn AuditedPorts>,
    /// Wakes the dispatcher after a dead letter was replayed, if it is in this process.
    pub arrivals: Option<Arc<Notify>>,
    /// Whether it has an audit log of its own: it is in another store than the users.
    pub has_own_log: bool,
}

/// Does one kind of operation.
#[async_trait]
pub trait Perform<O: Operation> {
    /// Does it for an actor.
    ///
    /// # Errors
    ///
    /// [`OperatorError`]; nothing is changed then.
    async fn perform(&self, request: O, by: &Actor) -> Result<O::Answer, OperatorError>;
}

/// Why an operation is refused or failed. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The user does not exist.
    #[error("there is no user {user}; `postbell users list` lists all users")]
    UnknownUser {
        /// The id.
        user: UserId,
    },

    /// The request conflicts with what is stored, as the text says.
    #[error("{0}")]
    Conflict(String),

    /// The request is invalid, as the text says.
    #[error("{0}")]
    Invalid(String),

    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<UsersError> for OperatorError {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Store(error) => Self::Store(error),
            UsersError::Missing { user } => Self::UnknownUser { user },
            refused => Self::Conflict(refused.to_string()),
        }
    }
}

impl From<ChangeError> for OperatorError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            refused => Self::Conflict(refused.to_string()),
        }
    }
}

impl From<InvalidId> for OperatorError {
    fn from(error: InvalidId) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl Operator {
    /// Returns a user's record.
    async fn record(&self, user: &UserId, by: &Actor) -> Result<UserRecord, OperatorError> {
        let record = self.ports.users(by).get(user).await?;
        record.ok_or_else(|| OperatorError::UnknownUser { user: user.clone() })
    }

    /// Returns the record of a user, who is not a further account of one.
    async fn user_record(&self, user: &UserId, by: &Actor) -> Result<UserRecord, OperatorError> {
        let record = self.record(user, by).await?;
        match record.owner {
            Some(owner) => {
                let text = format!("{user} is a further account of {owner}: name {owner}");
                Err(OperatorError::Conflict(text))
            }
            None => Ok(record),
        }
    }

    /// Returns the latest entries of the audit log, about a user or all, also those about dead letters.
    pub(crate) async fn latest_changes(
        &self,
        user: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let mut entries = self.ports.audit_log().entries(user, None, limit).await?;
        if let Some(queue) = self.queue.as_ref().filter(|queue| queue.has_own_log) {
            let log = queue.ports.audit_log();
            entries.extend(log.entries(user, None, limit).await?);
            entries.sort_by_key(|entry| Reverse((entry.at, entry.number)));
            // Two spellings of one URL are one log.
            entries.dedup();
            entries.truncate(limit);
        }
        Ok(entries)
    }

    /// Has the relays drop what they have cached of a user.
    async fn user_changed(&self, user: &UserId) {
        if let Some(relays) = &self.relays {
            relays.user_changed(user).await;
        }
    }

    /// The same of many users. Relays that do not answer delay the caller once, not with each user.
    async fn users_changed(&self, users: &[UserId]) {
        let each = stream::iter(users);
        let each = each.for_each_concurrent(NOTIFIED_AT_ONCE, |user| self.user_changed(user));
        // The others are asked for again by the relays, within a minute.
        let _ = timeout(RELAYS_LIMIT, each).await;
    }

    /// Has a machine that fetches its configuration learn that it has no user, under the id that it has in `before`.
    async fn tell_former_machine(&self, before: &UserRecord) {
        let fetches = before.config_fetched_at.is_some();
        let Some(controllers) = self.controllers.as_ref().filter(|_| fetches) else {
            return;
        };
        let user = before.user.masked();
        let error: BoxError = match timeout(FORMER_MACHINE_LIMIT, controllers.reload(before)).await
        {
            Ok(Ok(Reload::Done)) => {
                info!(user.id = %user, "The former machine of {user} removes its credentials");
                return;
            }
            Ok(Ok(Reload::NotSupported)) => "it does not fetch its configuration".into(),
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        let error = &*error as &dyn std::error::Error;
        warn!(
            user.id = %user, error,
            "Could not tell the former machine of {user}: it removes its credentials when it asks, within an hour"
        );
    }

    /// The base URL of the pages.
    fn url(&self) -> Result<&Url, OperatorError> {
        self.url.as_ref().ok_or_else(|| {
            let text = "the pages have no URL: set platform.url";
            OperatorError::Conflict(text.to_owned())
        })
    }

    fn queue(&self) -> Result<&OperatedQueue, OperatorError> {
        self.queue.as_ref().ok_or_else(|| {
            let text = "the relay runs elsewhere: its deliveries are managed where it runs";
            OperatorError::Conflict(text.to_owned())
        })
    }
}

/// The size of a page.
fn page_size(limit: Option<usize>) -> Result<usize, OperatorError> {
    match limit {
        Some(0) => Err(OperatorError::Invalid(
            "limit: expected 1 or more".to_owned(),
        )),
        limit => Ok(limit.unwrap_or(PAGE).min(LONGEST_PAGE)),
    }
}
