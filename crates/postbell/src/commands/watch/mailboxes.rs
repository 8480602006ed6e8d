//! The mailboxes and webhooks that one process watches: those of the `[[watch]]` tables, or the one of the flags.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use postbell_core::{Clock, Tasks, Timestamp, Tracer};
use postbell_protocol::watch_state::{StateFile, mailbox_of};
use postbell_watcher::{Monitors, PushAuth, PushServers, SyncEngine, Watcher};
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::account::{Account, state_folder};
use super::alerts;
use super::delivery::{self, Source};
use super::serve::start_in_background;
use crate::cli::{self, AccountArgs, DeliveryArgs};
use crate::config::{BadSetting, Config, ConfigError, Env, WatchConfig, WebhookConfig};
use crate::console::Console;

/// A webhook of a mailbox that is to be watched.
pub(super) struct Planned {
    /// Its name for monitoring, which is public.
    pub(super) name: String,
    pub(super) account: AccountArgs,
    pub(super) delivery: DeliveryArgs,
    /// Where notifications are pulled from; empty if they are pushed.
    pub(super) subscription: String,
}

/// A webhook of a mailbox with its watcher.
pub(super) struct Watched {
    name: String,
    pub(super) account: Account,
    pub(super) watcher: Watcher,
    delivery: DeliveryArgs,
    pub(super) subscription: String,
}

/// What all watchers of a process have in common.
pub(super) struct Opening {
    /// How a push is authenticated.
    pub(super) push_auth: PushAuth,
    /// Continues the traces of notifications.
    pub(super) tracer: Tracer,
}

/// Returns what is to be watched: the tables, unless a flag names a mailbox.
///
/// Fails if there are tables, and flags that they would hide.
pub(super) fn planned(
    account: &AccountArgs,
    given: &DeliveryArgs,
    subscription: Option<&str>,
    config: &Config,
) -> anyhow::Result<Vec<Planned>> {
    if config.watch.is_empty() || account.account.is_some() {
        let subscription = subscription.unwrap_or_default().to_owned();
        return Ok(vec![Planned {
            name: String::new(),
            account: account.clone(),
            delivery: given.clone(),
            subscription,
        }]);
    }
    let is_default = format!("{given:?}") == format!("{:?}", cli::default_delivery());
    let names_account = account.credentials.is_some() || account.client.is_some();
    anyhow::ensure!(
        is_default && !names_account && subscription.is_none(),
        BadSetting::new(
            "expected flags about mailboxes and webhooks in the [[watch]] tables of the configuration, or \
             --account for a mailbox without a table"
        )
    );
    config.check_watches()?;
    let numbered = config.watch.iter().zip(1_u32..);
    let planned = numbered.map(|(watch, number)| of_table(watch, number));
    let planned: Result<Vec<_>, ConfigError> = planned.collect();
    Ok(planned?.into_iter().flatten().collect())
}

fn of_table(watch: &WatchConfig, number: u32) -> Result<Vec<Planned>, ConfigError> {
    let name = watch.name.clone().unwrap_or_else(|| number.to_string());
    let webhooks = watch.by_state();
    let shares = u32::try_from(webhooks.len()).unwrap_or(u32::MAX);
    let of_webhook = |(state, webhook): &(String, WebhookConfig)| {
        let mut delivery = cli::webhook_delivery(webhook)?;
        // Each webhook reads the mailbox by itself, within the quota of the mailbox.
        let share = delivery.units_per_minute.get() / shares;
        delivery.units_per_minute = NonZeroU32::new(share).unwrap_or(NonZeroU32::MIN);
        let ending = webhook.name.as_ref().map(|name| format!("/{name}"));
        let ending = ending.unwrap_or_default();
        Ok(Planned {
            name: format!("{name}{ending}"),
            // Its credentials are those of the table.
            account: AccountArgs {
                account: Some(state.clone()),
                credentials: None,
                client: None,
            },
            delivery,
            subscription: watch.subscription.clone().unwrap_or_default(),
        })
    };
    webhooks.iter().map(of_webhook).collect()
}

/// The opened mailboxes.
pub(super) struct Opened {
    pub(super) watched: Vec<Watched>,
    /// Those that could not be.
    unwatched: Vec<Unwatched>,
}

/// A webhook that is not watched.
struct Unwatched {
    name: String,
    /// The mailbox's address, unless its state has a cursor from which its watcher will begin.
    without_cursor: Option<String>,
}

