use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

struct Demo {
    code: Option<i32>,
    events: Vec<Value>,
    stderr: String,
}

impl Demo {
    async fn run(arguments: &[&str]) -> Self {
        let output = Command::new(env!("CARGO_BIN_EXE_postbell"))
            .args(["demo", "--json"])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        Self {
            code: output.status.code(),
            events: stdout
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn subjects(&self) -> Vec<&str> {
        let mails = self.events.iter().filter(|event| event["event"] == "mail");
        mails
            .map(|mail| mail["subject"].as_str().unwrap())
            .collect()
    }

    fn summary(&self) -> &Value {
        self.events.last().unwrap()
    }
}

#[tokio::test]
async fn a_thousand_mails_arrive_in_order_and_none_twice() {
    let demo = Demo::run(&["--mails", "1000"]).await;
    assert_eq!(demo.code, Some(0), "{}", demo.stderr);
    let mut summary = demo.summary().clone();
    let latencies = summary.as_object_mut().unwrap().remove("totalMs").unwrap();
    assert_eq!(latencies.as_object().unwrap().len(), 3);
    let expected = serde_json::json!({
        "event": "summary", "sent": 1000, "refused": 0, "delivered": 1000, "lost": 0, "duplicates": 0
    });
    assert_eq!(summary, expected);
    let places: Vec<u64> = demo.events[..1000]
        .iter()
        .map(|mail| mail["historyId"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(places.is_sorted_by(|earlier, later| earlier < later));
}

#[tokio::test]
async fn each_mail_has_the_time_of_every_hop_and_they_add_up() {
    let demo = Demo::run(&["--mails", "3"]).await;
    assert_eq!(demo.subjects().len(), 3);
    for mail in &demo.events[..3] {
        let hops = mail["hops"].as_object().unwrap();
        let names: Vec<_> = hops.keys().map(String::as_str).collect();
        assert_eq!(names, ["controller", "inbox", "pubsub", "relay", "watcher"]);
        let sum: f64 = hops.values().map(|time| time.as_f64().unwrap()).sum();
        let total = mail["totalMs"].as_f64().unwrap();
        assert!((sum - total).abs() < 0.01, "{mail}");
    }
}

#[tokio::test]
async fn what_is_no_mail_is_named_and_the_others_are_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    file(
        "1.eml",
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhello\r\n",
    );
    file("2.png", b"\x89PNG\r\n\x1a\n\0\0");
    file(
        "3.eml",
        b"From: a@b.org\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n\xff\0broken",
    );
    file("4.txt", b"");
    file("5.eml", b"Subject: \x1b[31mred\n\n");

    let demo = Demo::run(&["--eml", folder.path().to_str().unwrap()]).await;
    assert_eq!(demo.code, Some(0), "{}", demo.stderr);
    // Control characters are removed from a subject.
    assert_eq!(demo.subjects(), ["Grüße", "", "[31mred"]);
    for name in ["2.png", "4.txt"] {
        assert!(
            demo.stderr.contains(&format!("{name}: expected a mail")),
            "{}",
            demo.stderr
        );
    }
    assert_eq!(demo.summary()["sent"], 3);
    assert_eq!(demo.summary()["refused"], 2);
}

#[tokio::test]
async fn a_demo_with_nothing_to_send_fails() {
    let demo = Demo::run(&["--eml", "/no/such/folder"]).await;
    assert_eq!(demo.code, Some(1));
    assert!(demo.stderr.contains("/no/such/folder"), "{}", demo.stderr);
}
