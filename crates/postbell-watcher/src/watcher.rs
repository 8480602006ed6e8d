//! One account's watcher.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postbell_core::{Clock, HistoryId};
use postbell_google::{Gmail, GmailError, HistoryType, TokenError};
use postbell_protocol::watch_state::WatchState;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::filter::Filter;
use crate::hook::{Hook, HookError};
use crate::look::{Empty, LookError};
use crate::message::BodyWanted;
use crate::push_auth::PushAuth;
use crate::state::{StateError, StateFile};

/// Between two looks that nobody asked for. Google may drop a push
/// (<https://developers.google.com/workspace/gmail/api/guides/push>).
const CATCH_UP: Duration = Duration::from_secs(10 * 60);

/// How many messages one hook holds at most, where nobody says.
const MESSAGES_PER_HOOK: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// What an account's watcher does.
#[derive(Clone)]
pub struct WatcherSettings {
    /// The mailbox's address.
    pub account: String,

    /// What a push must show.
    pub push_auth: PushAuth,

    /// Messages with one of these labels are not for the bot.
    pub exclude_labels: Vec<String>,

    /// The changes that the bot hears of.
    pub history_types: Vec<HistoryType>,

    /// Which messages the bot gets, of all that came.
    pub filter: Filter,

    /// How much of a mail's text the bot gets.
    pub body: BodyWanted,

    /// How many messages one hook holds at most.
    pub messages_per_hook: NonZeroUsize,

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
    pub(crate) state: Mutex<WatchState>,
    /// How many looks have begun, and the number of the last one that succeeded.
    begun: AtomicU64,
    succeeded: AtomicU64,
    /// Asks for one more look after the fetch delay.
    look_again: Notify,
    /// Cancelled once the bot has said that it wants no more mail.
    unwanted: CancellationToken,
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
    pub fn new(account: String, push_auth: PushAuth) -> Self {
        Self {
            account,
            push_auth,
            exclude_labels: ["SPAM", "TRASH", "DRAFT", "SENT"]
                .map(str::to_owned)
                .to_vec(),
            history_types: vec![HistoryType::MessageAdded],
            filter: Filter::default(),
            body: BodyWanted::No,
            messages_per_hook: MESSAGES_PER_HOOK,
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
        let state = WatchState {
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
            unwanted: CancellationToken::new(),
        })
    }

    /// Completes once the bot has answered 410: it wants no more mail, and nothing more is posted.
    pub async fn unwanted(&self) {
        self.unwanted.cancelled().await;
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
                if notified < known {
                    info!(%notified, %known, "What this notification tells of was read before");
                }
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

    async fn numbered_look(
        &self,
        state: &mut WatchState,
        empty: Empty,
    ) -> Result<Looked, LookError> {
        if self.unwanted.is_cancelled() {
            return Err(HookError::Gone.into());
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let looked = match self.look(state, empty).await {
            Err(LookError::Gmail(GmailError::NotFound)) => self.resync(state).await,
            other => other,
        };
        if matches!(looked, Err(LookError::Hook(HookError::Gone))) {
            self.unwanted.cancel();
        }
        self.note_problem(state, looked.as_ref().err()).await;
        let looked = looked?;
        self.succeeded.store(number, Ordering::Release);
        Ok(looked)
    }

    /// Writes down what only a person can mend, and its end.
    pub(crate) async fn note_problem(&self, state: &mut WatchState, error: Option<&LookError>) {
        let problem = match error {
            None => "",
            Some(LookError::Gmail(GmailError::Token(TokenError::GrantRevoked))) => {
                "reconnect Google: the grant has been revoked or has expired"
            }
            Some(LookError::Hook(HookError::Gone)) => "the bot takes no more mail: it answered 410",
            // What may pass changes nothing of what is known.
            Some(_) => return,
        };
        if state.problem == problem {
            return;
        }
        problem.clone_into(&mut state.problem);
        if !problem.is_empty() {
            error!(problem, "The watcher cannot do its work");
        }
        if let Err(error) = self.save(state).await {
            let error = &error as &dyn std::error::Error;
            warn!(error, "Could not write the state down");
        }
    }
}
