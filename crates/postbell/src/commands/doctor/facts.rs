//! Gathers the facts for the checks. The services may be running or stopped.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    DeliveryRecord, InstanceStatus, MachineLocation, StoreError, SystemClock, UserId,
};
use postbell_doctor::{
    Account, CheckResult, DatabaseFacts, DatabaseProblem, Facts, LocalPlatform, MachineLookup,
    OperatorProject, SetupState, StorageKey, further_accounts, select_user,
};
use postbell_platform::{FlyMachines, Machines as _, MachinesError};
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_store::{OpenError, Store, StoreOptions};
use postbell_watcher::{TestOutcome, test_webhook};
use reqwest::Client;
use tokio::time::timeout;
use url::Url;

use super::super::secrets;
use super::super::setup::{USER_TOKEN_VARIABLE, random, secret};
use super::standalone;
use crate::cli::DoctorArgs;
use crate::commands::open_log;
use crate::config::{Config, ConfigError, Env};
use crate::wiring;

/// The age from which on the snapshot of a transaction is reported. The queue becomes slower with each minute.
const OLDEST_SNAPSHOT: Duration = Duration::from_secs(5 * 60);

/// Gathers the facts about a path and, if it is that of a user, about those of the user's further accounts. Each has the
/// address of its account if there are several.
pub(super) async fn gather(
    args: &DoctorArgs,
    config: &Config,
    env: &Env,
    (address, setup): (Option<String>, SetupState),
    client: &Client,
) -> anyhow::Result<Vec<(Option<String>, Facts)>> {
    let facts = gather_one(args, config, env, args.user.as_ref(), setup.clone(), client).await?;
    let further = match &facts.user {
        Some(user) if !facts.is_database_down() => further(config, client, user, args.wait).await,
        _ => Vec::new(),
    };
    let address = address.or_else(|| shown(&facts).filter(|_| !further.is_empty()));
    let mut paths = vec![(address, facts)];
    for account in further {
        let account = Some(&account);
        let facts = gather_one(args, config, env, account, setup.clone(), client).await?;
        paths.push((shown(&facts), facts));
    }
    Ok(paths)
}

/// The address of the account, or the id of its record.
fn shown(facts: &Facts) -> Option<String> {
    let account = facts.account.as_ref().and_then(|it| it.as_ref().ok());
    let email = account.and_then(|account| account.email.clone());
    email.or_else(|| facts.user.as_ref().map(UserId::to_string))
}

/// The further accounts of a user. Why they cannot be read is reported for the first one.
async fn further(config: &Config, client: &Client, user: &UserId, wait: Duration) -> Vec<UserId> {
    if config.platform.is_configured() {
        let Ok(store) = open(config) else {
            return Vec::new();
        };
        let accounts = store.users().accounts_of(std::slice::from_ref(user)).await;
        let accounts = accounts.unwrap_or_default().into_iter();
        return accounts.map(|account| account.user).collect();
    }
    if config.directory.is_none() {
        return Vec::new();
    }
    match wiring::directory(config, client.clone()) {
        Ok(directory) => further_accounts(&*directory, user, wait).await,
        Err(_) => Vec::new(),
    }
}

/// Reads the stores, and queries the platform, as far as the configuration allows.
async fn gather_one(
    args: &DoctorArgs,
    config: &Config,
    env: &Env,
    named: Option<&UserId>,
    setup: SetupState,
    client: &Client,
) -> anyhow::Result<Facts> {
    let store = config.platform.is_configured().then(|| open(config));
    let users = store
        .as_ref()
        .and_then(|store| Some(store.as_ref().ok()?.users()));
    let selected = select_user(named, &setup, users.as_deref()).await;
    let user = selected.as_ref().ok().cloned().flatten();
    let mut facts = Facts {
        databases: databases(config, args.wait).await,
        configuration: configuration(config, env, &setup),
        keys: None,
        audience: config.relay.audience.clone(),
        operator: operator(config),
        acknowledges_rejected: config.relay.ack_rejected,
        account: None,
        deliveries: Err(CheckResult::unknown("the relay's store is remote")),
        hook_url: secrets::hook_url(args.hook_url.as_ref(), env)?,
        watcher_test: watcher_test(args, &setup, None, env).await?,
        hook_token: secrets::hook_token(None, env)?,
        hook_signing: secrets::hook_signing(None, env)?,
        user_token: secret(env, USER_TOKEN_VARIABLE),
        mailbox: Err(CheckResult::unknown("the mailbox's credentials are remote")),
        user: user.clone(),
        setup,
    };
    standalone::add_credentials(&mut facts, args, config, env);
    let Some(user) = user else {
        add_unnamed(&mut facts, store.map(|store| store.and(selected)));
        return Ok(facts);
    };
    if facts.is_database_down() {
        return Ok(facts.without_database());
    }
    if config.relay.audience.is_some() {
        facts.deliveries = deliveries(config, &user).await;
    }
    let machines = Machines {
        config,
        client,
        args,
    };
    match store {
        Some(Ok(store)) => {
            let platform = local_platform(config, &store, &machines);
            facts.add_local_platform(platform, &user).await;
        }
        Some(Err(result)) => {
            facts.keys = Some(CheckResult::unknown(
                "the platform's store cannot be opened",
            ));
            facts.account = Some(Err(result));
        }
        None if config.directory.is_some() => {
            facts.account = Some(remote_account(&user, &machines).await);
        }
        None => (),
    }
    Ok(facts)
}

