//! What the directory said lately.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Directory, DirectoryError, HistoryId, Instance, Timestamp, UserId};
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

/// How many answers of each kind are kept.
const KEPT: usize = 65_536;

/// The directory, and what it said lately.
///
/// A kept answer may let a push in, never turn one away: before that the directory is asked again,
/// so that a mail that comes just after its owner switched notifications on is not dropped. While
/// the directory cannot be reached, what it said within the last hour serves.
pub struct Recall {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    instances: Cache<UserId, Kept<Arc<Instance>>>,
    accounts: Cache<UserId, Kept<Arc<str>>>,
    tokens: Cache<UserId, Kept<SecretString>>,
    by_email: Cache<Box<str>, Kept<UserId>>,
    by_sandbox: Cache<Box<str>, UserId>,
}

#[derive(Clone)]
struct Kept<T> {
    answer: T,
    answered_at: Duration,
    /// When the directory was asked last, with or without success.
    asked_at: Duration,
}

impl Recall {
    /// Remembers what `directory` says, by `clock`.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory,
            clock,
            instances: Cache::new(KEPT),
            accounts: Cache::new(KEPT),
            tokens: Cache::new(KEPT),
            by_email: Cache::new(KEPT),
            by_sandbox: Cache::new(KEPT),
        }
    }

    /// Returns whether somebody waits for a user's mail.
    pub(crate) async fn wants_notifications(&self, user: &UserId) -> Result<bool, DirectoryError> {
        let fresh = self.fresh(&self.instances, user, FRESH);
        if fresh.is_some_and(|instance| instance.wants_notifications()) {
            return Ok(true);
        }
        let instance = self.instance_now(user).await?;
        Ok(instance.is_some_and(|instance| instance.wants_notifications()))
    }

    /// Asks for a user's machine; a kept answer serves only while the directory is away.
    pub(crate) async fn instance_now(
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

    /// Returns whether `email` is the service account that signs a user's pushes, or `None` where
    /// none is stored.
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

    /// Returns whose mailbox an address is.
    pub(crate) async fn user_by_email(
        &self,
        email: &str,
    ) -> Result<Option<UserId>, DirectoryError> {
        let email: Box<str> = email.to_lowercase().into();
        if let Some(user) = self.fresh(&self.by_email, &email, FRESH) {
            return Ok(Some(user));
        }
        let answer = self.directory.user_by_email(&email);
        self.ask(&self.by_email, &email, answer).await
    }

    /// Returns whose machine has this sandbox id, if that was said before.
    pub(crate) fn known_user_of_sandbox(&self, sandbox_id: &str) -> Option<UserId> {
        self.by_sandbox.get(sandbox_id)
    }

    /// Asks whose machine has this sandbox id.
    pub(crate) async fn user_by_sandbox(
        &self,
        sandbox_id: &str,
    ) -> Result<Option<UserId>, DirectoryError> {
        let user = self.directory.user_by_sandbox(sandbox_id).await?;
        if let Some(user) = &user {
            self.by_sandbox.insert(sandbox_id.into(), user.clone());
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

    /// Tells the directory how far a user's mail was delivered.
    pub(crate) async fn report_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<(), DirectoryError> {
        self.directory.report_history_id(user, history_id).await
    }

    /// Asks for a user's machine to be started, and returns whether it is on its way up.
    pub(crate) async fn wake(&self, user: &UserId) -> Result<bool, DirectoryError> {
        self.directory.wake(user).await
    }

    /// Tells the directory that a user's machine has reported in, and when Gmail's watch ends.
    pub(crate) async fn report_running(
        &self,
        user: &UserId,
        watch_expires_at: Option<Timestamp>,
    ) -> Result<(), DirectoryError> {
        self.directory.report_running(user, watch_expires_at).await
    }

    /// Forgets a token that the machine did not accept.
    pub(crate) fn forget_token(&self, user: &UserId) {
        self.tokens.remove(user);
    }

    /// Forgets what was said of a user: it has changed.
    pub fn forget(&self, user: &UserId) {
        self.instances.remove(user);
        self.accounts.remove(user);
        self.tokens.remove(user);
    }

    fn fresh<K: Hash + Eq, T: Clone>(
        &self,
        kept: &Cache<K, Kept<T>>,
        key: &K,
        fresh: Duration,
    ) -> Option<T> {
        let kept = kept.get(key)?;
        let is_fresh = self.clock.elapsed().saturating_sub(kept.asked_at) < fresh;
        is_fresh.then_some(kept.answer)
    }

    /// Asks, and keeps the answer; where the directory is away, an answer that it gave lately is
    /// used, and not asked for again before it is due.
    async fn ask<K: Hash + Eq + Clone, T: Clone>(
        &self,
        kept: &Cache<K, Kept<T>>,
        key: &K,
        answer: impl Future<Output = Result<Option<T>, DirectoryError>>,
    ) -> Result<Option<T>, DirectoryError> {
        let answer = answer.await;
        let now = self.clock.elapsed();
        match answer {
            Ok(Some(answer)) => {
                let entry = Kept {
                    answer: answer.clone(),
                    answered_at: now,
                    asked_at: now,
                };
                kept.insert(key.clone(), entry);
                Ok(Some(answer))
            }
            Ok(None) => {
                kept.remove(key);
                Ok(None)
            }
            Err(error) => match kept.get(key) {
                Some(last) if now.saturating_sub(last.answered_at) < STALE => {
                    let error = &error as &dyn std::error::Error;
                    debug!(error, "The directory is away; using its last answer");
                    let answer = last.answer.clone();
                    kept.insert(
                        key.clone(),
                        Kept {
                            asked_at: now,
                            ..last
                        },
                    );
                    Ok(Some(answer))
                }
                _ => Err(error),
            },
        }
    }
}
