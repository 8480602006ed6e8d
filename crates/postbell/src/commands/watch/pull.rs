//! `postbell watch pull`: notifications are fetched, hooks go out.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::{Clock, Tasks, jittered};
use postbell_google::{PullSubscription, Pulled, TokenSource};
use postbell_watcher::{PushAuth, PushServer};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use url::Url;

use super::account::Account;
use super::delivery;
use super::serve::{GRACE, start_in_background};
use crate::cli::PullArgs;
use crate::config::Env;
use crate::wiring;

/// After a failure, the first wait and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) async fn run(
    args: &PullArgs,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::of(&args.account, env, clock)?;
    let auth = PushAuth::default();
    let watcher = delivery::watcher(&account, &args.delivery, auth, env)?;
    let puller = Puller {
        endpoint: account.config.google.pubsub_url.clone(),
        tokens: account.tokens(),
        subscription: args.subscription.clone(),
        server: watcher.server.clone(),
    };
    let subscription = puller
        .open()
        .await
        .with_context(|| format!("cannot pull from {} (--subscription)", puller.subscription))?;
    let tasks = Tasks::new();
    tasks.start("pull", |stop| puller.pull(subscription, stop));
    start_in_background(&watcher, &tasks);
    wiring::run_until_stopped(tasks, GRACE).await
}

struct Puller {
    endpoint: Url,
    tokens: Arc<TokenSource>,
    subscription: String,
    server: PushServer,
}

impl Puller {
    async fn open(&self) -> anyhow::Result<PullSubscription> {
        let (endpoint, tokens) = (&self.endpoint, Arc::clone(&self.tokens));
        Ok(PullSubscription::open(endpoint, tokens, &self.subscription).await?)
    }

    /// Fetches, one notification after the other: what waits meanwhile is covered by the first.
    async fn pull(self, mut subscription: PullSubscription, stop: CancellationToken) {
        let mut wait = FIRST_WAIT;
        loop {
            let Some(next) = stop.run_until_cancelled(subscription.next()).await else {
                return;
            };
            let went_well = match next {
                Ok(pulled) => self.act_on(pulled, wait, &stop).await,
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    let name = &self.subscription;
                    error!("Cannot pull from {name} (--subscription): {error:#}");
                    pause(wait, &stop).await;
                    if let Ok(opened) = self.open().await {
                        subscription = opened;
                    }
                    false
                }
            };
            wait = if went_well {
                FIRST_WAIT
            } else {
                (wait * 2).min(LONGEST_WAIT)
            };
        }
    }

    /// Returns whether the notification is done with. One that is not is given back after a wait,
    /// for it comes again at once.
    async fn act_on(&self, pulled: Pulled, wait: Duration, stop: &CancellationToken) -> bool {
        if self.server.pulled(&pulled.data).await {
            pulled.done();
            return true;
        }
        warn!(?wait, "Giving a notification back");
        pause(wait, stop).await;
        pulled.again();
        false
    }
}

async fn pause(wait: Duration, stop: &CancellationToken) {
    let wait = jittered(wait, Duration::ZERO, fastrand::f64());
    stop.run_until_cancelled(sleep(wait)).await;
}
