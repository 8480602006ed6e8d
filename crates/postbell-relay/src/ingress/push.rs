//! The routes that receive pushes.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use postbell_core::{Accepted, Notification, UnparseableMessage, UserId};
use postbell_http::read_body;
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

/// Receives a push from a sender that pushes for one user, and answers once the notification is
/// durable.
///
/// Google repeats a message until it sees success, so the order matters: store first, then 204. A
/// repeat gets the same answer and adds no second delivery.
pub(super) async fn receive<S: Into<UserId>>(
    State(ingress): State<Ingress>,
    sender: S,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let user = sender.into();
    // Refused before the body is read, unless the user is connected.
    require_wanted(&ingress, &user, None).await?;
    let body = read_body(body, BODY_LIMIT).await?;
    let envelope = envelope::parse(&body, &headers);
    if let Ok(changed) = &envelope.changed {
        // Setups may share one topic, and a former account's watch goes on for up to a week.
        require_wanted(&ingress, &user, Some(&changed.email_address)).await?;
    }
    store(&ingress, user, envelope, body).await
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
    let user = match &envelope.changed {
        Ok(changed) => {
            let user = ingress
                .parts()
                .directory
                .user_by_email(&changed.email_address);
            let user = user.await?.ok_or(ApiError::Unwanted)?;
            caller.authorize(&ingress, &user).await?;
            require_wanted(&ingress, &user, Some(&changed.email_address)).await?;
            user
        }
        Err(_) => {
            let no_user = NO_MAILBOX.parse().map_err(|_| ApiError::NoSuchRoute)?;
            ingress.check_rate(&no_user)?;
            no_user
        }
    };
    store(&ingress, user, envelope, body).await
}

async fn store(
    ingress: &Ingress,
    user: UserId,
    envelope: Envelope,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let parts = ingress.parts();
    let now = parts.clock.now();
    let message_id = envelope.message_id;
    match envelope.changed {
        Ok(changed) => {
            let notification = Notification {
                user: user.clone(),
                address: changed.email_address.parse().ok(),
                message_id,
                // A sender of its own may invent a time, which would cover what is published until then.
                published_at: envelope.published_at.map(|at| at.min(now)),
                history_id: changed.history_id,
                body,
            };
            let accepted = parts.queue.accept(notification, now).await?;
            parts.metrics.accepted(accepted);
            // The dispatcher already knows of a notification that this one was merged into.
            if accepted == Accepted::Queued {
                parts.arrivals.notify_one();
            }
            debug!(user.id = %user.masked(), ?accepted, "Accepted a push for {}", user.masked());
        }
        Err(cause) => {
            warn!(
                user.id = %user.masked(), cause,
                "Stored an unparseable push for {} as a dead letter", user.masked()
            );
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
    Ok(StatusCode::NO_CONTENT)
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
