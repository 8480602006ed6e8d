//! A push without authentication is refused and stores nothing; an authenticated one is acknowledged or
//! refused, and never panics.
#![no_main]

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use libfuzzer_sys::fuzz_target;
use postbell_core::{Clock, DeliveryLog, SystemClock, Tracer};
use postbell_google::{IdTokenVerifier, SigningKeys};
use postbell_relay::{
    DirectoryCache, HttpDirectory, Ingress, IngressParts, Metrics, Rate, RejectPolicy, UrlTokenKey,
};
use postbell_sandbox::{IdTokenClaims, PlatformInstance, Sandbox};
use postbell_testkit::MemoryDeliveries;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tower::ServiceExt;

const AUDIENCE: &str = "https://push.example.com";
const ACCOUNT: &str = "push@demo.iam.gserviceaccount.com";

struct World {
    runtime: Runtime,
    router: Router,
    deliveries: Arc<MemoryDeliveries>,
    token: String,
    _sandbox: Sandbox,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let deliveries = Arc::new(MemoryDeliveries::default());
    let (router, token, sandbox) = runtime.block_on(world(Arc::clone(&deliveries)));
    World {
        runtime,
        router,
        deliveries,
        token,
        _sandbox: sandbox,
    }
});

async fn world(deliveries: Arc<MemoryDeliveries>) -> (Router, String, Sandbox) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::start(listener).await.unwrap();
    sandbox.platform().put(PlatformInstance {
        user_id: "ann".to_owned(),
        sandbox_id: "sandbox-of-ann".to_owned(),
        status: "running".to_owned(),
        fly_app_name: "bot".to_owned(),
        fly_machine_id: "d8910".to_owned(),
        google_connected: true,
        gmail_notifications_enabled: true,
        gmail_push_oidc_email: Some(ACCOUNT.to_owned()),
        email: Some("ann@example.com".to_owned()),
        gmail_last_history_id: None,
    });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let claims = IdTokenClaims::of(
        ACCOUNT,
        &format!("{AUDIENCE}/push/user/ann"),
        clock.now().as_secs(),
    );
    let token = sandbox.oauth().id_token(&claims);
    let base: url::Url = sandbox.url().parse().unwrap();
    let client = reqwest::Client::new();
    let keys = SigningKeys::of_google(
        client.clone(),
        base.join("/oauth2/v3/certs").unwrap(),
        Arc::clone(&clock),
    );
    let directory = HttpDirectory::new(client, base, sandbox.platform().api_key().into());
    let many = NonZeroU32::MAX;
    let ingress = Ingress::new(IngressParts {
        queue: Arc::clone(&deliveries) as _,
        log: deliveries,
        directory: Arc::new(DirectoryCache::new(Arc::new(directory), Arc::clone(&clock))),
        id_tokens: Arc::new(IdTokenVerifier::new(Arc::new(keys))),
        clock,
        audience: AUDIENCE.to_owned(),
        url_tokens: Some(UrlTokenKey::new(&"a secret that nobody guesses".into())),
        api_key: None,
        rate: Rate {
            per_second: many,
            burst: many,
        },
        reject_policy: RejectPolicy::Respond,
        arrivals: Arc::new(Notify::new()),
        metrics: Arc::new(Metrics::new()),
        tracer: Tracer::new(|| 7),
    });
    (ingress.router(), token, sandbox)
}

fn answer(request: Request<Body>) -> u16 {
    let answer = WORLD.router.clone().oneshot(request);
    WORLD.runtime.block_on(answer).unwrap().status().as_u16()
}

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (path, authorization, body) = input;
    let request = Request::post(path).header("authorization", authorization);
    if let Ok(request) = request.body(Body::from(body.to_vec())) {
        let before = WORLD.runtime.block_on(WORLD.deliveries.depth()).unwrap();
        let status = answer(request);
        assert!((400..500).contains(&status), "{status}");
        assert_eq!(
            WORLD.runtime.block_on(WORLD.deliveries.depth()).unwrap(),
            before
        );
    }
    let request = Request::post("/push/user/ann")
        .header("authorization", format!("Bearer {}", WORLD.token))
        .body(Body::from(body.to_vec()));
    let status = answer(request.unwrap());
    assert!([204, 413].contains(&status), "{status}");
});
