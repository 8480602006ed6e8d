//! A cache in front of the user directory.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postbell_core::{
    AccountReport, Clock, Directory, DirectoryError, HistoryId, Instance, Lookup, MachineReport,
    UserId,
};
use quick_cache::sync::Cache;
use secrecy::SecretString;
use tracing::debug;

/// How long an answer that could not be renewed is used before the directory is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a machine's token is used that was asked for alone. A wrong one is noticed at once: the
/// machine answers 401.
const TOKEN_FRESH: Duration = Duration::from_secs(300);

/// How long it is remembered who has a mailbox. It is never revoked, and a user who is missing would not be
/// notified.
const OWNERS_FRESH: Duration = Duration::from_secs(1);

/// How long an answer is used while the directory cannot be reached.
const STALE: Duration = Duration::from_secs(60 * 60);

/// The capacity for each kind of answer. A user takes some 500 bytes, so that a relay with as many active ones stays below 60 MB.
const CAPACITY: usize = 20_480;

/// The user directory with a cache.
///
/// A cached answer may let a push in, but never refuses one: before that the directory is asked
/// again, so that a mail that arrives just after its owner switched notifications on is not dropped.
/// A delivery is tried with a cached answer, but never given up because of one.
/// The directory says how long an answer is used, at most a minute; it is revoked by [`forget`](Self::forget).
/// While the directory cannot be reached, answers of the last hour are used.
pub struct DirectoryCache {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    users: Cache<UserId, Cached<Arc<Lookup>>>,
    /// Tokens that were asked for alone: of a directory that does not send them with the rest, or for a
    /// check-in.
    tokens: Cache<UserId, Cached<SecretString>>,
    by_email: Cache<Box<str>, Cached<Arc<[UserId]>>>,
    by_sandbox: Cache<Box<str>, UserId>,
    /// How often answers were revoked.
    revoked: AtomicU64,
}

/// Whether a user wants a notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    Yes,
    /// The user is unknown, not connected, or has notifications off.
    No,
    /// The user's account is another mailbox.
    OtherMailbox,
}

impl Wanted {
    fn of(instance: &Instance, address: Option<&str>) -> Self {
        if !instance.wants_notifications() {
            Self::No
        } else if address.is_some_and(|address| instance.is_other_mailbox(address)) {
            Self::OtherMailbox
        } else {
            Self::Yes
        }
    }
}

#[derive(Clone)]
struct Cached<T> {
    answer: T,
    answered_at: Duration,
    /// Until then the directory is not asked again.
    fresh_until: Duration,
}

