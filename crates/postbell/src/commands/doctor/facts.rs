//! Gathers the facts for the checks. The services may be running or stopped.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Credentials, DeliveryRecord, Listing, MachineLocation, UserId, UserRecord, Users,
};
use postbell_doctor::{Account, CheckResult, Destination, Facts, MachineFacts, SetupState};
use postbell_platform::{FlyMachines, Machines, MachinesError};
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_store::{Store, StoreOptions};
use reqwest::Client;
use tokio::time::timeout;
use url::Url;

use super::super::setup::{HOOK_TOKEN_VARIABLE, USER_TOKEN_VARIABLE, secret};
use super::credentials;
use crate::cli::DoctorArgs;
use crate::commands::open_log;
use crate::config::{Config, ConfigError, Env, shown_store};
use crate::wiring;

/// Reads the stores, and queries the platform, as far as the configuration allows.
pub(super) async fn gather(
    args: &DoctorArgs,
    config: &Config,
    env: &Env,
    setup: SetupState,
    client: &Client,
) -> Facts {
    let destination = setup.destination.as_ref();
    let store = config.platform.is_configured().then(|| open(config));
    let user = user(args, destination, store.as_ref()).await;
    let mut facts = Facts {
        configuration: configuration(config, env, destination),
        keys: None,
        audience: config.relay.audience.clone(),
        acknowledges_rejected: config.relay.ack_rejected,
        account: None,
        deliveries: Err(CheckResult::unknown("the relay's store is remote")),
        hook_url: args.hook_url.clone(),
        hook_token: secret(env, HOOK_TOKEN_VARIABLE),
        user_token: secret(env, USER_TOKEN_VARIABLE),
        mailbox: Err(CheckResult::unknown(
            "the credentials of the mailbox are remote",
        )),
        user: user.clone(),
        setup,
    };
    let Some(user) = user else {
        return facts;
    };
    if config.relay.audience.is_some() {
        facts.deliveries = deliveries(config, &user).await;
    }
    let client = client.clone();
    match store {
        Some(Ok(store)) => {
            let operator = Operator {
                config,
                client,
                store,
                time_limit: args.wait,
            };
            operator.gather(&user, &mut facts).await;
        }
        Some(Err(result)) => {
            facts.keys = Some(CheckResult::unknown(
                "the platform's store cannot be opened",
            ));
            facts.account = Some(Err(result));
        }
        None if config.directory.is_some() => {
            facts.account = Some(ask_directory(config, client, &user, args.wait).await);
        }
        None => (),
    }
    facts
}

