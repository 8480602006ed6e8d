//! SQLite, PostgreSQL and memory behave the same for random sequences of calls.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    GoogleConnection, HistoryId, InstanceStatus, Listing, MachineLocation, ManagedMachine,
    NewAccount, NewUser, StoredCredentials, Timestamp, UserId, UserRecord,
};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::{MemoryUsers, PostgresDatabase, UserStore};
use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::engines::{Engine, keys, user_store};

const USERS: [&str; 3] = ["ann", "anna", "bob"];

/// And two further accounts.
const RECORDS: [&str; 5] = ["ann", "anna", "bob", "ann.1", "bob.1"];
const EMAILS: [&str; 3] = ["ann@example.com", "anna@example.com", "b@example.com"];

#[derive(Clone, Debug)]
enum Step {
    Add {
        user: usize,
        sandbox: usize,
    },
    /// Adds a further account, also where that is refused.
    AddAccount {
        owner: usize,
        record: usize,
        email: usize,
    },
    /// Writes one of the records that were read, counted from the latest, with or without an account.
    Relocation(Replacement),
    Clear {
        machine: usize,
    },
    Read {
        user: usize,
    },
    Raise {
        user: usize,
        history_id: u64,
    },
    Remove {
        user: usize,
    },
}

#[derive(Clone, Debug)]
struct Replacement {
    back: usize,
    email: Option<usize>,
    sandbox: usize,
    machine: usize,
    with_credentials: bool,
    is_synced: bool,
    several_accounts: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (user, record) = (0..USERS.len(), 0..RECORDS.len());
    let sandbox = 0..3_usize;
    let machine = 0..4_usize;
    // Around 2^63, the end of signed numbers.
    let history_id = (u64::MAX / 2 - 2)..(u64::MAX / 2 + 4);
    let email = prop::option::of(0..EMAILS.len());
    let step = prop_oneof![
        3 => (user, sandbox.clone()).prop_map(|(user, sandbox)| Step::Add { user, sandbox }),
        3 => (record.clone(), record.clone(), 0..EMAILS.len())
            .prop_map(|(owner, record, email)| Step::AddAccount { owner, record, email }),
        5 => (0..3_usize, email, sandbox, machine.clone(), any::<[bool; 3]>()).prop_map(
            |(back, email, sandbox, machine, [with_credentials, is_synced, several_accounts])| {
                Step::Relocation(Replacement { back, email, sandbox, machine, with_credentials, is_synced, several_accounts })
            }
        ),
        1 => machine.prop_map(|machine| Step::Clear { machine }),
        4 => record.clone().prop_map(|user| Step::Read { user }),
        3 => (record.clone(), history_id)
            .prop_map(|(user, history_id)| Step::Raise { user, history_id }),
        1 => record.prop_map(|user| Step::Remove { user }),
    ];
    prop::collection::vec(step, 1..40)
}

fn user(number: usize) -> UserId {
    RECORDS[number].parse().unwrap()
}

/// One of three machines, or none.
fn location(number: usize) -> MachineLocation {
    match number {
        0 => MachineLocation::Unknown,
        number => MachineLocation::Managed(machine(number)),
    }
}

fn machine(number: usize) -> ManagedMachine {
    ManagedMachine {
        app: "bot".to_owned(),
        machine: number.to_string(),
    }
}

/// A store and the records read from it.
struct Run<'a> {
    store: &'a UserStore,
    read: Vec<UserRecord>,
}

