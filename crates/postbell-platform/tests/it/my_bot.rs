use std::time::Duration;

use postbell_core::{
    Claim, DeadLetterReason, Failure, FailureKind, MachineReport, Settlement, UnparseableMessage,
    UserRecord,
};
use postbell_sandbox::{FaultPoint, Frequency, Kind};
use postbell_testkit::RELAY;

use crate::test_browser::{Browser, SignInWays, TestPages};
use crate::test_platform::{TestPlatform, sandbox};

#[tokio::test]
async fn the_switch_requires_a_google_account() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("No Google account is connected"));
    assert!(!page.contains("switch-notifications"));
    let on = [("to", "on")];
    browser.submit("/bot", "/bot/notifications", &on).await;
    let page = browser.get("/bot").await.body;
    let sentence = "Cannot enable Gmail notifications without a connected Google account.";
    assert!(page.contains(sentence), "{page}");

    pages.world.connect("ann").await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("id=\"switch-notifications\""));
    assert!(page.contains("aria-checked=\"true\""), "{page}");
    assert!(page.contains("ann@example.com"));
}

#[tokio::test]
async fn the_result_of_a_switch_is_shown_once() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    for (to, text, is_on) in [
        ("off", "Gmail notifications are off.", false),
        ("on", "Gmail notifications are on.", true),
    ] {
        let answer = browser
            .submit("/bot", "/bot/notifications", &[("to", to)])
            .await;
        assert_eq!(answer.leads_to(), "/bot#settings");
        assert_eq!(pages.world.record("ann").await.notifications_enabled, is_on);
        assert!(browser.get("/bot").await.body.contains(text));
        // The browser has removed the cookie.
        assert!(!browser.get("/bot").await.body.contains(text));
    }
}

#[tokio::test]
async fn a_failed_sync_is_shown_until_a_retry_succeeds() {
    let sandbox = sandbox().await;
    sandbox.fly().put("bot", "m", "started", &[]);
    let world = TestPlatform::on_fly(&sandbox).await;
    let pages = TestPages::at("http://bell.example.com", world, SignInWays::default());
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let refuse = Kind::Refuse {
        status: 500,
        retry_after: None,
    };
    sandbox
        .faults()
        .add(FaultPoint::FlyUpdate, refuse, Frequency::Times(1));
    browser
        .submit("/bot", "/bot/notifications", &[("to", "off")])
        .await;
    let page = browser.get("/bot").await.body;
    assert!(
        page.contains("The change is saved, but your machine could not be updated"),
        "{page}"
    );
    assert!(!pages.world.record("ann").await.notifications_enabled);
    assert!(page.contains("does not have the latest changes yet"));
    let retry = "/bot/tell-machine";
    browser.submit("/bot", retry, &[]).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Your machine is up to date."), "{page}");
    assert!(!page.contains("does not have the latest changes yet"));
    for (to, text) in [
        ("on", "are on. Your machine restarts"),
        ("on", "notifications are on.<"),
    ] {
        let fields = [("to", to)];
        browser.submit("/bot", "/bot/notifications", &fields).await;
        let page = browser.get("/bot").await.body;
        assert!(page.contains(text), "{page}");
    }

    browser.submit("/bot", "/bot/wake", &[("to", "on")]).await;
    assert!(pages.world.record("ann").await.wake_on_mail);
    let page = browser.get("/bot").await.body;
    assert!(page.contains("New mail starts your machine from now on"));
    sandbox.stop().await;
}

#[tokio::test]
async fn disconnecting_deletes_the_account() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let answer = browser.submit("/bot", "/bot/disconnect", &[]).await;
    assert_eq!(answer.status, 303);
    assert!(pages.world.record("ann").await.google.is_none());
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Your Google account is disconnected."));
    assert!(!page.contains("ann@example.com"));
}

#[tokio::test]
async fn the_setup_command_has_a_token_of_the_user() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    assert!(
        !browser
            .get("/bot")
            .await
            .body
            .contains("POSTBELL_USER_TOKEN")
    );
    let page = browser.submit("/bot", "/bot/connect", &[]).await.body;
    assert!(page.contains("POSTBELL_USER_TOKEN=postbell3."), "{page}");
    let rest = "--platform=http://bell.example.com --relay=https://push.example.com --user=ann";
    assert!(page.contains(rest), "{page}");
}

