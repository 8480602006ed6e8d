//! The state that `postbell setup` has stored, as the doctor reads it.

use postbell_core::{MailProblem, ProblemCode, Timestamp};
use postbell_doctor::{CheckResult, Destination, LocalWatch, SetupState, WatchProblem, Webhook};
use postbell_google::OAuthClient;
use postbell_protocol::watch_state::SavedHook;
use postbell_setup::{
    Progress, ProgressFile, SavedDestination, SavedWatch, SetupError, WatchStates,
};
use postbell_watcher::assess;

/// Reads the progress of setup, and the watcher's state on this machine.
pub(super) fn read(
    progress_file: &ProgressFile,
    watch_states: &WatchStates,
    now: Timestamp,
) -> Result<SetupState, SetupError> {
    let progress = progress_file.read()?;
    let project_number = project_number(&progress);
    let (topic, subscription) = (progress.topic_id(), progress.subscription_id());
    let mailbox: Option<postbell_core::EmailAddress> =
        progress.mailbox.and_then(|address| address.parse().ok());
    let watch = match &mailbox {
        Some(address) => watch_states
            .load(address.as_str())
            .map(|watch| watch.map(|watch| local_watch(watch, now)))
            .map_err(|error| CheckResult::failed(error.to_string(), error.remedy())),
        None => Ok(None),
    };
    Ok(SetupState {
        project: progress.project,
        project_number,
        mailbox,
        webhook: None,
        destination: progress.destination.and_then(destination),
        topic,
        subscription,
        service_account: progress.names.account,
        grant_ends_at: progress.grant_ends_at.map(Timestamp::from_millis),
        watch_ends_at: progress
            .watch
            .map(|watch| Timestamp::from_millis(watch.ends_at)),
        hook: progress.hook.or(progress.webhook),
        watch,
    })
}

fn destination(saved: SavedDestination) -> Option<Destination> {
    Some(match saved {
        SavedDestination::Platform {
            platform,
            relay,
            user,
            is_further,
        } => Destination::Platform {
            platform,
            relay,
            user: user.parse().ok()?,
            is_further,
        },
        // The doctor checks the path of a user's own subscription.
        SavedDestination::Operator { .. } => return None,
        SavedDestination::Pull { credentials } => Destination::Pull { credentials },
        SavedDestination::Serve {
            credentials,
            endpoint,
        } => Destination::Serve {
            credentials,
            endpoint,
        },
    })
}

/// The number of the OAuth client's project, which is the project that setup uses.
fn project_number(progress: &Progress) -> Option<String> {
    progress.project.as_ref()?;
    let client = OAuthClient::from_file(progress.client_file.as_ref()?).ok()?;
    client.project_number().map(str::to_owned)
}

pub(super) fn local_watch(watch: SavedWatch, now: Timestamp) -> LocalWatch {
    let state = watch.state;
    let problem = assess(&state, now).problem;
    let last_dead = state.dead_letters.last();
    LocalWatch {
        ends_at: state.expires_at().unwrap_or_default(),
        is_running: watch.watcher_runs,
        topic: state.topic,
        dead_letters: last_dead.map(|last| {
            let last = format!("{}: {}", last.id, last.reason);
            (state.dead_letters.len(), last)
        }),
        last_delivery: match &problem {
            _ if state.last_delivery_status.is_empty() => String::new(),
            // That of a test is no delivery's.
            Some(found)
                if found.code == ProblemCode::WebhookFailing
                    && state.last_delivery_status == "error" =>
            {
                "error".to_owned()
            }
            // Made good since.
            _ => "ok".to_owned(),
        },
        problem: problem.map(|found| WatchProblem {
            problem: MailProblem {
                code: found.code,
                since: found.since,
            },
            detail: found.detail,
        }),
        subscription: state.subscription,
        renewal_problem: state.renewal_problem,
        last_delivery_at: Timestamp::from_millis(state.last_delivery_at_ms),
        last_delivery_note: state.last_delivery_status_note,
        last_notified_at: Timestamp::from_millis(state.last_notified_at_ms),
        takes_requests: !state.watcher_version.is_empty(),
        hook: state.hook.and_then(webhook),
    }
}

fn webhook(saved: SavedHook) -> Option<Webhook> {
    Some(Webhook {
        url: saved.url.parse().ok()?,
        token: Some(saved.token)
            .filter(|token| !token.is_empty())
            .map(Into::into),
    })
}
