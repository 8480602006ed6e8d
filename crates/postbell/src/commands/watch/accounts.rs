//! The accounts of a machine whose controller fetches them from a platform: they change while the process runs.

use std::sync::Arc;

use async_trait::async_trait;
use postbell_core::{BoxError, Clock, Tasks};
use postbell_protocol::watched_accounts::{WATCHED_ACCOUNTS_VARIABLE, WatchedAccount};
use postbell_watcher::{AccountRoutes, Accounts, OpenAccount, Watcher};

use super::mailboxes::{self, Opening, Planned};
use crate::cli::{AccountArgs, DeliveryArgs};
use crate::config::{BadSetting, Env};
use crate::console::Console;

/// Opens the watchers of accounts, which all have the webhook of the flags.
pub(super) struct Opener {
    opening: Opening,
    delivery: DeliveryArgs,
    console: Console,
    env: Env,
    clock: Arc<dyn Clock>,
}

/// Returns the accounts of the controller, unless a flag names a mailbox.
pub(super) fn given(args: &AccountArgs, env: &Env) -> anyhow::Result<Option<Vec<WatchedAccount>>> {
    let given = env.variable(WATCHED_ACCOUNTS_VARIABLE);
    let given = given.filter(|given| !given.is_empty() && args.account.is_none());
    let accounts = given.map(serde_json::from_str).transpose();
    accounts.map_err(|_| {
        let expected = format!("expected a list of accounts in {WATCHED_ACCOUNTS_VARIABLE}");
        BadSetting::new(expected).into()
    })
}

impl Opener {
    pub(super) fn new(
        opening: Opening,
        delivery: &DeliveryArgs,
        console: Console,
        env: &Env,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            opening,
            delivery: delivery.clone(),
            console,
            env: env.clone(),
            clock,
        }
    }

    /// Opens the accounts, and starts what watches them in `tasks`.
    pub(super) async fn start(self, accounts: Vec<WatchedAccount>, tasks: &Tasks) -> AccountRoutes {
        let (push_auth, clock) = (self.opening.push_auth.clone(), Arc::clone(&self.clock));
        let opened = Accounts::open(self, accounts, push_auth, clock, fastrand::f64);
        let (accounts, routes) = opened.await;
        tasks.start("accounts", |stop| accounts.run(stop));
        routes
    }
}

#[async_trait]
impl OpenAccount for Opener {
    async fn open(&self, account: &WatchedAccount, tasks: &Tasks) -> Result<Watcher, BoxError> {
        let planned = Planned {
            name: account.name.clone(),
            account: AccountArgs {
                account: Some(account.email.clone()),
                credentials: None,
                client: None,
            },
            delivery: self.delivery.clone(),
            subscription: String::new(),
        };
        let (opening, clock) = (&self.opening, &self.clock);
        let opened = mailboxes::open_one(planned, opening, &self.console, &self.env, clock).await?;
        mailboxes::start(std::slice::from_ref(&opened), &self.env, tasks)?;
        Ok(opened.watcher)
    }
}
