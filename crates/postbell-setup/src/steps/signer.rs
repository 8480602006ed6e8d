//! Pub/Sub's role to sign tokens as the push account, for its service agent in the project
//! (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::{Blocker, Result};
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;
use crate::retry::wait_for_operation;

pub(super) struct Signer;

#[async_trait]
impl Step for Signer {
    fn id(&self) -> StepId {
        StepId::Signer
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Account]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let (project, email) = (ctx.project()?, ctx.push_account_email()?);
        let accounts = ctx.admin()?.accounts();
        let may_sign = accounts.lets_pubsub_sign(&project.id, &project.number, &email);
        Ok(if may_sign.await.map_err(|error| ctx.error(error))? {
            Plan::UpToDate("Pub/Sub signs as the push account".to_owned())
        } else {
            Plan::Change("allow Pub/Sub to sign as the push account".to_owned())
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let (project, email) = (ctx.project()?, ctx.push_account_email()?);
        let accounts = ctx.admin()?.accounts();
        let grant = || accounts.let_pubsub_sign(&project.id, &project.number, &email);
        let resource = Resource::Signer {
            project: project.id.clone(),
            number: project.number.clone(),
            email: email.clone(),
        };
        match ctx.create(resource.clone(), grant()).await {
            Err(error) if error.blocker == Blocker::MemberNotFound => (),
            other => return other,
        }
        // Enabling Pub/Sub does not always create its service agent.
        let action = "creating Pub/Sub's service agent";
        ctx.working(self.id(), action);
        let services = ctx.admin()?.services();
        let operation = services.make_pubsub_agent(&project.number).await?;
        let (ui, timeouts) = (&*ctx.deps.ui, ctx.deps.timeouts);
        wait_for_operation(ui, timeouts, self.id(), action, operation).await?;
        ctx.create(resource, grant()).await
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Signer {
            project,
            number,
            email,
        } = resource
        else {
            return Ok(Removal::Gone);
        };
        let accounts = ctx.admin()?.accounts();
        accounts.stop_pubsub_signing(project, number, email).await?;
        Ok(Removal::Removed(format!(
            "revoked Pub/Sub's role to sign as {email}"
        )))
    }
}
