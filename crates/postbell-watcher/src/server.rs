//! Receives notifications (protocol, section 5).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::routing::post;
use postbell_core::{Clock, HistoryId};
use postbell_google::PushBody;
use postbell_http::{BodyError, bearer_token, read_body, trace_context};
use postbell_protocol::routes::GOG_TOKEN;
use serde::Deserialize;
use tracing::{Instrument, Span, info, info_span, warn};

use crate::answer::Answer;
use crate::error::NotSynced;
use crate::refusals::Refusals;
use crate::settings::WatcherSettings;
use crate::sync::{SyncEngine, SyncOutcome};

const NO_PROOF: &str = "a push with the token of --token or POSTBELL_WATCH_TOKEN, or with one of Google (--verify-oidc)";
const WRONG_TOKEN: &str = "the token of --token or POSTBELL_WATCH_TOKEN in x-gog-token or ?token=; OpenClaw has it in hooks.gmail.pushToken";

/// The largest body, as in the relay.
const BODY_LIMIT: usize = 64 * 1024;

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
        Router::new()
            .route(path, post(receive_push))
            .with_state(self.clone())
    }

    /// Handles a pulled notification: waits for its sync, however long that takes. Returns `false` if
    /// Pub/Sub must deliver it again.
    pub async fn pulled(&self, data: &[u8]) -> bool {
        let wait = |notified| self.sync.synced_to(notified, None);
        match self.handle(data, wait).await {
            Answer::Failed(_) | Answer::Unfinished(_) => false,
            Answer::Malformed(expected) => {
                warn!(expected, "Dropped a malformed notification");
                true
            }
            _ => true,
        }
    }

    /// Handles a notification, in Pub/Sub's envelope or without.
    async fn handle<F>(&self, body: &[u8], sync: impl FnOnce(HistoryId) -> F) -> Answer
    where
        F: Future<Output = Result<SyncOutcome, NotSynced>>,
    {
        let changed = match PushBody::read(body).notification {
            Ok(changed) => changed,
            Err(expected) => return Answer::Malformed(expected),
        };
        if !self.settings.identity.is_named(&changed.email_address) {
            // It may be the mailbox's own address, and the configured one an alias.
            if let Err(error) = self.sync.confirm_account().await {
                return Answer::Failed(error.into());
            }
            if !self.settings.identity.is_named(&changed.email_address) {
                return Answer::NothingNew;
            }
        }
        let outcome = sync(changed.history_id).await;
        if let Err(error) = &outcome {
            info!(
                history.id = %changed.history_id, error = error as &dyn std::error::Error,
                "Not synced yet up to {}", changed.history_id
            );
        }
        outcome.into()
    }
}

/// An authenticated caller. A handler with this argument runs for no other caller.
struct VerifiedCaller;

#[derive(Deserialize)]
struct TokenInUrl {
    token: Option<String>,
}

impl FromRequestParts<PushServer> for VerifiedCaller {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, server: &PushServer) -> Result<Self, Answer> {
        let auth = &server.settings.push_auth;
        let in_header = parts.headers.get(GOG_TOKEN);
        let in_header = in_header.and_then(|token| token.to_str().ok());
        let in_url = || Query::<TokenInUrl>::try_from_uri(&parts.uri).ok()?.0.token;
        let token = in_header.map(str::to_owned).or_else(in_url);
        if token
            .as_ref()
            .is_some_and(|token| auth.accepts_token(token))
        {
            return Ok(Self);
        }
        let bearer = bearer_token(&parts.headers);
        let oidc = match &bearer {
            Some(bearer) => auth.check_oidc(bearer.token(), server.clock.now()).await,
            None => Err(NO_PROOF),
        };
        oidc.map(|()| Self).map_err(|expected| {
            // Of both, the shared token is what the sender was set up with.
            let expected = if token.is_some() {
                WRONG_TOKEN
            } else {
                expected
            };
            server.refusals.count(expected);
            Answer::Unauthorized
        })
    }
}

async fn receive_push(
    State(server): State<PushServer>,
    _caller: VerifiedCaller,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    match read_body(body, BODY_LIMIT).await {
        Ok(body) => {
            let trace = trace_context(&headers);
            let wait = |notified| server.sync.sync_to(notified, trace);
            let of_trace =
                trace.map_or_else(Span::none, |one| info_span!("push", trace.id = %one.trace));
            server.handle(&body, wait).instrument(of_trace).await
        }
        Err(BodyError::TooSlow) => Answer::Malformed("expected the whole body within 10 seconds"),
        Err(BodyError::Incomplete) => Answer::Malformed("the body is incomplete"),
        Err(BodyError::TooLarge) => Answer::TooLarge,
    }
}
