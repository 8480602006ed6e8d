//! The subscription: pushes notifications with a signed token, or keeps them for pulling.

use async_trait::async_trait;
use postbell_google::{Delivery, PushSubscription, Subscription as Existing};

use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;

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

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let (name, delivery) = (ctx.subscription()?, delivery(ctx)?);
        let existing = ctx.admin()?.pubsub().subscription(&name).await;
        let existing = existing.map_err(|error| ctx.error(error))?;
        let Some(existing) = existing else {
            return Ok(Plan::Change(format!(
                "create {}",
                describe(&name, &delivery)
            )));
        };
        if existing.has_lost_its_topic() {
            return Ok(Plan::Change(format!(
                "recreate {name}, because its topic was deleted"
            )));
        }
        if existing.topic() != delivery.topic() {
            // Google cannot change a subscription's topic.
            if !is_ours(ctx, &name) {
                return Err(SetupError::new(Blocker::SubscriptionOnOtherTopic));
            }
            let topic = delivery.topic();
            return Ok(Plan::Change(format!("recreate {name} on {topic}")));
        }
        let differing = existing.differing(&delivery);
        Ok(if differing.is_empty() {
            Plan::UpToDate(describe(&name, &delivery))
        } else {
            Plan::Change(format!("update {} of {name}", differing.join(", ")))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let (name, delivery) = (ctx.subscription()?, delivery(ctx)?);
        let pubsub = ctx.admin()?.pubsub();
        let existing = pubsub.subscription(&name).await?;
        if existing.as_ref().is_some_and(Existing::has_lost_its_topic) {
            // A subscription without a topic never receives anything again, even one that is not ours.
            pubsub.delete_subscription(&name).await?;
        } else if existing
            .as_ref()
            .is_some_and(|it| it.topic() != delivery.topic())
        {
            // The mails of its waiting notifications are in the mailbox: the watcher reads them at its next sync.
            pubsub.delete_subscription(&name).await?;
        } else if let Some(existing) = existing {
            let differing = existing.differing(&delivery);
            let updated = pubsub.update_subscription(&name, &delivery, &differing);
            return updated.await.map_err(SetupError::from);
        }
        let resource = Resource::Subscription { name: name.clone() };
        let create = pubsub.create_subscription(&name, &delivery);
        ctx.create(resource, create).await
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Subscription { name } = resource else {
            return Ok(Removal::Gone);
        };
        ctx.admin()?.pubsub().delete_subscription(name).await?;
        Ok(Removal::Removed(format!("deleted {name}")))
    }
}

fn is_ours(ctx: &SetupContext, name: &str) -> bool {
    let subscription = Resource::Subscription {
        name: name.to_owned(),
    };
    ctx.progress.ledger.contains(&subscription)
}

/// The requested settings. The audience is the endpoint, as the relay expects it.
fn delivery(ctx: &SetupContext) -> Result<Delivery> {
    let topic = ctx.topic()?;
    Ok(match ctx.request.endpoint() {
        None => Delivery::Pull { topic },
        Some(endpoint) => Delivery::Push(PushSubscription {
            topic,
            audience: endpoint.clone(),
            endpoint,
            service_account: ctx.push_account_email()?,
        }),
    })
}

fn describe(name: &str, delivery: &Delivery) -> String {
    match delivery {
        Delivery::Pull { .. } => name.to_owned(),
        Delivery::Push(push) => format!("{name} to {}", push.endpoint),
    }
}