/// Checks the configuration. A standalone watcher needs none.
fn configuration(config: &Config, env: &Env, destination: Option<&Destination>) -> CheckResult {
    let is_service = config.platform.is_configured()
        || config.relay.audience.is_some()
        || config.directory.is_some();
    let file = env.file_name();
    if !is_service {
        return match destination {
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

fn open(config: &Config) -> Result<UserPorts, CheckResult> {
    let keys = config
        .platform
        .key_ring()
        .map_err(|error| invalid(&error))?;
    let url = &config.platform.store;
    let store = Store::open(url, StoreOptions::read_only().keys(keys));
    let store = store.map_err(|error| {
        let next = "Start `postbell serve` (or `postbell platform`) with this configuration.";
        CheckResult::failed(
            format!("platform.store {}: {error}", shown_store(url)),
            next,
        )
    })?;
    Ok(UserPorts {
        users: store.users(),
        credentials: store.credentials(),
    })
}

/// Selects the user: named, else set up on this machine, else the only one in the store.
async fn user(
    args: &DoctorArgs,
    destination: Option<&Destination>,
    store: Option<&Result<UserPorts, CheckResult>>,
) -> Option<UserId> {
    if args.user.is_some() {
        return args.user.clone();
    }
    match (destination, store) {
        (Some(Destination::Platform { user, .. }), _) => Some(user.clone()),
        (None, Some(Ok(store))) => {
            let all = Listing::ByUser {
                prefix: String::new(),
                after: None,
            };
            let [only] = <[_; 1]>::try_from(store.users.list(&all, 2).await.ok()?).ok()?;
            Some(only.user)
        }
        _ => None,
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

/// The ports of the platform's store that the checks read.
struct UserPorts {
    users: Arc<dyn Users>,
    credentials: Arc<dyn Credentials>,
}

/// The platform's own store, keys and machines.
struct Operator<'a> {
    config: &'a Config,
    client: Client,
    store: UserPorts,
    time_limit: Duration,
}

impl Operator<'_> {
    async fn gather(&self, user: &UserId, facts: &mut Facts) {
        let record = match self.store.users.get(user).await {
            Ok(Some(record)) => record,
            Ok(None) => {
                facts.account = Some(Err(missing(user)));
                facts.keys = Some(CheckResult::unknown("there are no credentials"));
                return;
            }
            Err(error) => {
                let next = "Check the disk, then: `postbell users list`.";
                facts.account = Some(Err(CheckResult::failed(error.to_string(), next)));
                return;
            }
        };
        let google = record.google.as_ref();
        let email = google.and_then(|google| google.email.clone());
        match self.config.platform.platform_key() {
            Ok(key) => {
                let decrypted =
                    credentials::decrypt(&*self.store.credentials, key, user, email).await;
                facts.keys = Some(decrypted.keys);
                facts.mailbox = decrypted.mailbox;
            }
            Err(error) => facts.keys = Some(invalid(&error)),
        }
        facts.account = Some(Ok(self.account(&record).await));
    }

    async fn account(&self, record: &UserRecord) -> Account {
        let google = record.google.as_ref();
        let text = |address: &postbell_core::EmailAddress| address.as_str().to_owned();
        let secret = self.config.platform.gateway_secret();
        let tokens = secret.ok().map(GatewayTokens::new);
        Account {
            google_connected: google.is_some(),
            notifications_enabled: record.notifications_enabled,
            email: google.and_then(|google| google.email.as_ref().map(text)),
            push_account: google.and_then(|google| google.push_account.as_ref().map(text)),
            watch_ends_at: record.watch_expires_at,
            machine: Ok(MachineFacts {
                location: record.location.clone(),
                status: record.status,
                host_status: self.host_status(&record.location).await,
                starts_on_mail: record.wake_on_mail,
                controller: controller(self.config, self.client.clone(), &record.location),
                token: tokens.map(|tokens| tokens.token(&record.sandbox_id)),
            }),
        }
    }

    /// Asks the machine's host for its status.
    async fn host_status(
        &self,
        location: &MachineLocation,
    ) -> Option<Result<postbell_core::InstanceStatus, CheckResult>> {
        let MachineLocation::Managed(machine) = location else {
            return None;
        };
        let fly = &self.config.platform.fly;
        let token = fly.token.clone()?;
        let env_key = self.config.platform.env_key().ok().flatten();
        let machines = FlyMachines::new(self.client.clone(), fly.url.clone(), token, env_key);
        let unknown = |problem: &str| Err(CheckResult::unknown(problem));
        Some(
            match timeout(self.time_limit, machines.status(machine)).await {
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

fn missing(user: &UserId) -> CheckResult {
    CheckResult::failed(
        format!("there is no user {user}"),
        format!("List the users: `postbell users list`; or add one: `postbell users add {user}`."),
    )
}

fn controller(
    config: &Config,
    client: Client,
    location: &MachineLocation,
) -> Result<Url, CheckResult> {
    let next = "Set its URL: `postbell users change USER --url URL`.";
    let machines = wiring::machine(&config.relay, client);
    let machines = machines.map_err(|error| CheckResult::failed(format!("{error:#}"), next))?;
    machines
        .controller(location)
        .map_err(|problem| CheckResult::failed(problem, next))
}

/// Queries a remote platform, as a relay does.
async fn ask_directory(
    config: &Config,
    client: Client,
    user: &UserId,
    time_limit: Duration,
) -> Result<Account, CheckResult> {
    let next =
        "Check that `postbell platform` runs there, and check directory.url and directory.api_key.";
    let failed = |problem: String| CheckResult::failed(format!("directory.url: {problem}"), next);
    let directory = wiring::directory(config, client.clone()).map_err(|error| invalid(&error))?;
    let asked = async {
        tokio::try_join!(
            directory.instance(user),
            directory.push_account(user),
            directory.gateway_token(user),
        )
    };
    let (instance, push_account, token) = match timeout(time_limit, asked).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("no answer within the time limit".to_owned())),
    };
    let instance = instance.ok_or_else(|| missing(user))?;
    Ok(Account {
        google_connected: instance.google_connected,
        notifications_enabled: instance.notifications_enabled,
        email: None,
        push_account,
        watch_ends_at: None,
        machine: Ok(MachineFacts {
            controller: controller(config, client, &instance.location),
            location: instance.location,
            status: instance.status,
            host_status: None,
            starts_on_mail: false,
            token,
        }),
    })
}