impl DirectoryCache {
    /// Caches the answers of `directory`.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory,
            clock,
            users: Cache::new(CAPACITY),
            tokens: Cache::new(CAPACITY),
            by_email: Cache::new(CAPACITY),
            by_sandbox: Cache::new(CAPACITY),
            revoked: AtomicU64::new(0),
        }
    }

    /// Returns a user's machine if a notification of the mailbox with this address is wanted: the user
    /// is connected and has notifications on. `None` is the mailbox of an unparseable message.
    pub(crate) async fn is_wanted(
        &self,
        user: &UserId,
        address: Option<&str>,
    ) -> Result<Wanted, DirectoryError> {
        if let Some(found) = self.fresh_user(user)
            && Wanted::of(&found.instance, address) == Wanted::Yes
        {
            return Ok(Wanted::Yes);
        }
        let found = self.latest_user(user).await?;
        Ok(found.map_or(Wanted::No, |found| Wanted::of(&found.instance, address)))
    }

    /// Returns what the directory has said of a user, if it need not be asked again yet.
    pub(crate) fn fresh_user(&self, user: &UserId) -> Option<Arc<Lookup>> {
        self.fresh(&self.users, user)
    }

    /// Asks for a user. A cached answer is used only while the directory is unavailable.
    pub(crate) async fn latest_user(
        &self,
        user: &UserId,
    ) -> Result<Option<Arc<Lookup>>, DirectoryError> {
        let revoked = self.revoked.load(Ordering::SeqCst);
        let answer = self.directory.look_up(user).await;
        let answer = answer.map(|found| {
            let found = found?;
            let fresh_for = found.fresh_for;
            Some((Arc::new(found), fresh_for))
        });
        let found = self.remember(&self.users, user, answer, revoked)?;
        if let Some(found) = &found {
            let sandbox_id = found.instance.sandbox_id.as_str();
            if self.by_sandbox.peek(sandbox_id).as_ref() != Some(user) {
                self.by_sandbox.insert(sandbox_id.into(), user.clone());
            }
        }
        Ok(found)
    }

    /// Returns whether the directory answers a question about a user.
    pub(crate) async fn answers(&self, user: &UserId) -> bool {
        self.directory.look_up(user).await.is_ok()
    }

    /// Returns whether `email` is the service account that signs a user's pushes, or `None` if none
    /// is stored.
    pub(crate) async fn is_push_account(
        &self,
        user: &UserId,
        email: &str,
    ) -> Result<Option<bool>, DirectoryError> {
        let is_account = |found: &Lookup| Some(found.push_account.as_ref()? == email);
        let fresh = self.fresh_user(user);
        if fresh.as_deref().and_then(is_account) == Some(true) {
            return Ok(Some(true));
        }
        let found = self.latest_user(user).await?;
        Ok(found.as_deref().and_then(is_account))
    }

    /// Returns the users to notify of mail in the mailbox with this address.
    pub(crate) async fn users_by_email(
        &self,
        email: &str,
    ) -> Result<Arc<[UserId]>, DirectoryError> {
        let email: Box<str> = email.to_lowercase().into();
        if let Some(users) = self.fresh(&self.by_email, &email) {
            return Ok(users);
        }
        let revoked = self.revoked.load(Ordering::SeqCst);
        let users = self.directory.users_by_email(&email).await;
        let users = users.map(|users| Some(users).filter(|users| !users.is_empty()));
        let users = users.map(|users| Some((Arc::from(users?), OWNERS_FRESH)));
        let users = self.remember(&self.by_email, &email, users, revoked)?;
        Ok(users.unwrap_or_default())
    }

    /// Returns the user whose machine has this sandbox id, if the cache knows it.
    pub(crate) fn cached_user_by_sandbox(&self, sandbox_id: &str) -> Option<UserId> {
        self.by_sandbox.get(sandbox_id)
    }

    /// Asks for the user whose machine has this sandbox id, and the user's further accounts.
    pub(crate) async fn users_by_sandbox(
        &self,
        sandbox_id: &str,
    ) -> Result<Vec<UserId>, DirectoryError> {
        let users = self.directory.users_by_sandbox(sandbox_id).await?;
        match users.first() {
            Some(user) => self.by_sandbox.insert(sandbox_id.into(), user.clone()),
            None => {
                self.by_sandbox.remove(sandbox_id);
            }
        }
        Ok(users)
    }

    /// Returns the token that a user's machine accepts.
    pub(crate) async fn gateway_token(
        &self,
        user: &UserId,
    ) -> Result<Option<SecretString>, DirectoryError> {
        let token = |found: Arc<Lookup>| found.token.clone();
        let fresh = self.fresh_user(user).and_then(token);
        if let Some(token) = fresh.or_else(|| self.fresh(&self.tokens, user)) {
            return Ok(Some(token));
        }
        let revoked = self.revoked.load(Ordering::SeqCst);
        let token = self.directory.gateway_token(user).await;
        let token = token.map(|token| Some((token?, TOKEN_FRESH)));
        self.remember(&self.tokens, user, token, revoked)
    }

    /// Reports the history id up to which a user's mail was delivered.
    pub(crate) async fn report_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<(), DirectoryError> {
        self.directory.report_history_id(user, history_id).await
    }

    /// Requests that a user's machine be started, and returns whether it is starting.
    pub(crate) async fn start_machine(&self, user: &UserId) -> Result<bool, DirectoryError> {
        self.directory.start_machine(user).await
    }

    /// Reports that a user's machine is running, and what it said.
    pub(crate) async fn report_running(
        &self,
        user: &UserId,
        report: MachineReport,
        accounts: Option<&[AccountReport]>,
    ) -> Result<(), DirectoryError> {
        let reported = self.directory.report_running(user, report, accounts);
        reported.await
    }

    /// Removes a cached token, which the machine may have rejected.
    pub(crate) fn forget_token(&self, user: &UserId) {
        let revoked = self.revoked.load(Ordering::SeqCst);
        self.tokens.remove(user);
        if let Some(cached) = self.users.get(user)
            && cached.answer.token.is_some()
        {
            let answer = Arc::new(Lookup {
                token: None,
                ..Lookup::clone(&cached.answer)
            });
            self.insert(&self.users, user, Cached { answer, ..cached }, revoked);
        }
    }

    /// Removes all cached answers about a user who has changed, and has those that are under way not
    /// cached: they may be of before the change.
    pub fn forget(&self, user: &UserId) {
        self.revoked.fetch_add(1, Ordering::SeqCst);
        self.users.remove(user);
        self.tokens.remove(user);
    }

    fn fresh<K: Hash + Eq, T: Clone>(&self, cache: &Cache<K, Cached<T>>, key: &K) -> Option<T> {
        let cached = cache.get(key)?;
        (self.clock.elapsed() < cached.fresh_until).then_some(cached.answer)
    }

    /// Caches an answer, unless answers were revoked since the count was `revoked`.
    fn insert<K: Hash + Eq + Clone, T: Clone>(
        &self,
        cache: &Cache<K, Cached<T>>,
        key: &K,
        cached: Cached<T>,
        revoked: u64,
    ) {
        if self.revoked.load(Ordering::SeqCst) != revoked {
            return;
        }
        cache.insert(key.clone(), cached);
        // A `forget` in between may have removed the answer before, instead of this one.
        if self.revoked.load(Ordering::SeqCst) != revoked {
            cache.remove(key);
        }
    }

    /// Caches an answer with how long it is fresh, unless answers were revoked since it was asked for, when
    /// the count was `revoked`. While the directory is unavailable, the last answer is used.
    fn remember<K: Hash + Eq + Clone, T: Clone>(
        &self,
        cache: &Cache<K, Cached<T>>,
        key: &K,
        answer: Result<Option<(T, Duration)>, DirectoryError>,
        revoked: u64,
    ) -> Result<Option<T>, DirectoryError> {
        let now = self.clock.elapsed();
        match answer {
            Ok(Some((answer, fresh_for))) => {
                let cached = Cached {
                    answer: answer.clone(),
                    answered_at: now,
                    fresh_until: now + fresh_for,
                };
                self.insert(cache, key, cached, revoked);
                Ok(Some(answer))
            }
            Ok(None) => {
                cache.remove(key);
                Ok(None)
            }
            Err(error) => match cache.get(key) {
                Some(last) if now.saturating_sub(last.answered_at) < STALE => {
                    let error = &error as &dyn std::error::Error;
                    debug!(error, "The directory is unavailable; using its last answer");
                    let answer = last.answer.clone();
                    let last = Cached {
                        fresh_until: now + RETRY,
                        ..last
                    };
                    self.insert(cache, key, last, revoked);
                    Ok(Some(answer))
                }
                _ => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests;
