//! Relays in other processes are notified over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::post;
use parking_lot::Mutex;
use postbell_core::{MachineReport, Timestamp};
use postbell_platform::{CheckIn, HttpRelays, Relays};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

/// The requests that a relay received: path, credential and body.
type Got = Arc<Mutex<Vec<(String, String, Value)>>>;

async fn take(State(got): State<Got>, uri: Uri, headers: HeaderMap, body: String) {
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
    let credential = header("x-internal-api-key").or(header("authorization"));
    got.lock().push((
        uri.path().to_owned(),
        credential.unwrap().to_owned(),
        serde_json::from_str(&body).unwrap(),
    ));
}

#[tokio::test]
async fn every_relay_is_notified_even_if_another_fails() {
    let got = Got::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/api/relay/forget", post(take))
        .route("/api/controller/checkin", post(take))
        .with_state(Arc::clone(&got));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await });

    let ended = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", ended.local_addr().unwrap());
    drop(ended);
    let urls: Vec<Url> = [&gone, &url, &format!("{url}missing")]
        .map(|url| url.parse().unwrap())
        .to_vec();
    let relays = HttpRelays::new(reqwest::Client::new(), urls, "the key".into());
    relays.user_changed(&"ann".parse().unwrap()).await;
    let mut check_in = CheckIn {
        user: "ann".parse().unwrap(),
        sandbox_id: "sandbox-of-ann".to_owned(),
        token: "the token".into(),
        report: MachineReport::default(),
        accounts: None,
    };
    relays.machine_checked_in(&check_in, &[]).await;
    check_in.report.watch_expires_at = Some(Timestamp::from_millis(1_700_000_000_123));
    relays.machine_checked_in(&check_in, &[]).await;
    let expected = [
        (
            "/api/relay/forget".to_owned(),
            "the key".to_owned(),
            json!({ "userId": "ann" }),
        ),
        (
            "/api/controller/checkin".to_owned(),
            "Bearer the token".to_owned(),
            json!({ "sandboxId": "sandbox-of-ann" }),
        ),
        (
            "/api/controller/checkin".to_owned(),
            "Bearer the token".to_owned(),
            json!({ "sandboxId": "sandbox-of-ann", "watchExpiresAt": 1_700_000_000_123_i64 }),
        ),
    ];
    assert_eq!(*got.lock(), expected);
    serving.abort_all();
}
