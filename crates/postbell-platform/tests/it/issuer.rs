//! Sign-in with an OpenID Connect issuer that is not Google.

use std::collections::BTreeMap;
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
use postbell_google::Issuer;
use postbell_http::serve;
use postbell_platform::IssuerSignIn;
use postbell_sandbox::{FaultPoint, Frequency, IdTokenClaims, Kind, Sandbox};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::sign_in::{access, come_back};
use crate::test_browser::{Browser, SignInWays, TestPages};
use crate::test_platform::{TestPlatform, sandbox};

/// The sandbox's first OAuth client is a desktop app's, so redirects go to this machine.
const URL: &str = "http://localhost:8081";

/// An issuer that is not Google: it passes requests on to a sandbox, and signs in its own name.
struct OtherIssuer {
    url: String,
    state: Arc<IssuerState>,
    tasks: Tasks,
}

/// Replaces claims of a token.
type Change = fn(&mut IdTokenClaims);

/// What a test changes of an issuer.
struct IssuerState {
    url: String,
    sandbox: Arc<Sandbox>,
    /// Replaces members of the document.
    document: Mutex<Value>,
    change: Mutex<Change>,
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
        issuer: Some(IssuerSignIn {
            name: "Example".to_owned(),
            issuer,
        }),
        access: access(),
        ..SignInWays::default()
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
    let changes: [(&str, Change, bool); 10] = [
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

#[tokio::test]
async fn the_keys_of_an_issuer_are_used_while_they_cannot_be_fetched_again() {
    let sandbox = Arc::new(sandbox().await);
    let other = OtherIssuer::start(&sandbox).await;
    let clock = Arc::new(SetClock::default());
    let ways = at_issuer(&sandbox, &other.url, Arc::<SetClock>::clone(&clock));
    let pages = TestPages::at(URL, TestPlatform::new().await, ways);
    for _ in 0..2 {
        let browser = pages.browser();
        let back = consent_at_issuer(&browser, &sandbox, "ops@example.com").await;
        assert_eq!(come_back(&browser, &back).await.status, 303);
        let faults = sandbox.faults();
        faults.add(FaultPoint::OAuthCerts, Kind::refuse(503), Frequency::Always);
        clock.pass(Duration::from_secs(3600));
    }
    assert_eq!(other.state.discoveries.load(Ordering::Relaxed), 2);
    other.stop().await;
}

#[tokio::test]
async fn a_link_of_another_site_ends_no_sign_in_that_runs() {
    let sandbox = Arc::new(sandbox().await);
    let other = OtherIssuer::start(&sandbox).await;
    let ways = at_issuer(&sandbox, &other.url, Arc::new(SystemClock::new()));
    let pages = TestPages::at(URL, TestPlatform::new().await, ways);
    let browser = pages.browser();
    let back = consent_at_issuer(&browser, &sandbox, "ops@example.com").await;
    for site in ["cross-site", "same-site"] {
        let from = [("sec-fetch-site", site)];
        let sent = browser.send(Method::GET, "/sign-in/issuer", &from, String::new());
        assert_eq!(sent.await.leads_to(), "/sign-in");
    }
    assert_eq!(come_back(&browser, &back).await.status, 303);
    other.stop().await;
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