impl Run<'_> {
    /// Runs a step, and returns its result as text.
    async fn step(&mut self, step: &Step, now: Timestamp) -> String {
        let store = self.store;
        match step.clone() {
            Step::Add {
                user: number,
                sandbox,
            } => {
                let new = NewUser {
                    user: user(number),
                    sandbox_id: format!("sandbox-{sandbox}").parse().unwrap(),
                    status: InstanceStatus::Running,
                    location: location(sandbox),
                    wake_on_mail: false,
                };
                format!("{:?}", store.users.add(new, now).await)
            }
            Step::AddAccount {
                owner,
                record,
                email,
            } => {
                self.add_account(user(owner), user(record), EMAILS[email], now)
                    .await
            }
            Step::Relocation(replacement) => self.replace(replacement, now).await,
            Step::Clear { machine: number } => {
                let cleared = store
                    .orphaned_machines
                    .remove_orphaned_machine(&machine(number))
                    .await;
                format!("{cleared:?}")
            }
            Step::Read { user: number } => {
                let record = store.users.get(&user(number)).await.unwrap();
                self.read.extend(record.clone());
                format!("{record:?}")
            }
            Step::Raise {
                user: number,
                history_id,
            } => {
                let history_id = HistoryId::new(history_id);
                let raised = store
                    .users
                    .raise_history_id(&user(number), history_id)
                    .await;
                format!("{raised:?}")
            }
            Step::Remove { user: number } => self.remove(user(number)).await,
        }
    }

    /// Removes a record as it was read last, or as it is.
    async fn remove(&self, user: UserId) -> String {
        let users = &self.store.users;
        let mut read = self.read.iter().rev();
        let record = match read.find(|record| record.user == user) {
            Some(read) => Some(read.clone()),
            None => users.get(&user).await.unwrap(),
        };
        match record {
            Some(record) => format!("{:?}", users.remove(&record).await),
            None => String::new(),
        }
    }

    async fn add_account(
        &self,
        owner: UserId,
        record: UserId,
        email: &str,
        now: Timestamp,
    ) -> String {
        let stored = self.store.users.get(&owner).await.unwrap();
        let new = NewAccount {
            record,
            owner,
            owner_added: stored.map_or(now, |stored| stored.created_at),
            connection: GoogleConnection {
                email: Some(email.parse().unwrap()),
                push_account: None,
                connected_at: now,
            },
            watch_expires_at: None,
        };
        let credentials = StoredCredentials::from(now.to_string());
        let added = self.store.users.add_account(new, &credentials, now);
        format!("{:?}", added.await)
    }

    async fn replace(&self, replacement: Replacement, now: Timestamp) -> String {
        let Replacement {
            back,
            email,
            sandbox,
            machine,
            with_credentials,
            is_synced,
            several_accounts,
        } = replacement;
        let Some(record) = self.read.iter().rev().nth(back) else {
            return String::new();
        };
        let mut record = record.clone();
        record.sandbox_id = format!("sandbox-{sandbox}").parse().unwrap();
        record.location = location(machine);
        record.several_accounts = several_accounts;
        record.mark_pending_sync();
        record.pending_sync.take_if(|_| is_synced);
        match email {
            None => record.disconnect(),
            Some(number) => record.connect(GoogleConnection {
                email: Some(EMAILS[number].parse().unwrap()),
                push_account: None,
                connected_at: now,
            }),
        }
        let credentials = with_credentials.then(|| StoredCredentials::from(now.to_string()));
        let replaced = self
            .store
            .users
            .replace(&record, credentials.as_ref(), now)
            .await;
        format!("{replaced:?}")
    }

    /// Everything that can be read.
    async fn state(&self) -> String {
        let by_user = Listing::ByUser {
            prefix: "ann".to_owned(),
            after: None,
        };
        let by_email = Listing::ByEmail {
            prefix: String::new(),
            after: None,
        };
        let mut state = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            self.store.users.count().await,
            self.store.users.accounts_of(&[user(0), user(2)]).await,
            self.store.users.pending_sync(None, 10).await,
            self.store
                .orphaned_machines
                .orphaned_machines(None, 10)
                .await,
            self.store.users.list(&by_user, 10).await,
            self.store.users.list(&by_email, 10).await,
        );
        for account in 3..RECORDS.len() {
            let stored = self.store.credentials.credentials(&user(account)).await;
            let stored = stored.unwrap();
            let stored = stored.as_ref().map(StoredCredentials::expose);
            state.push_str(&format!(" {stored:?}"));
        }
        for (number, email) in EMAILS.iter().enumerate() {
            let email = email.parse().unwrap();
            let sandbox_id = format!("sandbox-{number}").parse().unwrap();
            let credentials = self
                .store
                .credentials
                .credentials(&user(number))
                .await
                .unwrap();
            state.push_str(&format!(
                " {:?} {:?} {:?}",
                self.store.users.users_by_email(&email).await,
                self.store.users.user_by_sandbox(&sandbox_id).await,
                credentials.as_ref().map(StoredCredentials::expose),
            ));
        }
        state
    }
}

/// Runs the steps on an empty store and on the model.
async fn run(store: &UserStore, steps: &[Step]) -> Result<(), TestCaseError> {
    let model = UserStore::new(Arc::new(MemoryUsers::default()));
    let read = Vec::new;
    let mut of_store = Run {
        store,
        read: read(),
    };
    let mut of_model = Run {
        store: &model,
        read: read(),
    };
    let mut now = Timestamp::from_millis(1_700_000_000_000);
    for step in steps {
        now = now + Duration::from_secs(1);
        let (left, right) = (
            of_store.step(step, now).await,
            of_model.step(step, now).await,
        );
        prop_assert_eq!(left, right, "{:?}", step);
        prop_assert_eq!(of_store.state().await, of_model.state().await, "{:?}", step);
    }
    Ok(())
}

/// Runs many lists of steps on one engine, each on an empty store.
fn check(open: impl Fn() -> Store, cases: u32) {
    let config = ProptestConfig::with_cases(cases);
    let runner = proptest::test_runner::TestRunner::new(config).run(&steps(), |steps| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { run(&user_store(&open()), &steps).await })
    });
    if let Err(error) = runner {
        panic!("{error}");
    }
}

/// Runs the steps in one database, which is faster to empty than to create.
fn check_postgres(parameters: &str, cases: u32) {
    let database = PostgresDatabase::create();
    let url = format!("{}{parameters}", database.url());
    Store::migrate(&url).unwrap();
    let open = || {
        database.execute("DELETE FROM user_record");
        for table in ["progress", "credential", "orphaned_machine"] {
            database.execute(&format!("DELETE FROM {table}"));
        }
        let options = StoreOptions::service().keys(keys("a key of the tests", &[]));
        Store::open(&url, options).unwrap()
    };
    check(open, cases);
}

#[test]
fn sqlite_and_memory_hold_the_same_users() {
    let kept_alive = std::cell::RefCell::new(None);
    let open = || {
        let engine = Engine::sqlite();
        let store = engine.open(keys("a key of the tests", &[]));
        kept_alive.replace(Some(engine));
        store
    };
    check(open, 48);
}

#[test]
fn postgres_and_memory_hold_the_same_users() {
    check_postgres("", 16);
}

/// As a pooler needs it that changes the connection with each transaction.
#[test]
fn postgres_without_prepared_statements_and_memory_hold_the_same_users() {
    check_postgres("?prepare=off", 4);
}
