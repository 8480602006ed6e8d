//! Pub/Sub may sign as the push account: its own account in the project has the role there
//! (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).

use async_trait::async_trait;

use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::{Trouble, Wall};

const MADE: &str = "signing role";

pub(super) struct Signer;

#[async_trait]
impl Step for Signer {
    fn id(&self) -> StepId {
        StepId::Signer
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Account]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let (project, email) = (site.project()?, site.account_email()?);
        let accounts = site.accounts()?;
        let may = accounts.lets_pubsub_sign(&project.id, &project.number, &email);
        Ok(if may.await.map_err(|error| site.trouble(error))? {
            Look::Done("Pub/Sub signs as the push account".to_owned())
        } else {
            Look::ToDo("let Pub/Sub sign as the push account".to_owned())
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let (project, email) = (site.project()?, site.account_email()?);
        let accounts = site.accounts()?;
        let let_sign = || accounts.let_pubsub_sign(&project.id, &project.number, &email);
        match site.make(MADE, let_sign()).await {
            Err(trouble) if trouble.wall == Wall::MemberMissing => (),
            other => return other,
        }
        // To enable Pub/Sub does not always make the account in which it acts.
        site.working(StepId::Signer, "making Pub/Sub's own account");
        let services = site.services()?;
        services.make_pubsub_agent(&project.number).await?;
        site.make(MADE, let_sign()).await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let (project, email) = (site.project()?, site.account_email()?);
        let accounts = site.accounts()?;
        accounts
            .stop_pubsub_signing(&project.id, &project.number, &email)
            .await?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed("Pub/Sub may not sign any more".to_owned()))
    }
}
