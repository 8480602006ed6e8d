//! The service account that signs pushes.

use async_trait::async_trait;

use crate::context::SetupContext;
use crate::error::Result;
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::report::StepId;

pub(super) struct Account;

#[async_trait]
impl Step for Account {
    fn id(&self) -> StepId {
        StepId::Account
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Apis]
    }

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let (project, email) = (ctx.project()?.id, ctx.push_account_email()?);
        let exists = ctx.admin()?.accounts().is_there(&project, &email).await;
        Ok(if exists.map_err(|error| ctx.error(error))? {
            Plan::UpToDate(email)
        } else {
            Plan::Change(format!("create {email}"))
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let (project, id) = (ctx.project()?.id, ctx.push_account_id().to_owned());
        let resource = Resource::Account {
            project: project.clone(),
            email: ctx.push_account_email()?,
        };
        let accounts = ctx.admin()?.accounts();
        let create = accounts.create(&project, &id, "Postbell pushes");
        ctx.create(resource, create).await
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Account { project, email } = resource else {
            return Ok(Removal::Gone);
        };
        ctx.admin()?.accounts().delete(project, email).await?;
        Ok(Removal::Removed(format!("deleted {email}")))
    }
}
