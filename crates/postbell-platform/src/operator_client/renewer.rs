//! Renews Gmail's watches of accounts that were connected with the operator's client.
//!
//! A machine that runs renews its own watch every day, and reports the new end. So only watches are due here that nobody has
//! renewed for two days: those of machines that sleep, or that do not answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use postbell_core::{
    GoogleConnection, Listing, ProblemCode, StoreError, Timestamp, UserId, UserRecord, wait_for,
};
use postbell_google::{CloudError, TokenError};
use quick_cache::sync::Cache;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::OperatorClient;
use crate::Fleet;

/// A watch that ends within this time is renewed. A new one lasts seven days.
const DUE: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// The pause between two searches for watches that are due.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// How many users are read at a time, and how many of their watches are renewed at a time.
const PAGE: usize = 100;
const AT_ONCE: usize = 8;

/// How long a renewal may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a user's watch is left alone: after a renewal, without usable credentials, and after another failure.
const RENEWED: Duration = Duration::from_secs(24 * 60 * 60);
const UNUSABLE: Duration = Duration::from_secs(6 * 60 * 60);
const FAILED: Duration = Duration::from_secs(30 * 60);

/// For how many connections the time of the next attempt is kept.
const CAPACITY: usize = 65_536;

/// Renews watches.
pub struct WatchRenewer {
    client: Arc<OperatorClient>,
    fleet: Arc<Fleet>,
    /// When a connection may be tried again; by the user and the time of the connection.
    next: Cache<(UserId, i64), Duration>,
}

/// Why a watch was not renewed.
enum NotRenewed {
    /// The credentials are not of this client, or cannot be decrypted.
    NotOurs,
    /// Google no longer accepts them.
    GrantRevoked,
    /// Any other failure.
    Failed,
}

impl WatchRenewer {
    /// Renews the watches of connections that `client` has made.
    #[must_use]
    pub fn new(client: Arc<OperatorClient>, fleet: Arc<Fleet>) -> Self {
        Self {
            client,
            fleet,
            next: Cache::new(CAPACITY),
        }
    }

    /// Renews watches until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let rounds = async {
            loop {
                if let Err(error) = self.renew_due().await {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "Could not look for watches to renew");
                }
                wait_for(&*self.client.parts.clock, PAUSE).await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    /// Renews every watch that is due.
    ///
    /// # Errors
    ///
    /// If the users cannot be read.
    pub async fn renew_due(&self) -> Result<(), StoreError> {
        let users = &self.client.parts.users;
        let mut after = None;
        loop {
            let listing = Listing::ByRecord { after };
            let page = users.list(&listing, PAGE).await?;
            let Some(last) = page.last().map(|record| record.user.clone()) else {
                return Ok(());
            };
            let due = page
                .iter()
                .filter_map(|record| Some((record, self.due(record)?)));
            let renewals = due.map(|(record, google)| self.renew(&record.user, google));
            let renewals: Vec<_> = renewals.collect();
            iter(renewals)
                .buffer_unordered(AT_ONCE)
                .collect::<()>()
                .await;
            after = Some(last);
        }
    }

    /// The connection of a user whose watch is due.
    fn due<'a>(&self, record: &'a UserRecord) -> Option<&'a GoogleConnection> {
        let google = record.google.as_ref()?;
        let clock = &self.client.parts.clock;
        let ends_soon = record
            .watch_expires_at
            .is_none_or(|ends| ends <= clock.now() + DUE);
        let next = self.next.get(&key(&record.user, google));
        let is_time = next.is_none_or(|next| next <= clock.elapsed());
        (ends_soon && is_time && self.client.has_made(google)).then_some(google)
    }

    async fn renew(&self, user: &UserId, google: &GoogleConnection) {
        let pause = match timeout(LIMIT, self.try_renew(user, google)).await {
            Ok(Ok(expires_at)) => {
                info!(user.id = %user.masked(), "Renewed the watch of {}", user.masked());
                self.report(user, google, Ok(expires_at)).await;
                RENEWED
            }
            Ok(Err(NotRenewed::NotOurs)) => UNUSABLE,
            Ok(Err(NotRenewed::GrantRevoked)) => {
                warn!(user.id = %user.masked(), "Google no longer accepts the grant of {}", user.masked());
                self.report(user, google, Err(ProblemCode::GrantRevoked))
                    .await;
                UNUSABLE
            }
            Ok(Err(NotRenewed::Failed)) | Err(_) => FAILED,
        };
        let next = self.client.parts.clock.elapsed() + pause;
        self.next.insert(key(user, google), next);
    }

    async fn try_renew(
        &self,
        user: &UserId,
        google: &GoogleConnection,
    ) -> Result<Timestamp, NotRenewed> {
        let opened = self.client.open(user, google).await;
        let opened = opened.map_err(|error| failed(user, &error))?;
        let opened = opened.ok_or(NotRenewed::NotOurs)?;
        let mailbox = self.client.mailbox(self.client.tokens(&opened));
        match self.client.watch(&mailbox).await {
            Ok(watch) => Ok(watch.expiration),
            Err(CloudError::Token(TokenError::GrantRevoked)) => Err(NotRenewed::GrantRevoked),
            Err(error) => Err(failed(user, &error)),
        }
    }

    async fn report(
        &self,
        user: &UserId,
        google: &GoogleConnection,
        outcome: Result<Timestamp, ProblemCode>,
    ) {
        let stored = self.fleet.report_watch(user, google.connected_at, outcome);
        if let Err(error) = stored.await {
            failed(user, &error);
        }
    }
}

fn key(user: &UserId, google: &GoogleConnection) -> (UserId, i64) {
    (user.clone(), google.connected_at.as_millis())
}

fn failed(user: &UserId, error: &(dyn std::error::Error + 'static)) -> NotRenewed {
    warn!(
        user.id = %user.masked(), error,
        "Could not renew the watch of {}; it is retried", user.masked()
    );
    NotRenewed::Failed
}
