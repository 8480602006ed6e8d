//! One push comes in.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use postbell_core::inbox::UnreadableMessage;
use postbell_core::{Accepted, Notification, UserId};
use tracing::{debug, warn};

use super::caller::VerifiedCaller;
use super::envelope;
use super::{Edge, Refusal};

/// The largest body (contract, section 1). Gmail's notifications have about 400 bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// Takes one push and answers once the notification is durable.
///
/// Google sends a message again until it sees success, so the order matters: inbox first, then
/// 204. A repeat is answered the same way and adds no second delivery.
pub(super) async fn receive_push(
    State(edge): State<Edge>,
    VerifiedCaller { user }: VerifiedCaller,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    if !wants_notifications(&edge, &user).await? {
        debug!(user.id = %user, "Acknowledged a push that {user} does not want");
        return Err(Refusal::NotWanted);
    }
    let body = read(body).await?;
    let now = edge.clock.now();
    let envelope = envelope::read(&body, &headers);
    let accepted = match envelope.history_id {
        Ok(history_id) => {
            let message_id = envelope.message_id;
            let notification = Notification {
                user: user.clone(),
                message_id,
                history_id,
                body,
            };
            edge.inbox.accept(notification, now).await?
        }
        Err(cause) => {
            warn!(user.id = %user, cause, "Keeping a push for {user} that cannot be read");
            let message = UnreadableMessage {
                user: user.clone(),
                message_id: envelope.message_id,
                body,
                cause: cause.to_owned(),
            };
            edge.inbox.bury_unreadable(message, now).await?
        }
    };
    if accepted != Accepted::Duplicate {
        edge.arrivals.notify_one();
    }
    debug!(user.id = %user, ?accepted, "Accepted a push for {user}");
    Ok(StatusCode::NO_CONTENT)
}

async fn wants_notifications(edge: &Edge, user: &UserId) -> Result<bool, Refusal> {
    let instance = edge.directory.instance(user).await?;
    Ok(
        instance
            .is_some_and(|instance| instance.google_connected && instance.notifications_enabled),
    )
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, BODY_LIMIT).collect().await;
    body.map(Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            Refusal::TooLarge
        } else {
            Refusal::Incomplete
        }
    })
}
