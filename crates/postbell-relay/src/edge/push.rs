//! A push comes in.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use postbell_core::{Accepted, Notification, UnparseableMessage, UserId};
use postbell_http::read_body;
use tracing::{debug, warn};

use super::caller::{OwnSubscription, SecretUrl, SharedSubscription, within_rate};
use super::envelope::{self, Envelope};
use super::{Edge, Refusal};

/// The largest body (contract, section 1). Gmail's notifications have about 400 bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// Under this name is kept what came through the shared subscription and names no mailbox.
const NO_MAILBOX: &str = "/push/gmail";

/// Takes a push of a user's own subscription, and answers once the notification is durable.
///
/// Google sends a message again until it sees success, so the order matters: inbox first, then
/// 204. A repeat is answered the same way and adds no second delivery.
pub(super) async fn from_own_subscription(
    State(edge): State<Edge>,
    OwnSubscription { user }: OwnSubscription,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    receive(&edge, user, &headers, body).await
}

/// The same, where the URL holds a secret.
pub(super) async fn with_url_token(
    State(edge): State<Edge>,
    SecretUrl { user }: SecretUrl,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    receive(&edge, user, &headers, body).await
}

/// Takes a push of the operator's one subscription for all users: the notification says whose
/// mailbox it is.
pub(super) async fn from_shared_subscription(
    State(edge): State<Edge>,
    caller: SharedSubscription,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let body = read_body(body, BODY_LIMIT).await?;
    let envelope = envelope::read(&body, &headers);
    let user = match &envelope.changed {
        Ok(changed) => {
            let user = edge.parts().recall.user_by_email(&changed.email_address);
            let user = user.await?.ok_or(Refusal::NotWanted)?;
            caller.may_push_for(&edge, &user).await?;
            refuse_if_unwanted(&edge, &user).await?;
            user
        }
        Err(_) => {
            let nobody = NO_MAILBOX.parse().map_err(|_| Refusal::NoSuchRoute)?;
            within_rate(&edge, &nobody)?;
            nobody
        }
    };
    store(&edge, user, envelope, body).await
}

async fn receive(
    edge: &Edge,
    user: UserId,
    headers: &HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    refuse_if_unwanted(edge, &user).await?;
    let body = read_body(body, BODY_LIMIT).await?;
    store(edge, user, envelope::read(&body, headers), body).await
}

async fn store(
    edge: &Edge,
    user: UserId,
    envelope: Envelope,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let parts = edge.parts();
    let now = parts.clock.now();
    let message_id = envelope.message_id;
    match envelope.changed {
        Ok(changed) => {
            let notification = Notification {
                user: user.clone(),
                message_id,
                history_id: changed.history_id,
                body,
            };
            let accepted = parts.inbox.accept(notification, now).await?;
            parts.metrics.accepted(accepted);
            // What was merged waits already: the dispatcher knows of it.
            if accepted == Accepted::Queued {
                parts.arrivals.notify_one();
            }
            debug!(user.id = %user.masked(), ?accepted, "Accepted a push for {}", user.masked());
        }
        Err(cause) => {
            warn!(
                user.id = %user.masked(), cause,
                "Keeping a push for {} that cannot be read", user.masked()
            );
            let message = UnparseableMessage {
                user,
                message_id,
                body,
                cause: cause.to_owned(),
            };
            parts.inbox.dead_letter(message, now).await?;
            parts.metrics.push_ended("unreadable");
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn refuse_if_unwanted(edge: &Edge, user: &UserId) -> Result<(), Refusal> {
    if edge.parts().recall.wants_notifications(user).await? {
        return Ok(());
    }
    debug!(user.id = %user.masked(), "Acknowledged a push that {} does not want", user.masked());
    Err(Refusal::NotWanted)
}