#[tokio::test]
async fn a_test_is_delivered_like_mail_and_keeps_the_cursor() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    browser.submit("/bot", "/bot/test", &[]).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("No test was sent"), "{page}");
    pages.world.connect("ann").await;
    let answer = browser.submit("/bot", "/bot/test", &[]).await;
    assert_eq!(answer.leads_to(), "/bot#deliveries");
    let claims = claim(&pages).await;
    let test = &claims[0].notification;
    assert!(test.message_id.as_str().starts_with("postbell-test-"));
    assert_eq!(test.history_id.get(), 0);
    let body: serde_json::Value = serde_json::from_slice(&test.body).unwrap();
    assert_eq!(body["message"]["messageId"], test.message_id.as_str());

    let settled = pages
        .queue
        .settle(&claims[0], Settlement::Delivered, pages.now());
    settled.await.unwrap();
    let page = browser.get("/bot").await.body;
    assert!(page.contains("The test reached your bot"), "{page}");
    assert!(page.contains("1 delivered"));
}

#[tokio::test]
async fn a_test_is_not_evidence_of_gmails_pushes() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    pages.world.pass(Duration::from_secs(4 * 24 * 60 * 60));
    for _ in 0..2 {
        browser.submit("/bot", "/bot/test", &[]).await;
        let page = browser.get("/bot").await.body;
        assert!(
            page.contains("No notification from Gmail for 4 days"),
            "{page}"
        );
        assert!(page.contains("<dd>none yet</dd>"), "{page}");
        deliver(&pages).await;
    }
    accept(&pages, 7).await;
    deliver(&pages).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Notifications reach your bot"), "{page}");
    // If only tests are left in the delivery log, the last push is unknown.
    for _ in 0..postbell_core::DELIVERIES_KEPT {
        browser.submit("/bot", "/bot/test", &[]).await;
        deliver(&pages).await;
    }
    let page = browser.get("/bot").await.body;
    assert!(page.contains("The test reached your bot"), "{page}");
    assert!(page.contains("before the deliveries below"), "{page}");
}

#[tokio::test]
async fn no_test_is_sent_while_a_notification_is_pending() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    accept(&pages, 7).await;
    let claims = claim(&pages).await;
    let hour = Duration::from_secs(60 * 60);
    let settlement = Settlement::Retry {
        failure: Failure::timeout(),
        wait: hour,
        cooldown: Duration::ZERO,
    };
    let settled = pages.queue.settle(&claims[0], settlement, pages.now());
    settled.await.unwrap();
    let ann = "ann".parse().unwrap();
    let before = pages.log.pending(&ann).await.unwrap();
    browser.submit("/bot", "/bot/test", &[]).await;
    assert_eq!(pages.log.pending(&ann).await.unwrap(), before);
    let page = browser.get("/bot").await.body;
    assert!(
        page.contains("A notification is already pending for your bot"),
        "{page}"
    );
}

/// Begins the delivery of what is pending.
async fn claim(pages: &TestPages) -> Vec<Claim> {
    let lease = Duration::from_secs(60);
    let claimed = pages.queue.claim(RELAY, pages.now(), lease, 9).await;
    claimed.unwrap().claims
}

/// Delivers ann's pending notification.
async fn deliver(pages: &TestPages) {
    let claims = claim(pages).await;
    let settled = pages
        .queue
        .settle(&claims[0], Settlement::Delivered, pages.now());
    settled.await.unwrap();
}

/// Queues a notification for ann.
pub(crate) async fn accept(pages: &TestPages, history_id: u64) {
    let notification = postbell_core::Notification {
        trace: None,
        user: "ann".parse().unwrap(),
        address: None,
        message_id: format!("m{history_id}").parse().unwrap(),
        published_at: None,
        history_id: postbell_core::HistoryId::new(history_id),
        body: bytes::Bytes::from_static(b"{}"),
    };
    let accepted = pages.queue.accept(notification, pages.now());
    accepted.await.unwrap();
}

