use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt;
use postbell_core::{InstanceStatus, MachineReport, Settlement};
use postbell_testkit::RELAY;
use tokio::time::Instant;

use crate::my_bot::accept;
use crate::test_browser::TestPages;

/// With HTTP/2, a client can have any number of responses that it does not read.
#[tokio::test]
async fn a_session_has_a_bounded_number_of_unread_responses() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let mut unread = Vec::new();
    let refused = loop {
        let (status, mut page) = browser.stream("/bot").await;
        if status != 200 {
            break status;
        }
        // A server takes the bytes before its client does.
        unread.push(page.next().await.unwrap().unwrap());
        assert!(page.next().await.is_none());
    };
    assert_eq!((refused, unread.len()), (429, 32));
    let other = pages.signed_in(Some("ann"), false).await;
    assert_eq!(other.get("/bot").await.status, 200, "another session");
    unread.pop();
    assert_eq!(browser.get("/bot").await.status, 200);
    assert_eq!(browser.get("/bot").await.status, 200, "that one was read");
}

/// The interval at which pages are rendered without a change.
const RENDER_INTERVAL: Duration = Duration::from_secs(10);

/// Reads until the stream contains a text.
async fn until(stream: &mut BodyDataStream, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        let next = stream.next().await.expect("the page ended").unwrap();
        seen.push_str(&String::from_utf8_lossy(&next));
    }
}

#[tokio::test(start_paused = true)]
async fn changes_in_this_process_are_sent_at_once() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), true).await;
    let (_, mut of_bot) = browser.stream("/bot/events").await;
    let (_, mut of_operator) = browser.stream("/operator/events").await;
    until(&mut of_bot, "event: announcement").await;
    until(&mut of_operator, "event: dead-letters").await;
    let begun = Instant::now();

    accept(&pages, 7).await;
    until(&mut of_bot, "A notification is being delivered").await;
    let lease = Duration::from_secs(9);
    let claims = pages
        .queue
        .claim(RELAY, pages.now(), lease, 9)
        .await
        .unwrap()
        .claims;
    until(&mut of_bot, "<p class=\"pending\">").await;
    let settled = pages
        .queue
        .settle(&claims[0], Settlement::Delivered, pages.now());
    settled.await.unwrap();
    until(&mut of_bot, "Notifications reach your bot").await;

    let stopped = |record: &mut postbell_core::UserRecord| {
        record.status = InstanceStatus::Stopped;
    };
    pages.world.change("ann", stopped).await;
    until(&mut of_bot, "Your machine is off").await;
    let user = "ann".parse().unwrap();
    pages
        .world
        .fleet
        .report_running(&user, MachineReport::default(), None)
        .await
        .unwrap();
    until(&mut of_bot, "Notifications reach your bot").await;
    pages.world.add_another("bob").await;
    until(&mut of_operator, "bob").await;
    assert!(
        begun.elapsed() < RENDER_INTERVAL,
        "sent before the periodic render"
    );
}

#[tokio::test]
async fn a_page_is_updated_until_its_user_signs_out() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let head = browser.send(axum::http::Method::HEAD, "/bot/events", &[], String::new());
    let head = head.await;
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(head.headers["x-accel-buffering"], "no");
    let (status, mut stream) = browser.stream("/bot/events").await;
    assert_eq!(status, 200);
    let mut seen = String::new();
    while !seen.contains("event: announcement") {
        seen.push_str(&String::from_utf8_lossy(
            &stream.next().await.unwrap().unwrap(),
        ));
    }
    assert!(
        seen.contains("event: state") && seen.contains("Ready for the first mail"),
        "{seen}"
    );
    browser
        .submit("/bot", "/bot/notifications", &[("to", "off")])
        .await;
    while !seen.contains("Notifications are off") {
        seen.push_str(&String::from_utf8_lossy(
            &stream.next().await.unwrap().unwrap(),
        ));
    }
    browser.submit("/bot", "/sign-out", &[]).await;
    pages.changed("ann");
    while stream.next().await.is_some() {}
}

#[tokio::test]
async fn connections_close_with_the_process() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), true).await;
    let (_, mut of_bot) = browser.stream("/bot/events").await;
    let (_, mut of_operator) = browser.stream("/operator/events").await;
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    pages.pages.clone().close_connections(stop).await;
    while of_bot.next().await.is_some() {}
    while of_operator.next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn connections_close_with_their_session() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let (_, mut stream) = browser.stream("/bot/events").await;
    assert!(stream.next().await.is_some());
    let before = Instant::now();
    browser.submit("/bot", "/sign-out", &[]).await;
    while stream.next().await.is_some() {}
    // They must not wait for the next periodic render.
    assert!(before.elapsed() < Duration::from_secs(1));
}
