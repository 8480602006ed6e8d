//! Builds the facts about a user from the platform's records or from a remote directory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Credentials, Directory, DirectoryError, Instance, InstanceStatus, Listing, MachineLocation,
    StoreError, UserId, UserRecord, Users,
};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::gateway_token::GatewayTokens;
use tokio::time::timeout;
use url::Url;

use crate::credentials::{StorageKey, decrypt};
use crate::facts::{Account, Destination, Facts, MachineFacts, SetupState};
use crate::report::CheckResult;

/// Finds machines. The caller implements it with the parts that reach them.
#[async_trait]
pub trait MachineLookup: Send + Sync {
    /// Returns the URL of a machine's controller.
    ///
    /// # Errors
    ///
    /// Why the URL is not known.
    fn controller(&self, location: &MachineLocation) -> Result<Url, CheckResult>;

    /// Asks the machine's host for its status. Returns `None` if the host cannot be asked.
    async fn host_status(
        &self,
        location: &MachineLocation,
    ) -> Option<Result<InstanceStatus, CheckResult>>;
}

/// The store and the keys of a platform on this machine.
pub struct LocalPlatform<'a> {
    /// The users.
    pub users: Arc<dyn Users>,
    /// Their encrypted credentials.
    pub credentials: Arc<dyn Credentials>,
    /// Key that decrypts the credentials.
    pub key: Result<Option<PlatformKey>, CheckResult>,
    /// What encrypts them in the store.
    pub storage_key: StorageKey,
    /// Key of the gateway tokens.
    pub tokens: Option<GatewayTokens>,
    /// The machines.
    pub machines: &'a dyn MachineLookup,
}

/// Selects the user to check: named, else set up on this machine, else the only one in the store.
///
/// # Errors
///
/// Why the store cannot be read.
pub async fn select_user(
    named: Option<&UserId>,
    setup: &SetupState,
    users: Option<&dyn Users>,
) -> Result<Option<UserId>, CheckResult> {
    Ok(match (named, &setup.destination, users) {
        (Some(named), _, _) => Some(named.clone()),
        (None, Some(Destination::Platform { user, .. }), _) => Some(user.clone()),
        (None, None, Some(users)) => {
            let all = Listing::ByUser {
                prefix: String::new(),
                after: None,
            };
            let found = users.list(&all, 2).await;
            let found = found.map_err(|error| unreadable(&error))?;
            let only = <[_; 1]>::try_from(found).ok();
            only.map(|[only]| only.user)
        }
        _ => None,
    })
}

fn unreadable(error: &StoreError) -> CheckResult {
    let hint = "Check the disk or the database server, then: `postbell users list`.";
    CheckResult::failed(error.to_string(), hint)
}

impl Facts {
    /// Adds what a platform on this machine has stored about a user.
    pub async fn add_local_platform(&mut self, platform: LocalPlatform<'_>, user: &UserId) {
        let record = match record_of(&*platform.users, user).await {
            Ok(Some(record)) => record,
            Ok(None) => {
                self.account = Some(Err(unknown_user(user)));
                self.keys = Some(CheckResult::unknown("there are no credentials"));
                return;
            }
            Err(error) => {
                self.account = Some(Err(unreadable(&error)));
                return;
            }
        };
        match platform.key {
            Ok(key) => {
                let storage_key = platform.storage_key;
                let decrypted = decrypt(&*platform.credentials, key, storage_key, &record).await;
                self.keys = Some(decrypted.keys);
                self.mailbox = decrypted.mailbox;
            }
            Err(result) => self.keys = Some(result),
        }
        let (machines, tokens) = (platform.machines, platform.tokens);
        self.account = Some(Ok(Account::from_record(&record, tokens, machines).await));
    }
}

/// The record of a user, or of a further account with the machine of its owner.
async fn record_of(users: &dyn Users, user: &UserId) -> Result<Option<UserRecord>, StoreError> {
    let Some(record) = users.get(user).await? else {
        return Ok(None);
    };
    let Some(owner) = &record.owner else {
        return Ok(Some(record));
    };
    let owner = users.get(owner).await?;
    Ok(owner.map(|owner| record.with_machine_of(&owner)))
}

