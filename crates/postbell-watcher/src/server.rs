//! Receives notifications (protocol, section 5).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, Query, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::routing::post;
use futures_util::future::join_all;
use postbell_core::{Clock, EmailAddress, TraceContext};
use postbell_google::{MailboxChanged, PushBody};
use postbell_http::{BodyError, bearer_token, read_body, trace_context};
use postbell_protocol::routes::GOG_TOKEN;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{Instrument, Span, info, info_span, warn};

use crate::answer::Answer;
use crate::push_auth::PushAuth;
use crate::refusals::Refusals;
use crate::settings::WatcherSettings;
use crate::sync::SyncEngine;

const NO_PROOF: &str = "a push with the token of --token or POSTBELL_WATCH_TOKEN, or with one of Google (--verify-oidc)";
const WRONG_TOKEN: &str = "the token of --token or POSTBELL_WATCH_TOKEN in x-gog-token or ?token=; OpenClaw has it in hooks.gmail.pushToken";

/// The largest body, as in the relay.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a push waits for a watcher that is about to be started.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);

/// Receives notifications and has the mailbox synced. Cheap to clone.
#[derive(Clone)]
pub struct PushServer {
    settings: Arc<WatcherSettings>,
    sync: Arc<SyncEngine>,
    refusals: Arc<Refusals>,
    clock: Arc<dyn Clock>,
}

impl PushServer {
    pub(crate) fn new(
        settings: Arc<WatcherSettings>,
        sync: Arc<SyncEngine>,
        refusals: Refusals,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            settings,
            sync,
            refusals: Arc::new(refusals),
            clock,
        }
    }

    /// The watcher's only route, at `path`.
    pub fn router(&self, path: &str) -> Router {
        PushServers::new(vec![self.clone()]).router(path)
    }

    fn is_named(&self, address: &str) -> bool {
        self.settings.identity.is_named(address)
    }

    /// Handles a notification. If it is `kept_here`, a failure of the sync is none of the push.
    async fn handle(&self, changed: &MailboxChanged, wait: Wait, kept_here: bool) -> Answer {
        if !self.settings.identity.is_named(&changed.email_address) {
            // It may be the mailbox's own address, and the configured one an alias.
            if let Err(error) = self.sync.confirm_account().await {
                return Answer::Failed(error.into());
            }
            if !self.settings.identity.is_named(&changed.email_address) {
                return Answer::NotWatched;
            }
        }
        let outcome = match wait {
            Wait::Limited(trace) => self.sync.sync_to(changed.history_id, trace).await,
            Wait::Unlimited => self.sync.synced_to(changed.history_id, None).await,
            Wait::HandedOver => self.sync.hand_over(changed.history_id).await,
        };
        if let Err(error) = &outcome {
            info!(
                history.id = %changed.history_id, error = error as &dyn std::error::Error,
                "Not synced yet up to {}", changed.history_id
            );
        }
        let answer = Answer::from(outcome);
        // Without a cursor, nothing is behind it.
        if kept_here && answer.is_repeated_here() && self.sync.has_cursor().await {
            return Answer::NothingNew;
        }
        answer
    }
}

/// How long a notification waits for its sync.
#[derive(Clone, Copy)]
enum Wait {
    /// That of a push, with its trace.
    Limited(Option<TraceContext>),
    Unlimited,
    /// Only until the watcher has it.
    HandedOver,
}

/// The watchers of a process: one for each mailbox and webhook. Each takes the notifications of its mailbox. Clones
/// share them.
#[derive(Clone)]
pub struct PushServers(Arc<Shared>);

struct Shared {
    served: watch::Sender<Served>,
    /// How a push is authenticated; `None` without watchers.
    caller: Option<(PushAuth, Arc<dyn Clock>)>,
    /// Whether the watchers are those of a machine's accounts, each with pushes of its own, which the relay repeats.
    is_of_accounts: bool,
}

/// The watched mailboxes.
#[derive(Clone, Default)]
struct Served {
    servers: Arc<[PushServer]>,
    /// The addresses whose watchers are about to be started.
    paused: Arc<[String]>,
    /// The addresses of those that have no watcher, and no cursor from which one would begin.
    unwatched: Arc<[String]>,
}

