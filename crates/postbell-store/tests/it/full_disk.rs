//! A store whose disk is full.
//!
//! The test starts itself again under a limit on the size of files (setrlimit(2), `RLIMIT_FSIZE`),
//! which needs no root and no file system of its own. Writing beyond it fails like a full disk, and
//! raising it gives the space back.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use postbell_core::{HistoryId, Notification, StoreError, Timestamp};
use postbell_store::{Store, StoreOptions};
use postbell_testkit::RELAY;

/// The store of the process that is started again.
const STORE: &str = "POSTBELL_TEST_FULL_DISK";

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(T0.as_millis() + seconds * 1000)
}

fn notification(number: u64) -> Notification {
    Notification {
        trace: None,
        user: format!("user-{number}").parse().unwrap(),
        address: None,
        message_id: format!("m{number}").parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(number),
        body: Bytes::from(vec![b'x'; 60_000]),
    }
}

#[test]
fn a_store_on_a_full_disk_is_not_ready_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let name = "full_disk::under_a_limit_a_store_is_not_ready_until_it_is_raised";
    // SIGXFSZ would kill the process. A shell that ignores it passes that on.
    let limited = "trap '' XFSZ; ulimit -S -f 4000; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(STORE, folder.path().join("postbell.db"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "started by the test above"]
async fn under_a_limit_a_store_is_not_ready_until_it_is_raised() {
    #[expect(clippy::disallowed_methods, reason = "set by the test above")]
    let path = std::env::var(STORE).unwrap();
    let url = format!("sqlite:{path}");
    let store = Store::open(&url, StoreOptions::service()).unwrap();
    let (queue, users) = (store.queue(), store.users());
    queue.check_ready(T0).await.unwrap();

    let mut accepted = 0;
    let error = loop {
        match queue.accept(notification(accepted), T0).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1000, "the limit has no effect");
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    for seconds in [0, 0, 1, 2] {
        // A claim without a due mailbox writes nothing, and so does not show that writing works.
        queue
            .claim(RELAY, Timestamp::default(), Default::default(), 1)
            .await
            .ok();
        for ready in [
            queue.check_ready(at(seconds)).await,
            users.check_ready(at(seconds)).await,
        ] {
            assert!(
                matches!(ready, Err(StoreError::Unavailable(_))),
                "{ready:?}"
            );
        }
    }
    raise_limit();
    for ready in [
        queue.check_ready(at(9)).await,
        users.check_ready(at(9)).await,
    ] {
        ready.unwrap();
    }
    queue.accept(notification(accepted), at(9)).await.unwrap();
    assert_eq!(store.log().depth().await.unwrap().pending, accepted + 1);
    assert!(Path::new(&path).exists());
}

/// Raises the limit of this process to what its parent allows.
fn raise_limit() {
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited:unlimited"])
        .status();
    assert!(raised.unwrap().success(), "prlimit is part of util-linux");
}
