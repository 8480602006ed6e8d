use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Clock, DUPLICATE_WINDOW, DeliveryQueue, HistoryId, Notification, Tasks, Timestamp,
};
use postbell_relay::prune_message_ids;
use postbell_testkit::{MemoryDeliveries, PausedClock};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn old_message_ids_are_deleted_and_recent_ones_kept() {
    let clock = Arc::new(PausedClock::starting_at(Timestamp::from_millis(0)));
    let store = Arc::new(MemoryDeliveries::default());
    let tasks = Tasks::new();
    tasks.start("retention", |stop| {
        prune_message_ids(
            Arc::clone(&store) as Arc<dyn DeliveryQueue>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            stop,
        )
    });
    accept(&store, &clock, 0..2_500).await;
    sleep(DUPLICATE_WINDOW / 2).await;
    accept(&store, &clock, 2_500..2_510).await;
    sleep(DUPLICATE_WINDOW * 3 / 4).await;
    tasks.stop(Duration::from_secs(10)).await.unwrap();

    let a_day_later = clock.now() + DUPLICATE_WINDOW;
    assert_eq!(
        store.prune_message_ids(a_day_later, 10_000).await.unwrap(),
        10
    );
}

async fn accept(store: &MemoryDeliveries, clock: &PausedClock, messages: std::ops::Range<u64>) {
    for message in messages {
        let notification = Notification {
            user: "ann".parse().unwrap(),
            message_id: format!("m{message}").parse().unwrap(),
            history_id: HistoryId::new(message),
            body: Bytes::new(),
        };
        store.accept(notification, clock.now()).await.unwrap();
    }
}
