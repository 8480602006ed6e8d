//! The topic that Gmail publishes to.

use async_trait::async_trait;

use crate::site::Site;
use crate::step::{Look, Step, StepId, Undone};
use crate::trouble::Trouble;

const MADE: &str = "topic";

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
        site.make(MADE, pubsub.create_topic(&topic)).await
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        let topic = site.topic()?;
        site.pubsub()?.delete_topic(&topic).await?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed(format!("deleted {topic}")))
    }
}
