//! One account's watcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postbell_core::{Clock, HistoryId};
use postbell_google::{Gmail, GmailError};
use secrecy::SecretString;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::hook::Hook;
use crate::look::{Empty, LookError};
use crate::message::BodyWanted;
use crate::state::{State, StateError, StateFile};

/// Between two looks that nobody asked for. Google may drop a push
/// (<https://developers.google.com/workspace/gmail/api/guides/push>).
const CATCH_UP: Duration = Duration::from_secs(10 * 60);

/// What an account's watcher does.
#[derive(Clone, Debug)]
pub struct WatcherSettings {
    /// The mailbox's address.
    pub account: String,

    /// What a push must show.
    pub token: SecretString,

    /// Messages with one of these labels are not for the bot.
    pub exclude_labels: Vec<String>,

    /// How much of a mail's text the bot gets.
    pub body: BodyWanted,

    /// How many messages one hook holds at most.
    pub messages_per_hook: usize,

    /// After a push for which nothing new was found, how long until it is looked again: Gmail's
    /// index can lag behind its notification.
    pub fetch_delay: Duration,
}

/// Reads from Gmail what is new, and posts it to the bot's hook.
pub struct Watcher {
    pub(crate) settings: WatcherSettings,
    pub(crate) gmail: Gmail,
    pub(crate) hook: Hook,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) file: Arc<StateFile>,
    /// Held during a look, for there is one at a time; what is in the file, or newer.
    state: Mutex<State>,
    /// How many looks have begun, and the number of the last one that succeeded.
    begun: AtomicU64,
    succeeded: AtomicU64,
    /// Asks for one more look after the fetch delay.
    look_again: Notify,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Looked {
    /// The hook took so many messages.
    Delivered(usize),
    /// There was nothing that the hook has not.
    NothingNew,
}

impl WatcherSettings {
    /// The settings that `gog` has too, but for a body, which it leaves out unless told.
    #[must_use]
    pub fn new(account: String, token: SecretString) -> Self {
        Self {
            account,
            token,
            exclude_labels: ["SPAM", "TRASH", "DRAFT", "SENT"]
                .map(str::to_owned)
                .to_vec(),
            body: BodyWanted::No,
            messages_per_hook: 100,
            fetch_delay: Duration::from_secs(3),
        }
    }
}

impl Watcher {
    /// A watcher that goes on where the state in `file` ends. Asks Gmail nothing yet.
    ///
    /// # Errors
    ///
    /// [`StateError`] where the file cannot be read.
    pub fn new(
        settings: WatcherSettings,
        gmail: Gmail,
        hook: Hook,
        file: StateFile,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StateError> {
        let state = State {
            account: settings.account.clone(),
            ..file.read()?
        };
        Ok(Self {
            settings,
            gmail,
            hook,
            clock,
            file: Arc::new(file),
            state: Mutex::new(state),
            begun: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            look_again: Notify::new(),
        })
    }

    /// Has Gmail publish changes to `topic`; where no history is known yet, it begins here.
    ///
    /// # Errors
    ///
    /// [`LookError`], for Gmail and for the state.
    pub async fn start_watch(&self, topic: &str, labels: &[String]) -> Result<(), LookError> {
        let mut state = self.state.lock().await;
        let started = self.gmail.watch(topic, labels).await?;
        state.topic = topic.to_owned();
        state.labels = labels.to_vec();
        state.history_id.get_or_insert(started.history_id);
        state.provider_expiration_ms = started.expiration.as_millis();
        self.save(&mut state).await?;
        info!(history.id = %started.history_id, "Gmail watches the mailbox");
        Ok(())
    }

    /// Acts on a notification, and returns once the hook has everything up to it.
    ///
    /// Notifications that arrive during a look share the next one.
    ///
    /// # Errors
    ///
    /// [`LookError`]: nothing was skipped, and the same notification can be given again.
    pub async fn notified(&self, notified: HistoryId) -> Result<Looked, LookError> {
        let begun_before = self.begun.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(known) = state.history_id {
            let was_seen = self.succeeded.load(Ordering::Acquire) > begun_before;
            if notified < known || (notified == known && was_seen) {
                return Ok(Looked::NothingNew);
            }
        } else {
            // Records are those after the start: the notified change itself must be among them.
            state.history_id = Some(HistoryId::new(notified.get().saturating_sub(1)));
        }
        let looked = self.numbered_look(&mut state, Empty::StayHere).await?;
        if looked == Looked::NothingNew {
            self.look_again.notify_one();
        }
        Ok(looked)
    }

    /// Looks without being asked: at once, then every ten minutes, and once more after each look
    /// that found nothing although Gmail had said that there was something. Until `stop`.
    pub async fn catch_up(self: Arc<Self>, stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => false,
                () = self.look_again.notified() => true,
            };
            if asked
                && stop
                    .run_until_cancelled(sleep(self.settings.fetch_delay))
                    .await
                    .is_none()
            {
                return;
            }
            if let Err(error) = self.look_unasked().await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not look for new mail"
                );
            }
            pause = CATCH_UP;
        }
    }

    async fn look_unasked(&self) -> Result<(), LookError> {
        let mut state = self.state.lock().await;
        if state.history_id.is_none() {
            return Ok(());
        }
        self.numbered_look(&mut state, Empty::MoveOn)
            .await
            .map(drop)
    }

    async fn numbered_look(&self, state: &mut State, empty: Empty) -> Result<Looked, LookError> {
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let looked = match self.look(state, empty).await {
            Err(LookError::Gmail(GmailError::NotFound)) => self.resync(state).await,
            other => other,
        }?;
        self.succeeded.store(number, Ordering::Release);
        Ok(looked)
    }
}
