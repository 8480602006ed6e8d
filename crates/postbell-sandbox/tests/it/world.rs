use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use postbell_sandbox::{PROJECT, Sandbox};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) const EMAIL: &str = "ann@example.com";
pub(crate) const ACCOUNT: &str = "push@sandbox-project.iam.gserviceaccount.com";
pub(crate) const SUBSCRIPTION: &str = "projects/sandbox-project/subscriptions/push";

/// How long a push may take to come before the test fails. Nothing is measured by it.
const DEADLOCK: Duration = Duration::from_secs(30);

/// A sandbox, an endpoint that it pushes to, and a client with a token of `EMAIL`'s.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    pub(crate) token: String,
    pub(crate) topic: String,
    endpoint: Endpoint,
    pushes: mpsc::UnboundedReceiver<(HeaderMap, Value)>,
    endpoint_url: String,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Endpoint {
    tell: mpsc::UnboundedSender<(HeaderMap, Value)>,
    /// What the next pushes are answered; 204 where none is left.
    answers: Arc<Mutex<Vec<u16>>>,
}

async fn take(State(endpoint): State<Endpoint>, headers: HeaderMap, body: String) -> StatusCode {
    let body = serde_json::from_str(&body).unwrap();
    endpoint.tell.send((headers, body)).unwrap();
    let answer = endpoint.answers.lock().await.pop().unwrap_or(204);
    StatusCode::from_u16(answer).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await.unwrap())
            .await
            .unwrap();
        sandbox.pubsub().repeat_within(Duration::from_millis(5));
        let (tell, pushes) = mpsc::unbounded_channel();
        let endpoint = Endpoint {
            tell,
            answers: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint_url = format!("http://{}/push", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/push", post(take))
            .with_state(endpoint.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = Client::new();
        let granted = serde_json::to_value(sandbox.oauth().grant(EMAIL)).unwrap();
        let mut form = granted.clone();
        form["grant_type"] = "refresh_token".into();
        let answer = client
            .post(format!("{}/token", sandbox.url()))
            .form(&form)
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let topic = format!("projects/{PROJECT}/topics/topic");
        let world = Self {
            sandbox,
            client,
            token,
            topic: topic.clone(),
            endpoint,
            pushes,
            endpoint_url,
            _serving: serving,
        };
        world.call("PUT", &format!("/v1/{topic}"), &json!({})).await;
        world
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Response {
        let url = format!("{}{path}", self.sandbox.url());
        let request = self.client.request(method.parse().unwrap(), url);
        request
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) fn push_config(&self) -> Value {
        let token = json!({ "serviceAccountEmail": ACCOUNT, "audience": "an audience" });
        json!({ "pushEndpoint": self.endpoint_url, "oidcToken": token })
    }

    /// Has everything that is published pushed to the endpoint.
    pub(crate) async fn subscribe(&self) {
        let body = json!({ "topic": self.topic, "pushConfig": self.push_config() });
        let answer = self
            .call("PUT", &format!("/v1/{SUBSCRIPTION}"), &body)
            .await;
        assert_eq!(answer.status(), 200);
    }

    pub(crate) fn publish(&self, text: &str) {
        self.sandbox.pubsub().publish(&self.topic, text.as_bytes());
    }

    /// Sets what the next pushes are answered, in this order.
    pub(crate) async fn answer_with(&self, answers: &[u16]) {
        *self.endpoint.answers.lock().await = answers.iter().rev().copied().collect();
    }

    pub(crate) async fn next_push(&mut self) -> (HeaderMap, Value) {
        timeout(DEADLOCK, self.pushes.recv())
            .await
            .expect("no push came")
            .unwrap()
    }

    /// The ids of the next pushes.
    pub(crate) async fn next_ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let (_, body) = self.next_push().await;
            ids.push(body["message"]["messageId"].as_str().unwrap().to_owned());
        }
        ids
    }

    /// Waits until everything is acknowledged, and asserts that no push is left over.
    pub(crate) async fn assert_drained(&mut self) {
        timeout(DEADLOCK, self.sandbox.pubsub().drained(SUBSCRIPTION))
            .await
            .unwrap();
        assert!(self.pushes.try_recv().is_err(), "one push too many");
    }
}