impl Served {
    fn is_named(&self, address: &str) -> bool {
        self.servers.iter().any(|server| server.is_named(address))
    }

    fn is_paused(&self, address: &str) -> bool {
        contains(&self.paused, address)
    }

    fn is_unwatched(&self, address: &str) -> bool {
        !self.is_named(address) && contains(&self.unwatched, address)
    }
}

fn contains(addresses: &[String], address: &str) -> bool {
    let Ok(address) = address.parse::<EmailAddress>() else {
        return false;
    };
    addresses.iter().any(|one| address.is_same_mailbox(one))
}

impl PushServers {
    /// At least one. A push is authenticated as the first says.
    #[must_use]
    pub fn new(servers: Vec<PushServer>) -> Self {
        Self::beside(servers, Vec::new())
    }

    /// The same, beside mailboxes that could not be watched and have no cursor: once they can be, they would begin with
    /// the notification that arrives then. A sender that repeats the notifications of each mailbox by itself is to keep
    /// theirs; Pub/Sub would delay those of the others.
    #[must_use]
    pub fn beside(servers: Vec<PushServer>, unwatched: Vec<String>) -> Self {
        let first = servers.first();
        let caller =
            first.map(|first| (first.settings.push_auth.clone(), Arc::clone(&first.clock)));
        let served = Served {
            servers: servers.into(),
            paused: Arc::default(),
            unwatched: unwatched.into(),
        };
        Self(Arc::new(Shared {
            served: watch::Sender::new(served),
            caller,
            is_of_accounts: false,
        }))
    }

