//! Several Google accounts of one user.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use postbell_core::{
    DeliveryLog, DeliveryQueue, HistoryId, InstanceStatus, Notification, ProblemCode, UserRecord,
    Users,
};
use postbell_platform::{Perform, WatchRenewer};
use postbell_protocol::api::operator::{
    GooglePermission, IssueLink, ListUsers, RemoveUser, ShowUser,
};
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use serde_json::{Value, json};

use crate::connect::{assert_connected, assert_shows, come_back, connect, decide_with, pages};
use crate::grants::{revoked, under_way};
use crate::test_browser::{Answer, Browser, TestPages};
use crate::test_platform::{TestPlatform, gateway_token, google_credentials, olga, sandbox};

pub(crate) const ANN: &str = "ann@example.com";
pub(crate) const TEAM: &str = "team@example.com";

/// Connects another account of the browser's user.
pub(crate) async fn connect_another(browser: &Browser, account: &str) -> Answer {
    let fields = [("allow", "yes"), ("account", account)];
    let back = decide_with(browser, &[("another", "1")], &fields).await;
    come_back(browser, &back).await
}

pub(crate) async fn accounts(world: &TestPlatform, name: &str) -> Vec<UserRecord> {
    let owner = name.parse().unwrap();
    world.store.accounts_of(&[owner]).await.unwrap()
}

