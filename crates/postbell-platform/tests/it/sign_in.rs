use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use postbell_core::{Clock, Sessions, SystemClock, Users};
use postbell_google::{IdTokenVerifier, SignIn, SigningKeys};
use postbell_platform::SignInAccess;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use url::Url;

use crate::mailbox_users::{connect, connect_further};
use crate::test_browser::{Answer, Browser, SignInWays, TestPages};
use crate::test_platform::{TestPlatform, google_credentials, sandbox};

/// The sandbox's first OAuth client is a desktop app's, so redirects go to this machine.
const URL: &str = "http://localhost:8081";

async fn with_google(sandbox: &Sandbox) -> TestPages {
    let world = TestPlatform::with_google(sandbox).await;
    let pages = TestPages::at(URL, world, google(sandbox));
    pages.world.add_another("bob").await;
    let connected = connect(&pages.world, sandbox, "ann", "ann@example.com").await;
    assert_eq!(connected, 200);
    pages
}

fn google(sandbox: &Sandbox) -> SignInWays {
    let client = reqwest::Client::builder().redirect(Policy::none());
    let client = client.build().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let url = |path: &str| -> Url { format!("{}{path}", sandbox.url()).parse().unwrap() };
    let keys = SigningKeys::of_google(client.clone(), url("/oauth2/v3/certs"), clock);
    let (id, secret) = sandbox.oauth().first_client();
    let sign_in = SignIn {
        client,
        auth_url: url("/o/oauth2/v2/auth"),
        token_url: url("/token"),
        client_id: id.to_owned(),
        client_secret: secret.into(),
        basic_auth: false,
        id_tokens: Arc::new(IdTokenVerifier::new(Arc::new(keys))),
    };
    SignInWays {
        google: Some(sign_in),
        access: access(),
        ..SignInWays::default()
    }
}

/// What the addresses of the tests give access to.
pub(crate) fn access() -> SignInAccess {
    SignInAccess {
        operators: BTreeSet::from(["ops@example.com".parse().unwrap()]),
        viewers: BTreeSet::from(["guest@example.com".parse().unwrap()]),
        allowed: BTreeMap::from([
            ("new@example.com".parse().unwrap(), "bob".parse().unwrap()),
            ("early@example.com".parse().unwrap(), "eve".parse().unwrap()),
            ("ann@example.com".parse().unwrap(), "ann".parse().unwrap()),
        ]),
    }
}

/// Consents at Google as `email`, and returns the redirect.
async fn consent(browser: &Browser, sandbox: &Sandbox, email: &str) -> Url {
    sandbox.oauth().sit_at_the_browser(email);
    let sent = browser.post("/sign-in/google", &[]).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    let client = reqwest::Client::builder().redirect(Policy::none());
    let yes = client
        .build()
        .unwrap()
        .post(sent.leads_to())
        .form(&[("allow", "yes")]);
    let back = yes.send().await.unwrap();
    let back = back.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        back.starts_with(&format!("{URL}/sign-in/google/back?")),
        "{back}"
    );
    back.parse().unwrap()
}

pub(crate) async fn come_back(browser: &Browser, back: &Url) -> Answer {
    let path = format!("{}?{}", back.path(), back.query().unwrap());
    let from = [("sec-fetch-site", "cross-site")];
    browser.send(Method::GET, &path, &from, String::new()).await
}