    /// The watchers of a machine's accounts, none yet. A push for a mailbox that is not among them fails: the sender is
    /// to repeat it.
    #[must_use]
    pub fn of_accounts(push_auth: PushAuth, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            served: watch::Sender::default(),
            caller: Some((push_auth, clock)),
            is_of_accounts: true,
        }))
    }

    /// Replaces the watchers. Pushes for the addresses in `paused` wait until their watchers are there.
    pub(crate) fn replace(&self, servers: Vec<PushServer>, paused: Vec<String>) {
        self.0.served.send_replace(Served {
            servers: servers.into(),
            paused: paused.into(),
            unwatched: Arc::default(),
        });
    }

    /// The watched mailboxes, once the watcher of `address` is not about to be started.
    async fn served_for(&self, address: &str) -> Served {
        let mut served = self.0.served.subscribe();
        let is_settled = |it: &Served| it.is_named(address) || !it.is_paused(address);
        // The sender lives as long as `self`.
        let settled = timeout(PAUSE_LIMIT, served.wait_for(is_settled)).await;
        drop(settled);
        self.0.served.borrow().clone()
    }

    /// The only route, at `path`.
    pub fn router(&self, path: &str) -> Router {
        Router::new()
            .route(path, post(receive_push))
            .with_state(self.clone())
    }

    /// Handles a pulled notification: waits for its syncs, however long that takes. Returns `false` if
    /// Pub/Sub must deliver it again.
    pub async fn pulled(&self, data: &[u8]) -> bool {
        match self.handle(data, Wait::Unlimited, Sender::PerMailbox).await {
            Answer::Failed(_) | Answer::Unfinished(_) | Answer::NotWatched => false,
            Answer::Malformed(expected) => {
                warn!(expected, "Dropped a malformed notification");
                true
            }
            _ => true,
        }
    }

    /// Handles a notification, in Pub/Sub's envelope or without.
    async fn handle(&self, body: &[u8], wait: Wait, sender: Sender) -> Answer {
        let changed = match PushBody::read(body).notification {
            Ok(changed) => changed,
            Err(expected) => return Answer::Malformed(expected),
        };
        let address = &changed.email_address;
        let served = self.served_for(address).await;
        if sender == Sender::PerMailbox && served.is_unwatched(address) {
            warn!("Refused a notification: its mailbox could not be watched");
            return Answer::NotWatched;
        }
        let is_known = served.is_named(address);
        // One that does not know its mailbox's own address yet must not fail for that of another.
        let servers = served.servers.iter();
        let concerned = servers.filter(|it| !is_known || it.is_named(address));
        let concerned: Vec<_> = concerned.collect();
        let is_several = served.servers.len() > 1 && !self.0.is_of_accounts;
        let wait = match wait {
            // One whose webhook hangs must not keep the next notification from the others.
            Wait::Unlimited if concerned.len() > 1 => Wait::HandedOver,
            wait => wait,
        };
        // Pub/Sub would delay the pushes for the other watchers, too.
        let kept_here = is_several && matches!(wait, Wait::Limited(_));
        let handled = concerned
            .iter()
            .map(|it| it.handle(&changed, wait, kept_here));
        let answers = join_all(handled).await.into_iter();
        match answers.fold(Answer::NotWatched, Answer::and) {
            // It is not ours, and a repeat would not change that.
            Answer::NotWatched if !self.0.is_of_accounts => Answer::NothingNew,
            Answer::NotWatched => {
                warn!("Refused a push: its mailbox is not watched here");
                Answer::NotWatched
            }
            // That of an account whose mailbox could not be asked for its own address says nothing of this one.
            Answer::Failed(_) | Answer::Unfinished(_) if self.0.is_of_accounts && !is_known => {
                warn!("Refused a push: no account is known to have its mailbox");
                Answer::NotWatched
            }
            answer => answer,
        }
    }

    /// Checks that a request comes from the sender of pushes.
    async fn check(&self, parts: &Parts) -> Result<Sender, Answer> {
        let (auth, clock) = self.0.caller.as_ref().ok_or(Answer::Unauthorized)?;
        let in_header = parts.headers.get(GOG_TOKEN);
        let in_header = in_header.and_then(|token| token.to_str().ok());
        // Pub/Sub cannot send it.
        let sender = in_header.map_or(Sender::PubSub, |_| Sender::PerMailbox);
        let in_url = || Query::<TokenInUrl>::try_from_uri(&parts.uri).ok()?.0.token;
        let token = in_header.map(str::to_owned).or_else(in_url);
        if token
            .as_ref()
            .is_some_and(|token| auth.accepts_token(token))
        {
            return Ok(sender);
        }
        let bearer = bearer_token(&parts.headers);
        let oidc = match &bearer {
            Some(bearer) => auth.check_oidc(bearer.token(), clock.now()).await,
            None => Err(NO_PROOF),
        };
        oidc.map(|()| Sender::PubSub).map_err(|expected| {
            // Of both, the shared token is what the sender was set up with.
            let expected = if token.is_some() {
                WRONG_TOKEN
            } else {
                expected
            };
            if let Some(first) = self.0.served.borrow().servers.first() {
                first.refusals.count(expected);
            }
            Answer::Unauthorized
        })
    }
}

/// What a sender does with notifications that were refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    /// Repeats them, and delays those of other mailboxes that share the subscription.
    PubSub,
    /// Repeats those of each mailbox without the others, as a relay and the pull do.
    PerMailbox,
}

/// An authenticated caller. A handler with this argument runs for no other caller.
pub(crate) struct VerifiedCaller(Sender);

#[derive(Deserialize)]
struct TokenInUrl {
    token: Option<String>,
}

impl<S> FromRequestParts<S> for VerifiedCaller
where
    S: Send + Sync,
    PushServers: FromRef<S>,
{
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        let servers = PushServers::from_ref(state);
        servers.check(parts).await.map(Self)
    }
}

async fn receive_push(
    State(servers): State<PushServers>,
    VerifiedCaller(sender): VerifiedCaller,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    match read_body(body, BODY_LIMIT).await {
        Ok(body) => {
            let trace = trace_context(&headers);
            let of_trace =
                trace.map_or_else(Span::none, |one| info_span!("push", trace.id = %one.trace));
            let handled = servers.handle(&body, Wait::Limited(trace), sender);
            handled.instrument(of_trace).await
        }
        Err(BodyError::TooSlow) => Answer::Malformed("expected the whole body within 10 seconds"),
        Err(BodyError::Incomplete) => Answer::Malformed("the body is incomplete"),
        Err(BodyError::TooLarge) => Answer::TooLarge,
    }
}
