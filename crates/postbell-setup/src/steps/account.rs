//! The service account that pushes are signed as.

use async_trait::async_trait;

use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;

const MADE: &str = "push account";

pub(super) struct Account;

#[async_trait]
impl Step for Account {
    fn id(&self) -> StepId {
        StepId::Account
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Apis]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let (project, email) = (site.project()?.id, site.account_email()?);
        let is_there = site.accounts()?.is_there(&project, &email).await;
        Ok(if is_there.map_err(|error| site.trouble(error))? {
            Look::Done(email)
        } else {
            Look::ToDo(format!("make {email}"))
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let (project, id) = (site.project()?.id, site.account_id().to_owned());
        let accounts = site.accounts()?;
        let create = accounts.create(&project, &id, "Postbell pushes");
        site.make(MADE, create).await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let (project, email) = (site.project()?.id, site.account_email()?);
        site.accounts()?.delete(&project, &email).await?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed(format!("deleted {email}")))
    }
}
