//! A notification comes through: Gmail sends one whenever a watch begins.

mod seen;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::HistoryId;
use serde_json::json;

use self::seen::Seen;
use super::LABELS;
use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};
use crate::wishes::Destination;

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

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let path = path(site)?;
        if site.progress.arrived.as_deref() != Some(&path) || site.wishes.again {
            return Ok(Look::ToDo("ask Gmail for one, and wait for it".to_owned()));
        }
        Ok(match site.known.unseen.clone() {
            Some(why) => Look::Uncertain("sent".to_owned(), why),
            None => Look::Done("came through".to_owned()),
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let before = seen::now(site, HistoryId::default()).await?;
        let wanted = if let (Seen::Arrived, Some(watch)) = (&before, site.known.watch) {
            // What the watch itself has sent is still there to be fetched.
            watch.history_id
        } else {
            send(site).await?
        };
        wait(site, wanted).await?;
        let path = path(site)?;
        site.wishes.again = false;
        site.remember(|progress| progress.arrived = Some(path))
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        site.remember(|progress| progress.arrived = None)?;
        Ok(Undone::Nothing)
    }
}

/// Through what it comes: with another subscription or endpoint it has to come anew.
fn path(site: &Site) -> Result<String, Trouble> {
    let subscription = site.subscription()?;
    let endpoint = site
        .wishes
        .destination
        .as_ref()
        .and_then(Destination::endpoint);
    Ok(match endpoint {
        Some(endpoint) => format!("{subscription} to {endpoint}"),
        None => subscription,
    })
}

/// Has a notification sent: by Gmail, where the mailbox can be opened; else in its place, by whoever
/// owns the topic. Returns how far the mailbox has come in it.
async fn send(site: &Site) -> Result<HistoryId, Trouble> {
    let topic = site.topic()?;
    if let Some(mailbox) = &site.known.mailbox {
        site.working(StepId::Arrival, "asking Gmail for a notification");
        let gmail = site.gmail(Arc::clone(&mailbox.tokens));
        let watch = gmail.watch(&topic, &LABELS).await;
        return Ok(watch.map_err(|error| site.trouble(error))?.history_id);
    }
    site.working(StepId::Arrival, "sending a notification to the topic");
    let watch = site.progress.watch.as_ref();
    let history_id = watch.and_then(|watch| watch.history_id.parse().ok());
    let history_id: HistoryId = history_id.ok_or_else(|| Trouble::new(Wall::NotArrived))?;
    let mailbox = site.wishes.mailbox.as_ref().map(|address| address.as_str());
    let data = json!({ "emailAddress": mailbox, "historyId": history_id.get() }).to_string();
    let pubsub = site.pubsub()?;
    let published = pubsub.publish(&topic, data.as_bytes());
    published.await.map_err(|error| site.trouble(error))?;
    Ok(history_id)
}

/// Waits until it shows that the notification came through, or that this cannot be seen.
async fn wait(site: &mut Site, wanted: HistoryId) -> Result<(), Trouble> {
    const LOOK: Duration = Duration::from_secs(2);
    let pause = site.tools.patience.first.min(LOOK);
    let mut left = site.tools.patience.arrival;
    loop {
        match seen::now(site, wanted).await? {
            Seen::Arrived => return Ok(()),
            Seen::Never(why) => {
                site.known.unseen = Some(why);
                return Ok(());
            }
            Seen::NotYet if left.is_zero() => return Err(Trouble::new(Wall::NotArrived)),
            Seen::NotYet => (),
        }
        let pause = pause.min(left);
        left -= pause;
        let reason = "a notification takes some seconds";
        site.wait(StepId::Arrival, reason, pause, left).await;
    }
}
