//! The subscriber role of the mailbox's owner: the watcher pulls with the owner's grant, and the
//! project may belong to another account.

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::Result;
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;

pub(super) struct Fetcher;

#[async_trait]
impl Step for Fetcher {
    fn id(&self) -> StepId {
        StepId::Fetcher
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Subscription, StepId::Mailbox]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let (name, address) = (ctx.subscription()?, ctx.mailbox()?.address);
        let pubsub = ctx.admin()?.pubsub();
        let may_pull = pubsub.lets_fetch(&name, address.as_str()).await;
        Ok(if may_pull.map_err(|error| ctx.error(error))? {
            Plan::UpToDate(address.as_str().to_owned())
        } else {
            Plan::Change(format!("allow {} to pull notifications", address.as_str()))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let (name, address) = (ctx.subscription()?, ctx.mailbox()?.address);
        let pubsub = ctx.admin()?.pubsub();
        let resource = Resource::Fetcher {
            subscription: name.clone(),
            mailbox: address.as_str().to_owned(),
        };
        let grant = pubsub.let_fetch(&name, address.as_str());
        ctx.create(resource, grant).await
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Fetcher {
            subscription,
            mailbox,
        } = resource
        else {
            return Ok(Removal::Gone);
        };
        let pubsub = ctx.admin()?.pubsub();
        pubsub.stop_fetching(subscription, mailbox).await?;
        Ok(Removal::Removed(format!(
            "revoked the subscriber role of {mailbox}"
        )))
    }
}
