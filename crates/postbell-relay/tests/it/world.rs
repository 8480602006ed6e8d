use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_core::{
    Claim, Clock, DeadLetter, DeliveryLog, DeliveryQueue, SystemClock, Tasks, Tracer,
};
use postbell_google::{IdTokenVerifier, SigningKeys};
use postbell_http::serve;
use postbell_relay::{
    DirectoryCache, HttpDirectory, Ingress, IngressParts, Metrics, Rate, RejectPolicy,
};
use postbell_sandbox::{IdTokenClaims, PlatformInstance, Sandbox};
use postbell_testkit::{MemoryDeliveries, RELAY};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use url::Url;

/// The public name of the relay under test, which is not where it listens.
pub(crate) const AUDIENCE: &str = "https://push.example.com";
pub(crate) const ACCOUNT: &str = "push@demo.iam.gserviceaccount.com";

/// A running ingress with an in-memory queue, and a sandboxed Google and user directory.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) store: Arc<MemoryDeliveries>,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    tasks: Tasks,
}

impl World {
    /// The directory knows `ann`, who wants notifications; her pushes are signed by [`ACCOUNT`].
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same, with changed parts.
    pub(crate) async fn with(change: impl FnOnce(&mut IngressParts)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await.unwrap())
            .await
            .unwrap();
        sandbox.platform().put(instance("ann"));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let client = Client::new();
        let base = Url::parse(sandbox.url()).unwrap();
        let jwks_url = base.join("/oauth2/v3/certs").unwrap();
        let keys = SigningKeys::of_google(client.clone(), jwks_url, Arc::clone(&clock));
        let api_key = sandbox.platform().api_key().into();
        let store = Arc::new(MemoryDeliveries::default());
        let directory = Arc::new(HttpDirectory::new(client.clone(), base, api_key));
        let mut parts = IngressParts {
            queue: Arc::clone(&store) as Arc<dyn DeliveryQueue>,
            log: Arc::clone(&store) as Arc<dyn DeliveryLog>,
            directory: Arc::new(DirectoryCache::new(directory, Arc::clone(&clock))),
            id_tokens: Arc::new(IdTokenVerifier::new(Arc::new(keys))),
            clock,
            audience: AUDIENCE.to_owned(),
            url_tokens: None,
            api_key: Some(sandbox.platform().api_key().into()),
            rate: Rate {
                per_second: NonZeroU32::new(50).unwrap(),
                burst: NonZeroU32::new(500).unwrap(),
            },
            reject_policy: RejectPolicy::Respond,
            arrivals: Arc::new(Notify::new()),
            metrics: Arc::new(Metrics::new()),
            tracer: Tracer::new(|| 1),
        };
        change(&mut parts);
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let tasks = Tasks::new();
        let router = Ingress::new(parts).router();
        tasks.start("ingress", |stop| serve(listener, router, stop));
        Self {
            sandbox,
            store,
            client,
            address,
            url,
            tasks,
        }
    }

    /// The claims of a valid token for `ann`'s endpoint.
    pub(crate) fn claims(&self) -> IdTokenClaims {
        let now = SystemClock::new().now().as_secs();
        IdTokenClaims::of(ACCOUNT, &format!("{AUDIENCE}/push/user/ann"), now)
    }

    pub(crate) fn token(&self) -> String {
        self.sandbox.oauth().id_token(&self.claims())
    }

    /// Pushes a body to a path, with a bearer token.
    pub(crate) async fn push(
        &self,
        path: &str,
        token: &str,
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer_auth(token);
        request.body(body).send().await.unwrap()
    }

    /// Posts a check-in.
    pub(crate) async fn check_in(&self, body: &str, token: &str) -> u16 {
        let answer = self.push("/api/controller/checkin", token, body.to_owned());
        answer.await.status().as_u16()
    }

    /// The metrics, as Prometheus reads them.
    pub(crate) async fn metrics(&self) -> String {
        let request = self.client.get(format!("{}/metrics", self.url));
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Pushes a valid notification for `ann` with a token of these claims, and returns the status.
    pub(crate) async fn push_with(&self, claims: &IdTokenClaims) -> u16 {
        let token = self.sandbox.oauth().id_token(claims);
        self.push("/push/user/ann", &token, notification("m1", 7).to_string())
            .await
            .status()
            .as_u16()
    }

    pub(crate) async fn get(&self, path: &str) -> u16 {
        let request = self.client.get(format!("{}{path}", self.url));
        request.send().await.unwrap().status().as_u16()
    }

    /// Claims all pending notifications.
    pub(crate) async fn waiting(&self) -> Vec<Claim> {
        let now = SystemClock::new().now();
        self.store
            .claim(RELAY, now, std::time::Duration::from_secs(45), 100)
            .await
            .unwrap()
            .claims
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.store.dead_letters(None, None, 100).await.unwrap()
    }

    pub(crate) async fn assert_nothing_stored(&self) {
        assert_eq!(self.waiting().await, []);
        assert_eq!(self.dead_letters().await, []);
    }

    pub(crate) async fn stop(self) {
        self.sandbox.stop().await;
        self.tasks
            .stop(std::time::Duration::from_secs(10))
            .await
            .unwrap();
    }
}

pub(crate) fn instance(user: &str) -> PlatformInstance {
    PlatformInstance {
        user_id: user.to_owned(),
        sandbox_id: format!("sandbox-of-{user}"),
        status: "running".to_owned(),
        fly_app_name: "bot".to_owned(),
        fly_machine_id: "d8910".to_owned(),
        google_connected: true,
        gmail_notifications_enabled: true,
        gmail_push_oidc_email: Some(ACCOUNT.to_owned()),
        email: Some(format!("{user}@example.com")),
        gmail_last_history_id: None,
    }
}

pub(crate) fn notification(message: &str, history_id: u64) -> Value {
    let data = json!({ "emailAddress": "ann@example.com", "historyId": history_id });
    let data = BASE64_STANDARD.encode(data.to_string());
    json!({ "message": { "data": data, "messageId": message, "message_id": message }, "subscription": "s" })
}
