//! Gmail tells the topic of new mail, for seven days at a time; the watcher renews that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_google::{CloudError, RefusalKind, WatchStarted};

use super::LABELS;
use crate::memory::Begun;
use crate::person::Question;
use crate::progress::WatchNote;
use crate::site::{KnownMailbox, Site};
use crate::step::{Look, Step, StepId, Undone};
use crate::times::day;
use crate::trouble::Trouble;
use crate::wishes::Destination;

const MADE: &str = "watch";

/// A watch that ends within this time is begun anew.
const MARGIN: Duration = Duration::from_secs(60 * 60);

pub(super) struct Watch;

#[async_trait]
impl Step for Watch {
    fn id(&self) -> StepId {
        StepId::Watch
    }

    fn needs(&self) -> &'static [StepId] {
        &[StepId::Publisher, StepId::Mailbox]
    }

    async fn look(&self, site: &mut Site) -> Result<Look, Trouble> {
        let topic = site.topic()?;
        let todo = Look::ToDo(format!("have Gmail tell {topic} of new mail"));
        if let Some(watch) = site.known.watch {
            return Ok(until(watch.expiration.as_millis()));
        }
        if is_local(site) {
            let address = site.mailbox()?.address;
            let remembered = site.tools.memory.recall(address.as_str())?;
            let soon = site.tools.clock.now() + MARGIN;
            return Ok(match remembered {
                Some(watch) if watch.topic == topic && watch.ends_at > soon => {
                    until(watch.ends_at.as_millis())
                }
                _ => todo,
            });
        }
        // Whoever has just consented has no watch of this client yet that we know of.
        if site.known.mailbox.is_some() {
            return Ok(todo);
        }
        Ok(match &site.progress.watch {
            Some(watch) if watch.topic == topic => {
                Look::Done("begun before; the machine's watcher renews it".to_owned())
            }
            _ => Look::Uncertain(
                "begun elsewhere".to_owned(),
                "the platform alone can open the mailbox, so it was not looked at".to_owned(),
            ),
        })
    }

    async fn apply(&self, site: &mut Site) -> Result<(), Trouble> {
        let topic = site.topic()?;
        let mailbox = site.mailbox()?;
        site.making(MADE)?;
        let watch = begin(site, &mailbox, &topic).await?;
        if is_local(site) {
            let begun = Begun {
                topic: &topic,
                labels: &LABELS,
                history_id: watch.history_id,
                ends_at: watch.expiration,
            };
            site.tools.memory.note(mailbox.address.as_str(), &begun)?;
        }
        site.known.watch = Some(watch);
        site.remember(|progress| {
            progress.watch = Some(WatchNote {
                topic,
                history_id: watch.history_id.to_string(),
                ends_at: watch.expiration.as_millis(),
            });
        })
    }

    async fn undo(&self, site: &mut Site) -> Result<Undone, Trouble> {
        if !site.is_ours(MADE) {
            return Ok(Undone::Nothing);
        }
        if super::mailbox::load(site).is_none() {
            return Ok(Undone::Left(
                "the platform alone can end it; it ends by itself within seven days, and has no topic \
                 any more"
                    .to_owned(),
            ));
        }
        let mailbox = site.mailbox()?;
        match site.gmail(Arc::clone(&mailbox.tokens)).stop().await {
            // With the grant its watch is gone.
            Ok(()) | Err(CloudError::Token(_) | CloudError::Unauthorized) => (),
            Err(error) => return Err(site.trouble(error)),
        }
        site.tools.memory.forget(mailbox.address.as_str())?;
        site.not_ours(MADE)?;
        Ok(Undone::Removed("Gmail tells nobody any more".to_owned()))
    }
}

fn is_local(site: &Site) -> bool {
    !matches!(site.wishes.destination, Some(Destination::Platform { .. }))
}

fn until(millis: i64) -> Look {
    Look::Done(format!("until {}, and renewed by the watcher", day(millis)))
}

/// Begins a watch; one of the same mailbox and project that tells another topic is ended for it,
/// where the person says so.
async fn begin(site: &Site, mailbox: &KnownMailbox, topic: &str) -> Result<WatchStarted, Trouble> {
    let gmail = site.gmail(Arc::clone(&mailbox.tokens));
    let error = match gmail.watch(topic, &LABELS).await {
        Ok(watch) => return Ok(watch),
        Err(error) => error,
    };
    if !error.is(RefusalKind::OtherWatch) {
        return Err(site.trouble(error));
    }
    let question = Question::new(
        "This mailbox tells another topic of the same project. End that, and tell this one?",
        "--yes, where somebody can answer",
    );
    if !site.ask_whether(&question.or("no")).await? {
        return Err(site.trouble(error));
    }
    gmail.stop().await?;
    gmail
        .watch(topic, &LABELS)
        .await
        .map_err(|error| site.trouble(error))
}
