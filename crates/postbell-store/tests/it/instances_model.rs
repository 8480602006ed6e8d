//! Whatever is done to the users' records, SQLite and memory come to the same.

use std::time::Duration;

use postbell_core::{
    GoogleConnection, HistoryId, InstanceStatus, Listing, MachineLocation, ManagedMachine, NewUser,
    StoredCredentials, Timestamp, UserId, UserRecord, Users,
};
use postbell_testkit::MemoryUsers;
use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::instances::temporary;

const USERS: [&str; 3] = ["ann", "anna", "bob"];
const EMAILS: [&str; 3] = ["ann@example.com", "anna@example.com", "b@example.com"];

#[derive(Clone, Debug)]
enum Step {
    Add {
        user: usize,
        sandbox: usize,
    },
    /// Writes one of the records that were read, the latest first, with an account or without.
    Replace(Replacement),
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
    is_told: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let user = 0..USERS.len();
    let sandbox = 0..3_usize;
    let machine = 0..4_usize;
    // Beside 2^63, where a number with a sign ends.
    let history_id = (u64::MAX / 2 - 2)..(u64::MAX / 2 + 4);
    let email = prop::option::of(0..EMAILS.len());
    let step = prop_oneof![
        3 => (user.clone(), sandbox.clone()).prop_map(|(user, sandbox)| Step::Add { user, sandbox }),
        5 => (0..3_usize, email, sandbox, machine.clone(), any::<bool>(), any::<bool>()).prop_map(
            |(back, email, sandbox, machine, with_credentials, is_told)| {
                Step::Replace(Replacement { back, email, sandbox, machine, with_credentials, is_told })
            }
        ),
        1 => machine.prop_map(|machine| Step::Clear { machine }),
        4 => user.clone().prop_map(|user| Step::Read { user }),
        3 => (user.clone(), history_id)
            .prop_map(|(user, history_id)| Step::Raise { user, history_id }),
        1 => user.prop_map(|user| Step::Remove { user }),
    ];
    prop::collection::vec(step, 1..40)
}

fn user(number: usize) -> UserId {
    USERS[number].parse().unwrap()
}

/// One of a few, or none.
fn place(number: usize) -> MachineLocation {
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

/// Records, and those that were read of them.
struct Run<'a> {
    instances: &'a dyn Users,
    read: Vec<UserRecord>,
}

impl Run<'_> {
    /// Does it, and says in words what came of it.
    async fn step(&mut self, step: &Step, now: Timestamp) -> String {
        let instances = self.instances;
        match step.clone() {
            Step::Add {
                user: number,
                sandbox,
            } => {
                let new = NewUser {
                    user: user(number),
                    sandbox_id: format!("sandbox-{sandbox}").parse().unwrap(),
                    status: InstanceStatus::Running,
                    place: place(sandbox),
                    wake_on_mail: false,
                };
                format!("{:?}", instances.add(new, now).await)
            }
            Step::Replace(replacement) => self.replace(replacement, now).await,
            Step::Clear { machine: number } => {
                let cleared = instances.remove_orphaned_machine(&machine(number)).await;
                format!("{cleared:?}")
            }
            Step::Read { user: number } => {
                let record = instances.get(&user(number)).await.unwrap();
                self.read.extend(record.clone());
                format!("{record:?}")
            }
            Step::Raise {
                user: number,
                history_id,
            } => {
                let history_id = HistoryId::new(history_id);
                let raised = instances
                    .raise_history_id(&user(number), history_id, now)
                    .await;
                format!("{raised:?}")
            }
            Step::Remove { user: number } => {
                format!("{:?}", instances.remove(&user(number)).await)
            }
        }
    }

    async fn replace(&self, replacement: Replacement, now: Timestamp) -> String {
        let Replacement {
            back,
            email,
            sandbox,
            machine,
            with_credentials,
            is_told,
        } = replacement;
        let Some(record) = self.read.iter().rev().nth(back) else {
            return String::new();
        };
        let mut record = record.clone();
        record.sandbox_id = format!("sandbox-{sandbox}").parse().unwrap();
        record.place = place(machine);
        record.mark_pending_sync();
        record.untold.take_if(|_| is_told);
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
            .instances
            .replace(&record, credentials.as_ref(), now)
            .await;
        format!("{replaced:?}")
    }

    /// All that can be seen of the records.
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
            "{:?} {:?} {:?} {:?} {:?}",
            self.instances.count().await,
            self.instances.untold(None, 10).await,
            self.instances.orphaned_machines(None, 10).await,
            self.instances.list(&by_user, 10).await,
            self.instances.list(&by_email, 10).await,
        );
        for (number, email) in EMAILS.iter().enumerate() {
            let email = email.parse().unwrap();
            let sandbox_id = format!("sandbox-{number}").parse().unwrap();
            let credentials = self.instances.credentials(&user(number)).await.unwrap();
            state.push_str(&format!(
                " {:?} {:?} {:?}",
                self.instances.user_by_email(&email).await,
                self.instances.user_by_sandbox(&sandbox_id).await,
                credentials.as_ref().map(StoredCredentials::expose),
            ));
        }
        state
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_file_and_the_model_hold_the_same_users(steps in steps()) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let same: Result<(), TestCaseError> = runtime.block_on(async {
            let (file, _kept_alive) = temporary();
            let model = MemoryUsers::default();
            let mut of_file = Run { instances: &*file, read: Vec::new() };
            let mut of_model = Run { instances: &model, read: Vec::new() };
            let mut now = Timestamp::from_millis(1_700_000_000_000);
            for step in &steps {
                now = now + Duration::from_secs(1);
                let (left, right) = (of_file.step(step, now).await, of_model.step(step, now).await);
                prop_assert_eq!(left, right, "{:?}", step);
                prop_assert_eq!(of_file.state().await, of_model.state().await, "{:?}", step);
            }
            Ok(())
        });
        same?;
    }
}
