//! The mailbox's owner may fetch notifications: the watcher does so with the owner's grant, and the
//! project may be somebody else's.

use async_trait::async_trait;

use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;

const MADE: &str = "fetching role";

pub(super) struct Fetcher;

#[async_trait]
impl Step for Fetcher {
    fn id(&self) -> StepId {
        StepId::Fetcher
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Subscription, StepId::Mailbox]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let (name, address) = (site.subscription()?, site.mailbox()?.address);
        let may = site.pubsub()?.lets_fetch(&name, address.as_str()).await;
        Ok(if may.map_err(|error| site.trouble(error))? {
            Look::Done(address.as_str().to_owned())
        } else {
            Look::ToDo(format!("let {} fetch notifications", address.as_str()))
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let (name, address) = (site.subscription()?, site.mailbox()?.address);
        let pubsub = site.pubsub()?;
        site.make(MADE, pubsub.let_fetch(&name, address.as_str()))
            .await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        let Some(address) = site.progress.mailbox.clone() else {
            return Ok(Undone::Nothing);
        };
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let name = site.subscription()?;
        site.pubsub()?.stop_fetching(&name, &address).await?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed(format!("{address} may not fetch any more")))
    }
}