#[tokio::test]
async fn a_problem_is_shown_with_its_remedy() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    accept(&pages, 7).await;
    assert!(
        browser
            .get("/bot")
            .await
            .body
            .contains("A notification is being delivered")
    );
    let minute = Duration::from_secs(60);
    let claims = claim(&pages).await;
    let settlement = Settlement::Retry {
        failure: Failure::status(401),
        wait: minute,
        cooldown: minute,
    };
    let settled = pages.queue.settle(&claims[0], settlement, pages.now());
    settled.await.unwrap();
    for history_id in [7, 8] {
        // A newer notification restarts the schedule but does not clear the failure.
        accept(&pages, history_id).await;
        let page = browser.get("/bot").await.body;
        for text in [
            "Notifications do not reach your bot",
            "1 attempt has failed: the controller answered 401",
            "rejects the platform's token",
        ] {
            assert!(page.contains(text), "{page}");
        }
    }
    let off = |record: &mut postbell_core::UserRecord| {
        record.status = postbell_core::InstanceStatus::Stopped;
    };
    pages.world.change("ann", off).await;
    let page = browser.get("/bot").await.body;
    assert!(
        page.contains("Start your machine, or let new mail start it."),
        "{page}"
    );
}

/// The page after the machine reported a watch that expires in so many hours.
async fn page_with_watch(pages: &TestPages, browser: &Browser, hours: u64) -> String {
    let now = pages.now();
    // Half an hour more, because the clock advances.
    let ends = now + Duration::from_secs(hours * 3600 + 1800);
    let report = move |record: &mut UserRecord| {
        // Gmail shortens no watch.
        record.watch_expires_at = None;
        let report = MachineReport {
            watch_expires_at: Some(ends),
            ..MachineReport::default()
        };
        record.check_in(report, now);
    };
    pages.world.change("ann", report).await;
    browser.get("/bot").await.body
}

#[tokio::test]
async fn the_reported_watch_expiry_is_shown() {
    let pages = TestPages::new().await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("<dt>Watch</dt><dd>none</dd>"), "{page}");

    pages.world.connect("ann").await;
    let page = browser.get("/bot").await.body;
    for text in [
        "renewed daily while your machine runs",
        "postbell watch status",
    ] {
        assert!(page.contains(text), "{page}");
    }
    let page = page_with_watch(&pages, &browser, 6 * 24).await;
    assert!(page.contains("<dd>expires <time"), "{page}");
    assert!(page.contains("(in 6 days)"), "{page}");
    assert!(page.contains("Ready for the first mail"), "{page}");
    assert!(!page.contains("postbell watch status"), "{page}");
}

