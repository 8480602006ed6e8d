//! The state that `postbell setup` has stored, as the doctor reads it.

use postbell_core::Timestamp;
use postbell_doctor::{CheckResult, Destination, LocalWatch, SetupState, Webhook};
use postbell_google::OAuthClient;
use postbell_setup::{DestinationNote, Progress, Remembered, Site};

/// Converts the progress of setup, and the watcher's state on this machine.
pub(super) fn read(site: &Site) -> SetupState {
    let progress = site.remembered().clone();
    let project_number = project_number(&progress);
    let mailbox: Option<postbell_core::EmailAddress> =
        progress.mailbox.and_then(|address| address.parse().ok());
    let watch = match &mailbox {
        Some(address) => site
            .tools
            .memory
            .recall(address.as_str())
            .map(|watch| watch.map(local_watch))
            .map_err(|trouble| CheckResult::failed(trouble.to_string(), trouble.next())),
        None => Ok(None),
    };
    SetupState {
        project: progress.project,
        project_number,
        mailbox,
        destination: progress.destination.and_then(destination),
        topic: progress.names.topic,
        subscription: progress.names.subscription,
        service_account: progress.names.account,
        grant_ends_at: progress.grant_ends_at.map(Timestamp::from_millis),
        watch_ends_at: progress
            .watch
            .map(|watch| Timestamp::from_millis(watch.ends_at)),
        hook: progress.hook,
        watch,
    }
}

fn destination(note: DestinationNote) -> Option<Destination> {
    Some(match note {
        DestinationNote::Platform {
            platform,
            relay,
            user,
        } => Destination::Platform {
            platform,
            relay,
            user: user.parse().ok()?,
        },
        DestinationNote::Pull { credentials } => Destination::Pull { credentials },
        DestinationNote::Serve {
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

fn local_watch(watch: Remembered) -> LocalWatch {
    LocalWatch {
        topic: watch.topic,
        ends_at: watch.ends_at,
        is_running: watch.watcher_runs,
        problem: watch.problem,
        renewal_problem: watch.renewal_problem,
        last_delivery: watch.last_delivery,
        last_delivery_at: watch.last_delivery_at,
        hook: watch.hook.map(|hook| Webhook {
            url: hook.url,
            token: hook.token,
        }),
    }
}