/// What is configured for users who connect in the browser.
fn operator(config: &Config) -> Option<OperatorProject> {
    let client = config.google.client.client().ok()??;
    Some(OperatorProject {
        topic: client.topic,
        push_account: client.push_account.as_str().to_owned(),
    })
}

/// Reads the account of a user from the directory.
async fn remote_account(user: &UserId, machines: &Machines<'_>) -> Result<Account, CheckResult> {
    match wiring::directory(machines.config, machines.client.clone()) {
        Ok(directory) => {
            Account::from_directory(&*directory, user, machines.args.wait, machines).await
        }
        Err(error) => Err(invalid(&error)),
    }
}

/// Adds what is known about a platform whose user is not named: whether its store can be used.
fn add_unnamed(facts: &mut Facts, store: Option<Result<Option<UserId>, CheckResult>>) {
    let (None, Some(store)) = (&facts.setup.destination, store) else {
        return;
    };
    let detail = "no user is named, whose credentials would be read";
    facts.keys = Some(CheckResult::unknown(detail));
    facts.account = store.err().map(Err);
}

/// Has the running watcher test its webhook, unless the caller names one. The state is that of the mailbox, unless it is
/// named.
pub(super) async fn watcher_test(
    args: &DoctorArgs,
    setup: &SetupState,
    state: Option<&String>,
    env: &Env,
) -> anyhow::Result<Option<Result<(), String>>> {
    let (Ok(Some(watch)), Some(mailbox)) = (&setup.watch, &setup.mailbox) else {
        return Ok(None);
    };
    if !(watch.is_running && watch.takes_requests) || args.hook_url.is_some() {
        return Ok(None);
    }
    let address = state.map_or(mailbox.as_str(), String::as_str);
    let folder = GogDirs::from_variables(|name| env.variable(name))?.watch_state(address);
    let mut id = [0; 8];
    random(&mut id);
    let id = hex::encode(id);
    let tested = test_webhook(&folder, address, &id, args.wait).await?;
    Ok(match tested {
        TestOutcome::Accepted => Some(Ok(())),
        TestOutcome::Refused(problem) => Some(Err(problem)),
        TestOutcome::NoWatcher => None,
        TestOutcome::NoAnswer => Some(Err("the watcher does not answer".to_owned())),
    })
}

fn local_platform<'a>(
    config: &Config,
    store: &Store,
    machines: &'a Machines<'a>,
) -> LocalPlatform<'a> {
    let secret = config.platform.gateway_secret();
    let key = config.platform.platform_key();
    LocalPlatform {
        users: store.users(),
        credentials: store.credentials(),
        key: key.map_err(|error| invalid(&error)),
        storage_key: if config.platform.storage_keys.is_empty() {
            StorageKey::GatewaySecret
        } else {
            StorageKey::StorageKeys
        },
        tokens: secret.ok().map(GatewayTokens::new),
        machines,
    }
}

/// Whether the configuration is that of a relay or a platform.
pub(super) fn is_service(config: &Config) -> bool {
    config.platform.is_configured() || config.relay.audience.is_some() || config.directory.is_some()
}

/// Checks the configuration. A standalone watcher needs none.
pub(super) fn configuration(config: &Config, env: &Env, setup: &SetupState) -> CheckResult {
    let file = env.file_name();
    if !is_service(config) && config.watch.is_empty() {
        return match &setup.destination {
            Some(_) => CheckResult::ok(format!("valid ({file}), without relay or platform")),
            None => CheckResult::failed(
                format!("nothing is configured or set up here ({file})"),
                "Run `postbell setup`, or name the configuration with --config.",
            ),
        };
    }
    match config.check() {
        Ok(command) => CheckResult::ok(format!("valid ({file}), for {command}")),
        Err(error) => invalid(&error),
    }
}

fn invalid(error: &ConfigError) -> CheckResult {
    CheckResult::failed(
        error.to_string(),
        "Correct it, and check: `postbell config check`.",
    )
}

