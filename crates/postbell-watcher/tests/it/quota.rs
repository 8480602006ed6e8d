use std::pin::pin;
use std::time::Duration;

use postbell_google::UNITS_PER_MINUTE;
use postbell_watcher::NotSynced;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, advance, pause, sleep};

use crate::world::TestWatcher;

const SECOND: Duration = Duration::from_secs(1);

/// The real time within which Gmail or the bot answers a call. On a busy machine it takes longer, and paused time goes on by
/// a `STEP` too much.
const MOMENT: Duration = Duration::from_millis(5);

const STEP: Duration = Duration::from_millis(250);

#[tokio::test]
async fn five_hundred_mails_behind_one_push_take_what_the_quota_allows_and_no_more() {
    let world = TestWatcher::within_quota().await;
    let gmail = world.sandbox.gmail();
    gmail.set_units_per_minute(Some(UNITS_PER_MINUTE.get()));
    let sent = world.deliver_many(500);
    let push = async || {
        let pushed = world.watcher.sync.sync_to(world.present(), None).await;
        matches!(pushed, Err(NotSynced::StillRunning)) || pushed.map(|_| false).unwrap()
    };
    let repeats = async {
        let mut repeats = 0;
        // Each push is answered in time, and repeated when the answer says.
        while push().await {
            repeats += 1;
            sleep(10 * SECOND).await;
        }
        repeats
    };

    pause();
    let begun = Instant::now();
    let repeats = while_calls_take_no_time(&world, repeats).await;
    let took = begun.elapsed();

    assert_eq!(world.hooks().concat(), sent, "each once, in order");
    assert_eq!(gmail.counted_calls().refused, 0);
    assert!(
        (2..5).contains(&repeats),
        "after 25 and 60 seconds: {repeats}"
    );
    assert!(took > 60 * SECOND, "500 mails cost 10,000 units: {took:?}");
    assert!(took < 120 * SECOND, "{took:?}");
}

/// Lets paused time go on only while no call is made.
async fn while_calls_take_no_time<T>(world: &TestWatcher, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut before = 0;
    loop {
        // While it runs, tokio does not let time go on by itself.
        let moment = spawn_blocking(|| std::thread::sleep(MOMENT));
        tokio::select! {
            done = &mut work => return done,
            _ = moment => {}
        }
        let calls = world.sandbox.gmail().counted_calls().made + world.hooks().len();
        if calls == before {
            advance(STEP).await;
        }
        before = calls;
    }
}
