//! `postbell watch pull`: pulls notifications and posts new mail to the webhook.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use postbell_core::{Clock, Tasks};
use postbell_watcher::{Puller, PushAuth};

use super::account::Account;
use super::delivery;
use super::serve::{GRACE, start_in_background};
use crate::cli::PullArgs;
use crate::config::Env;
use crate::wiring;

pub(super) async fn run(
    args: &PullArgs,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::new(&args.account, env, clock)?;
    let auth = PushAuth::default();
    let watcher = delivery::watcher(&account, &args.delivery, auth, env)?;
    let puller = Puller {
        endpoint: account.config.google.pubsub_url.clone(),
        tokens: account.tokens(),
        subscription: args.subscription.clone(),
        server: watcher.server.clone(),
        jitter: fastrand::f64,
    };
    let subscription = puller
        .open()
        .await
        .with_context(|| format!("cannot pull from {} (--subscription)", puller.subscription))?;
    let tasks = Tasks::new();
    tasks.start("pull", |stop| puller.run(subscription, stop));
    start_in_background(&watcher, &tasks);
    wiring::run_until_stopped(tasks, GRACE).await
}
