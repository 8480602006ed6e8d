//! What hands notifications out: pushes them with a signed token, or keeps them to be fetched.

use async_trait::async_trait;
use postbell_google::{Delivery, PushSubscription, Subscription as Subscribed};

use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};

const MADE: &str = "subscription";

pub(super) struct Subscription {
    pub(super) pushes: bool,
}

#[async_trait]
impl Step for Subscription {
    fn id(&self) -> StepId {
        StepId::Subscription
    }

    fn needs(&self) -> &'static [StepId] {
        if self.pushes {
            &[StepId::Topic, StepId::Account]
        } else {
            &[StepId::Topic]
        }
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let (name, delivery) = (site.subscription()?, delivery(site)?);
        let found = site.pubsub()?.subscription(&name).await;
        let found = found.map_err(|error| site.trouble(error))?;
        let Some(found) = found else {
            return Ok(Look::ToDo(format!("make {}", in_words(&name, &delivery))));
        };
        if found.has_lost_its_topic() {
            return Ok(Look::ToDo(format!(
                "make {name} anew, for its topic was deleted"
            )));
        }
        if found.topic() != delivery.topic() {
            return Err(Trouble::new(Wall::OtherTopic));
        }
        let differing = found.differing(&delivery);
        Ok(if differing.is_empty() {
            Look::Done(in_words(&name, &delivery))
        } else {
            Look::ToDo(format!("change {} of {name}", differing.join(", ")))
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let (name, delivery) = (site.subscription()?, delivery(site)?);
        let pubsub = site.pubsub()?;
        let found = pubsub.subscription(&name).await?;
        if found.as_ref().is_some_and(Subscribed::has_lost_its_topic) {
            // Whoever made it: it is of no use to anybody.
            pubsub.delete_subscription(&name).await?;
        } else if let Some(found) = found {
            let differing = found.differing(&delivery);
            let updated = pubsub.update_subscription(&name, &delivery, &differing);
            return updated.await.map_err(Trouble::from);
        }
        site.make(MADE, pubsub.create_subscription(&name, &delivery))
            .await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let name = site.subscription()?;
        site.pubsub()?.delete_subscription(&name).await?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed(format!("deleted {name}")))
    }
}

/// How notifications are handed out. The audience is the endpoint, as the relay expects it.
fn delivery(site: &Site) -> Result<Delivery, Trouble> {
    let topic = site.topic()?;
    let endpoint = site.wishes.destination.as_ref();
    Ok(match endpoint.and_then(crate::Destination::endpoint) {
        None => Delivery::Pull { topic },
        Some(endpoint) => Delivery::Push(PushSubscription {
            topic,
            audience: endpoint.clone(),
            endpoint,
            service_account: site.account_email()?,
        }),
    })
}

fn in_words(name: &str, delivery: &Delivery) -> String {
    match delivery {
        Delivery::Pull { .. } => name.to_owned(),
        Delivery::Push(push) => format!("{name} to {}", push.endpoint),
    }
}
