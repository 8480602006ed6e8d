//! The topic that Gmail publishes to.

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::Result;
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;

pub(super) struct Topic;

#[async_trait]
impl Step for Topic {
    fn id(&self) -> StepId {
        StepId::Topic
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Apis]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let topic = ctx.topic()?;
        let exists = ctx.admin()?.pubsub().has_topic(&topic).await;
        Ok(if exists.map_err(|error| ctx.error(error))? {
            Plan::UpToDate(topic)
        } else {
            Plan::Change(format!("create {topic}"))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let name = ctx.topic()?;
        let pubsub = ctx.admin()?.pubsub();
        let resource = Resource::Topic { name: name.clone() };
        ctx.create(resource, pubsub.create_topic(&name)).await
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Topic { name } = resource else {
            return Ok(Removal::Gone);
        };
        if let Some(why) = reason_to_keep(ctx, name).await? {
            return Ok(Removal::Kept(why));
        }
        ctx.admin()?.pubsub().delete_topic(name).await?;
        Ok(Removal::Removed(format!("deleted {name}")))
    }
}

/// Why undo keeps a topic: it has subscriptions that setup did not create.
pub(super) async fn reason_to_keep(ctx: &SetupContext, topic: &str) -> Result<Option<String>> {
    let all = ctx.admin()?.pubsub().subscriptions_of(topic).await?;
    let is_foreign = |name: &String| {
        let subscription = Resource::Subscription { name: name.clone() };
        !ctx.progress.ledger.contains(&subscription)
    };
    let foreign: Vec<_> = all.into_iter().filter(is_foreign).collect();
    Ok((!foreign.is_empty()).then(|| {
        let foreign = foreign.join(", ");
        format!("{topic} is kept for {foreign}, which setup did not create")
    }))
}
