//! Certificates by ACME without an authority. deploy/test/tls has one.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Tasks, Timestamp};
use postbell_http::{AcmeSettings, Tls};
use postbell_testkit::PausedClock;
use serde_json::Value;
use tokio::time::sleep;

use crate::server::GRACE;

const HOUR: Duration = Duration::from_secs(3600);

/// Tries to get a certificate for some time, from an authority that nobody runs, and returns the
/// recorded failure.
async fn try_for(time: Duration, store: &Path, clock: PausedClock) -> Value {
    try_name_for("push.example.com", time, store, clock).await
}

async fn try_name_for(name: &str, time: Duration, store: &Path, clock: PausedClock) -> Value {
    let settings = AcmeSettings {
        names: vec![name.to_owned()],
        directory: "https://127.0.0.1:1/dir".to_owned(),
        email: None,
        root: None,
        store: store.to_owned(),
        random: || 0.5,
    };
    let tls = Tls::with_acme(settings, Arc::new(clock)).unwrap();
    let tasks = Tasks::new();
    tasks.start("certificate", |stop| tls.run(stop));
    sleep(time).await;
    tasks.stop(GRACE).await.unwrap();
    let failure = fs::read(store.join("127.0.0.1-1-dir/failure.json")).unwrap();
    serde_json::from_slice(&failure).unwrap()
}

#[tokio::test(start_paused = true)]
async fn orders_that_fail_back_off_and_a_restart_does_not_shorten_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let clock = PausedClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
    // After 0, 1, 3, 7, 15 and 31 minutes; the next would be after 63.
    let failed = try_for(HOUR, folder.path(), clock.clone()).await;
    assert_eq!(failed["attempts"], 6);
    let problem = failed["problem"].as_str().unwrap().to_lowercase();
    assert!(problem.contains("connect"), "{problem}");
    let again = try_for(Duration::from_secs(60), folder.path(), clock.clone()).await;
    assert_eq!(again["attempts"], 6);
    let later = try_for(Duration::from_secs(600), folder.path(), clock.clone()).await;
    assert_eq!(later["attempts"], 7);
}

#[tokio::test(start_paused = true)]
async fn the_first_order_with_other_names_than_those_that_failed_begins_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = PausedClock::starting_at(Timestamp::from_millis(1_700_000_000_000));
    let failed = try_for(HOUR, folder.path(), clock.clone()).await;
    assert_eq!(failed["attempts"], 6);
    for _ in 0..2 {
        let moment = Duration::from_secs(20);
        let corrected = try_name_for("api.example.com", moment, folder.path(), clock.clone()).await;
        assert_eq!(corrected["attempts"], 1);
        assert_eq!(corrected["names"][0], "api.example.com");
    }
}
