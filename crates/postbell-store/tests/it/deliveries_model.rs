//! SQLite, PostgreSQL and memory behave the same for random sequences of calls, so a test with the memory
//! store holds for the others, too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Claim, ClaimOrder, DeadLetterReason, Failure, HistoryId, Notification, ProblemCode, RelayId,
    SettleError, Settlement, Timestamp, UnparseableMessage, UserId,
};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::{Deliveries, MemoryDeliveries, PostgresDatabase};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Builder;

use crate::engines::deliveries;

const USERS: [&str; 3] = ["ann", "ben", "cat"];
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LEASE: Duration = Duration::from_secs(45);
const COOLDOWN: Duration = Duration::from_secs(60);

/// Triggers refuse dead letters with one of these causes, after other changes of the same write. SQLite rolls back the write,
/// or the whole transaction. PostgreSQL refuses the delivery's record, because a number of a dead letter would not return.
const BROKEN: [&str; 2] = ["broken", "broken transaction"];

const BREAK_SQLITE: &str = "
    CREATE TRIGGER breaks AFTER INSERT ON dead_letter WHEN NEW.cause = 'broken'
    BEGIN SELECT RAISE(ABORT, 'broken'); END;
    CREATE TRIGGER breaks_all AFTER INSERT ON dead_letter WHEN NEW.cause = 'broken transaction'
    BEGIN SELECT RAISE(ROLLBACK, 'broken'); END";

const BREAK_POSTGRES: &str = "
    CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
    CREATE TRIGGER breaks AFTER INSERT OR UPDATE ON delivery FOR EACH ROW
        WHEN (NEW.cause LIKE 'broken%') EXECUTE FUNCTION break()";

#[derive(Clone, Debug)]
enum Step {
    Accept {
        notification: Notification,
        /// Seconds before it arrives; the publish time is unknown if `None`.
        published: Option<i64>,
    },
    DeadLetter {
        user: usize,
        message: u8,
    },
    Heartbeat {
        relay: i64,
    },
    Claim {
        relay: i64,
        most: usize,
        latest: bool,
    },
    /// Settles one of the claims, counted from the latest, with or without its lease.
    Settle {
        back: usize,
        settlement: Settlement,
    },
    MakeDue {
        user: usize,
        has_problem: bool,
    },
    RetryNow {
        users: Vec<usize>,
    },
    Replay {
        dead_letter: i64,
    },
    Drop {
        dead_letter: i64,
    },
    DropThrough {
        user: usize,
        last: i64,
    },
    Pass {
        time: Duration,
    },
    /// The clock was ahead.
    SetBack {
        hours: i64,
    },
    /// The next process does the following steps.
    OtherProcess,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let user = 0..USERS.len();
    let time = prop_oneof![
        Just(Duration::from_millis(1)),
        Just(Duration::from_secs(8)),
        Just(LEASE),
        Just(COOLDOWN),
        Just(Duration::from_secs(24 * 60 * 60)),
    ];
    let step = prop_oneof![
        6 => accept(),
        1 => (user.clone(), 0..8_u8)
            .prop_map(|(user, message)| Step::DeadLetter { user, message }),
        1 => (0..2_i64).prop_map(|relay| Step::Heartbeat { relay }),
        4 => (0..2_i64, 1..4_usize, any::<bool>())
            .prop_map(|(relay, most, latest)| Step::Claim { relay, most, latest }),
        5 => (0..3_usize, settlement())
            .prop_map(|(back, settlement)| Step::Settle { back, settlement }),
        2 => (user.clone(), any::<bool>())
            .prop_map(|(user, has_problem)| Step::MakeDue { user, has_problem }),
        1 => prop::collection::vec(user, 1..4).prop_map(|users| Step::RetryNow { users }),
        1 => (1..6_i64).prop_map(|dead_letter| Step::Replay { dead_letter }),
        1 => (1..6_i64).prop_map(|dead_letter| Step::Drop { dead_letter }),
        1 => (0..USERS.len(), 1..6_i64).prop_map(|(user, last)| Step::DropThrough { user, last }),
        3 => time.prop_map(|time| Step::Pass { time }),
        1 => (0..48_i64).prop_map(|hours| Step::SetBack { hours }),
        2 => Just(Step::OtherProcess),
    ];
    prop::collection::vec(step, 1..40)
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        Just(Settlement::Delivered),
        Just(Settlement::Unwanted),
        Just(Settlement::Release),
        (1..4_u32).prop_map(|times| Settlement::Park {
            failure: Failure::status(503).because_of(ProblemCode::WebhookFailing),
            until: START + COOLDOWN * times,
        }),
        (1..4_u32).prop_map(|times| Settlement::Retry {
            failure: Failure::timeout(),
            wait: COOLDOWN * times,
            cooldown: COOLDOWN,
        }),
        prop_oneof![
            Just(DeadLetterReason::Exhausted),
            Just(DeadLetterReason::Refused)
        ]
        .prop_map(|reason| {
            Settlement::DeadLetter {
                reason,
                failure: Failure::status(500),
                cooldown: COOLDOWN,
            }
        }),
        prop::sample::select(BROKEN.to_vec()).prop_map(|cause| Settlement::DeadLetter {
            reason: DeadLetterReason::Refused,
            failure: Failure {
                detail: cause.to_owned(),
                ..Failure::status(500)
            },
            cooldown: COOLDOWN,
        }),
    ]
}