impl Account {
    async fn from_record(
        record: &UserRecord,
        tokens: Option<GatewayTokens>,
        machines: &dyn MachineLookup,
    ) -> Self {
        let google = record.google.as_ref();
        let email = google.and_then(|google| google.email.as_ref());
        let push_account = google.and_then(|google| google.push_account.as_ref());
        let tokens = tokens.as_ref();
        let push_tokens = tokens.filter(|_| record.owner.is_some());
        Self {
            owner: record.owner.clone(),
            google_connected: google.is_some(),
            notifications_enabled: record.notifications_enabled,
            email: email.map(|address| address.as_str().to_owned()),
            push_account: push_account.map(|address| address.as_str().to_owned()),
            watch_ends_at: record.watch_expires_at,
            problem: record.problem,
            machine: Ok(MachineFacts {
                location: record.location.clone(),
                status: record.status,
                host_status: machines.host_status(&record.location).await,
                starts_on_mail: record.wake_on_mail,
                controller: machines.controller(&record.location),
                token: tokens.map(|tokens| tokens.token(&record.sandbox_id)),
                push_token: push_tokens
                    .map(|tokens| tokens.of_further_accounts(&record.sandbox_id)),
            }),
        }
    }

    /// Queries a remote platform, as a relay does.
    ///
    /// # Errors
    ///
    /// Why the account is not known.
    pub async fn from_directory(
        directory: &dyn Directory,
        user: &UserId,
        time_limit: Duration,
        machines: &dyn MachineLookup,
    ) -> Result<Self, CheckResult> {
        let failed = |problem: &str| {
            CheckResult::failed(
                format!("directory.url: {problem}"),
                "Check that `postbell platform` runs there, and check directory.url and \
                 directory.api_key.",
            )
        };
        let queries = async {
            tokio::try_join!(
                directory.instance(user),
                directory.push_account(user),
                directory.gateway_token(user),
            )
        };
        let answered = async {
            let (instance, push_account, token) = queries.await?;
            let Some(instance) = instance else {
                return Ok(None);
            };
            let owner = owner_of(directory, user, &instance).await;
            let tokens = match &owner {
                Some(owner) => (directory.gateway_token(owner).await?, token),
                None => (token, None),
            };
            Ok::<_, DirectoryError>(Some((instance, owner, push_account, tokens)))
        };
        let (instance, owner, push_account, (token, push_token)) =
            match timeout(time_limit, answered).await {
                Ok(Ok(Some(answers))) => answers,
                Ok(Ok(None)) => return Err(unknown_user(user)),
                Ok(Err(error)) => return Err(failed(&error.to_string())),
                Err(_) => return Err(failed("no answer within the time limit")),
            };
        Ok(Self {
            owner,
            google_connected: instance.google_connected,
            notifications_enabled: instance.notifications_enabled,
            email: instance.email.map(|email| email.as_str().to_owned()),
            push_account,
            watch_ends_at: None,
            problem: instance.problem,
            machine: Ok(MachineFacts {
                controller: machines.controller(&instance.location),
                location: instance.location,
                status: instance.status,
                host_status: None,
                starts_on_mail: false,
                token,
                push_token,
            }),
        })
    }
}

/// The user whose further account `user` is; `None` if it is a user.
async fn owner_of(directory: &dyn Directory, user: &UserId, instance: &Instance) -> Option<UserId> {
    let all = on_machine(directory, instance).await;
    let is_further = all.iter().skip(1).any(|account| account == user);
    all.into_iter().next().filter(|_| is_further)
}

/// The user of a machine and their further accounts. A platform that cannot say has none of these.
async fn on_machine(directory: &dyn Directory, instance: &Instance) -> Vec<UserId> {
    if instance.sandbox_id.is_empty() {
        return Vec::new();
    }
    let all = directory.users_by_sandbox(&instance.sandbox_id).await;
    all.unwrap_or_default()
}

/// Returns the further accounts of a user; none of one of these.
pub async fn further_accounts(
    directory: &dyn Directory,
    user: &UserId,
    time_limit: Duration,
) -> Vec<UserId> {
    let asked = async {
        let instance = directory.instance(user).await.ok().flatten();
        match instance {
            Some(instance) => on_machine(directory, &instance).await,
            None => Vec::new(),
        }
    };
    let all = timeout(time_limit, asked).await.unwrap_or_default();
    match all.split_first() {
        Some((owner, further)) if owner == user => further.to_vec(),
        _ => Vec::new(),
    }
}

fn unknown_user(user: &UserId) -> CheckResult {
    CheckResult::failed(
        format!("there is no user {user}"),
        format!("List the users: `postbell users list`; or add one: `postbell users add {user}`."),
    )
}
