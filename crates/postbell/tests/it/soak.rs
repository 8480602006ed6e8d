//! A soak of the whole path: mailboxes, relay, platform and controllers, while their processes are
//! killed, Google misbehaves, and the bots refuse.
//!
//! The test is short. `scripts/soak` runs it for longer, with more mailboxes.

mod bot;
mod chaos;
mod machine;
mod verdict;
mod world;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::verdict::Verdict;
use self::world::World;

/// How long the path may take to settle after the last fault.
const SETTLE: Duration = Duration::from_secs(240);

/// The size of a soak.
pub(crate) struct Plan {
    pub(crate) mailboxes: usize,
    pub(crate) time: Duration,
    seed: u64,
}

impl Plan {
    /// From `POSTBELL_SOAK_MAILBOXES`, `_SECONDS` and `_SEED`.
    #[expect(
        clippy::disallowed_methods,
        reason = "scripts/soak passes its arguments so"
    )]
    fn from_environment() -> Self {
        let number = |name: &str, default: u64| {
            let given = std::env::var(format!("POSTBELL_SOAK_{name}"));
            given.map_or(default, |text| text.parse().unwrap())
        };
        Self {
            mailboxes: usize::try_from(number("MAILBOXES", 4)).unwrap(),
            time: Duration::from_secs(number("SECONDS", 15)),
            seed: number("SEED", 1),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_good_mail_arrives_in_order_and_every_bad_one_is_listed() {
    let plan = Plan::from_environment();
    fastrand::seed(plan.seed);
    let mut world = World::start(plan.mailboxes).await;
    let end = Instant::now() + plan.time;
    let mut next_mail = Instant::now();
    let mut next_fault = next_mail + Duration::from_secs(1);
    while Instant::now() < end {
        let now = Instant::now();
        if now >= next_mail {
            world.send_mails();
            next_mail = now + Duration::from_millis(fastrand::u64(50..200));
        }
        if now >= next_fault {
            chaos::strike(&mut world).await;
            next_fault = now + Duration::from_millis(fastrand::u64(500..2500));
        }
        sleep(Duration::from_millis(20)).await;
    }
    world.calm_down().await;
    let settled = Instant::now() + SETTLE;
    let mut verdict = Verdict::of(&world);
    while !verdict.is_complete() && Instant::now() < settled {
        sleep(Duration::from_millis(500)).await;
        verdict = Verdict::of(&world);
    }
    let shown = format!("{verdict}\nfaults: {}", world.faults_shown());
    world.stop().await;
    #[expect(clippy::print_stderr, reason = "shown by scripts/soak")]
    {
        eprintln!("{shown}");
    }
    assert!(verdict.is_right(), "{shown}");
}