fn accept() -> impl Strategy<Value = Step> {
    // Around 2^63, the end of signed numbers.
    let history_id = (u64::MAX / 2 - 2)..(u64::MAX / 2 + 4);
    let published = prop_oneof![
        1 => Just(None),
        4 => prop_oneof![Just(0), Just(20), Just(60), Just(600), Just(100_000)].prop_map(Some),
    ];
    let address = prop_oneof![
        1 => Just(None),
        6 => Just(Some(0)),
        3 => (1..7_usize).prop_map(Some),
    ];
    let step = (0..USERS.len(), 0..8_u8, history_id, published, address);
    step.prop_map(|(user, message, history_id, published, address)| {
        let address = address.map(|number| format!("{number}@example.com").parse().unwrap());
        Step::Accept {
            notification: Notification {
                address,
                ..notification(user, message, history_id)
            },
            published,
        }
    })
}

fn user(number: usize) -> UserId {
    USERS[number].parse().unwrap()
}

fn notification(number: usize, message: u8, history_id: u64) -> Notification {
    Notification {
        trace: format!("00-{:032x}-{:016x}-01", message + 1, history_id + 1)
            .parse()
            .ok(),
        user: user(number),
        address: None,
        message_id: format!("m{message}").parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(history_id),
        body: Bytes::from(format!("body {message}")),
    }
}

fn unparseable(number: usize, message: u8) -> UnparseableMessage {
    UnparseableMessage {
        user: user(number),
        message_id: format!("m{message}").parse().unwrap(),
        body: Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    }
}

/// A store and the claims made from it.
struct Run<'a> {
    /// The processes that use it; the first one does the next step.
    processes: Vec<&'a Deliveries>,
    claims: Vec<Claim>,
}

impl<'a> Run<'a> {
    fn of(processes: &'a [Deliveries]) -> Self {
        Self {
            processes: processes.iter().collect(),
            claims: Vec::new(),
        }
    }

    /// Runs a step, and returns its result as text.
    async fn step(&mut self, step: &Step, now: Timestamp) -> String {
        let deliveries = self.processes[0];
        match step.clone() {
            Step::Accept {
                notification,
                published,
            } => {
                let before = |seconds| Timestamp::from_millis(now.as_millis() - seconds * 1000);
                let notification = Notification {
                    published_at: published.map(before),
                    ..notification
                };
                format!("{:?}", deliveries.queue.accept(notification, now).await)
            }
            Step::DeadLetter {
                user: number,
                message,
            } => {
                let message = unparseable(number, message);
                format!("{:?}", deliveries.queue.dead_letter(message, now).await)
            }
            Step::Heartbeat { relay } => {
                let released = deliveries.queue.heartbeat(RelayId::new(relay), now).await;
                format!("{released:?}")
            }
            Step::Claim {
                relay,
                most,
                latest,
            } => self.claim(RelayId::new(relay), most, latest, now).await,
            Step::Settle { back, settlement } => {
                let Some(claim) = self.claims.iter().rev().nth(back) else {
                    return String::new();
                };
                match deliveries.queue.settle(claim, settlement, now).await {
                    Err(SettleError::Store(_)) => BROKEN[0].to_owned(),
                    settled => format!("{settled:?}"),
                }
            }
            Step::MakeDue {
                user: number,
                has_problem,
            } => {
                let problem = has_problem.then_some(ProblemCode::GrantRevoked);
                let user = user(number);
                let due = deliveries.queue.make_due(&user, problem, now);
                format!("{:?}", due.await)
            }
            Step::RetryNow { users } => {
                let users: Vec<_> = users.into_iter().map(user).collect();
                format!("{:?}", deliveries.queue.retry_now(&users, now).await)
            }
            Step::OtherProcess => {
                self.processes.rotate_left(1);
                String::new()
            }
            step => self.log_step(step, now).await,
        }
    }

