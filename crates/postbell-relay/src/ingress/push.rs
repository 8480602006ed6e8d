//! The routes that receive pushes.

use axum::BoxError;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use postbell_core::{Accepted, Notification, Span, UnparseableMessage, UserId};
use postbell_http::{read_body, trace_context};
use tracing::{debug, info, warn};

use super::auth::SharedSubscription;
use super::envelope::{self, Envelope};
use super::{ApiError, Ingress};
use crate::directory_cache::Wanted;

/// The largest body (protocol, section 1). Gmail's notifications have about 400 bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// The user id under which an unparseable message of the shared subscription is stored, because it
/// names no mailbox.
const NO_MAILBOX: &str = "/push/gmail";

/// Receives a push from a sender that pushes for one user.
pub(super) async fn receive<S: Into<UserId>>(
    State(ingress): State<Ingress>,
    sender: S,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    take(&ingress, sender.into(), &headers, body).await
}

/// Takes a push of an authenticated sender for `user`, and answers once the notification is durable.
///
/// Google repeats a message until it sees success, so the order matters: store first, then 204. A
/// repeat gets the same answer and adds no second delivery.
pub(super) async fn take<B>(
    ingress: &Ingress,
    user: UserId,
    headers: &HeaderMap,
    body: B,
) -> Result<StatusCode, ApiError>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let span = begin(ingress, headers);
    // Refused before the body is read, unless the user is connected.
    require_wanted(ingress, &user, None).await?;
    let body = read_body(body, BODY_LIMIT).await?;
    let envelope = envelope::parse(&body, headers);
    if let Ok(changed) = &envelope.changed {
        // Setups may share one topic, and a former account's watch goes on for up to a week.
        require_wanted(ingress, &user, Some(&changed.email_address)).await?;
    }
    store(ingress, user, envelope, &body, span).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins the span of a push.
fn begin(ingress: &Ingress, headers: &HeaderMap) -> Span {
    let parts = ingress.parts();
    let (incoming, now) = (trace_context(headers), parts.clock.elapsed());
    parts.tracer.begin("push", incoming, now)
}

/// Receives a push of the operator's one subscription for all users; the notification names the
/// mailbox.
pub(super) async fn receive_shared(
    State(ingress): State<Ingress>,
    caller: SharedSubscription,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let body = read_body(body, BODY_LIMIT).await?;
    let envelope = envelope::parse(&body, &headers);
    let users = match &envelope.changed {
        Ok(changed) => wanting_users(&ingress, &caller, &changed.email_address).await?,
        Err(_) => {
            let no_user = NO_MAILBOX.parse().map_err(|_| ApiError::NoSuchRoute)?;
            ingress.check_rate(&no_user)?;
            WantingUsers {
                users: vec![no_user],
                failure: None,
            }
        }
    };
    for user in users.users {
        let span = begin(&ingress, &headers);
        store(&ingress, user, envelope.clone(), &body, span).await?;
    }
    users.failure.map_or(Ok(StatusCode::NO_CONTENT), Err)
}

/// The users of a mailbox who want a notification now.
struct WantingUsers {
    users: Vec<UserId>,
    /// Why the push must be repeated for another one.
    failure: Option<ApiError>,
}

/// Returns the users of a mailbox for whom this account may push and who want it.
///
/// Fails with a reason if there is none: 403 only if this account may push for none of them. Those who are found do not wait
/// for one for whom a repeat may succeed, such as a user over the rate limit: it adds nothing for those who have the notification
/// already.
async fn wanting_users(
    ingress: &Ingress,
    caller: &SharedSubscription,
    address: &str,
) -> Result<WantingUsers, ApiError> {
    let (mut refusal, mut failure) = (None, None);
    let mut wanting = Vec::new();
    let users = ingress.parts().directory.users_by_email(address).await?;
    for user in users.iter() {
        let wanted = async {
            caller.authorize(ingress, user).await?;
            require_wanted(ingress, user, Some(address)).await
        };
        match wanted.await {
            Ok(()) => wanting.push(user.clone()),
            Err(error @ (ApiError::Unwanted | ApiError::OtherMailbox)) => refusal = Some(error),
            Err(error @ ApiError::Forbidden(_)) => {
                refusal.get_or_insert(error);
            }
            Err(error) => failure = Some(error),
        }
    }
    if wanting.is_empty() && failure.is_none() {
        return Err(refusal.unwrap_or(ApiError::Unwanted));
    }
    Ok(WantingUsers {
        users: wanting,
        failure,
    })
}

async fn store(
    ingress: &Ingress,
    user: UserId,
    envelope: Envelope,
    body: &[u8],
    mut span: Span,
) -> Result<(), ApiError> {
    let parts = ingress.parts();
    let stored = keep(ingress, user, envelope, body, &mut span).await;
    if stored.is_err() {
        span.fail("not stored");
    }
    parts.tracer.end(span, parts.clock.elapsed());
    stored
}

/// Makes a notification pending, or a message that cannot be read a dead letter.
async fn keep(
    ingress: &Ingress,
    user: UserId,
    envelope: Envelope,
    body: &[u8],
    span: &mut Span,
) -> Result<(), ApiError> {
    let parts = ingress.parts();
    let now = parts.clock.now();
    let message_id = envelope.message_id;
    // A copy: it waits for the store, and later for the machine, without the buffer in which the request was received.
    let body = Bytes::copy_from_slice(body);
    match envelope.changed {
        Ok(changed) => {
            let notification = Notification {
                user: user.clone(),
                address: changed.email_address.parse().ok(),
                message_id,
                // A sender of its own may invent a time, which would cover what is published until then.
                published_at: envelope.published_at.map(|at| at.min(now)),
                history_id: changed.history_id,
                trace: Some(span.context),
                body,
            };
            let accepted = parts.queue.accept(notification, now).await?;
            parts.metrics.accepted(accepted);
            // The dispatcher already knows of a notification that this one was merged into.
            if accepted == Accepted::Queued {
                parts.arrivals.notify_one();
            }
            debug!(
                user.id = %user.masked(), trace.id = %span.context.trace, ?accepted,
                "Accepted a push for {}", user.masked()
            );
            span.set("postbell.user", user.masked());
            span.set("postbell.history_id", changed.history_id);
            span.set("postbell.result", accepted.as_str());
        }
        Err(cause) => {
            warn!(
                user.id = %user.masked(), trace.id = %span.context.trace, cause,
                "Stored an unparseable push for {} as a dead letter", user.masked()
            );
            span.fail("unparseable");
            let message = UnparseableMessage {
                user,
                message_id,
                body,
                cause: cause.to_owned(),
            };
            parts.queue.dead_letter(message, now).await?;
            parts.metrics.push_ended("unreadable");
        }
    }
    Ok(())
}

/// Fails unless a user wants notifications of the mailbox with this address, or of any if `None`.
async fn require_wanted(
    ingress: &Ingress,
    user: &UserId,
    address: Option<&str>,
) -> Result<(), ApiError> {
    match ingress.parts().directory.is_wanted(user, address).await? {
        Wanted::Yes => Ok(()),
        Wanted::No => {
            let user = user.masked();
            debug!(user.id = %user, "Acknowledged a push that {user} does not want");
            Err(ApiError::Unwanted)
        }
        Wanted::OtherMailbox => {
            let user = user.masked();
            info!(user.id = %user, "Acknowledged a push for another mailbox than that of {user}");
            Err(ApiError::OtherMailbox)
        }
    }
}
