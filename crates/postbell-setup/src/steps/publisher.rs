//! Gmail may publish to the topic
//! (<https://developers.google.com/workspace/gmail/api/guides/push>).

use async_trait::async_trait;

use crate::made::Made;
use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;

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
        let made = Made::Publisher {
            topic: topic.clone(),
        };
        site.make(made, pubsub.allow_gmail(&topic)).await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for made in site.made_by(self.id()) {
            let Made::Publisher { topic } = &made else {
                continue;
            };
            if let Some(why) = site.keeps_topic(topic).await? {
                left.push(why);
                continue;
            }
            site.pubsub()?.forbid_gmail(topic).await?;
            site.not_ours(&made)?;
            removed.push(format!("Gmail may not publish to {topic} any more"));
        }
        Ok(Undone::of(&removed, &left))
    }
}
