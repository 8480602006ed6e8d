//! Connecting in the browser, with the operator's OAuth client.

use std::time::Duration;

use axum::http::Method;
use axum::routing::post;
use axum::{Json, Router};
use postbell_core::ProblemCode;
use postbell_platform::WatchRenewer;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use reqwest::redirect::Policy;
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use crate::test_browser::{Answer, Browser, SignInWays, TestPages};
use crate::test_platform::{OPERATOR_TOPIC, Operator, PUSH_ACCOUNT, TestPlatform, sandbox};

/// The sandbox's first OAuth client is a desktop app's, so redirects go to this machine.
pub(crate) const URL: &str = "http://localhost:8081";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SEND: &str = "https://www.googleapis.com/auth/gmail.send";
const READ: &str = "https://www.googleapis.com/auth/gmail.readonly";

/// Creates the operator's topic, to which Gmail may publish.
pub(crate) fn put_topic(sandbox: &Sandbox) {
    sandbox.pubsub().put_topic(OPERATOR_TOPIC);
    let gmail = "serviceAccount:gmail-api-push@system.gserviceaccount.com";
    let binding = json!({ "role": "roles/pubsub.publisher", "members": [gmail] });
    sandbox.pubsub().add_binding(OPERATOR_TOPIC, binding);
}

/// Pages with the operator's client, and a browser with a session of `ann`'s.
pub(crate) async fn pages(sandbox: &Sandbox) -> (TestPages, Browser) {
    put_topic(sandbox);
    let world = TestPlatform::with_operator(&Operator::of(sandbox)).await;
    let pages = TestPages::at(URL, world, SignInWays::default());
    let browser = pages.signed_in(Some("ann"), false).await;
    (pages, browser)
}

/// Requests the consent, decides at Google, and returns the redirect.
pub(crate) async fn decide(browser: &Browser, form: &[(&str, &str)]) -> Url {
    decide_with(browser, &[], form).await
}

/// The same with fields that say which account is to be connected.
pub(crate) async fn decide_with(
    browser: &Browser,
    aim: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Url {
    let sent = browser.submit("/bot", "/bot/google", aim).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    let client = reqwest::Client::builder().redirect(Policy::none());
    let client = client.build().unwrap();
    let decided = client
        .post(sent.leads_to())
        .form(form)
        .send()
        .await
        .unwrap();
    let back = decided.headers()["location"].to_str().unwrap();
    assert!(
        back.starts_with(&format!("{URL}/bot/google/back?")),
        "{back}"
    );
    back.parse().unwrap()
}

pub(crate) async fn come_back(browser: &Browser, back: &Url) -> Answer {
    let path = format!("{}?{}", back.path(), back.query().unwrap());
    let from = [("sec-fetch-site", "cross-site")];
    browser.send(Method::GET, &path, &from, String::new()).await
}

/// Consents as `account`.
pub(crate) async fn connect(browser: &Browser, account: &str) -> Answer {
    let back = decide(browser, &[("allow", "yes"), ("account", account)]).await;
    come_back(browser, &back).await
}

pub(crate) fn assert_connected(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.leads_to()),
        (303, "/bot#connection"),
        "{}",
        answer.body
    );
}

pub(crate) fn assert_shows(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{text}: {}", answer.body);
    for text in [text, "Try again", "Back to My bot"] {
        assert!(answer.body.contains(text), "{text}: {}", answer.body);
    }
}

