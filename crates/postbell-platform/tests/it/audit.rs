//! What users do is in the audit log, too.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use postbell_core::{AuditAction, AuditLog, SystemClock, Timestamp, Users};
use postbell_platform::{OperatedQueue, Operator, Perform, system_random};
use postbell_protocol::api::operator::{GooglePermission, Invite, ListAudit, RemoveUser};
use postbell_sandbox::{FaultPoint, Frequency, Kind};
use postbell_testkit::MemoryStore;
use serde_json::json;

use crate::connect::{assert_connected, connect, pages};
use crate::test_browser::{SignInWays, TestPages};
use crate::test_platform::{TestPlatform, olga, sandbox};

/// Who has done what, in order.
async fn done(pages: &TestPages) -> Vec<(String, String, String)> {
    let log = &pages.world.operated.audit;
    let entries = log.entries(None, None, 100).await.unwrap();
    let entries = entries.into_iter().rev();
    entries.map(|it| (it.actor, it.action, it.detail)).collect()
}

#[tokio::test]
async fn what_users_do_on_their_page_and_with_their_token_is_recorded() {
    let pages = TestPages::new().await;
    pages.world.ask_as_setup_tool("ann").await;
    let ann = pages.signed_in(Some("ann"), false).await;
    for (path, fields) in [
        ("/bot/notifications", &[("to", "off")][..]),
        ("/bot/notifications", &[("to", "on")]),
        ("/bot/wake", &[("to", "on")]),
        ("/bot/alerts", &[("target", "ntfy://ntfy.sh/hunter2")]),
        ("/bot/disconnect", &[]),
    ] {
        assert_eq!(ann.submit("/bot", path, fields).await.status, 303, "{path}");
    }
    let done = done(&pages).await;
    let of_ann: Vec<_> = done
        .iter()
        .filter(|(actor, ..)| actor == "user ann")
        .map(|(_, action, detail)| (action.as_str(), detail.as_str()))
        .collect();
    assert_eq!(done[0].0, "setup token of ann", "{done:?}");
    assert_eq!(
        (
            done[0].1.as_str(),
            done[0].2.contains("connected a Google account")
        ),
        ("user.change", true),
        "{done:?}"
    );
    let target = of_ann
        .iter()
        .find(|(action, _)| *action == "alert_target.add");
    assert!(
        target.is_some_and(|(_, id)| id.starts_with("tgt_")),
        "{done:?}"
    );
    let rest: Vec<_> = of_ann
        .iter()
        .filter(|(action, _)| *action != "alert_target.add")
        .copied()
        .collect();
    assert_eq!(
        rest,
        [
            ("session.start", "by a link"),
            ("user.change", "notifications off"),
            ("user.change", "notifications on"),
            ("user.change", "wake on mail on"),
            (
                "user.change",
                "disconnected the Google account, notifications off"
            ),
        ]
    );
    assert!(!format!("{done:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_user_cannot_fill_the_log_by_changing_something_again_and_again() {
    let pages = TestPages::new().await;
    let ann = pages.signed_in(Some("ann"), false).await;
    let mut limited = 0;
    for number in 0..100 {
        let to = ["on", "off"][number % 2];
        let answer = ann.submit("/bot", "/bot/wake", &[("to", to)]).await;
        if answer.status == 429 {
            assert_eq!(answer.headers["retry-after"], "60");
            limited += 1;
        }
    }
    let recorded = done(&pages).await.len();
    assert_eq!(limited + recorded, 1 + 100, "the sign-in and the changes");
    assert!(recorded < 40, "{recorded}");
    // Signing in and setup tools do it no more than the page. A busy machine may take a minute for all this.
    let mut statuses = Vec::new();
    let mut refused = None;
    for _ in 0..5 {
        let link = pages.link(Some("ann"), false).await;
        let status = pages.browser().post(&link, &[]).await.status;
        statuses.push(status);
        refused = (status == 429).then_some(link).or(refused);
    }
    let refused = refused.expect("five links of which the limit refuses one");
    for _ in 0..50 {
        const ROUTE: &str = "/api/admin/google-credentials";
        let answer = pages.world.ask_as("ann", Method::DELETE, ROUTE, json!({}));
        statuses.push(answer.await.0);
    }
    assert!(statuses.contains(&200) && statuses[5..].contains(&429));

    // Others are not affected, the session can be ended, and the limit passes.
    let operator = pages.signed_in(Some("ann"), true).await;
    for _ in 0..40 {
        let answer = operator.submit("/bot", "/bot/wake", &[("to", "on")]).await;
        assert_eq!(answer.status, 303);
    }
    assert_eq!(ann.submit("/bot", "/sign-out", &[]).await.status, 303);
    pages.world.pass(Duration::from_secs(40));
    let used = pages.browser().post(&refused, &[]).await;
    assert_eq!(
        used.status, 303,
        "a refused link is not used up: {}",
        used.body
    );
}

#[tokio::test]
async fn what_is_done_with_the_internal_key_is_recorded() {
    let pages = TestPages::new().await;
    pages.world.connect("ann").await;
    let off = "/api/platform/gmail-notifications?userId=ann";
    let answer = pages.world.ask(Method::DELETE, off, json!(null)).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    let done = done(&pages).await;
    assert!(done.iter().all(|(actor, ..)| actor == "internal API key"));
    assert_eq!(done.last().unwrap().2, "notifications off");
}

#[tokio::test]
async fn removing_a_user_takes_back_the_permission_and_says_what_it_could_not() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    pages.world.add_another("bob").await;
    let bob = pages.signed_in(Some("bob"), false).await;
    pages.world.add_another("cid").await;
    pages.world.add_another("dan").await;
    let dan = pages.signed_in(Some("dan"), false).await;
    for browser in [&ann, &bob] {
        assert_connected(&connect(browser, "ann@example.com").await);
    }
    assert_connected(&connect(&dan, "dan@example.com").await);
    let remove = async |name: &str| {
        let request = RemoveUser {
            user_id: name.parse().unwrap(),
        };
        let by = olga();
        let removed = pages.world.operator.perform(request, &by).await.unwrap();
        assert!(removed.removed);
        removed.google_permission
    };
    assert_eq!(remove("ann").await, Some(GooglePermission::Shared));
    assert_eq!(sandbox.oauth().grants("ann@example.com"), 2);
    assert_eq!(remove("bob").await, Some(GooglePermission::Revoked));
    assert_eq!(sandbox.oauth().grants("ann@example.com"), 0);
    assert!(sandbox.gmail().watch("ann@example.com").is_none());
    pages.world.connect("cid").await;
    assert_eq!(remove("cid").await, Some(GooglePermission::OwnProject));
    let refuse = Kind::refuse(503);
    sandbox
        .faults()
        .add(FaultPoint::OAuthRevoke, refuse, Frequency::Always);
    assert_eq!(remove("dan").await, Some(GooglePermission::NotRevoked));
    assert!(
        pages
            .world
            .store
            .get(&"dan".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
    pages.world.add_another("eve").await;
    assert_eq!(remove("eve").await, None);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_invitation_does_not_drop_the_machine_that_it_names() {
    let pages = TestPages::new().await;
    let invite = async |user: serde_json::Value| {
        let request: Invite = serde_json::from_value(user).unwrap();
        pages.world.operator.perform(request, &olga()).await
    };
    let url = "https://eve.example.com";
    assert!(
        invite(json!({"userId": "eve", "url": url}))
            .await
            .unwrap()
            .added
    );
    for same in [
        json!({"userId": "eve", "url": url}),
        json!({"userId": "eve"}),
    ] {
        assert!(!invite(same).await.unwrap().added);
    }
    let other = json!({"userId": "eve", "url": "https://other.example.com"});
    let refused = invite(other).await.unwrap_err();
    assert!(refused.to_string().contains("another machine"), "{refused}");
}

/// Pages of a platform whose relay has the store `relay`, or the platform's under another name.
async fn with_relay(relay: Option<MemoryStore>) -> TestPages {
    let mut world = TestPlatform::new().await;
    let relay = relay.unwrap_or_else(|| world.operated.clone());
    world.operator = Arc::new(Operator {
        ports: Arc::new(world.operated.clone()),
        queue: Some(OperatedQueue {
            ports: Arc::new(relay),
            arrivals: None,
            has_own_log: true,
        }),
        client: None,
        relays: None,
        controllers: None,
        url: None,
        user_tokens: None,
        gateway_tokens: None,
        random: system_random(),
        clock: Arc::new(SystemClock::new()),
    });
    TestPages::at("http://bell.example.com", world, SignInWays::default())
}

async fn append(log: &dyn AuditLog, detail: &str, before: i64) {
    let mut by = olga();
    by.at = Timestamp::from_millis(by.at.as_millis() - before * 1000);
    let appended = log.append(&by, AuditAction::DropDeadLetter, None, detail);
    appended.await.unwrap();
}

#[tokio::test]
async fn the_log_of_the_relay_is_listed_apart_and_shown_together() {
    let relay = MemoryStore::default();
    let pages = with_relay(Some(relay.clone())).await;
    let own = &pages.world.operated.audit;
    append(own, "entry-1", 300).await;
    append(&relay.audit, "entry-2", 200).await;
    append(own, "entry-3", 100).await;
    let listed = async |relay| {
        let request = ListAudit {
            relay,
            ..ListAudit::default()
        };
        let listed = pages.world.operator.perform(request, &olga()).await;
        let entries = listed.unwrap().entries.into_iter();
        entries.map(|entry| entry.detail).collect::<Vec<_>>()
    };
    assert_eq!(listed(true).await, ["entry-2"]);
    assert_eq!(listed(false).await, ["entry-3", "entry-1"]);
    let operator = pages.signed_in(None, true).await;
    let page = operator.get("/operator").await.body;
    let places = ["entry-3", "entry-2", "entry-1"].map(|detail| page.find(detail));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{page}"
    );
}

#[tokio::test]
async fn one_log_under_two_names_is_shown_once() {
    let pages = with_relay(None).await;
    append(&pages.world.operated.audit, "entry-1", 0).await;
    let operator = pages.signed_in(None, true).await;
    let page = operator.get("/operator").await.body;
    assert_eq!(page.matches("entry-1").count(), 1, "{page}");
}