#[tokio::test]
async fn the_connected_account_signs_in_its_user() {
    let sandbox = sandbox().await;
    let pages = with_google(&sandbox).await;
    for (email, first) in [
        ("ann@example.com", Some("/bot")),
        ("ops@example.com", Some("/operator")),
        ("guest@example.com", Some("/operator")),
        ("new@example.com", Some("/bot")),
        ("stranger@example.com", None),
        // Allowed, but the user does not exist yet.
        ("early@example.com", None),
    ] {
        let browser = pages.browser();
        let page = browser.get("/sign-in").await.body;
        assert!(page.contains("Sign in with Google"), "{page}");
        let back = consent(&browser, &sandbox, email).await;
        let answer = come_back(&browser, &back).await;
        match first {
            Some(first) => {
                assert_eq!((answer.status, answer.leads_to()), (303, first), "{email}");
                assert_eq!(browser.get(first).await.status, 200);
            }
            None => {
                assert_eq!(answer.status, 403);
                assert!(!answer.body.contains(email), "{}", answer.body);
                assert_eq!(browser.get("/bot").await.leads_to(), "/sign-in");
            }
        }
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn who_signs_in_by_a_further_account_is_signed_out_when_it_is_disconnected() {
    const TEAM: &str = "team@example.com";
    let sandbox = sandbox().await;
    let pages = with_google(&sandbox).await;
    let world = &pages.world;
    assert_eq!(connect_further(world, &sandbox, "ann", TEAM).await, 200);
    let (ann, _) = sign_in(&pages, &sandbox).await;
    let colleague = pages.browser();
    let back = consent(&colleague, &sandbox, TEAM).await;
    assert_eq!(come_back(&colleague, &back).await.leads_to(), "/bot");
    assert_eq!(colleague.get("/bot").await.status, 200);

    let owner = "ann".parse().unwrap();
    let team = world.store.accounts_of(&[owner]).await.unwrap().remove(0);
    let path = format!("/api/admin/google-credentials?account={}", team.user);
    let disconnected = world
        .ask_as("ann", Method::DELETE, &path, Value::Null)
        .await;
    assert_eq!(disconnected.0, 200, "{}", disconnected.1);
    assert_eq!(colleague.get("/bot").await.leads_to(), "/sign-in");
    assert_eq!(ann.get("/bot").await.status, 200);
    sandbox.stop().await;
}

/// Anyone may have connected the address first.
#[tokio::test]
async fn a_person_with_several_bots_chooses_one_of_theirs() {
    let sandbox = sandbox().await;
    let world = TestPlatform::with_google(&sandbox).await;
    for (name, opens) in [
        ("eve", "eve@example.com"),
        ("work", "ann@example.com"),
        ("home", "ann@example.com"),
    ] {
        world.add_another(name).await;
        // All of them name Ann's address.
        assert_eq!(connect(&world, &sandbox, name, opens).await, 200);
    }
    let mut google = google(&sandbox);
    google.access.allowed.clear();
    let pages = TestPages::at(URL, world, google);
    let browser = pages.browser();
    let chosen = browser.post("/sign-in/bot", &[("user", "work")]).await;
    assert_eq!(chosen.status, 403, "nothing was offered");
    let back = consent(&browser, &sandbox, "ann@example.com").await;
    let offered = come_back(&browser, &back).await;
    assert_eq!(offered.status, 200);
    let is_offered = |name: &str| offered.body.contains(&format!("value=\"{name}\""));
    assert!(is_offered("work") && is_offered("home") && !is_offered("eve"));
    let stolen = browser.post("/sign-in/bot", &[("user", "eve")]).await;
    assert_eq!(stolen.status, 400, "{}", stolen.body);
    let chosen = browser.post("/sign-in/bot", &[("user", "work")]).await;
    assert_eq!((chosen.status, chosen.leads_to()), (303, "/bot"));
    let page = browser.submit("/bot", "/bot/connect", &[]).await;
    assert!(page.body.contains("--user=work"), "{}", page.body);
    let used = browser.post("/sign-in/bot", &[("user", "home")]).await;
    assert_eq!(used.status, 403, "the choice was made");

    let back = consent(&browser, &sandbox, "ann@example.com").await;
    assert_eq!(come_back(&browser, &back).await.status, 200);
    let work = "work".parse().unwrap();
    pages.sessions.revoke_user(&work).await.unwrap();
    let signed_out = browser.post("/sign-in/bot", &[("user", "work")]).await;
    assert_eq!(signed_out.status, 403, "signed out since");
    let other = browser.post("/sign-in/bot", &[("user", "home")]).await;
    assert_eq!(other.status, 303);
    sandbox.stop().await;
}

/// Signs in as ann@example.com in a new browser.
async fn sign_in(pages: &TestPages, sandbox: &Sandbox) -> (Browser, Answer) {
    let browser = pages.browser();
    let back = consent(&browser, sandbox, "ann@example.com").await;
    let answer = come_back(&browser, &back).await;
    (browser, answer)
}

/// Else a person would connect their mailbox to the bot of whoever has named their address.
#[tokio::test]
async fn a_user_who_only_names_an_address_gets_no_visitor() {
    let sandbox = sandbox().await;
    let world = TestPlatform::with_google(&sandbox).await;
    world.add_another("eve").await;
    // Credentials that open nothing, and those of another mailbox, whose grant has ended.
    assert_eq!(world.connect("eve").await.0, 200);
    let mut google = google(&sandbox);
    google.access.allowed.clear();
    let pages = TestPages::at(URL, world, google);
    assert_eq!(sign_in(&pages, &sandbox).await.1.status, 403);
    let claimed = connect(&pages.world, &sandbox, "eve", "eve@example.com").await;
    assert_eq!(claimed, 200);
    sandbox.oauth().revoke("eve@example.com");
    assert_eq!(sign_in(&pages, &sandbox).await.1.status, 403);
    // The owner gets to their own bot at once.
    let connected = connect(&pages.world, &sandbox, "ann", "ann@example.com").await;
    assert_eq!(connected, 200);
    let (browser, answer) = sign_in(&pages, &sandbox).await;
    assert_eq!((answer.status, answer.leads_to()), (303, "/bot"));
    let page = browser.get("/bot").await.body;
    assert!(page.contains("Signed in as <strong>ann"), "{page}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_revoked_grant_does_not_keep_its_owner_out() {
    let sandbox = sandbox().await;
    let world = TestPlatform::with_google(&sandbox).await;
    let faults = sandbox.faults();
    faults.add(
        FaultPoint::GmailProfile,
        Kind::refuse(503),
        Frequency::Always,
    );
    let connected = connect(&world, &sandbox, "ann", "ann@example.com").await;
    assert_eq!(connected, 200);
    let mut google = google(&sandbox);
    google.access.allowed.clear();
    let pages = TestPages::at(URL, world, google);
    let refused = sign_in(&pages, &sandbox).await.1;
    assert_eq!(refused.status, 403, "Gmail has never answered");
    faults.clear();
    pages.world.pass(Duration::from_secs(11));
    assert_eq!(sign_in(&pages, &sandbox).await.1.leads_to(), "/bot");
    sandbox.oauth().revoke("ann@example.com");
    pages.world.pass(Duration::from_secs(2 * 60 * 60));
    let passed = i64::try_from(pages.world.passed().as_secs()).unwrap();
    sandbox.clock().set_skew(passed);
    assert_eq!(sign_in(&pages, &sandbox).await.1.leads_to(), "/bot");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_callback_is_valid_once_and_in_the_same_browser() {
    let sandbox = sandbox().await;
    let pages = with_google(&sandbox).await;
    let browser = pages.browser();
    let back = consent(&browser, &sandbox, "ann@example.com").await;
    // Another browser must not be signed in as ann.
    let victim = pages.browser();
    assert_eq!(come_back(&victim, &back).await.status, 403);
    consent(&victim, &sandbox, "ann@example.com").await;
    assert_eq!(come_back(&victim, &back).await.status, 403, "another state");

    let mut changed = back.clone();
    changed.set_query(Some(&back.query().unwrap().replace("state=", "state=x")));
    assert_eq!(come_back(&browser, &changed).await.status, 403);
    assert_eq!(come_back(&browser, &back).await.status, 303);
    assert_eq!(come_back(&browser, &back).await.status, 403, "used");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_expired_sign_in_is_rejected() {
    let sandbox = sandbox().await;
    let pages = with_google(&sandbox).await;
    let browser = pages.browser();
    let back = consent(&browser, &sandbox, "ann@example.com").await;
    pages.world.pass(Duration::from_secs(600));
    assert_eq!(come_back(&browser, &back).await.status, 403);
    // A refused consent and a redirect without a code do not sign in.
    let no = format!("{}?error=access_denied&state=x", back.path());
    assert_eq!(browser.get(&no).await.status, 403);
    assert_eq!(browser.get(back.path()).await.status, 403);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_form_may_redirect_only_to_google() {
    let sandbox = sandbox().await;
    let pages = with_google(&sandbox).await;
    let answer = pages.browser().get("/sign-in").await;
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    let expected = format!("form-action 'self' {}", sandbox.url());
    assert!(policy.ends_with(&expected), "{policy}");
    let from = [("sec-fetch-site", "cross-site")];
    let path = "/sign-in/google";
    let browser = pages.browser();
    let begun = browser.send(Method::POST, path, &from, String::new());
    assert_eq!(begun.await.status, 403);
    sandbox.stop().await;
}

#[tokio::test]
async fn withdrawn_access_ends_the_session() {
    let sandbox = sandbox().await;
    let mut pages = with_google(&sandbox).await;
    let mut browsers = Vec::new();
    for email in ["new@example.com", "ann@example.com"] {
        let browser = pages.browser();
        let back = consent(&browser, &sandbox, email).await;
        assert_eq!(come_back(&browser, &back).await.leads_to(), "/bot");
        browsers.push(browser);
    }
    let mut configured = google(&sandbox);
    configured.access.allowed.clear();
    pages.start_again(configured);
    // The connected address needs no entry in `allowed`.
    for (browser, leads_to) in browsers.iter().zip(["/sign-in", ""]) {
        let again = pages.browser();
        again.with_cookies(browser.cookies());
        assert_eq!(again.get("/bot").await.leads_to(), leads_to);
    }

    // Who disconnects the account can connect it again, and is signed out by another one in its place.
    let ann = pages.browser();
    let back = consent(&ann, &sandbox, "ann@example.com").await;
    assert_eq!(come_back(&ann, &back).await.leads_to(), "/bot");
    let path = "/api/platform/google-credentials";
    let disconnected = format!("{path}?userId=ann");
    let disconnected = pages.world.ask(Method::DELETE, &disconnected, json!(null));
    assert_eq!(disconnected.await.0, 200);
    assert_eq!(ann.get("/bot").await.leads_to(), "");
    pages.world.pass(Duration::from_secs(24 * 60 * 60));
    assert_eq!(ann.get("/bot").await.leads_to(), "/sign-in");
    pages.world.connect("ann").await;
    assert_eq!(ann.get("/bot").await.leads_to(), "");
    let mut other = google_credentials();
    other["email"] = "boss@example.com".into();
    let other = json!({ "userId": "ann", "googleCredentials": other });
    assert_eq!(pages.world.ask(Method::POST, path, other).await.0, 200);
    assert_eq!(ann.get("/bot").await.leads_to(), "/sign-in");
    sandbox.stop().await;
}

/// A session by an account outlives its disconnection for a day, so that its owner can connect it again.
#[tokio::test]
async fn another_account_in_between_ends_the_sessions_by_an_account_for_good() {
    let sandbox = sandbox().await;
    let mut pages = with_google(&sandbox).await;
    let mut configured = google(&sandbox);
    configured.access.allowed.clear();
    pages.start_again(configured);
    let (ann, _) = sign_in(&pages, &sandbox).await;
    let path = "/api/platform/google-credentials";
    for (connected, leads_to) in [
        ("ann@example.com", ""),
        ("boss@example.com", "/sign-in"),
        ("ann@example.com", "/sign-in"),
    ] {
        let mut offered = google_credentials();
        offered["email"] = connected.into();
        let offered = json!({ "userId": "ann", "googleCredentials": offered });
        let disconnected = format!("{path}?userId=ann");
        for (method, path, body) in [
            (Method::DELETE, &*disconnected, json!(null)),
            (Method::POST, path, offered),
            (Method::DELETE, &*disconnected, json!(null)),
        ] {
            assert_eq!(pages.world.ask(method, path, body).await.0, 200);
        }
        assert_eq!(ann.get("/bot").await.leads_to(), leads_to, "{connected}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn an_outage_of_google_is_reported_as_such() {
    let sandbox = sandbox().await;
    let pages = with_google(&sandbox).await;
    let browser = pages.browser();
    let back = consent(&browser, &sandbox, "ann@example.com").await;
    let faults = sandbox.faults();
    faults.add(
        FaultPoint::OAuthToken,
        Kind::refuse(500),
        Frequency::Times(1),
    );
    let answer = come_back(&browser, &back).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("could not be reached"),
        "{}",
        answer.body
    );
    sandbox.stop().await;
}
