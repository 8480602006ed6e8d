use std::path::Path;

use bytes::Bytes;
use postbell_core::{
    DeadLetterReason, DeliveryQueue, Failure, FailureKind, HistoryId, Notification, RelayId,
    Settlement, Timestamp, UnparseableMessage,
};
use postbell_store::{Store, StoreOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::run;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A store in a file of its own, and the program.
struct Operator {
    folder: TempDir,
}

impl Operator {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("inbox.db").display())
    }

    fn store(&self) -> Store {
        Store::open(&self.url(), StoreOptions::service()).unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .args(arguments)
            .env_clear()
            .env("POSTBELL_RELAY__INBOX", self.url())
            .current_dir(self.folder.path());
        run(&mut command).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

/// Creates a dead letter for each user.
async fn make_dead_letter(queue: &dyn DeliveryQueue, users: &[&str]) {
    for (number, user) in (1..).zip(users) {
        let notification = Notification {
            trace: None,
            user: user.parse().unwrap(),
            address: None,
            message_id: format!("m{number}").parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(number),
            body: Bytes::from_static(b"{}"),
        };
        queue.accept(notification, NOW).await.unwrap();
        let claims = queue
            .claim(RelayId::new(1), NOW, std::time::Duration::from_secs(9), 9)
            .await;
        let settlement = Settlement::DeadLetter {
            reason: DeadLetterReason::Refused,
            failure: Failure::new(
                FailureKind::Status(422),
                "the controller answered \u{1b}[31m422",
            ),
            cooldown: std::time::Duration::ZERO,
        };
        queue
            .settle(&claims.unwrap().claims[0], settlement, NOW)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn deliveries_are_printed_as_text_and_as_json() {
    let operator = Operator::new();
    make_dead_letter(&*operator.store().queue(), &["ann"]).await;

    let shown = operator.json(&["deliveries", "ann"]).await;
    assert_eq!(shown[0]["outcome"], "buried");
    assert_eq!(shown[0]["historyId"], "1");
    let (_, stdout, _) = operator.run(&["deliveries", "ann"]).await;
    assert!(stdout.contains("2023-11-14T22:13:20Z"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "no cause steers the terminal");
    assert_eq!(
        operator.json(&["deliveries", "bob"]).await,
        Value::Array(Vec::new())
    );
}

#[tokio::test]
async fn dead_letters_are_listed_replayed_and_dropped_beside_a_running_relay() {
    let operator = Operator::new();
    // Open, as in a running relay.
    let store = operator.store();
    make_dead_letter(&*store.queue(), &["ann", "bob", "bob", "cleo"]).await;

    let all = operator.json(&["dead-letters", "list"]).await;
    let users: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| &letter["user"])
        .collect();
    assert_eq!(users, ["cleo", "bob", "bob", "ann"]);
    let page = operator
        .json(&["dead-letters", "list", "--limit", "1", "--before", "4"])
        .await;
    assert_eq!(page[0]["id"], 3);
    assert_eq!(
        operator
            .json(&["dead-letters", "list", "ann"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let replayed = operator.json(&["dead-letters", "replay", "1"]).await;
    assert_eq!(replayed["done"], serde_json::json!([1]));
    assert_eq!(store.log().depth().await.unwrap().pending, 1);
    let dropped = operator
        .json(&["dead-letters", "drop", "--user", "bob"])
        .await;
    assert_eq!(dropped["done"], serde_json::json!([2, 3]));
    let (code, stdout, _) = operator.run(&["dead-letters", "drop", "--all"]).await;
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "Dropped 1 dead letter.\n")
    );
    assert_eq!(store.log().depth().await.unwrap().dead_letters, 0);
}

#[tokio::test]
async fn an_unparseable_or_unknown_dead_letter_is_reported_as_an_error() {
    let operator = Operator::new();
    let message = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m1".parse().unwrap(),
        body: Bytes::new(),
        cause: "expected message.data".to_owned(),
    };
    operator
        .store()
        .queue()
        .dead_letter(message, NOW)
        .await
        .unwrap();

    let (code, stdout, stderr) = operator.run(&["dead-letters", "replay", "1", "77"]).await;
    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), "Replayed 0 dead letters.\n")
    );
    assert!(stderr.contains("dead-letters drop 1"), "{stderr}");
    assert!(stderr.contains("no dead letter 77"), "{stderr}");
    for wrong in [
        &["dead-letters", "drop"][..],
        &["dead-letters", "drop", "1", "--all"],
        &["dead-letters", "list", "a b"],
    ] {
        assert_eq!(operator.run(wrong).await.0, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn listing_a_missing_store_does_not_create_it() {
    let operator = Operator::new();
    let (code, _, stderr) = operator.run(&["dead-letters", "list"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the file does not exist"), "{stderr}");
    let files = std::fs::read_dir(Path::new(operator.folder.path())).unwrap();
    assert_eq!(files.count(), 0);
}