    async fn claim(&mut self, relay: RelayId, most: usize, latest: bool, now: Timestamp) -> String {
        let queue = &self.processes[0].queue;
        let order = if latest {
            ClaimOrder::LatestDue
        } else {
            ClaimOrder::LongestDue
        };
        let claimed = queue
            .claim_in(order, relay, now, LEASE, most)
            .await
            .unwrap();
        self.claims.extend(claimed.claims.clone());
        format!("{claimed:?}")
    }

    async fn log_step(&self, step: Step, now: Timestamp) -> String {
        let log = &self.processes[0].log;
        match step {
            Step::Replay { dead_letter } => format!("{:?}", log.replay(dead_letter, now).await),
            Step::Drop { dead_letter } => format!("{:?}", log.drop_dead_letter(dead_letter).await),
            Step::DropThrough { user: number, last } => {
                format!("{:?}", log.drop_dead_letters(&user(number), last).await)
            }
            _ => String::new(),
        }
    }

    /// Everything that can be read.
    async fn state(&self, now: Timestamp) -> String {
        let log = &self.processes[0].log;
        let mut state = format!(
            "{:?} {:?} {:?}",
            log.failing(100).await,
            log.depth().await,
            log.dead_letters(None, None, 100).await,
        );
        for number in 0..USERS.len() {
            let user = user(number);
            let recorded = log.deliveries(&user).await;
            let hours = log.hourly_counts(&user, now).await;
            let pending = log.pending(&user).await;
            let dead_letters = log.count_dead_letters(&user).await;
            state.push_str(&format!(
                " {recorded:?} {hours:?} {pending:?} {dead_letters:?}"
            ));
        }
        state
    }
}

/// Runs the steps on an empty store and on the model.
async fn run(processes: &[Deliveries], steps: &[Step]) -> Result<(), TestCaseError> {
    let model = [Deliveries::new(Arc::new(MemoryDeliveries::default()))];
    let mut of_store = Run::of(processes);
    let mut of_model = Run::of(&model);
    let mut now = START;
    for step in steps {
        if let Step::Pass { time } = step {
            now = now + *time;
        }
        if let Step::SetBack { hours } = step {
            now = Timestamp::from_millis(now.as_millis() - hours * 3_600_000);
        }
        let left = of_store.step(step, now).await;
        // What failed has changed nothing.
        if left != BROKEN[0] {
            prop_assert_eq!(left, of_model.step(step, now).await, "{:?}", step);
        }
        prop_assert_eq!(
            of_store.state(now).await,
            of_model.state(now).await,
            "{:?}",
            step
        );
    }
    Ok(())
}

/// Runs many lists of steps on one engine, each on an empty store.
fn check<T>(open: impl Fn() -> (Vec<Deliveries>, T), cases: u32) {
    let config = ProptestConfig::with_cases(cases);
    let checked = TestRunner::new(config).run(&steps(), |steps| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (processes, _kept_alive) = open();
            run(&processes, &steps).await
        })
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

/// Runs the steps in one database, which is faster to empty than to create.
fn check_postgres(parameters: &str, cases: u32) {
    let database = PostgresDatabase::create();
    let url = format!("{}{parameters}", database.url());
    Store::migrate(&url).unwrap();
    database.execute(BREAK_POSTGRES);
    let open = || {
        database.execute(
            "DELETE FROM pending; DELETE FROM cursor; DELETE FROM dead_letter; DELETE FROM delivery;
             DELETE FROM tally; DELETE FROM relay; UPDATE queue_clock SET latest = 0;
             UPDATE dead_letter_dropped SET number = 0; SELECT setval('lease', 1, false);
             SELECT setval(pg_get_serial_sequence('dead_letter', 'id'), 1, false);",
        );
        let store = Store::open(&url, StoreOptions::service()).unwrap();
        (vec![deliveries(&store)], ())
    };
    check(open, cases);
}

#[test]
fn sqlite_and_memory_deliver_the_same() {
    let open = || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbox.db");
        let url = format!("sqlite:{}", path.display());
        drop(Store::open(&url, StoreOptions::service()).unwrap());
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch(BREAK_SQLITE).unwrap();
        let open = |_| deliveries(&Store::open(&url, StoreOptions::service()).unwrap());
        ((0..2).map(open).collect(), folder)
    };
    check(open, 48);
}

#[test]
fn postgres_and_memory_deliver_the_same() {
    check_postgres("", 24);
}

/// As a pooler needs it that changes the connection with each transaction.
#[test]
fn postgres_without_prepared_statements_and_memory_deliver_the_same() {
    check_postgres("?prepare=off", 6);
}
