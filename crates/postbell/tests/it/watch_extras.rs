//! What `postbell watch` posts beyond the mails themselves, as its user asks for it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::watch::{EMAIL, World};

#[tokio::test]
async fn a_mail_comes_with_the_fields_files_thread_and_source_that_were_asked_for() {
    let mut world = World::watched().await;
    let gmail = world.sandbox.gmail();
    let first = "Subject: a\nMessage-ID: <1@x>\n\nfirst";
    gmail.deliver(EMAIL, first.as_bytes()).unwrap();
    let second = "Subject: b\nX-Note: hi\nReferences: <1@x>\nContent-Type: text/plain; name=\"a.txt\"\n\
                  Content-Disposition: attachment\n\ncontent";
    gmail.deliver(EMAIL, second.as_bytes()).unwrap();
    let flags = "--port 0 --headers x-note,Received --attachments files --thread 3 --raw";
    let arguments: Vec<_> = ["serve"].into_iter().chain(flags.split(' ')).collect();
    let watcher = world.service(&arguments).await;
    // A mail without files does not wait for those of the mail behind it.
    let message = loop {
        let hook = world.next_hook().await;
        let mut messages = hook.body["messages"].as_array().unwrap().iter();
        if let Some(second) = messages.find(|message| message["subject"] == "b") {
            break second.clone();
        }
    };
    assert_eq!(message["headers"], json!({ "x-note": ["hi"] }));
    assert_eq!(message["thread"][0]["subject"], "a");
    assert_eq!(message["raw"], BASE64_STANDARD.encode(second));
    let path = message["attachments"][0]["path"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "content");
    assert_eq!(watcher.terminate().await, Some(0));
}

#[tokio::test]
async fn a_flag_that_cannot_work_is_an_error_at_the_start() {
    let world = World::watched().await;
    std::fs::write(world.home.path().join("file"), "x").unwrap();
    let many = vec!["X"; 51].join(",");
    for (flags, code, expected) in [
        (["--headers", "X Y"], 2, "the name of a header field"),
        (["--headers", many.as_str()], 78, "at most 50 names"),
        (
            ["--attachments", "file"],
            78,
            "cannot write to file (--attachments)",
        ),
        (["--thread", "51"], 2, "51 is not in 1..=50"),
        (["--raw", "100"], 2, "write it as '--raw=100'"),
    ] {
        let arguments = ["serve", "--port", "0", "--hook-url", "http://127.0.0.1:9/"];
        let (status, _, stderr) = world.run(&[&arguments[..], &flags].concat()).await;
        assert_eq!(status, Some(code), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}
