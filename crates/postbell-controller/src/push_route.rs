//! `/_kilo/gmail-pubsub`: forwards a push from the relay to the watcher.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use postbell_core::{BoxError, Clock, SpanKind, TraceContext, Tracer};
use postbell_http::{BodyError, TRACEPARENT, error_response, read_body, trace_context};
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes;
use postbell_protocol::watched_accounts::NOT_WATCHED;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, info_span, warn};

use crate::bearer::{Unauthorized, VerifiedCaller, shows};
use crate::endpoint::Endpoint;
use crate::loopback::Loopback;
use crate::mail_monitor::MailMonitor;
use crate::reloads::Reloads;
use crate::watched_mailbox::WatchedMailbox;

/// The largest body, which is also the relay's limit.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a push waits for a watcher that is starting. Often this push has started the machine,
/// and the relay would retry a refused one only after a minute.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// The time-out of the whole request; the relay's is 30 s (`relay.delivery_timeout`).
const TIMEOUT: Duration = Duration::from_secs(28);

/// The shortest time between two fetches of the configuration after pushes for accounts that are not watched.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// The largest answer of the watcher that is read.
const ANSWER_LIMIT: usize = 4 * 1024;

/// The route that forwards pushes. Cheap to clone.
#[derive(Clone)]
pub struct PushRoute {
    gateway_token: GatewayToken,
    watcher: Option<(Loopback, Endpoint)>,
    /// Knows why the watcher fails.
    mail: Option<MailMonitor>,
    tracing: Option<(Tracer, Arc<dyn Clock>)>,
    /// Whether an account is connected.
    mailbox: WatchedMailbox,
    /// Fetches the configuration, which may have an account that a push names.
    reloads: Option<LimitedReloads>,
    /// The token of pushes for further accounts, if the watcher can have some.
    further_token: Option<GatewayToken>,
}

/// Has the configuration fetched, at most once in [`RELOAD_INTERVAL`].
#[derive(Clone)]
struct LimitedReloads {
    reloads: Reloads,
    last: Arc<Mutex<Option<Instant>>>,
}

impl LimitedReloads {
    fn request(&self) {
        let mut last = self.last.lock();
        if last.is_none_or(|last| last.elapsed() >= RELOAD_INTERVAL) {
            *last = Some(Instant::now());
            self.reloads.request_soon();
        }
    }
}

impl PushRoute {
    /// Forwards to `watcher`, or answers 404 if it is `None`. Requests, and those to the watcher, carry
    /// `gateway_token`.
    #[must_use]
    pub fn new(gateway_token: GatewayToken, watcher: Option<Endpoint>) -> Self {
        let watcher = watcher.map(|endpoint| (Loopback::new(endpoint.port()), endpoint));
        Self {
            gateway_token,
            watcher,
            mail: None,
            tracing: None,
            mailbox: WatchedMailbox::default(),
            reloads: None,
            further_token: None,
        }
    }

    /// Fetches the configuration after a push for an account that is not watched: the platform may know it already.
    pub(crate) fn fetching(mut self, reloads: Option<Reloads>) -> Self {
        self.reloads = reloads.map(|reloads| LimitedReloads {
            reloads,
            last: Arc::default(),
        });
        self
    }

    /// Accepts pushes for further accounts, which have a token of their own.
    pub(crate) fn of_several(mut self, watches_several: bool) -> Self {
        let token = || self.gateway_token.of_further_accounts();
        self.further_token = watches_several.then(token);
        self
    }

    /// Makes a push's way through the controller a span of its trace, which is passed on unchanged
    /// otherwise.
    pub(crate) fn traced(mut self, tracer: Tracer, clock: Arc<dyn Clock>) -> Self {
        self.tracing = Some((tracer, clock));
        self
    }

    /// Answers 404 while no mailbox is watched, and adds the problem's code to the answer to a push that the
    /// watcher could not process.
    pub(crate) fn of(mut self, mailbox: WatchedMailbox, mail: MailMonitor) -> Self {
        (self.mailbox, self.mail) = (mailbox, Some(mail));
        self
    }

    /// Returns the router with the route.
    pub fn router(self) -> Router {
        Router::new()
            .route(routes::CONTROLLER_PUSH, post(forward))
            .with_state(self)
    }
}

impl FromRef<PushRoute> for GatewayToken {
    fn from_ref(route: &PushRoute) -> Self {
        route.gateway_token.clone()
    }
}

/// Forwards one push, as a span of its trace.
async fn forward(
    State(route): State<PushRoute>,
    caller: Result<VerifiedCaller, Unauthorized>,
    request: Request,
) -> Response {
    let caller = caller.or_else(|unauthorized| {
        let further = route.further_token.as_ref();
        let is_further = further.is_some_and(|token| shows(request.headers(), token));
        is_further.then_some(VerifiedCaller).ok_or(unauthorized)
    });
    let incoming = trace_context(request.headers());
    let (Some((tracer, clock)), true) = (&route.tracing, caller.is_ok()) else {
        return forward_in(incoming, &route, caller, request).await;
    };
    let mut span = tracer.follow("forward", SpanKind::Server, incoming, clock.elapsed());
    let of_trace = info_span!("push", trace.id = %span.context.trace);
    let forwarded = forward_in(Some(span.context), &route, caller, request);
    let response = forwarded.instrument(of_trace).await;
    let status = response.status();
    span.set("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.fail("the watcher did not take it");
    }
    tracer.end(span, clock.elapsed());
    response
}