#[tokio::test]
async fn one_click_connects_an_account_and_starts_its_watch_on_the_operators_topic() {
    let sandbox = sandbox().await;
    let (pages, browser) = pages(&sandbox).await;
    let page = browser.get("/bot").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.ends_with(&format!("form-action 'self' {}", sandbox.url())),
        "{policy}"
    );
    assert!(page.body.contains("Connect Google") && page.body.contains("Show command"));

    assert_connected(&connect(&browser, "Ann@Example.com").await);
    let record = pages.world.record("ann").await;
    let google = record.google.clone().unwrap();
    assert_eq!(google.email.unwrap().as_str(), "ann@example.com");
    assert_eq!(google.push_account.unwrap().as_str(), PUSH_ACCOUNT);
    assert!(record.notifications_enabled);
    let (topic, ends) = sandbox.gmail().watch("ann@example.com").unwrap();
    assert_eq!(topic, OPERATOR_TOPIC);
    assert_eq!(record.watch_expires_at.unwrap().as_millis(), ends);

    // The machine's variable, which both watchers read.
    let credentials = pages
        .world
        .credentials("ann", "ann@example.com")
        .await
        .unwrap();
    assert_eq!(credentials.client_id, sandbox.oauth().first_client().0);
    let page = browser.get("/bot").await.body;
    for text in [
        "Your Google account is connected.",
        "ann@example.com",
        "Your machine and Postbell renew it",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn each_way_to_fail_says_what_to_do_and_can_be_repeated() {
    let sandbox = sandbox().await;
    put_topic(&sandbox);
    let operator = Operator {
        scopes: vec![SEND.to_owned()],
        ..Operator::of(&sandbox)
    };
    let world = TestPlatform::with_operator(&operator).await;
    let pages = TestPages::at(URL, world, SignInWays::default());
    let browser = pages.signed_in(Some("ann"), false).await;

    let no = decide(&browser, &[("allow", "no")]).await;
    assert_shows(
        &come_back(&browser, &no).await,
        403,
        "You cancelled on Google",
    );

    let part = [("allow", "yes"), ("granular", "yes"), ("scope", READ)];
    let part = decide(&browser, &part).await;
    let answer = come_back(&browser, &part).await;
    assert_shows(&answer, 403, "send mail (gmail.send)");
    assert!(!answer.body.contains("read your mail"), "{}", answer.body);

    let mut refused = decide(&browser, &[("allow", "no")]).await;
    let query = refused
        .query()
        .unwrap()
        .replace("access_denied", "admin_policy_enforced");
    refused.set_query(Some(&query));
    assert_shows(
        &come_back(&browser, &refused).await,
        403,
        "admin_policy_enforced",
    );

    for at in [
        FaultPoint::OAuthToken,
        FaultPoint::GmailProfile,
        FaultPoint::GmailWatch,
    ] {
        sandbox
            .faults()
            .add(at, Kind::refuse(503), Frequency::Times(1));
        let answer = connect(&browser, "ann@example.com").await;
        assert_shows(&answer, 503, "Google could not be reached");
        assert_eq!(answer.headers["retry-after"], "5");
    }

    sandbox.pubsub().remove_topic(OPERATOR_TOPIC);
    let answer = connect(&browser, "ann@example.com").await;
    assert_shows(&answer, 502, "Tell your operator");
    // The user cannot repeat that, and the attempts before left what a next one uses.
    assert_eq!(sandbox.oauth().grants("ann@example.com"), 0);
    put_topic(&sandbox);

    let record = pages.world.record("ann").await;
    assert!(record.google.is_none() && !record.notifications_enabled);
    assert_connected(&connect(&browser, "ann@example.com").await);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_callback_belongs_to_one_session_and_is_valid_once() {
    let sandbox = sandbox().await;
    let (pages, browser) = pages(&sandbox).await;
    pages.world.add_another("bob").await;
    let yes = [("allow", "yes"), ("account", "ann@example.com")];
    let back = decide(&browser, &yes).await;
    // Another user, even with an attempt of their own, must not get ann's account.
    let bob = pages.signed_in(Some("bob"), false).await;
    assert_shows(&come_back(&bob, &back).await, 403, "has expired");
    decide(&bob, &yes).await;
    assert_shows(&come_back(&bob, &back).await, 403, "has expired");
    // Nor another session of ann's.
    let other = pages.signed_in(Some("ann"), false).await;
    let mut cookies = browser.cookies();
    cookies.remove("postbell-session");
    cookies.extend(other.cookies());
    other.with_cookies(cookies);
    assert_shows(&come_back(&other, &back).await, 403, "has expired");
    assert_eq!(
        come_back(&pages.browser(), &back).await.leads_to(),
        "/sign-in"
    );

    assert_connected(&come_back(&browser, &back).await);
    assert_shows(&come_back(&browser, &back).await, 403, "has expired");
    assert!(pages.world.record("bob").await.google.is_none());

    let late = decide(&browser, &yes).await;
    pages.world.pass(Duration::from_secs(15 * 60));
    assert_shows(&come_back(&browser, &late).await, 403, "has expired");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_connected_account_is_replaced_only_after_it_was_disconnected() {
    let sandbox = sandbox().await;
    let (pages, browser) = pages(&sandbox).await;
    assert_connected(&connect(&browser, "ann@example.com").await);
    let answer = connect(&browser, "other@example.com").await;
    assert_shows(&answer, 409, "ann@example.com");
    assert!(
        !answer.body.contains("other@example.com"),
        "{}",
        answer.body
    );
    // The page asks Google for the connected account.
    let sent = browser.submit("/bot", "/bot/google", &[]).await;
    assert!(sent.leads_to().contains("login_hint=ann%40example.com"));
    assert_connected(&connect(&browser, "ann@example.com").await);
    assert_eq!(
        browser.submit("/bot", "/bot/disconnect", &[]).await.status,
        303
    );
    assert_connected(&connect(&browser, "other@example.com").await);
    let google = pages.world.record("ann").await.google.unwrap();
    assert_eq!(google.email.unwrap().as_str(), "other@example.com");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_forged_redirect_does_not_end_the_attempt_and_another_account_keeps_no_permission() {
    let sandbox = sandbox().await;
    let (_pages, browser) = pages(&sandbox).await;
    let back = decide(
        &browser,
        &[("allow", "yes"), ("account", "ann@example.com")],
    )
    .await;
    let forged = Url::parse(&format!("{URL}/bot/google/back?state=x&code=y")).unwrap();
    assert_eq!(come_back(&browser, &forged).await.status, 403);
    assert_connected(&come_back(&browser, &back).await);
    let other = connect(&browser, "other@example.com").await;
    assert_eq!(other.status, 409);
    assert_eq!(sandbox.oauth().grants("other@example.com"), 0);
    assert_eq!(sandbox.oauth().grants("ann@example.com"), 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_mailbox_that_is_connected_again_begins_at_its_last_delivery() {
    let sandbox = sandbox().await;
    let (pages, browser) = pages(&sandbox).await;
    assert_connected(&connect(&browser, "ann@example.com").await);
    let id = postbell_core::HistoryId::new(5);
    let user = "ann".parse().unwrap();
    pages
        .world
        .users
        .store
        .raise_history_id(&user, id)
        .await
        .unwrap();
    assert_connected(&connect(&browser, "ann@example.com").await);
    let state = pages.world.watch_state("ann", "ann@example.com").await;
    assert_eq!(
        (state.topic.as_str(), state.history_id),
        (OPERATOR_TOPIC, Some(id))
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn disconnecting_takes_the_permission_back_unless_another_bot_needs_it() {
    let sandbox = sandbox().await;
    let (pages, ann) = pages(&sandbox).await;
    pages.world.add_another("bob").await;
    let bob = pages.signed_in(Some("bob"), false).await;
    for browser in [&ann, &bob] {
        assert_connected(&connect(browser, "ann@example.com").await);
    }
    let disconnect = async |browser: &Browser| {
        browser.submit("/bot", "/bot/disconnect", &[]).await;
        browser.get("/bot").await.body
    };
    let page = disconnect(&ann).await;
    assert!(
        page.contains("because another bot uses the mailbox"),
        "{page}"
    );
    assert_eq!(sandbox.oauth().grants("ann@example.com"), 2);
    assert!(sandbox.gmail().watch("ann@example.com").is_some());

    let page = disconnect(&bob).await;
    assert!(
        page.contains("Google has taken the permission back."),
        "{page}"
    );
    assert_eq!(sandbox.oauth().grants("ann@example.com"), 0);
    assert!(sandbox.gmail().watch("ann@example.com").is_none());

    assert_connected(&connect(&ann, "ann@example.com").await);
    let faults = sandbox.faults();
    faults.add(
        FaultPoint::OAuthRevoke,
        Kind::refuse(503),
        Frequency::Always,
    );
    let page = disconnect(&ann).await;
    assert!(
        page.contains("remove it at myaccount.google.com/connections"),
        "{page}"
    );
    assert!(pages.world.record("ann").await.google.is_none());
    sandbox.stop().await;
}

#[tokio::test]
async fn a_permission_without_a_refresh_token_is_of_no_use() {
    let sandbox = sandbox().await;
    let answer = json!({ "access_token": "t", "expires_in": 3599, "scope": READ });
    let token = Router::new().route("/token", post(async move || Json(answer)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, token).await });
    let operator = Operator {
        token_url: format!("http://{address}/token").parse().unwrap(),
        ..Operator::of(&sandbox)
    };
    let world = TestPlatform::with_operator(&operator).await;
    let pages = TestPages::at(URL, world, SignInWays::default());
    let browser = pages.signed_in(Some("ann"), false).await;
    let answer = connect(&browser, "ann@example.com").await;
    assert_shows(&answer, 502, "Google gave no lasting permission");
    sandbox.stop().await;
}

/// Connects ann, and returns what renews watches.
async fn connected(sandbox: &Sandbox) -> (TestPages, Browser, WatchRenewer) {
    let (pages, browser) = pages(sandbox).await;
    assert_connected(&connect(&browser, "ann@example.com").await);
    let client = pages.world.users.operator_client.clone().unwrap();
    let renewer = WatchRenewer::new(client, pages.world.fleet.clone());
    (pages, browser, renewer)
}

/// Lets time pass, here and at Google.
fn pass(pages: &TestPages, sandbox: &Sandbox, days: u32) {
    pages.world.pass(DAY * days);
    let by = pages.world.passed().as_secs();
    sandbox.clock().set_skew(i64::try_from(by).unwrap());
}

#[tokio::test]
async fn the_watch_of_a_machine_that_sleeps_is_renewed() {
    let sandbox = sandbox().await;
    let (pages, _, renewer) = connected(&sandbox).await;
    let ends = async || pages.world.record("ann").await.watch_expires_at.unwrap();
    let first = ends().await;
    renewer.renew_due().await.unwrap();
    assert_eq!(ends().await, first, "it was started just now");

    for _ in 0..3 {
        pass(&pages, &sandbox, 3);
        let before = ends().await;
        renewer.renew_due().await.unwrap();
        // A renewal takes some milliseconds of both clocks.
        assert!(ends().await >= before + (DAY * 3 - DAY / 24));
        let (topic, google) = sandbox.gmail().watch("ann@example.com").unwrap();
        assert_eq!(
            (topic.as_str(), google),
            (OPERATOR_TOPIC, ends().await.as_millis())
        );
    }
    // A machine that renews its watch leaves nothing to do.
    pass(&pages, &sandbox, 1);
    let renewed = ends().await;
    renewer.renew_due().await.unwrap();
    assert_eq!(ends().await, renewed);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_dead_grant_is_shown_although_the_machine_sleeps() {
    let sandbox = sandbox().await;
    let (pages, browser, renewer) = connected(&sandbox).await;
    sandbox.oauth().revoke("ann@example.com");
    pass(&pages, &sandbox, 3);
    renewer.renew_due().await.unwrap();
    let problem = pages.world.record("ann").await.problem.unwrap();
    assert_eq!(problem.code, ProblemCode::GrantRevoked);
    // Connecting again is the remedy.
    assert_connected(&connect(&browser, "ann@example.com").await);
    assert!(pages.world.record("ann").await.problem.is_none());
    sandbox.stop().await;
}

#[tokio::test]
async fn an_outage_of_google_delays_a_renewal_and_another_topic_is_replaced() {
    let sandbox = sandbox().await;
    let (pages, _, renewer) = connected(&sandbox).await;
    let other = "projects/sandbox-project/topics/other";
    sandbox.gmail().watch_elsewhere("ann@example.com", other);
    let faults = sandbox.faults();
    faults.add(
        FaultPoint::GmailWatch,
        Kind::refuse(503),
        Frequency::Times(1),
    );
    pass(&pages, &sandbox, 3);
    let topic = || sandbox.gmail().watch("ann@example.com").unwrap().0;
    renewer.renew_due().await.unwrap();
    assert_eq!(topic(), other);
    renewer.renew_due().await.unwrap();
    assert_eq!(topic(), other, "it is tried again after a pause");
    pages.world.pass(Duration::from_secs(31 * 60));
    renewer.renew_due().await.unwrap();
    assert_eq!(topic(), OPERATOR_TOPIC);
    sandbox.stop().await;
}

#[tokio::test]
async fn connections_with_projects_of_users_are_left_alone() {
    let sandbox = sandbox().await;
    let (pages, browser) = pages(&sandbox).await;
    // By setup, with a push account and a client of the user's own.
    pages.world.connect("ann").await;
    let client = pages.world.users.operator_client.clone().unwrap();
    let renewer = WatchRenewer::new(client, pages.world.fleet.clone());
    renewer.renew_due().await.unwrap();
    let record = pages.world.record("ann").await;
    assert!(record.watch_expires_at.is_none() && record.problem.is_none());
    let page = browser.get("/bot").await.body;
    for text in [
        "Connect again",
        "Connect again with your own project",
        "The permission stays",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    browser.submit("/bot", "/bot/disconnect", &[]).await;
    let page = browser.get("/bot").await.body;
    assert!(
        page.contains("Your Google account is disconnected.</p>"),
        "{page}"
    );
    sandbox.stop().await;
}
