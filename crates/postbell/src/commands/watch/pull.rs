//! `postbell watch pull`: pulls notifications and posts new mail to the webhook.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use postbell_core::{Clock, Tasks};
use postbell_google::PullSubscription;
use postbell_http::serve;
use postbell_watcher::{Puller, PushAuth};

use super::account::{self, started_watch};
use super::mailboxes::{self, Opened, Opening, Planned};
use super::serve::{GRACE, run_until_stopped};
use crate::cli::PullArgs;
use crate::commands::listen;
use crate::config::{BadSetting, Config, Env};
use crate::console::Console;
use crate::wiring::{Service, Telemetry};

pub(super) async fn run(
    args: &PullArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let config = env.load()?;
    let subscription = args.subscription.as_deref();
    let planned = mailboxes::planned(&args.account, &args.delivery, subscription, &config)?;
    check(&planned, &config, env)?;
    let telemetry = Telemetry::new(&config.telemetry, "postbell-watcher", &clock)?;
    let opening = Opening {
        push_auth: PushAuth::default(),
        tracer: telemetry.tracer.clone(),
    };
    let opened = mailboxes::open(planned, &opening, console, env, &clock).await?;
    let monitors = mailboxes::monitors(&opened, clock.now());

    let monitoring = match &args.listen {
        Some(address) => Some(listen(address, "--listen").await?),
        None => None,
    };
    let pullers = open(&opened).await?;
    let service = Service::new(GRACE)?;
    let tasks = Tasks::new();
    if let Some(listener) = monitoring {
        console.error(&format!("watch: monitoring on {}", listener.address()?));
        let router = monitors.router();
        tasks.start("monitoring", |stop| serve(listener, router, stop));
    }
    for (puller, subscription) in pullers {
        tasks.start("pull", |stop| puller.run(subscription, stop));
    }
    telemetry.start(&tasks);
    mailboxes::start(&opened.watched, env, &tasks)?;
    Ok(run_until_stopped(service, tasks, monitors).await)
}

/// Fails if a subscription is missing, or the only mailbox has no watch.
fn check(planned: &[Planned], config: &Config, env: &Env) -> anyhow::Result<()> {
    check_subscriptions(planned)?;
    if let [only] = planned {
        // A watch cannot be started while a watcher runs.
        let address = account::address(&only.account, config, env)?;
        started_watch(&account::state_folder(&address, env)?, &address)?;
    }
    Ok(())
}

/// Fails if a subscription is missing.
pub(super) fn check_subscriptions(planned: &[Planned]) -> anyhow::Result<()> {
    let missing = planned.iter().filter(|plan| plan.subscription.is_empty());
    let missing: Vec<_> = missing.map(|plan| &*plan.name).collect();
    let named = match missing[..] {
        [] => return Ok(()),
        [""] => ": `postbell setup` creates one, and prints the whole command".to_owned(),
        _ => format!("; it is missing for {}", missing.join(", ")),
    };
    let expected = "expected --subscription, or subscription in each [[watch]] table";
    Err(BadSetting::new(format!("{expected}{named}")).into())
}

/// Opens the subscriptions, each once. If there are several, one that cannot be opened is tried again later and stops no
/// other; its mailboxes are polled.
async fn open(all: &Opened) -> anyhow::Result<Vec<(Puller, Option<PullSubscription>)>> {
    let watched = &all.watched;
    let subscriptions = mailboxes::subscriptions(watched);
    let is_several = subscriptions.len() > 1;
    let mut pullers = Vec::new();
    for subscription in subscriptions {
        let of_it = || {
            watched
                .iter()
                .filter(|one| one.subscription == subscription)
        };
        let Some(first) = of_it().next() else {
            continue;
        };
        let account = &first.account;
        let puller = Puller {
            endpoint: account.config.google.pubsub_url.clone(),
            tokens: account.tokens(),
            subscription: subscription.to_owned(),
            pubsub: account.pubsub(),
            servers: mailboxes::servers(of_it(), all),
            syncs: of_it().map(|one| Arc::clone(&one.watcher.sync)).collect(),
            clock: Arc::clone(&account.clock),
            jitter: fastrand::f64,
        };
        let opened = puller.open().await;
        let opened =
            opened.with_context(|| format!("cannot pull from {subscription} (--subscription)"));
        match opened {
            Ok(opened) => pullers.push((puller, Some(opened))),
            Err(_) if is_several => pullers.push((puller, None)),
            Err(error) => return Err(error),
        }
    }
    Ok(pullers)
}