/// Opens what is planned. If there are several, the failure of one is logged and stops no other; it fails if all do.
pub(super) async fn open(
    planned: Vec<Planned>,
    opening: &Opening,
    console: &Console,
    env: &Env,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Opened> {
    let addresses: Vec<_> = planned
        .iter()
        .filter_map(|plan| plan.account.account.clone())
        .collect();
    let (mut watched, mut unwatched) = (Vec::new(), Vec::new());
    let mut first_error = None;
    let is_several = planned.len() > 1;
    for plan in planned {
        let name = plan.name.clone();
        let address = plan.account.account.clone().unwrap_or_default();
        match open_one(plan, opening, console, env, clock).await {
            Ok(one) => watched.push(one),
            Err(error) => {
                if is_several {
                    let error = format!("{error:#}");
                    error!(mailbox = name, error, "This mailbox is not watched");
                }
                let without_cursor = without_cursor(&address, env);
                unwatched.push(Unwatched {
                    name,
                    without_cursor,
                });
                first_error.get_or_insert(error);
            }
        }
    }
    warn_of_forgotten(&watched, &addresses);
    match first_error {
        Some(error) if watched.is_empty() => Err(error),
        _ => Ok(Opened { watched, unwatched }),
    }
}

/// Returns the mailbox of a webhook whose state has no cursor, or cannot be read.
fn without_cursor(address: &str, env: &Env) -> Option<String> {
    let folder = state_folder(address, env).ok()?;
    let state = StateFile::peek(&folder, address).ok().flatten();
    let has_cursor = state.is_some_and(|state| state.history_id.is_some());
    (!has_cursor).then(|| mailbox_of(address).to_owned())
}

/// Logs the further webhooks of the mailboxes that have a state and no table. Nothing delivers their mail.
fn warn_of_forgotten(watched: &[Watched], planned: &[String]) {
    for first in watched {
        let Account {
            mailbox, address, ..
        } = &first.account;
        if mailbox != address {
            continue;
        }
        let states = StateFile::accounts(&first.account.state_folder);
        let further = states.iter().filter(|state| !planned.contains(state));
        for webhook in further.filter_map(|state| state.strip_prefix(&format!("{mailbox}/"))) {
            warn!(
                mailbox = first.name,
                webhook,
                "This webhook has no table any more, and gets no mail: `postbell status` says what to do"
            );
        }
    }
}

pub(super) async fn open_one(
    plan: Planned,
    opening: &Opening,
    console: &Console,
    env: &Env,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Watched> {
    let Planned {
        name,
        account,
        delivery,
        subscription,
    } = plan;
    let account = Account::new(&account, env, Arc::clone(clock))?;
    let identity = account.confirm(console).await?;
    let source = Source {
        subscription: subscription.clone(),
        push_auth: opening.push_auth.clone(),
        tracer: opening.tracer.clone(),
    };
    let watcher = delivery::watcher(&account, identity, source, &delivery, env).await?;
    Ok(Watched {
        name,
        account,
        watcher,
        delivery,
        subscription,
    })
}

/// The push servers of some, which refuse what is for those that could not be opened.
pub(super) fn servers<'a>(
    watched: impl IntoIterator<Item = &'a Watched>,
    opened: &Opened,
) -> PushServers {
    let servers = watched.into_iter().map(|one| one.watcher.server.clone());
    let unwatched = opened.unwatched.iter();
    let unwatched = unwatched.filter_map(|one| one.without_cursor.clone());
    PushServers::beside(servers.collect(), unwatched.collect())
}

/// The monitoring of all.
pub(super) fn monitors(opened: &Opened, now: Timestamp) -> Monitors {
    let watched = opened.watched.iter();
    let watched = watched.map(|one| (one.name.clone(), one.watcher.monitor.clone()));
    let monitors = Monitors::new(Vec::new());
    let unwatched = opened.unwatched.iter();
    let unwatched = unwatched.map(|one| (one.name.clone(), now));
    monitors.replace(watched.collect(), unwatched);
    monitors
}

/// The different subscriptions, in order.
pub(super) fn subscriptions(watched: &[Watched]) -> BTreeSet<&str> {
    watched.iter().map(|one| &*one.subscription).collect()
}

/// Starts the background tasks of all. The process ends once every webhook has answered 410.
pub(super) fn start(watched: &[Watched], env: &Env, tasks: &Tasks) -> anyhow::Result<()> {
    for one in watched {
        alerts::start(&one.watcher, &one.account, &one.delivery.alerts, env, tasks)?;
        start_in_background(&one.watcher, tasks);
    }
    let syncs: Vec<_> = watched
        .iter()
        .map(|one| Arc::clone(&one.watcher.sync))
        .collect();
    let names: Vec<_> = watched.iter().map(|one| one.name.clone()).collect();
    tasks.start("hook", |stop| async move {
        stop.run_until_cancelled(all_gone(syncs, names)).await;
    });
    Ok(())
}

async fn all_gone(syncs: Vec<Arc<SyncEngine>>, names: Vec<String>) {
    let mut gone = JoinSet::new();
    for (sync, name) in syncs.into_iter().zip(names) {
        gone.spawn(async move {
            sync.gone().await;
            error!(
                mailbox = name,
                "The webhook answered 410: it is gone. Set another --hook-url, or run `postbell watch stop`"
            );
        });
    }
    while gone.join_next().await.is_some() {}
}
