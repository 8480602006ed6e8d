//! The topic that Gmail publishes to.

use async_trait::async_trait;

use crate::made::Made;
use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;

pub(super) struct Topic;

#[async_trait]
impl Step for Topic {
    fn id(&self) -> StepId {
        StepId::Topic
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Apis]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let topic = site.topic()?;
        let is_there = site.pubsub()?.has_topic(&topic).await;
        Ok(if is_there.map_err(|error| site.trouble(error))? {
            Look::Done(topic)
        } else {
            Look::ToDo(format!("make {topic}"))
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let topic = site.topic()?;
        let pubsub = site.pubsub()?;
        let made = Made::Topic {
            name: topic.clone(),
        };
        site.make(made, pubsub.create_topic(&topic)).await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for made in site.made_by(self.id()) {
            let Made::Topic { name } = &made else {
                continue;
            };
            if let Some(why) = site.keeps_topic(name).await? {
                left.push(why);
                continue;
            }
            site.pubsub()?.delete_topic(name).await?;
            site.not_ours(&made)?;
            removed.push(format!("deleted {name}"));
        }
        Ok(Undone::of(&removed, &left))
    }
}
