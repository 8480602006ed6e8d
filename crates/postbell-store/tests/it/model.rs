//! Whatever is done, SQLite and memory come to the same: what a test with memory shows is true of
//! the file.

use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Claim, DeadLetterReason, HistoryId, Inbox, Notification, Settlement, Timestamp,
    UnparseableMessage, UserId,
};
use postbell_testkit::MemoryInbox;
use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::sqlite::temporary;

const USERS: [&str; 3] = ["ann", "ben", "cat"];
const LEASE: Duration = Duration::from_secs(45);
const REST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Step {
    Accept {
        user: usize,
        message: u8,
        history_id: u64,
    },
    BuryUnreadable {
        user: usize,
        message: u8,
    },
    Claim {
        most: usize,
    },
    /// Settles one of the claims that were made, the latest first, whether it still holds or not.
    Settle {
        back: usize,
        settlement: Settlement,
    },
    Wake {
        user: usize,
    },
    Replay {
        dead_letter: i64,
    },
    Drop {
        dead_letter: i64,
    },
    DropThoseOf {
        user: usize,
        last: i64,
    },
    /// All of them: which are forgotten first is not promised.
    Forget,
    Pass {
        time: Duration,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let user = 0..USERS.len();
    let settlement = prop_oneof![
        Just(Settlement::Delivered),
        Just(Settlement::Unwanted),
        Just(Settlement::Release),
        (1..4_u32).prop_map(|times| Settlement::Retry {
            cause: "no answer".to_owned(),
            wait: REST * times,
            rest: REST,
        }),
        prop_oneof![
            Just(DeadLetterReason::Exhausted),
            Just(DeadLetterReason::Refused)
        ]
        .prop_map(|reason| {
            Settlement::DeadLetter {
                reason,
                cause: "no".to_owned(),
                rest: REST,
            }
        }),
    ];
    let time = prop_oneof![
        Just(Duration::from_millis(1)),
        Just(LEASE),
        Just(REST),
        Just(Duration::from_secs(24 * 60 * 60)),
    ];
    // Beside 2^63, where a number with a sign ends.
    let history_id = (u64::MAX / 2 - 2)..(u64::MAX / 2 + 4);
    let step = prop_oneof![
        6 => (user.clone(), 0..8_u8, history_id)
            .prop_map(|(user, message, history_id)| Step::Accept { user, message, history_id }),
        1 => (user.clone(), 0..8_u8)
            .prop_map(|(user, message)| Step::BuryUnreadable { user, message }),
        4 => (1..4_usize).prop_map(|most| Step::Claim { most }),
        5 => (0..3_usize, settlement)
            .prop_map(|(back, settlement)| Step::Settle { back, settlement }),
        1 => user.prop_map(|user| Step::Wake { user }),
        1 => (1..6_i64).prop_map(|dead_letter| Step::Replay { dead_letter }),
        1 => (1..6_i64).prop_map(|dead_letter| Step::Drop { dead_letter }),
        1 => (0..USERS.len(), 1..6_i64).prop_map(|(user, last)| Step::DropThoseOf { user, last }),
        1 => Just(Step::Forget),
        3 => time.prop_map(|time| Step::Pass { time }),
    ];
    prop::collection::vec(step, 1..40)
}

fn user(number: usize) -> UserId {
    USERS[number].parse().unwrap()
}

/// An inbox, and the claims that it gave.
struct Run<'a> {
    inbox: &'a dyn Inbox,
    claims: Vec<Claim>,
}

impl Run<'_> {
    /// Does it, and says in words what came of it.
    async fn step(&mut self, step: &Step, now: Timestamp) -> String {
        let inbox = self.inbox;
        match step.clone() {
            Step::Accept {
                user: number,
                message,
                history_id,
            } => {
                let notification = Notification {
                    user: user(number),
                    message_id: format!("m{message}").parse().unwrap(),
                    history_id: HistoryId::new(history_id),
                    body: Bytes::from(format!("body {message}")),
                };
                format!("{:?}", inbox.accept(notification, now).await)
            }
            Step::BuryUnreadable {
                user: number,
                message,
            } => {
                let letter = UnparseableMessage {
                    user: user(number),
                    message_id: format!("m{message}").parse().unwrap(),
                    body: Bytes::from_static(b"?"),
                    cause: "expected JSON".to_owned(),
                };
                format!("{:?}", inbox.dead_letter(letter, now).await)
            }
            Step::Claim { most } => {
                let claims = inbox.claim(now, LEASE, most).await.unwrap();
                self.claims.extend(claims.clone());
                format!("{claims:?}")
            }
            Step::Settle { back, settlement } => {
                let Some(claim) = self.claims.iter().rev().nth(back) else {
                    return String::new();
                };
                format!("{:?}", inbox.settle(claim, settlement, now).await)
            }
            Step::Wake { user: number } => format!("{:?}", inbox.wake(&user(number), now).await),
            Step::Replay { dead_letter } => {
                format!("{:?}", inbox.replay(dead_letter, now).await)
            }
            Step::Drop { dead_letter } => {
                format!("{:?}", inbox.drop_dead_letter(dead_letter).await)
            }
            Step::DropThoseOf { user: number, last } => {
                format!("{:?}", inbox.drop_dead_letters(&user(number), last).await)
            }
            Step::Forget => format!("{:?}", inbox.forget_old_ids(now, 1000).await),
            Step::Pass { .. } => String::new(),
        }
    }

    /// All that can be seen of the inbox.
    async fn state(&self, now: Timestamp) -> String {
        let mut state = format!(
            "{:?} {:?} {:?} {:?}",
            self.inbox.failing(100).await,
            self.inbox.next_due().await,
            self.inbox.depth().await,
            self.inbox.dead_letters(None, None, 100).await,
        );
        for number in 0..USERS.len() {
            let user = user(number);
            let deliveries = self.inbox.deliveries(&user).await;
            let hours = self.inbox.hours(&user, now).await;
            let waiting = self.inbox.waiting(&user).await;
            let buried = self.inbox.count_dead_letters(&user).await;
            state.push_str(&format!(" {deliveries:?} {hours:?} {waiting:?} {buried:?}"));
        }
        state
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_file_and_the_model_come_to_the_same(steps in steps()) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let same: Result<(), TestCaseError> = runtime.block_on(async {
            let (file, _kept_alive) = temporary();
            let model = MemoryInbox::default();
            let mut of_file = Run { inbox: &*file, claims: Vec::new() };
            let mut of_model = Run { inbox: &model, claims: Vec::new() };
            let mut now = Timestamp::from_millis(1_700_000_000_000);
            for step in &steps {
                if let Step::Pass { time } = step {
                    now = now + *time;
                }
                let (left, right) = (of_file.step(step, now).await, of_model.step(step, now).await);
                prop_assert_eq!(left, right, "{:?}", step);
                prop_assert_eq!(of_file.state(now).await, of_model.state(now).await, "{:?}", step);
            }
            Ok(())
        });
        same?;
    }
}
