//! Delivers messages outside of the order: those that failed before, and dead letters that are
//! replayed.

use postbell_protocol::watch_state::{DeadLetter, FailingMessage, Stage};
use tracing::{info, warn};

use crate::arrival::Arrival;
use crate::delivery::{Alone, Delivery, Progress};
use crate::error::{SyncError, with_causes};
use crate::failing::{Failure, NOT_FOUND, is_unproven};
use crate::webhook::WebhookError;

/// After so many failures of Gmail in a row, the others wait for the next sync.
const FAILURES_IN_A_ROW: usize = 4;

/// Delivers what is due. Returns the failure of the webhook that ended this early: it may concern only
/// the message that was posted, so new mail must not wait for it.
///
/// # Errors
///
/// Another failure that concerns the mailbox or the webhook as a whole.
pub(crate) async fn redeliver(
    delivery: &Delivery,
    progress: &mut Progress,
) -> Result<Option<SyncError>, SyncError> {
    let delivered = match retry_failing(delivery, progress).await {
        Ok(()) => replay(delivery, progress).await,
        Err(error) => Err(error),
    };
    match delivered {
        Ok(()) => Ok(None),
        Err(SyncError::Hook(WebhookError::Gone)) => Err(WebhookError::Gone.into()),
        Err(error @ SyncError::Hook(_)) => {
            let reason = with_causes(&error);
            warn!(
                reason,
                "The webhook failed for a message that is delivered again; new mail goes on"
            );
            Ok(Some(error))
        }
        Err(error) => Err(error),
    }
}

/// Tries deferred messages again, the oldest first. If no message was seen to pass, all of them are
/// tried: once one passes, the others follow in order.
async fn retry_failing(delivery: &Delivery, progress: &mut Progress) -> Result<(), SyncError> {
    let now = delivery.clock.now();
    let retries = delivery.settings.retries;
    let due: Vec<FailingMessage> = {
        let state = delivery.state.lock().await;
        let deferred = state.failing.iter().filter(|one| one.deferred);
        let is_due = |one: &&FailingMessage| {
            retries.due_at(one, now) <= now
                || is_unproven(one, Stage::Webhook)
                || is_unproven(one, Stage::Gmail)
        };
        deferred.filter(is_due).cloned().collect()
    };
    let mut failures_of_gmail = 0;
    for message in due {
        if message.stage == Stage::Gmail && failures_of_gmail >= FAILURES_IN_A_ROW {
            continue;
        }
        let arrival = Arrival::again(&message.id, &message.change, message.history_id);
        match delivery.deliver_alone(&arrival).await? {
            Alone::Delivered(count) => {
                progress.delivered += count;
                failures_of_gmail = 0;
            }
            Alone::Unwanted => failures_of_gmail = 0,
            Alone::Failed(stage, reason) => {
                if stage == Stage::Gmail && reason != NOT_FOUND {
                    failures_of_gmail += 1;
                }
                let now = delivery.clock.now();
                let mut state = delivery.state.lock().await;
                let failure = Failure {
                    stage,
                    reason: &reason,
                    others_pass: progress.delivered > 0,
                };
                let _ = retries.record(&mut state, &arrival, failure, now);
                state.save().await?;
            }
        }
    }
    Ok(())
}

/// Delivers the dead letters that a person wants delivered again.
async fn replay(delivery: &Delivery, progress: &mut Progress) -> Result<(), SyncError> {
    let chosen: Vec<DeadLetter> = {
        let state = delivery.state.lock().await;
        let letters = state.dead_letters.iter();
        let is_chosen = |letter: &&DeadLetter| state.replay_ids.contains(&letter.id);
        letters.filter(is_chosen).cloned().collect()
    };
    for letter in chosen {
        let arrival = Arrival::again(&letter.id, &letter.change, letter.history_id);
        let replayed = delivery.deliver_alone(&arrival).await?;
        let mut state = delivery.state.lock().await;
        state.replay_ids.retain(|id| *id != letter.id);
        let id = &letter.id;
        match replayed {
            Alone::Delivered(count) => {
                progress.delivered += count;
                state.dead_letters.retain(|one| one.key() != letter.key());
                info!(message.id = id, "Delivered the dead letter {id}");
            }
            Alone::Unwanted => {
                state.dead_letters.retain(|one| one.key() != letter.key());
                info!(
                    message.id = id,
                    "Removed the dead letter {id}: the filter excludes it"
                );
            }
            Alone::Failed(stage, reason) => {
                warn!(message.id = id, reason, "The dead letter {id} failed again");
                let now = delivery.clock.now().as_millis();
                let kept = state.dead_letters.iter_mut();
                for kept in kept.filter(|one| one.key() == letter.key()) {
                    kept.stage = stage;
                    kept.reason.clone_from(&reason);
                    kept.at_ms = now;
                    kept.tries = kept.tries.saturating_add(1);
                }
            }
        }
        state.save().await?;
    }
    Ok(())
}
