//! Gmail's watch on the mailbox. It lasts seven days; the watcher renews it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_google::{CloudError, RefusalKind, TokenError, WatchStarted};
use postbell_protocol::watch_state::WatchState;

use super::arrival::observe::save_delivered;
use super::credentials_file;
use crate::context::{MailboxAccess, SetupContext};
use crate::error::{Blocker, Result};
use crate::ledger::Resource;
use crate::plan::{Plan, Removal, Step};
use crate::progress::{Progress, WatchRecord};
use crate::report::StepId;
use crate::times::day;
use crate::ui::Question;
use crate::watch_states::{SavedWatch, WATCH_LABELS};

/// A watch that expires within this time is started again.
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

    async fn check(&self, ctx: &mut SetupContext) -> Result<Plan> {
        let topic = ctx.topic()?;
        let change = Plan::Change(format!("start a watch that publishes to {topic}"));
        if let Some(watch) = ctx.discovered.watch {
            return Ok(valid_until(watch.expiration.as_millis()));
        }
        if !ctx.request.is_on_platform() {
            let address = ctx.mailbox()?.address;
            let saved = ctx.deps.watch_states.load(address.as_str())?;
            let soon = ctx.deps.google.clock.now() + MARGIN;
            return Ok(match saved {
                Some(SavedWatch { state, .. })
                    if state.topic == topic && state.expires_at() > Some(soon) =>
                {
                    valid_until(state.expires_at().unwrap_or_default().as_millis())
                }
                _ => change,
            });
        }
        // With a new grant, a watch of this OAuth client is not known.
        if ctx.discovered.mailbox.is_some() {
            return Ok(change);
        }
        Ok(match &ctx.progress.watch {
            Some(watch) if watch.topic == topic => {
                Plan::UpToDate("active; the watcher on the machine renews it".to_owned())
            }
            // Gmail still publishes to the old topic.
            Some(_) => change,
            None => Plan::Unknown {
                detail: "started elsewhere".to_owned(),
                warning: "not verified, because only the platform can open the mailbox".to_owned(),
            },
        })
    }

    async fn apply(&self, ctx: &mut SetupContext) -> Result<()> {
        let topic = ctx.topic()?;
        let mailbox = ctx.mailbox()?;
        save_delivered(ctx).await?;
        let watch = start_recorded(ctx, &mailbox, &topic).await?;
        if !ctx.request.is_on_platform() {
            let states = &ctx.deps.watch_states;
            states.update(mailbox.address.as_str(), |state| {
                set_watch(state, mailbox.address.as_str(), &topic, watch);
            })?;
        }
        ctx.discovered.watch = Some(watch);
        ctx.update_progress(|progress| {
            progress.watch = Some(WatchRecord {
                topic,
                history_id: watch.history_id.to_string(),
                ends_at: watch.expiration.as_millis(),
            });
        })
    }

    async fn remove(&self, ctx: &mut SetupContext, resource: &Resource) -> Result<Removal> {
        let Resource::Watch(key) = resource else {
            return Ok(Removal::Gone);
        };
        let Some(user) = credentials_file::find(key) else {
            return Ok(Removal::Abandoned(format!(
                "the credentials of {} are not stored here; its watch has no topic any more and \
                 expires within seven days",
                key.mailbox
            )));
        };
        let google = &ctx.deps.google;
        match google.gmail(Arc::new(google.tokens(user))).stop().await {
            // A revoked grant ends its watch.
            Ok(())
            | Err(CloudError::Token(TokenError::GrantRevoked) | CloudError::Unauthorized) => (),
            Err(error) => return Err(ctx.error(error)),
        }
        ctx.deps.watch_states.remove(&key.mailbox)?;
        Ok(Removal::Removed(format!(
            "stopped the watch of {}",
            key.mailbox
        )))
    }

    fn forget(&self, progress: &mut Progress) {
        progress.watch = None;
    }
}

/// Sets the watch in a state file. The cursor stays: mail after it is still to be delivered.
fn set_watch(state: &mut WatchState, mailbox: &str, topic: &str, watch: WatchStarted) {
    let ends_at = watch.expiration.as_millis();
    mailbox.clone_into(&mut state.account);
    topic.clone_into(&mut state.topic);
    state.labels = WATCH_LABELS.map(str::to_owned).to_vec();
    state.history_id = state.history_id.or(Some(watch.history_id));
    state.expiration_ms = ends_at;
    state.provider_expiration_ms = ends_at;
    state.renewal_problem.clear();
}

fn valid_until(millis: i64) -> Plan {
    Plan::UpToDate(format!("until {}; the watcher renews it", day(millis)))
}

/// Starts a watch that is in the ledger before the call, and after it unless Google refused.
async fn start_recorded(
    ctx: &mut SetupContext,
    mailbox: &MailboxAccess,
    topic: &str,
) -> Result<WatchStarted> {
    let key = ctx.credential_key(&mailbox.address, &mailbox.user.client_id);
    let resource = Resource::Watch(key);
    let was_ours = ctx.progress.ledger.contains(&resource);
    ctx.record(resource.clone())?;
    let watch = start(ctx, mailbox, topic).await;
    if let Err(error) = &watch
        && !was_ours
        // A call without an answer may have succeeded.
        && error.blocker != Blocker::Unavailable
    {
        ctx.disown(&resource)?;
    }
    watch
}

/// Starts a watch. If the mailbox has a watch on another topic of the project, asks whether to
/// replace it.
async fn start(ctx: &SetupContext, mailbox: &MailboxAccess, topic: &str) -> Result<WatchStarted> {
    let gmail = ctx.deps.google.gmail(Arc::clone(&mailbox.tokens));
    let error = match gmail.watch(topic, &WATCH_LABELS).await {
        Ok(watch) => return Ok(watch),
        Err(error) => error,
    };
    if !error.is(RefusalKind::OtherWatch) {
        return Err(ctx.error(error));
    }
    if moves_from_our_topic(ctx, topic) {
        return replace(ctx, mailbox, topic).await;
    }
    let question = Question::new(
        "This mailbox already has a watch on another topic of the project. Replace it?",
        "--yes, in a terminal",
    );
    let question = question.with_default("no");
    if !ctx.deps.ui.confirm(&question).await? {
        return Err(ctx.error(error));
    }
    replace(ctx, mailbox, topic).await
}

/// Whether the last watch that setup started publishes to another topic that setup created, such as the
/// one of an earlier version.
fn moves_from_our_topic(ctx: &SetupContext, topic: &str) -> bool {
    ctx.progress.watch.as_ref().is_some_and(|watch| {
        let name = watch.topic.clone();
        name != topic && ctx.progress.ledger.contains(&Resource::Topic { name })
    })
}

/// Ends the mailbox's watch and starts one: Gmail permits one topic per project.
async fn replace(ctx: &SetupContext, mailbox: &MailboxAccess, topic: &str) -> Result<WatchStarted> {
    let gmail = ctx.deps.google.gmail(Arc::clone(&mailbox.tokens));
    gmail.stop().await.map_err(|error| ctx.error(error))?;
    let watch = gmail.watch(topic, &WATCH_LABELS).await;
    watch.map_err(|error| ctx.error(error))
}
