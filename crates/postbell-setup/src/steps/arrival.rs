//! The test notification: Gmail publishes one whenever a watch starts.

pub(super) mod observe;

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::HistoryId;
use serde_json::json;

use self::observe::{Observation, is_already_pending, observe};
use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::plan::{Plan, Step};
use crate::progress::{ArrivalRecord, Progress};
use crate::report::StepId;
use crate::retry::Retries;
use crate::watch_states::WATCH_LABELS;

pub(super) struct Arrival {
    pub(super) pushes: bool,
}

#[async_trait]
impl Step for Arrival {
    fn id(&self) -> StepId {
        StepId::Arrival
    }

    fn needs(&self) -> &'static [StepId] {
        if self.pushes {
            &[
                StepId::Watch,
                StepId::Subscription,
                StepId::Signer,
                StepId::Credentials,
            ]
        } else {
            &[StepId::Watch, StepId::Subscription, StepId::Fetcher]
        }
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let path = delivery_path(ctx)?;
        let last = ctx.progress.arrived.clone();
        let last = last.filter(|last| last.path == path && !ctx.must_repeat(self.id()));
        Ok(match last {
            None => Plan::Change("request one from Gmail and wait for it".to_owned()),
            Some(ArrivalRecord {
                unseen: Some(why), ..
            }) => Plan::Unknown {
                detail: "sent".to_owned(),
                warning: why,
            },
            Some(_) => Plan::UpToDate("delivered".to_owned()),
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let path = delivery_path(ctx)?;
        let unseen = if is_already_pending(ctx).await? {
            None
        } else {
            let history_id = send(ctx).await?;
            wait_for_delivery(ctx, history_id).await?
        };
        ctx.discovered.repeated_tests.insert(self.id());
        ctx.update_progress(|progress| progress.arrived = Some(ArrivalRecord { path, unseen }))
    }

    fn forget(&self, progress: &mut Progress) {
        progress.arrived = None;
    }
}

/// The tested path. Another subscription or endpoint needs another test.
fn delivery_path(ctx: &SetupContext) -> Result<String> {
    let subscription = ctx.subscription()?;
    Ok(match ctx.request.endpoint() {
        Some(endpoint) => format!("{subscription} to {endpoint}"),
        None => subscription,
    })
}

/// Makes Gmail publish a notification. Without access to the mailbox, setup publishes one itself.
/// Returns the history id in it.
async fn send(ctx: &SetupContext) -> Result<HistoryId> {
    let topic = ctx.topic()?;
    if let Some(mailbox) = &ctx.discovered.mailbox {
        ctx.working(StepId::Arrival, "requesting a notification from Gmail");
        let gmail = ctx.deps.google.gmail(Arc::clone(&mailbox.tokens));
        let watch = gmail.watch(&topic, &WATCH_LABELS).await;
        return Ok(watch.map_err(|error| ctx.error(error))?.history_id);
    }
    ctx.working(StepId::Arrival, "publishing a notification to the topic");
    let watch = ctx.progress.watch.as_ref();
    let history_id = watch.and_then(|watch| watch.history_id.parse().ok());
    let history_id: HistoryId =
        history_id.ok_or_else(|| SetupError::new(Blocker::NotificationTimeout))?;
    let mailbox = ctx.request.mailbox.as_ref().map(|address| address.as_str());
    let data = json!({ "emailAddress": mailbox, "historyId": history_id.get() }).to_string();
    let pubsub = ctx.admin()?.pubsub();
    let published = pubsub.publish(&topic, data.as_bytes()).await;
    published.map_err(|error| ctx.error(error))?;
    Ok(history_id)
}

/// Waits for the delivery. Returns why the delivery cannot be observed, if it cannot.
async fn wait_for_delivery(ctx: &SetupContext, history_id: HistoryId) -> Result<Option<String>> {
    let timeouts = ctx.deps.timeouts;
    let mut polls = Retries::polling(timeouts, timeouts.arrival);
    loop {
        match observe(ctx, history_id).await? {
            Observation::Delivered => return Ok(None),
            Observation::Unobservable(why) => return Ok(Some(why)),
            Observation::Pending => (),
        }
        let reason = "a notification takes some seconds";
        if !polls.wait(&*ctx.deps.ui, StepId::Arrival, reason).await {
            return Err(SetupError::new(Blocker::NotificationTimeout));
        }
    }
}
