//! Waits by a clock that goes on while the machine sleeps.

use std::time::Duration;

use futures_util::FutureExt;
use postbell_core::{Clock, Timestamp, wait_for};
use postbell_testkit::PausedClock;
use tokio::time::Instant;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn a_wait_lasts_as_long_as_it_is_to() {
    for seconds in [0, 1, 15, 16, 86_400] {
        let clock = PausedClock::starting_at(Timestamp::default());
        wait_for(&clock, Duration::from_secs(seconds)).await;
        assert_eq!(clock.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_while_the_machine_sleeps() {
    let clock = PausedClock::starting_at(Timestamp::default());
    let mut wait = Box::pin(wait_for(&clock, DAY));
    assert!(wait.as_mut().now_or_never().is_none());
    clock.sleep(DAY);
    let awoken = Instant::now();
    wait.await;
    assert!(awoken.elapsed() <= Duration::from_secs(15));
}
