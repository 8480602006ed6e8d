//! A cache in front of the user directory.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Directory, DirectoryError, HistoryId, Instance, MachineReport, UserId};
use quick_cache::sync::Cache;
use secrecy::SecretString;
use tracing::debug;

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(1);

/// How long a machine's token is used without asking again. A wrong one is noticed at once: the
/// machine answers 401.
const TOKEN_FRESH: Duration = Duration::from_secs(300);

/// How long an answer is used while the directory cannot be reached.
const STALE: Duration = Duration::from_secs(60 * 60);

/// The capacity for each kind of answer.
const CAPACITY: usize = 65_536;

/// The user directory with a cache.
///
/// A cached answer may let a push in, but never refuses one: before that the directory is asked
/// again, so that a mail that arrives just after its owner switched notifications on is not dropped.
/// A delivery is tried with a cached answer, but never given up because of one.
/// While the directory cannot be reached, answers of the last hour are used.
pub struct DirectoryCache {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    instances: Cache<UserId, Cached<Arc<Instance>>>,
    accounts: Cache<UserId, Cached<Arc<str>>>,
    tokens: Cache<UserId, Cached<SecretString>>,
    by_email: Cache<Box<str>, Cached<Arc<[UserId]>>>,
    by_sandbox: Cache<Box<str>, UserId>,
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
    /// When the directory was asked last, with or without success.
    asked_at: Duration,
}

impl DirectoryCache {
    /// Caches the answers of `directory`.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory,
            clock,
            instances: Cache::new(CAPACITY),
            accounts: Cache::new(CAPACITY),
            tokens: Cache::new(CAPACITY),
            by_email: Cache::new(CAPACITY),
            by_sandbox: Cache::new(CAPACITY),
        }
    }

    /// Returns a user's machine if a notification of the mailbox with this address is wanted: the user
    /// is connected and has notifications on. `None` is the mailbox of an unparseable message.
    pub(crate) async fn is_wanted(
        &self,
        user: &UserId,
        address: Option<&str>,
    ) -> Result<Wanted, DirectoryError> {
        if let Some(instance) = self.fresh(&self.instances, user, FRESH)
            && Wanted::of(&instance, address) == Wanted::Yes
        {
            return Ok(Wanted::Yes);
        }
        let instance = self.latest_instance(user).await?;
        Ok(instance.map_or(Wanted::No, |instance| Wanted::of(&instance, address)))
    }

    /// Returns a user's machine as the directory has described it within the last second.
    pub(crate) fn fresh_instance(&self, user: &UserId) -> Option<Arc<Instance>> {
        self.fresh(&self.instances, user, FRESH)
    }

    /// Asks for a user's machine. A cached answer is used only while the directory is unavailable.
    pub(crate) async fn latest_instance(
        &self,
        user: &UserId,
    ) -> Result<Option<Arc<Instance>>, DirectoryError> {
        let answer = async { Ok(self.directory.instance(user).await?.map(Arc::new)) };
        let instance = self.ask(&self.instances, user, answer).await?;
        if let Some(instance) = &instance {
            let sandbox_id = instance.sandbox_id.as_str();
            if self.by_sandbox.peek(sandbox_id).as_ref() != Some(user) {
                self.by_sandbox.insert(sandbox_id.into(), user.clone());
            }
        }
        Ok(instance)
    }

    /// Returns whether `email` is the service account that signs a user's pushes, or `None` if none
    /// is stored.
    pub(crate) async fn is_push_account(
        &self,
        user: &UserId,
        email: &str,
    ) -> Result<Option<bool>, DirectoryError> {
        let fresh = self.fresh(&self.accounts, user, FRESH);
        if fresh.is_some_and(|account| *account == *email) {
            return Ok(Some(true));
        }
        let answer = async { Ok(self.directory.push_account(user).await?.map(Arc::from)) };
        let account = self.ask(&self.accounts, user, answer).await?;
        Ok(account.map(|account: Arc<str>| *account == *email))
    }

    /// Returns the users to notify of mail in the mailbox with this address.
    pub(crate) async fn users_by_email(
        &self,
        email: &str,
    ) -> Result<Arc<[UserId]>, DirectoryError> {
        let email: Box<str> = email.to_lowercase().into();
        if let Some(users) = self.fresh(&self.by_email, &email, FRESH) {
            return Ok(users);
        }
        let answer = async {
            let users = self.directory.users_by_email(&email).await?;
            Ok((!users.is_empty()).then(|| Arc::from(users)))
        };
        let users = self.ask(&self.by_email, &email, answer).await?;
        Ok(users.unwrap_or_default())
    }

    /// Returns the user whose machine has this sandbox id, if the cache knows it.
    pub(crate) fn cached_user_by_sandbox(&self, sandbox_id: &str) -> Option<UserId> {
        self.by_sandbox.get(sandbox_id)
    }

    /// Asks for the user whose machine has this sandbox id.
    pub(crate) async fn user_by_sandbox(
        &self,
        sandbox_id: &str,
    ) -> Result<Option<UserId>, DirectoryError> {
        let user = self.directory.user_by_sandbox(sandbox_id).await?;
        match &user {
            Some(user) => self.by_sandbox.insert(sandbox_id.into(), user.clone()),
            None => {
                self.by_sandbox.remove(sandbox_id);
            }
        }
        Ok(user)
    }

    /// Returns the token that a user's machine accepts.
    pub(crate) async fn gateway_token(
        &self,
        user: &UserId,
    ) -> Result<Option<SecretString>, DirectoryError> {
        if let Some(token) = self.fresh(&self.tokens, user, TOKEN_FRESH) {
            return Ok(Some(token));
        }
        let answer = self.directory.gateway_token(user);
        self.ask(&self.tokens, user, answer).await
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
    ) -> Result<(), DirectoryError> {
        self.directory.report_running(user, report).await
    }

    /// Removes a cached token, which the machine may have rejected.
    pub(crate) fn forget_token(&self, user: &UserId) {
        self.tokens.remove(user);
    }

    /// Removes all cached answers about a user who has changed.
    pub fn forget(&self, user: &UserId) {
        self.instances.remove(user);
        self.accounts.remove(user);
        self.tokens.remove(user);
    }

    fn fresh<K: Hash + Eq, T: Clone>(
        &self,
        cache: &Cache<K, Cached<T>>,
        key: &K,
        lifetime: Duration,
    ) -> Option<T> {
        let cached = cache.get(key)?;
        let is_fresh = self.clock.elapsed().saturating_sub(cached.asked_at) < lifetime;
        is_fresh.then_some(cached.answer)
    }

    /// Asks, and caches the answer. While the directory is unavailable, a stale answer is used, and
    /// the directory is not asked again before that answer would be asked for anyway.
    async fn ask<K: Hash + Eq + Clone, T: Clone>(
        &self,
        cache: &Cache<K, Cached<T>>,
        key: &K,
        answer: impl Future<Output = Result<Option<T>, DirectoryError>>,
    ) -> Result<Option<T>, DirectoryError> {
        let answer = answer.await;
        let now = self.clock.elapsed();
        match answer {
            Ok(Some(answer)) => {
                let cached = Cached {
                    answer: answer.clone(),
                    answered_at: now,
                    asked_at: now,
                };
                cache.insert(key.clone(), cached);
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
                    let asked_at = now;
                    cache.insert(key.clone(), Cached { asked_at, ..last });
                    Ok(Some(answer))
                }
                _ => Err(error),
            },
        }
    }
}