fn open(config: &Config) -> Result<Store, CheckResult> {
    let keys = config
        .platform
        .key_ring()
        .map_err(|error| invalid(&error))?;
    let url = &config.platform.store;
    let store = Store::open(url.expose(), StoreOptions::read_only().keys(keys));
    store.map_err(|error| {
        let hint = "Start `postbell serve` (or `postbell platform`) with this configuration.";
        CheckResult::failed(format!("platform.store {url}: {error}"), hint)
    })
}

/// Inspects the databases of the configured parts.
async fn databases(config: &Config, wait: Duration) -> Vec<DatabaseFacts> {
    let (inbox, users) = (&config.relay.inbox, &config.platform.store);
    let has_inbox = config.relay.audience.is_some();
    let has_users = config.platform.is_configured();
    let stores = match (has_inbox, has_users) {
        (true, true) if inbox == users => vec![("relay.inbox and platform.store", inbox)],
        _ => [
            ("relay.inbox", inbox, has_inbox),
            ("platform.store", users, has_users),
        ]
        .into_iter()
        .filter_map(|(keys, url, is_used)| is_used.then_some((keys, url)))
        .collect(),
    };
    let mut databases = Vec::new();
    for (keys, url) in stores {
        let state = match Store::open(url.expose(), StoreOptions::read_write()) {
            Ok(store) => match timeout(wait, store.inspect(OLDEST_SNAPSHOT)).await {
                Ok(Ok(state)) => state.map(Ok),
                Ok(Err(error)) => Some(Err(database_problem(error))),
                Err(_) => Some(Err(DatabaseProblem::Server(
                    "it does not answer in time".to_owned(),
                ))),
            },
            // Checks of the parts report a file.
            Err(OpenError::Certificates(error)) => {
                Some(Err(DatabaseProblem::Server(error.to_string())))
            }
            Err(_) => None,
        };
        databases.extend(state.map(|state| DatabaseFacts {
            keys,
            shown: url.to_string(),
            state,
        }));
    }
    databases
}

fn database_problem(error: StoreError) -> DatabaseProblem {
    let is_disk_full = error.is_disk_full();
    let text = format!("{:#}", anyhow::Error::from(error));
    if is_disk_full {
        DatabaseProblem::DiskFull(text)
    } else {
        DatabaseProblem::Server(text)
    }
}

async fn deliveries(config: &Config, user: &UserId) -> Result<Vec<DeliveryRecord>, CheckResult> {
    let unreadable = |problem: String| {
        let next = "Start `postbell serve` (or `postbell relay`) with this configuration.";
        CheckResult::unknown_with_hint(problem, next)
    };
    let log = open_log(config, StoreOptions::read_only())
        .map_err(|error| unreadable(format!("{error:#}")))?;
    let deliveries = log.deliveries(user).await;
    deliveries.map_err(|error| unreadable(error.to_string()))
}

/// Finds machines by the configuration of relay and platform.
struct Machines<'a> {
    config: &'a Config,
    client: &'a Client,
    args: &'a DoctorArgs,
}

#[async_trait]
impl MachineLookup for Machines<'_> {
    fn controller(&self, location: &MachineLocation) -> Result<Url, CheckResult> {
        let failed = |problem: String| {
            let hint = "Set its URL: `postbell users change USER --url URL`.";
            CheckResult::failed(problem, hint)
        };
        let machines = wiring::machine(&self.config.relay, Arc::new(SystemClock::new()));
        let machines = machines.map_err(|error| failed(format!("{error:#}")))?;
        machines
            .controller(location)
            .map_err(|problem| failed(problem.to_owned()))
    }

    async fn host_status(
        &self,
        location: &MachineLocation,
    ) -> Option<Result<InstanceStatus, CheckResult>> {
        let MachineLocation::Managed(machine) = location else {
            return None;
        };
        let platform = &self.config.platform;
        let (url, token) = (platform.fly.url.clone(), platform.fly.token.clone()?);
        let env_key = platform.env_key().ok().flatten();
        let machines = FlyMachines::new(
            self.client.clone(),
            url,
            token,
            env_key,
            Arc::new(SystemClock::new()),
        );
        let unknown = |problem: &str| Err(CheckResult::unknown(problem));
        Some(
            match timeout(self.args.wait, machines.status(machine)).await {
                Ok(Ok(Some(status))) => Ok(status),
                Ok(Ok(None)) => unknown("Fly reports an unknown status"),
                Ok(Err(MachinesError::Missing)) => Err(CheckResult::failed(
                    format!("Fly has no machine {} in {}", machine.machine, machine.app),
                    "List the machines: `fly machine list`; then correct it: `postbell users change`.",
                )),
                Ok(Err(error)) => unknown(&error.to_string()),
                Err(_) => unknown("Fly does not answer within the time limit"),
            },
        )
    }
}
