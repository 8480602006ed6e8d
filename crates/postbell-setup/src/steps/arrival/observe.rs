//! Observes the delivery of the test notification, as far as that is possible from this machine.

use std::time::Duration;

use postbell_core::HistoryId;
use postbell_google::PushBody;
use postbell_protocol::api::ConnectionStatus;
use reqwest::Client;
use url::Url;

use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::report::StepId;
use crate::request::Destination;

/// How long an endpoint may take to refuse an unauthenticated request.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) enum Observation {
    Delivered,
    Pending,
    /// Delivery cannot be observed: why, and what to do instead.
    Unobservable(String),
}

/// Looks for the delivery of a notification with at least this history id.
pub(super) async fn observe(ctx: &SetupContext, history_id: HistoryId) -> Result<Observation> {
    match &ctx.request.destination {
        Some(Destination::Platform { .. }) => observe_platform(ctx, history_id).await,
        Some(Destination::Serve { endpoint, .. }) => observe_endpoint(ctx, endpoint).await,
        Some(Destination::Pull { .. } | Destination::Operator { .. }) | None => {
            observe_subscription(ctx, history_id).await
        }
    }
}

/// Whether a notification of the watch that this run started is already in the subscription. Else
/// saves the state before the test notification.
pub(super) async fn is_already_pending(ctx: &mut SetupContext) -> Result<bool> {
    if !ctx.request.is_pulled() {
        save_delivered(ctx).await?;
        return Ok(false);
    }
    let pending = pending_notifications(ctx).await?;
    let watch = ctx.discovered.watch;
    let started = watch.filter(|_| !ctx.must_repeat(StepId::Arrival));
    if let Some(watch) = started
        && pending
            .iter()
            .any(|(_, history_id)| *history_id >= watch.history_id)
    {
        return Ok(true);
    }
    ctx.discovered.pulled_before = pending.into_iter().map(|(id, _)| id).collect();
    Ok(false)
}

/// Saves the platform's last history id before the test notification.
pub(crate) async fn save_delivered(ctx: &mut SetupContext) -> Result<()> {
    if ctx.discovered.delivered_before.is_none()
        && let Some(platform) = ctx.platform()
    {
        let delivered = last_history_id(&platform.connection(&ctx.request).await?);
        ctx.discovered.delivered_before = Some(delivered.flatten().unwrap_or_default());
    }
    Ok(())
}

/// The platform's last delivered history id: `Some(None)` before the first delivery, `None` if the
/// platform does not report it.
fn last_history_id(connection: &ConnectionStatus) -> Option<Option<HistoryId>> {
    let reported = connection.gmail_last_history_id.as_ref()?;
    Some(reported.as_ref().and_then(|id| id.parse().ok()))
}

async fn observe_platform(ctx: &SetupContext, history_id: HistoryId) -> Result<Observation> {
    let Some(platform) = ctx.platform() else {
        return Ok(Observation::Pending);
    };
    let delivered = last_history_id(&platform.connection(&ctx.request).await?);
    Ok(compare(
        ctx.discovered.delivered_before,
        delivered,
        history_id,
    ))
}

fn compare(
    before: Option<HistoryId>,
    delivered: Option<Option<HistoryId>>,
    wanted: HistoryId,
) -> Observation {
    const SEND_MAIL: &str = "send yourself a mail and check that the bot receives it";
    match delivered {
        None => Observation::Unobservable(format!(
            "this platform does not report delivered mail: {SEND_MAIL}"
        )),
        Some(_) if before >= Some(wanted) => Observation::Unobservable(format!(
            "mail up to this point was delivered before the test: {SEND_MAIL}"
        )),
        Some(delivered) if delivered >= Some(wanted) => Observation::Delivered,
        Some(_) => Observation::Pending,
    }
}

/// Looks for the notification in the subscription. A running watcher may have pulled it already.
async fn observe_subscription(ctx: &SetupContext, history_id: HistoryId) -> Result<Observation> {
    let pending = pending_notifications(ctx).await?;
    let is_new = |id: &String| !ctx.discovered.pulled_before.contains(id);
    let mut new = pending.iter().filter(|(id, _)| is_new(id));
    if new.any(|(_, pending)| *pending >= history_id) {
        return Ok(Observation::Delivered);
    }
    let mailbox = ctx.request.mailbox_address();
    let saved = ctx.deps.watch_states.load(mailbox)?;
    let watcher_runs = saved.is_some_and(|saved| saved.watcher_runs);
    Ok(if watcher_runs {
        let why = "a running watcher has pulled it: send yourself a mail and check that the bot \
                   receives it";
        Observation::Unobservable(why.to_owned())
    } else {
        Observation::Pending
    })
}

/// The ids and history ids of the mailbox's notifications in the subscription.
async fn pending_notifications(ctx: &SetupContext) -> Result<Vec<(String, HistoryId)>> {
    let mailbox = ctx.request.mailbox.as_ref();
    let messages = ctx.admin()?.pubsub().peek(&ctx.subscription()?).await;
    let messages = messages.map_err(|error| ctx.error(error))?;
    let notifications = messages.into_iter().filter_map(|message| {
        let changed = PushBody::read(&message.data).notification.ok()?;
        let is_of_mailbox = mailbox?.is_same_mailbox(&changed.email_address);
        is_of_mailbox.then_some((message.id, changed.history_id))
    });
    Ok(notifications.collect())
}

/// A watcher refuses unauthenticated requests, and setup cannot see authenticated ones.
async fn observe_endpoint(ctx: &SetupContext, endpoint: &Url) -> Result<Observation> {
    let status = post_unauthenticated(&ctx.deps.google.client, endpoint).await;
    Ok(match status {
        Some(401 | 403) => {
            let why = "the endpoint answers and refuses unauthenticated requests; setup cannot see \
                       pushes: send yourself a mail and check that the bot receives it";
            Observation::Unobservable(why.to_owned())
        }
        Some(status) => {
            let problem =
                format!("{endpoint} answers {status} to an unauthenticated request instead of 401");
            return Err(SetupError::new(Blocker::Endpoint(problem)));
        }
        None => Observation::Unobservable(format!(
            "{endpoint} does not answer yet: start `postbell watch serve` as shown below, and Pub/Sub \
             delivers the pending notifications"
        )),
    })
}

async fn post_unauthenticated(client: &Client, endpoint: &Url) -> Option<u16> {
    let request = client.post(endpoint.clone()).timeout(TIMEOUT).body("{}");
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_deliveries_do_not_count() {
        let id = |number: &str| number.parse::<HistoryId>().unwrap();
        for (before, delivered, expected) in [
            (None, None, "Unobservable"),
            (Some("0"), Some(None), "Pending"),
            (Some("4"), Some(Some("4")), "Pending"),
            (Some("4"), Some(Some("5")), "Delivered"),
            (Some("5"), Some(Some("5")), "Unobservable"),
            (Some("9"), Some(Some("9")), "Unobservable"),
        ] {
            let delivered = delivered.map(|delivered| delivered.map(id));
            let observation = format!("{:?}", compare(before.map(id), delivered, id("5")));
            assert!(
                observation.starts_with(expected),
                "{before:?} {delivered:?}: {observation}"
            );
        }
    }
}
