//! `postbell watch pull`: pulls notifications and posts new mail to the webhook.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use postbell_core::{Clock, Tasks};
use postbell_http::serve;
use postbell_watcher::{Puller, PushAuth};

use super::account::{Account, started_watch};
use super::alerts;
use super::delivery::{self, Source};
use super::serve::{GRACE, run_until_stopped, start_in_background};
use crate::cli::PullArgs;
use crate::commands::listen;
use crate::config::Env;
use crate::console::Console;
use crate::wiring::{Service, Telemetry};

pub(super) async fn run(
    args: &PullArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::new(&args.account, env, clock)?;
    // A watch cannot be started while a watcher runs.
    started_watch(&account.state_folder, &account.address)?;
    let identity = account.confirm(console).await?;
    let telemetry = Telemetry::new(
        &account.config.telemetry,
        "postbell-watcher",
        &account.clock,
    )?;
    let source = Source {
        tracer: telemetry.tracer.clone(),
        subscription: args.subscription.clone(),
        push_auth: PushAuth::default(),
    };
    let watcher = delivery::watcher(&account, identity, source, &args.delivery, env)?;
    let monitoring = match &args.listen {
        Some(address) => Some(listen(address, "--listen").await?),
        None => None,
    };
    let puller = Puller {
        endpoint: account.config.google.pubsub_url.clone(),
        tokens: account.tokens(),
        subscription: args.subscription.clone(),
        pubsub: account.pubsub(),
        server: watcher.server.clone(),
        sync: Arc::clone(&watcher.sync),
        jitter: fastrand::f64,
    };
    let subscription = puller
        .open()
        .await
        .with_context(|| format!("cannot pull from {} (--subscription)", puller.subscription))?;
    let service = Service::new(GRACE)?;
    let tasks = Tasks::new();
    if let Some(listener) = monitoring {
        console.error(&format!("watch: monitoring on {}", listener.address()?));
        let router = watcher.monitor.router();
        tasks.start("monitoring", |stop| serve(listener, router, stop));
    }
    tasks.start("pull", |stop| puller.run(subscription, stop));
    alerts::start(&watcher, &account, &args.delivery.alerts, env, &tasks)?;
    telemetry.start(&tasks);
    start_in_background(&watcher, &tasks);
    Ok(run_until_stopped(service, tasks, watcher.monitor).await)
}
