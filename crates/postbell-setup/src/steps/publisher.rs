//! Gmail's publisher role on the topic
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use async_trait::async_trait;

use super::topic::reason_to_keep;
use crate::context::SetupContext;
use crate::error::Result;
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;

pub(super) struct Publisher;

#[async_trait]
impl Step for Publisher {
    fn id(&self) -> StepId {
        StepId::Publisher
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Topic]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let topic = ctx.topic()?;
        let may_publish = ctx.admin()?.pubsub().lets_gmail_publish(&topic).await;
        Ok(if may_publish.map_err(|error| ctx.error(error))? {
            Plan::UpToDate("gmail-api-push@system.gserviceaccount.com".to_owned())
        } else {
            Plan::Change("allow gmail-api-push@system.gserviceaccount.com to publish".to_owned())
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let topic = ctx.topic()?;
        let pubsub = ctx.admin()?.pubsub();
        let resource = Resource::Publisher {
            topic: topic.clone(),
        };
        ctx.create(resource, pubsub.allow_gmail(&topic)).await
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Publisher { topic } = resource else {
            return Ok(Removal::Gone);
        };
        if let Some(why) = reason_to_keep(ctx, topic).await? {
            return Ok(Removal::Kept(why));
        }
        ctx.admin()?.pubsub().forbid_gmail(topic).await?;
        Ok(Removal::Removed(format!(
            "revoked Gmail's publisher role on {topic}"
        )))
    }
}
