//! Deliveries that announce their changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use postbell_core::{
    AnnouncedDeliveries, Changes, DeliveryQueue, HistoryId, Notification, Settlement, Timestamp,
    UserId,
};
use postbell_testkit::{Deliveries, MemoryDeliveries};

fn announced() -> AnnouncedDeliveries {
    let store = Arc::new(MemoryDeliveries::default());
    AnnouncedDeliveries {
        queue: Arc::clone(&store) as _,
        log: store,
        changes: Changes::new(),
    }
}

postbell_testkit::deliveries_conformance!((Deliveries::new(Arc::new(announced())), ()));

#[tokio::test]
async fn what_is_accepted_and_what_is_delivered_is_announced_once_it_is_done() {
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    let deliveries = announced();
    let ann: UserId = "ann".parse().unwrap();
    let mut listener = deliveries.changes.listen_to(&ann);
    let mut has_heard = || listener.changed().now_or_never().is_some();
    let notification = Notification {
        user: ann,
        message_id: "m1".parse().unwrap(),
        history_id: HistoryId::new(7),
        body: bytes::Bytes::new(),
    };
    deliveries.accept(notification, NOW).await.unwrap();
    assert!(has_heard());
    let claims = deliveries
        .claim(NOW, Duration::from_secs(9), 1)
        .await
        .unwrap();
    assert!(has_heard());
    let settled = deliveries.settle(&claims[0], Settlement::Delivered, NOW);
    settled.await.unwrap();
    assert!(has_heard());
    let stale = deliveries.settle(&claims[0], Settlement::Delivered, NOW);
    assert!(stale.await.is_err() && !has_heard());
}
