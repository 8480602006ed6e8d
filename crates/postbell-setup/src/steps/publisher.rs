//! Gmail may publish to the topic
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use async_trait::async_trait;

use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;

const MADE: &str = "publisher role";

pub(super) struct Publisher;

#[async_trait]
impl Step for Publisher {
    fn id(&self) -> StepId {
        StepId::Publisher
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Topic]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let topic = site.topic()?;
        let may = site.pubsub()?.lets_gmail_publish(&topic).await;
        Ok(if may.map_err(|error| site.trouble(error))? {
            Look::Done("gmail-api-push@system.gserviceaccount.com".to_owned())
        } else {
            Look::ToDo("let gmail-api-push@system.gserviceaccount.com publish".to_owned())
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let topic = site.topic()?;
        let pubsub = site.pubsub()?;
        site.make(MADE, pubsub.allow_gmail(&topic)).await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let topic = site.topic()?;
        site.pubsub()?.forbid_gmail(&topic).await?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed("Gmail may not publish any more".to_owned()))
    }
}
