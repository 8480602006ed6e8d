use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use postbell_core::{Clock, SystemClock, Tasks, Timestamp};
use postbell_google::{GoogleKeys, IdTokenVerifier, Issuer, SignIn};
use postbell_http::serve;
use postbell_platform::{IssuerSignIn, SignInAccess};
use postbell_sandbox::{FaultPoint, Frequency, IdTokenClaims, Kind, Sandbox};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::mailbox_users::connect;
use crate::test_browser::{Answer, Browser, SignInWays, TestPages};
use crate::test_platform::{TestPlatform, sandbox};

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
    let keys = GoogleKeys::new(client.clone(), url("/oauth2/v3/certs"), clock);
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
        issuer: None,
        access: access(),
    }
}

/// What the addresses of the tests give access to.
fn access() -> SignInAccess {
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

async fn come_back(browser: &Browser, back: &Url) -> Answer {
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

/// An issuer that is not Google: it passes requests on to a sandbox, and signs in its own name.
struct OtherIssuer {
    url: String,
    state: Arc<IssuerState>,
    tasks: Tasks,
}

/// What a test changes of an issuer.
struct IssuerState {
    url: String,
    sandbox: Arc<Sandbox>,
    /// Replaces members of the document.
    document: Mutex<Value>,
    /// Replaces claims of a token.
    change: Mutex<fn(&mut IdTokenClaims)>,
    /// How often the document was read.
    discoveries: AtomicUsize,
}

async fn discovery(State(state): State<Arc<IssuerState>>) -> Json<Value> {
    state.discoveries.fetch_add(1, Ordering::Relaxed);
    let google = state.sandbox.url();
    let mut document = json!({
        "issuer": state.url,
        "authorization_endpoint": format!("{google}/o/oauth2/v2/auth"),
        "token_endpoint": format!("{}/token", state.url),
        "jwks_uri": format!("{google}/oauth2/v3/certs"),
    });
    for (name, value) in state.document.lock().as_object().unwrap() {
        document[name] = value.clone();
    }
    Json(document)
}

async fn token(
    State(state): State<Arc<IssuerState>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let sandbox = &state.sandbox;
    let answer = reqwest::Client::new()
        .post(format!("{}/token", sandbox.url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", headers["authorization"].clone())
        .body(body)
        .send();
    let answer = answer.await.unwrap();
    let status = answer.status();
    let mut answer: Value = answer.json().await.unwrap();
    if status.is_success() {
        let token = answer["id_token"].as_str().unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let text = |name: &str| claims[name].as_str().unwrap().to_owned();
        let issued_at = claims["iat"].as_i64().unwrap();
        let mut claims = IdTokenClaims {
            iss: state.url.clone(),
            azp: text("aud"),
            nonce: Some(text("nonce")),
            ..IdTokenClaims::of(&text("email"), &text("aud"), issued_at)
        };
        state.change.lock()(&mut claims);
        answer["id_token"] = sandbox.oauth().id_token(&claims).into();
    }
    (status, Json(answer))
}

impl OtherIssuer {
    async fn start(sandbox: &Arc<Sandbox>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(IssuerState {
            url: url.clone(),
            sandbox: Arc::clone(sandbox),
            document: Mutex::new(json!({})),
            change: Mutex::new(|_| ()),
            discoveries: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/token", post(token))
            .with_state(Arc::clone(&state));
        let tasks = Tasks::new();
        tasks.start("issuer", |stop| serve(listener, router, stop));
        Self { url, state, tasks }
    }

    async fn stop(self) {
        self.tasks.stop(Duration::from_secs(10)).await.unwrap();
    }
}

fn at_issuer(sandbox: &Sandbox, url: &str, clock: Arc<dyn Clock>) -> SignInWays {
    let (id, secret) = sandbox.oauth().first_client();
    let client = reqwest::Client::builder().redirect(Policy::none());
    let (id, secret) = (id.to_owned(), secret.into());
    let issuer = Issuer::new(client.build().unwrap(), url.to_owned(), id, secret, clock);
    SignInWays {
        google: None,
        issuer: Some(IssuerSignIn {
            name: "Example".to_owned(),
            issuer,
        }),
        access: access(),
    }
}

/// Begins a sign-in at the issuer and consents, and returns the redirect back.
async fn consent_at_issuer(browser: &Browser, sandbox: &Sandbox, email: &str) -> Url {
    sandbox.oauth().sit_at_the_browser(email);
    let sent = browser.get("/sign-in/issuer").await;
    let consent: Url = sent.leads_to().parse().unwrap();
    let asked: BTreeMap<_, _> = consent.query_pairs().into_owned().collect();
    for name in ["state", "nonce", "code_challenge"] {
        assert!(asked[name].len() >= 43, "{name}");
    }
    let client = reqwest::Client::builder().redirect(Policy::none());
    let yes = client.build().unwrap().post(consent);
    let back = yes.form(&[("allow", "yes")]).send().await.unwrap();
    let back: Url = back.headers()["location"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(back.path(), "/sign-in/issuer/back");
    back
}

#[tokio::test]
async fn another_issuer_signs_in_by_discovery_with_state_nonce_and_pkce() {
    let sandbox = Arc::new(sandbox().await);
    let other = OtherIssuer::start(&sandbox).await;
    let ways = at_issuer(&sandbox, &other.url, Arc::new(SystemClock::new()));
    let pages = TestPages::at(URL, TestPlatform::new().await, ways);
    for (email, first) in [
        ("ops@example.com", Some("/operator")),
        ("stranger@example.com", None),
    ] {
        let browser = pages.browser();
        let page = browser.get("/sign-in").await.body;
        assert!(page.contains("Sign in with Example"), "{page}");
        let back = consent_at_issuer(&browser, &sandbox, email).await;
        // The answer of one issuer is none to a sign-in at another, nor to one in another browser.
        let mut mixed = back.clone();
        mixed.set_path("/sign-in/google/back");
        assert_eq!(come_back(&browser, &mixed).await.status, 403);
        assert_eq!(come_back(&pages.browser(), &back).await.status, 403);
        let answer = come_back(&browser, &back).await;
        match first {
            Some(first) => assert_eq!((answer.status, answer.leads_to()), (303, first)),
            None => assert_eq!(answer.status, 403),
        }
        let again = come_back(&browser, &back).await;
        assert_eq!(again.status, 403, "a code and its attempt are used once");
    }
    assert_eq!(other.state.discoveries.load(Ordering::Relaxed), 1);
    other.stop().await;
}

#[tokio::test]
async fn a_token_of_another_issuer_counts_only_for_this_sign_in() {
    let sandbox = Arc::new(sandbox().await);
    let other = OtherIssuer::start(&sandbox).await;
    let ways = at_issuer(&sandbox, &other.url, Arc::new(SystemClock::new()));
    let pages = TestPages::at(URL, TestPlatform::new().await, ways);
    let changes: [(&str, fn(&mut IdTokenClaims), bool); 10] = [
        ("as it is", |_| (), true),
        (
            "google's",
            |it| it.iss = "https://accounts.google.com".to_owned(),
            false,
        ),
        ("of almost this issuer", |it| it.iss.push('/'), false),
        ("for another client", |it| it.aud = json!("other"), false),
        (
            "for this client and others",
            |it| it.aud = json!([it.azp, "other"]),
            true,
        ),
        (
            "issued to another client",
            |it| it.azp = "other".to_owned(),
            false,
        ),
        (
            "for another attempt",
            |it| it.nonce = Some("other".to_owned()),
            false,
        ),
        ("without a nonce", |it| it.nonce = None, false),
        (
            "with an unverified address",
            |it| it.email_verified = json!(false),
            false,
        ),
        ("expired", |it| it.exp = it.iat - 120, false),
    ];
    for (name, change, good) in changes {
        *other.state.change.lock() = change;
        let browser = pages.browser();
        let back = consent_at_issuer(&browser, &sandbox, "ops@example.com").await;
        let answer = come_back(&browser, &back).await;
        assert_eq!(answer.status, if good { 303 } else { 403 }, "{name}");
    }
    other.stop().await;
}

#[tokio::test]
async fn an_issuer_that_is_down_or_misbehaves_stops_only_its_own_sign_in() {
    let sandbox = Arc::new(sandbox().await);
    let other = OtherIssuer::start(&sandbox).await;
    let huge = json!({"more": "x".repeat(300_000)});
    for document in [
        json!({"issuer": "https://evil.example.com"}),
        json!({"issuer": format!("{}/", other.url)}),
        json!({"token_endpoint": "http://id.example.com/token"}),
        json!({"authorization_endpoint": 7}),
        huge,
    ] {
        *other.state.document.lock() = document.clone();
        let ways = at_issuer(&sandbox, &other.url, Arc::new(SystemClock::new()));
        let pages = TestPages::at(URL, TestPlatform::new().await, ways);
        let refused = pages.browser().get("/sign-in/issuer").await;
        assert_eq!(refused.status, 503, "{document:.60}");
        let operator = pages.signed_in(None, true).await;
        assert_eq!(operator.get("/operator").await.status, 200);
        // Strangers who ask again at once cause no second request.
        let before = other.state.discoveries.load(Ordering::Relaxed);
        assert_eq!(pages.browser().get("/sign-in/issuer").await.status, 503);
        assert_eq!(other.state.discoveries.load(Ordering::Relaxed), before);
    }
    other.stop().await;
}

#[tokio::test]
async fn an_issuer_is_discovered_again_after_an_hour_and_kept_while_it_is_away() {
    let sandbox = Arc::new(sandbox().await);
    let other = OtherIssuer::start(&sandbox).await;
    let clock = Arc::new(SetClock::default());
    let ways = at_issuer(&sandbox, &other.url, Arc::<SetClock>::clone(&clock));
    let pages = TestPages::at(URL, TestPlatform::new().await, ways);
    *other.state.document.lock() = json!({"issuer": "https://evil.example.com"});
    assert_eq!(pages.browser().get("/sign-in/issuer").await.status, 503);
    *other.state.document.lock() = json!({});
    clock.pass(Duration::from_secs(1));
    assert_eq!(pages.browser().get("/sign-in/issuer").await.status, 303);
    *other.state.document.lock() = json!({"authorization_endpoint": "http://localhost:1/new"});
    let leads_to = async || {
        pages
            .browser()
            .get("/sign-in/issuer")
            .await
            .leads_to()
            .to_owned()
    };
    assert!(!leads_to().await.starts_with("http://localhost:1/new"));
    clock.pass(Duration::from_secs(3600));
    assert!(leads_to().await.starts_with("http://localhost:1/new"));
    other.stop().await;
    clock.pass(Duration::from_secs(3600));
    assert!(leads_to().await.starts_with("http://localhost:1/new"));
}

/// A clock that a test sets.
#[derive(Default)]
struct SetClock(AtomicU64);

impl SetClock {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        SystemClock::new().now()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}