/// Forwards one push. The status tells the relay whether to retry: the watcher's 2xx is passed on,
/// its 4xx becomes 200 because a retry cannot succeed, and its 5xx becomes 500 with its `Retry-After`.
async fn forward_in(
    trace: Option<TraceContext>,
    route: &PushRoute,
    caller: Result<VerifiedCaller, Unauthorized>,
    request: Request,
) -> Response {
    let watcher = route.watcher.as_ref();
    let Some((loopback, endpoint)) = watcher.filter(|_| route.mailbox.is_expected()) else {
        if let Some(reloads) = route.reloads.as_ref().filter(|_| caller.is_ok()) {
            reloads.request();
        }
        return error_response(StatusCode::NOT_FOUND, "No watcher is configured");
    };
    if let Err(unauthorized) = caller {
        return unauthorized.into_response();
    }
    let forwarded = async {
        let body = match read_body(request.into_body(), BODY_LIMIT).await {
            Ok(body) => body,
            Err(BodyError::TooSlow) => {
                warn!("The body of a push did not arrive in time");
                return no_response();
            }
            Err(error) => return error_response(error.status(), &error.to_string()),
        };
        if !endpoint.is_ready_within(READY_TIMEOUT).await {
            warn!("Refused a push: the watcher is not running");
            return error_response(
                StatusCode::SERVICE_UNAVAILABLE,
                "The watcher is not running",
            );
        }
        match post_to_watcher(loopback, &route.gateway_token, body, trace).await {
            Ok(answer) if is_failure(answer.status) => {
                if answer.is_not_watched()
                    && let Some(reloads) = &route.reloads
                {
                    reloads.request();
                }
                failure(answer, route.mail.as_ref()).await
            }
            Ok(answer) => response_for(answer.status),
            Err(error) => {
                let error: &dyn Error = &*error;
                warn!(error, "Could not forward a push to the watcher");
                no_response()
            }
        }
    };
    timeout(TIMEOUT, forwarded).await.unwrap_or_else(|_| {
        warn!("The watcher did not answer a push in time");
        no_response()
    })
}

/// What the watcher answers to a push, as far as the relay needs it.
struct WatcherAnswer {
    status: StatusCode,
    retry_after: Option<HeaderValue>,
    /// The problem that a failure names.
    problem: Option<String>,
}

impl WatcherAnswer {
    fn is_not_watched(&self) -> bool {
        self.problem.as_deref() == Some(NOT_WATCHED)
    }
}

async fn post_to_watcher(
    loopback: &Loopback,
    token: &GatewayToken,
    body: Bytes,
    trace: Option<TraceContext>,
) -> Result<WatcherAnswer, BoxError> {
    #[derive(Default, Deserialize)]
    struct Named {
        problem: Option<String>,
    }
    let mut push = Request::post(loopback.uri(PathAndQuery::from_static(routes::WATCHER_PUSH)))
        .header(header::CONTENT_TYPE, "application/json")
        .header(routes::GOG_TOKEN, sensitive(token))
        .body(Body::from(body))?;
    if let Some(trace) = trace {
        let trace = HeaderValue::try_from(trace.to_string())?;
        push.headers_mut().insert(TRACEPARENT, trace);
    }
    let mut response = loopback.send(push).await?;
    let (status, retry_after) = (
        response.status(),
        response.headers_mut().remove(header::RETRY_AFTER),
    );
    // `gog` and earlier watchers name no problem, so that its absence is no error.
    let problem = if is_failure(status) {
        let body = read_body(Body::new(response.into_body()), ANSWER_LIMIT).await;
        let body = body.unwrap_or_default();
        let named: Named = serde_json::from_slice(&body).unwrap_or_default();
        named.problem
    } else {
        None
    };
    Ok(WatcherAnswer {
        status,
        retry_after,
        problem,
    })
}

fn is_failure(watcher: StatusCode) -> bool {
    !watcher.is_success() && !watcher.is_client_error()
}

/// Answers that the watcher failed, when to retry if it says so, and which problem it has.
async fn failure(answer: WatcherAnswer, mail: Option<&MailMonitor>) -> Response {
    let of_watcher = match mail {
        Some(mail) if answer.problem.is_none() => mail.refresh().await.only_problem(),
        _ => None,
    };
    let of_watcher = of_watcher.map(|problem| problem.code.as_str().to_owned());
    let problem = answer.problem.or(of_watcher);
    warn!(
        status = answer.status.as_u16(),
        problem, "The watcher failed to process a push"
    );
    let error = match problem {
        Some(code) => json!({ "error": "The watcher failed", "problem": code }),
        None => json!({ "error": "The watcher failed" }),
    };
    let retry_after = answer
        .retry_after
        .map(|value| [(header::RETRY_AFTER, value)]);
    (StatusCode::INTERNAL_SERVER_ERROR, retry_after, Json(error)).into_response()
}

/// Answers for a push that the watcher has accepted or rejected.
fn response_for(watcher: StatusCode) -> Response {
    let accepted = Json(json!({ "ok": true, "gogStatus": watcher.as_u16() }));
    let status = watcher.as_u16();
    if watcher.is_success() {
        (watcher, accepted).into_response()
    } else {
        warn!(status, "The watcher rejected a push; it is not retried");
        (StatusCode::OK, accepted).into_response()
    }
}

fn no_response() -> Response {
    error_response(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The watcher did not answer",
    )
}

/// Returns the token as a header value that debug output does not show.
#[expect(clippy::expect_used, reason = "a token is visible ASCII characters")]
pub(crate) fn sensitive(token: &GatewayToken) -> HeaderValue {
    let mut value = HeaderValue::from_str(token.expose()).expect("visible ASCII characters");
    value.set_sensitive(true);
    value
}