#[tokio::test]
async fn a_watch_that_expires_soon_is_shown_with_a_remedy() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let page = page_with_watch(&pages, &browser, 24).await;
    assert!(page.contains("Ready for the first mail"), "{page}");
    let page = page_with_watch(&pages, &browser, 23).await;
    for text in [
        "Gmail's watch on your mailbox expires in 23 h",
        "Restart your machine, which renews it.",
        "connect the account again",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }

    pages.world.pass(Duration::from_secs(25 * 3600));
    let page = browser.get("/bot").await.body;
    for text in [
        "Gmail's watch on your mailbox has expired",
        "<dd>expired <time",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    // Without a watch, mail cannot start the machine.
    let asleep = |record: &mut UserRecord| {
        record.status = postbell_core::InstanceStatus::Stopped;
        record.wake_on_mail = true;
    };
    pages.world.change("ann", asleep).await;
    let page = browser.get("/bot").await.body;
    for text in ["has expired", "Start your machine, which renews it"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let off = |record: &mut UserRecord| record.notifications_enabled = false;
    pages.world.change("ann", off).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Notifications are off"), "{page}");
}

/// Creates a dead letter of a user, and returns its number.
async fn make_dead_letter(pages: &TestPages, user: &str) -> i64 {
    let notification = postbell_core::Notification {
        trace: None,
        user: user.parse().unwrap(),
        address: None,
        message_id: "m1".parse().unwrap(),
        published_at: None,
        history_id: postbell_core::HistoryId::new(7),
        body: bytes::Bytes::from_static(b"{}"),
    };
    pages.queue.accept(notification, pages.now()).await.unwrap();
    let claims = claim(pages).await;
    let settlement = Settlement::DeadLetter {
        reason: DeadLetterReason::Refused,
        failure: Failure::new(FailureKind::Status(422), "the controller answered <422>"),
        cooldown: Duration::ZERO,
    };
    let settled = pages.queue.settle(&claims[0], settlement, pages.now());
    settled.await.unwrap();
    let dead_letters = pages.log.dead_letters(None, None, 1).await.unwrap();
    dead_letters[0].id
}

#[tokio::test]
async fn only_its_own_user_replays_or_deletes_a_dead_letter() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    pages.world.add_another("bob").await;
    let of_bob = make_dead_letter(&pages, "bob").await;
    let of_ann = make_dead_letter(&pages, "ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    let page = browser.get("/bot").await.body;
    assert!(
        page.contains("One notification could not be delivered"),
        "{page}"
    );
    assert!(
        page.contains("&lt;422&gt;"),
        "what came from outside is escaped"
    );

    for action in ["replay", "drop"] {
        let path = format!("/bot/dead-letters/{of_bob}/{action}");
        browser.submit("/bot", &path, &[]).await;
        assert!(
            browser
                .get("/bot")
                .await
                .body
                .contains("This dead letter no longer exists.")
        );
    }
    assert_eq!(pages.log.depth().await.unwrap().dead_letters, 2);
    let path = format!("/bot/dead-letters/{of_ann}/replay");
    browser.submit("/bot", &path, &[]).await;
    let ann = "ann".parse().unwrap();
    assert!(pages.log.pending(&ann).await.unwrap().is_some());

    let operator = pages.signed_in(None, true).await;
    let page = operator.get("/operator").await.body;
    assert!(page.contains("bob"), "{page}");
    let path = format!("/operator/dead-letters/{of_bob}/drop");
    operator.submit("/operator", &path, &[]).await;
    assert_eq!(pages.log.depth().await.unwrap().dead_letters, 0);
}

#[tokio::test]
async fn dead_letters_are_counted_and_deleted_together() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let browser = pages.signed_in(Some("ann"), false).await;
    for _ in 0..12 {
        make_dead_letter(&pages, "ann").await;
        pages.world.pass(Duration::from_secs(25 * 60 * 60));
    }
    let page = browser.get("/bot").await.body;
    assert!(
        page.contains("12 notifications could not be delivered"),
        "{page}"
    );
    assert!(page.contains("The latest of 12."), "{page}");
    // A later delivery supersedes the dead letters.
    accept(&pages, 9).await;
    deliver(&pages).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Notifications reach your bot"), "{page}");
    assert!(
        page.contains("12 notifications could not be delivered before"),
        "{page}"
    );

    let ann = "ann".parse().unwrap();
    let dead_letters = pages.log.dead_letters(Some(&ann), None, 1).await.unwrap();
    let last = dead_letters[0].id.to_string();
    make_dead_letter(&pages, "ann").await;
    let fields = [("last", &*last)];
    browser
        .submit("/bot", "/bot/dead-letters/drop", &fields)
        .await;
    assert_eq!(pages.log.count_dead_letters(&ann).await.unwrap(), 1);
    let page = browser.get("/bot").await.body;
    assert!(page.contains("The dead letters are deleted."), "{page}");
    let unreadable = browser.submit("/bot", "/bot/dead-letters/drop", &[]).await;
    assert_eq!(unreadable.status, 400);
}

#[tokio::test]
async fn an_unparseable_message_can_only_be_deleted() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let unreadable = UnparseableMessage {
        user: "ann".parse().unwrap(),
        message_id: "m1".parse().unwrap(),
        body: bytes::Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    };
    let stored = pages.queue.dead_letter(unreadable, pages.now());
    stored.await.unwrap();
    let browser = pages.signed_in(Some("ann"), false).await;
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Unparseable message"), "{page}");
    assert!(!page.contains("Deliver again"));
}