/// The only further account of `ann`.
pub(crate) async fn team(world: &TestPlatform) -> UserRecord {
    let mut all = accounts(world, "ann").await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Pages of `ann`, who has connected both accounts.
pub(crate) async fn both(sandbox: &Sandbox) -> (TestPages, Browser) {
    let (pages, browser) = pages(sandbox).await;
    assert_connected(&connect(&browser, ANN).await);
    assert_connected(&connect_another(&browser, TEAM).await);
    (pages, browser)
}

fn email(record: &UserRecord) -> &str {
    let google = record.google.as_ref().unwrap();
    google.email.as_ref().unwrap().as_str()
}

#[tokio::test]
async fn a_second_account_has_a_record_and_a_card_of_its_own() {
    let sandbox = sandbox().await;
    let (pages, browser) = both(&sandbox).await;
    let world = &pages.world;
    let team = team(world).await;
    let id = team.user.to_string();
    assert!(id.starts_with("ann."), "{id}");
    assert_eq!(email(&team), TEAM);
    assert_eq!(email(&world.record("ann").await), ANN);
    assert!(sandbox.gmail().watch(TEAM).is_some());
    let credentials = world.credentials(&id, TEAM).await;
    assert!(credentials.is_some());

    let page = browser.get("/bot").await.body;
    for text in [
        ANN,
        TEAM,
        "Google accounts",
        "Connect another Google account",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    // Each with forms of its own, and no element's id twice.
    let ids: Vec<_> = page.split(" id=\"").skip(1).collect();
    let mut ids: Vec<_> = ids.iter().map(|it| it.split('"').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "{page}");

    let off = [("account", &*id), ("to", "off")];
    let sent = browser.submit("/bot", "/bot/notifications", &off).await;
    assert_eq!(sent.leads_to(), "/bot#connection", "{}", sent.body);
    assert!(!crate::accounts::team(world).await.notifications_enabled);
    assert!(world.record("ann").await.notifications_enabled);
    sandbox.stop().await;
}

/// Whichever of the two it is, and also in two browsers at once.
#[tokio::test]
async fn an_account_that_is_connected_already_is_connected_again() {
    let sandbox = sandbox().await;
    let (pages, browser) = pages(&sandbox).await;
    let world = &pages.world;
    assert_connected(&connect(&browser, ANN).await);
    let other = pages.signed_in(Some("ann"), false).await;
    let fields = [("allow", "yes"), ("account", TEAM)];
    let back = decide_with(&browser, &[("another", "1")], &fields).await;
    let other_back = decide_with(&other, &[("another", "1")], &fields).await;
    let (one, two) = tokio::join!(come_back(&browser, &back), come_back(&other, &other_back));
    assert_connected(&one);
    assert_connected(&two);
    let first = team(world).await;

    let history_id = HistoryId::new(7);
    let raised = world.store.raise_history_id(&first.user, history_id);
    assert!(raised.await.unwrap());
    world.pass(Duration::from_secs(1));
    assert_connected(&connect_another(&browser, "Team@Example.com").await);
    assert_connected(&connect_another(&browser, ANN).await);
    let again = team(world).await;
    assert_eq!(again.user, first.user);
    assert!(again.google.unwrap().connected_at > first.google.unwrap().connected_at);
    assert_eq!(again.last_history_id, Some(history_id), "it is the same");
    let state = world.watch_state(again.user.as_str(), TEAM).await;
    assert!(state.history_id.unwrap() <= history_id);

    // "Connect again" wants the same one.
    let aim = [("account", again.user.as_str())];
    let wrong = [("allow", "yes"), ("account", "eve@example.com")];
    let back = decide_with(&browser, &aim, &wrong).await;
    let answer = come_back(&browser, &back).await;
    assert_shows(&answer, 409, TEAM);
    assert!(answer.body.contains(again.user.as_str()), "{}", answer.body);
    assert_eq!(sandbox.oauth().grants("eve@example.com"), 0);
    sandbox.stop().await;
}

/// Whichever it is. What the queue has of a further account goes with it.
#[tokio::test]
async fn disconnecting_one_account_leaves_the_other() {
    let sandbox = sandbox().await;
    let (pages, browser) = both(&sandbox).await;
    let world = &pages.world;
    let team = team(world).await;
    let notification = Notification {
        trace: None,
        user: team.user.clone(),
        address: None,
        message_id: "m1".parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(9),
        body: Bytes::from_static(b"{}"),
    };
    let queue = &world.operated.deliveries;
    queue.accept(notification, pages.now()).await.unwrap();
    let form = [("account", team.user.as_str())];
    let sent = browser.submit("/bot", "/bot/disconnect", &form).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    assert!(accounts(world, "ann").await.is_empty());
    assert!(queue.pending(&team.user).await.unwrap().is_none());
    assert_eq!(sandbox.oauth().grants(TEAM), 0);
    assert!(sandbox.oauth().grants(ANN) > 0);
    assert_eq!(email(&world.record("ann").await), ANN);
    // A page that was rendered before.
    let sent = browser.submit("/bot", "/bot/disconnect", &form).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    let page = browser.get("/bot").await.body;
    assert!(page.contains("no longer connected"), "{page}");
    assert_eq!(email(&world.record("ann").await), ANN);

    assert_connected(&connect_another(&browser, TEAM).await);
    let sent = browser.submit("/bot", "/bot/disconnect", &[]).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    assert!(world.record("ann").await.google.is_none());
    assert_eq!(email(&crate::accounts::team(world).await), TEAM);
    // The next one takes the place of the first.
    let page = browser.get("/bot").await.body;
    assert!(
        page.contains(TEAM) && page.contains("Connect another"),
        "{page}"
    );
    assert_connected(&connect_another(&browser, ANN).await);
    assert_eq!(email(&world.record("ann").await), ANN);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_account_of_another_user_cannot_be_named() {
    let sandbox = sandbox().await;
    let (pages, ann) = both(&sandbox).await;
    let world = &pages.world;
    world.add_another("eve").await;
    let eve = pages.signed_in(Some("eve"), false).await;
    let team = team(world).await;
    let form = [("account", team.user.as_str()), ("to", "off")];
    for path in ["/bot/disconnect", "/bot/notifications", "/bot/google"] {
        let sent = eve.submit("/bot", path, &form).await;
        assert_eq!(
            (sent.status, sent.leads_to()),
            (303, "/bot#connection"),
            "{path}"
        );
    }
    let path = format!("/api/admin/google-credentials?account={}", team.user);
    let refused = world
        .ask_as("eve", Method::DELETE, &path, Value::Null)
        .await;
    assert_eq!(refused.0, 404);
    assert_eq!(crate::accounts::team(world).await, team);
    // Nor does a link to it open a page, or a machine of its own exist.
    let by = olga();
    let request = IssueLink {
        user_id: team.user.clone(),
        valid_for_seconds: None,
    };
    assert!(world.operator.perform(request, &by).await.is_err());
    let own = team.sandbox_id.as_str();
    let token = format!("Bearer {}", gateway_token(own));
    let headers = [("authorization", &*token), ("x-postbell-sandbox-id", own)];
    let path = "/api/controller/config";
    assert_eq!(world.send(Method::GET, path, &headers, "").await.0, 410);
    drop(ann);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_consent_that_arrives_after_the_user_was_removed_is_revoked() {
    let sandbox = sandbox().await;
    let (pages, browser) = both(&sandbox).await;
    let fields = [("allow", "yes"), ("account", "late@example.com")];
    let back = decide_with(&browser, &[("another", "1")], &fields).await;
    let delayed = Kind::Delay { millis: 300 };
    let faults = sandbox.faults();
    faults.add(FaultPoint::GmailWatch, delayed, Frequency::Times(1));
    let remove = async {
        under_way(&sandbox, FaultPoint::GmailWatch).await;
        let user_id = "ann".parse().unwrap();
        let by = olga();
        let removal = pages.world.operator.perform(RemoveUser { user_id }, &by);
        removal.await.unwrap()
    };
    // Whether it is refused or removed with the others, nothing of it stays.
    let (_, removed) = tokio::join!(come_back(&browser, &back), remove);
    assert!(removed.removed);
    assert_eq!(removed.google_permission, Some(GooglePermission::Revoked));
    for account in [ANN, TEAM, "late@example.com"] {
        revoked(&sandbox, account).await;
    }
    assert!(accounts(&pages.world, "ann").await.is_empty());
    assert_eq!(pages.world.store.count().await.unwrap(), 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn the_api_and_the_operators_page_show_accounts_below_their_user() {
    let sandbox = sandbox().await;
    let (pages, _browser) = both(&sandbox).await;
    let world = &pages.world;
    let team = team(world).await;
    let by = olga();
    let show = ShowUser {
        user_id: "ann".parse().unwrap(),
    };
    let shown = world.operator.perform(show, &by).await.unwrap();
    let further = shown.further_accounts;
    assert_eq!(further.len(), 1);
    assert_eq!(further[0].user_id, team.user.to_string());
    assert_eq!(further[0].google_account_email.as_deref(), Some(TEAM));
    let listed = world.operator.perform(ListUsers::default(), &by).await;
    let listed = listed.unwrap().users;
    assert_eq!((listed.len(), listed[0].further_accounts.len()), (1, 1));
    let by_email = ListUsers {
        search: "team@".to_owned(),
        by: postbell_protocol::api::operator::SearchField::Email,
        ..ListUsers::default()
    };
    let found = world.operator.perform(by_email, &by).await.unwrap().users;
    assert_eq!(found[0].account_of.as_deref(), Some("ann"));
    assert_eq!(found[0].sandbox_id, "sandbox-of-ann");

    let operator = pages.signed_in(None, true).await;
    let page = operator.get("/operator").await.body;
    assert!(page.contains("further account"), "{page}");
    let path = page
        .split("href=\"")
        .find(|it| it.starts_with("/operator/users/"));
    let path = path.unwrap().split('"').next().unwrap();
    let page = operator.get(path).await.body;
    assert!(
        page.contains("Further account") && page.contains(team.user.as_str()),
        "{page}"
    );
    sandbox.stop().await;
}

fn offer(email: &str) -> Value {
    let mut credentials = google_credentials();
    credentials["email"] = email.into();
    json!({ "googleCredentials": credentials, "furtherAccount": true })
}

/// By a setup tool, with a project of the user's own.
#[tokio::test]
async fn a_setup_tool_connects_and_disconnects_a_further_account() {
    let sandbox = sandbox().await;
    let (pages, _browser) = pages(&sandbox).await;
    let world = &pages.world;
    let path = "/api/admin/google-credentials";
    let connected = world.ask_as("ann", Method::POST, path, offer(ANN)).await;
    assert_eq!(connected.0, 200, "{}", connected.1);
    let mut offer = offer(TEAM);
    assert_eq!(
        world
            .ask_as("ann", Method::POST, path, offer.clone())
            .await
            .0,
        200
    );
    let team = team(world).await;
    let (_, shown) = world.ask_as("ann", Method::GET, path, Value::Null).await;
    assert_eq!(shown["email"], ANN);
    assert_eq!(shown["furtherAccounts"][0]["userId"], team.user.to_string());
    offer["googleCredentials"]["email"] = Value::Null;
    assert_eq!(
        world
            .ask_as("ann", Method::POST, path, offer.clone())
            .await
            .0,
        400
    );
    // A machine fetches the credentials of all accounts at once.
    offer["googleCredentials"]["email"] = "third@example.com".into();
    offer["googleCredentials"]["gogConfigTarball"]["encryptedData"] = "A".repeat(96 * 1024).into();
    let (status, refused) = world.ask_as("ann", Method::POST, path, offer).await;
    let text = refused["error"].as_str().unwrap();
    assert!(status == 400 && text.contains("64 KiB"), "{text}");

    let one = format!("{path}?account={}", team.user);
    assert_eq!(
        world
            .ask_as("ann", Method::DELETE, &one, Value::Null)
            .await
            .0,
        200
    );
    assert!(accounts(world, "ann").await.is_empty());
    assert!(world.record("ann").await.google.is_some());
    sandbox.stop().await;
}

#[tokio::test]
async fn the_watch_of_each_account_is_renewed() {
    let sandbox = sandbox().await;
    let (pages, _browser) = both(&sandbox).await;
    let world = &pages.world;
    let client = world.users.operator_client.clone().unwrap();
    let renewer = WatchRenewer::new(client, world.fleet.clone());
    world
        .change("ann", |record| record.several_accounts = true)
        .await;
    // The second account's grant is dead: the first one's watch is renewed all the same.
    sandbox.oauth().revoke(TEAM);
    let before = world.record("ann").await.watch_expires_at;
    let days = 3 * 24 * 60 * 60;
    world.pass(Duration::from_secs(days));
    sandbox.clock().set_skew(days.cast_signed());
    renewer.renew_due().await.unwrap();
    let (ann, team) = (world.record("ann").await, team(world).await);
    assert!(ann.watch_expires_at > before && ann.problem.is_none());
    assert_eq!(team.problem.unwrap().code, ProblemCode::GrantRevoked);
    assert_eq!(ann.status, InstanceStatus::Running);
    sandbox.stop().await;
}

/// Also where another one was asked for: a dead grant is renewed, and none is given back.
#[tokio::test]
async fn a_connected_account_is_connected_again_by_whatever_button() {
    let sandbox = sandbox().await;
    let (pages, browser) = both(&sandbox).await;
    let world = &pages.world;
    let consent = async |aim: &[(&str, &str)], account: &str| {
        world.pass(Duration::from_secs(1));
        let fields = [("allow", "yes"), ("account", account)];
        let back = decide_with(&browser, aim, &fields).await;
        assert_connected(&come_back(&browser, &back).await);
    };
    let connected_at = |record: UserRecord| record.google.unwrap().connected_at;
    // By the card of the other account.
    let team = team(world).await;
    let (ann, team_at) = (
        connected_at(world.record("ann").await),
        connected_at(team.clone()),
    );
    consent(&[("account", team.user.as_str())], ANN).await;
    assert!(connected_at(world.record("ann").await) > ann);
    consent(&[], TEAM).await;
    assert!(connected_at(crate::accounts::team(world).await) > team_at);

    // After the first one was disconnected, by the button that connects one.
    let sent = browser.submit("/bot", "/bot/disconnect", &[]).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    let before = connected_at(crate::accounts::team(world).await);
    consent(&[], TEAM).await;
    let again = crate::accounts::team(world).await;
    assert_eq!(again.user, team.user);
    assert!(connected_at(again) > before);
    assert!(world.record("ann").await.google.is_none());
    consent(&[], ANN).await;
    assert_eq!(email(&world.record("ann").await), ANN);
    sandbox.stop().await;
}

/// Without an operator's client, this is the only way.
#[tokio::test]
async fn each_account_and_another_one_can_be_connected_with_a_project_of_ones_own() {
    let pages = TestPages::new().await;
    let world = &pages.world;
    let browser = pages.signed_in(Some("ann"), false).await;
    let path = "/api/admin/google-credentials";
    let connected = world.ask_as("ann", Method::POST, path, offer(ANN)).await;
    assert_eq!(connected.0, 200, "{}", connected.1);
    let command = async |fields: &[(&str, &str)]| {
        let shown = browser.submit("/bot", "/bot/connect", fields).await;
        assert_eq!(shown.status, 200, "{}", shown.body);
        let is_further = shown.body.contains(" --further-account");
        (is_further, shown.body)
    };
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Connect another Google account"), "{page}");
    assert!(command(&[("another", "1")]).await.0);
    assert!(!command(&[]).await.0, "the first one again");

    let connected = world.ask_as("ann", Method::POST, path, offer(TEAM)).await;
    assert_eq!(connected.0, 200, "{}", connected.1);
    let id = team(world).await.user.to_string();
    let page = browser.get("/bot").await.body;
    for account in [ANN, TEAM] {
        let button = format!("Connect {account} again with your own project");
        assert!(page.contains(&button), "{button}: {page}");
    }
    let (is_further, page) = command(&[("account", &id)]).await;
    assert!(is_further && page.contains(TEAM), "{page}");
    let (is_further, page) = command(&[("account", "ann")]).await;
    assert!(!is_further && page.contains(ANN), "{page}");

    let sent = browser
        .submit("/bot", "/bot/disconnect", &[("account", "ann")])
        .await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Connect another Google account"), "{page}");
    let (is_further, page) = command(&[("another", "1")]).await;
    assert!(is_further && !page.contains(ANN), "{page}");
}

#[tokio::test]
async fn a_test_is_sent_for_the_account_whose_card_asks_for_it() {
    let sandbox = sandbox().await;
    let (pages, browser) = both(&sandbox).await;
    let world = &pages.world;
    let team = team(world).await.user;
    let ann = "ann".parse().unwrap();
    for (account, pending) in [(&team, [false, true]), (&ann, [true, true])] {
        let page = browser.get("/bot").await.body;
        assert!(page.contains(&format!("Send a test to {TEAM}")), "{page}");
        let form = [("account", account.as_str())];
        let sent = browser.submit("/bot", "/bot/test", &form).await;
        assert_eq!(sent.leads_to(), "/bot#deliveries", "{}", sent.body);
        for (account, is_pending) in [&ann, &team].into_iter().zip(pending) {
            let found = pages.log.pending(account).await.unwrap();
            assert_eq!(found.is_some(), is_pending, "{account}");
        }
    }
    let form = [("account", "bob")];
    let sent = browser.submit("/bot", "/bot/test", &form).await;
    assert_eq!(sent.leads_to(), "/bot#connection", "{}", sent.body);
    sandbox.stop().await;
}
