//! The subscriber role of the mailbox's owner: the watcher pulls with the owner's grant, and the
//! project may belong to another account.

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::SetupError;
use crate::ledger::Resource;
use crate::plan::{Plan, Step, UndoOutcome};
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

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan, SetupError> {
        let (name, address) = (ctx.subscription()?, ctx.mailbox()?.address);
        let pubsub = ctx.admin()?.pubsub();
        let may_pull = pubsub.lets_fetch(&name, address.as_str()).await;
        Ok(if may_pull.map_err(|error| ctx.error(error))? {
            Plan::UpToDate(address.as_str().to_owned())
        } else {
            Plan::Change(format!("allow {} to pull notifications", address.as_str()))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<(), SetupError> {
        let (name, address) = (ctx.subscription()?, ctx.mailbox()?.address);
        let pubsub = ctx.admin()?.pubsub();
        let resource = Resource::Fetcher {
            subscription: name.clone(),
            mailbox: address.as_str().to_owned(),
        };
        let grant = pubsub.let_fetch(&name, address.as_str());
        ctx.create(resource, grant).await
    }

    async fn undo(&self, ctx: &mut SetupContext) -> Result<UndoOutcome, SetupError> {
        let mut removed = Vec::new();
        for resource in ctx.progress.ledger.created_by(self.id()) {
            let Resource::Fetcher {
                subscription,
                mailbox,
            } = &resource
            else {
                continue;
            };
            let pubsub = ctx.admin()?.pubsub();
            let revoked = pubsub.stop_fetching(subscription, mailbox).await;
            revoked.map_err(|error| ctx.error(error))?;
            ctx.disown(&resource)?;
            removed.push(format!("revoked the subscriber role of {mailbox}"));
        }
        Ok(UndoOutcome::new(&removed, &[]))
    }
}
