use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use postbell_core::{
    Clock, DeliveryLog, DeliveryQueue, Failure, HistoryId, Notification, ProblemCode, Settlement,
    SystemClock,
};
use postbell_relay::{DirectoryCache, HttpDirectory};
use postbell_sandbox::PlatformInstance;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use url::Url;

use crate::world::{World, instance};

const ANN: &str = r#"{"sandboxId": "sandbox-of-ann"}"#;

fn token(world: &World) -> String {
    world.sandbox.platform().gateway_token("sandbox-of-ann")
}

/// Lets a notification wait for half an hour.
async fn back_off(world: &World) {
    assert_eq!(world.push_with(&world.claims()).await, 204);
    let claim = world.waiting().await.remove(0);
    let half_an_hour = Duration::from_secs(1800);
    let settlement = Settlement::Retry {
        failure: Failure::timeout(),
        wait: half_an_hour,
        cooldown: half_an_hour,
    };
    let now = SystemClock::new().now();
    world.store.settle(&claim, settlement, now).await.unwrap();
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_pending_notification_is_due_when_its_machine_checks_in() {
    let world = World::new().await;
    back_off(&world).await;
    assert_eq!(world.check_in(ANN, &token(&world)).await, 204);
    assert_eq!(world.waiting().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn an_uncached_machine_is_looked_up() {
    let world = World::new().await;
    assert_eq!(world.check_in(ANN, &token(&world)).await, 204);
    world.stop().await;
}

/// A platform that knows of ann's machine, and keeps what it is message.
async fn platform(token: String) -> (Url, UnboundedReceiver<Value>, JoinSet<()>) {
    let (tell, message) = unbounded_channel();
    let whose = async || Json(json!({ "userId": "ann" }));
    let token = async move || Json(json!({ "gatewayToken": token }));
    let running = async move |body: Json<Value>| tell.send(body.0).unwrap();
    let router = Router::new()
        .route("/api/platform/user-by-sandbox", get(whose))
        .route("/api/platform/gateway-token", get(token))
        .route("/api/platform/running", post(running));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url.parse().unwrap(), message, serving)
}

#[tokio::test]
async fn the_platform_receives_the_expiry_of_the_watch() {
    let (url, mut message, _serving) = platform("t".to_owned()).await;
    let directory = Arc::new(HttpDirectory::new(Client::new(), url, "key".into()));
    let directory = DirectoryCache::new(directory, Arc::new(SystemClock::new()));
    let world = World::with(|parts| parts.directory = Arc::new(directory)).await;
    for (said, passed_on) in [
        (
            r#", "watchExpiresAt": 1700000000123"#,
            json!(1_700_000_000_123_i64),
        ),
        // KiloClaw's controller does not report it.
        ("", Value::Null),
        (
            r#", "watchExpiresAt": "tomorrow", "unheardOf": [1]"#,
            Value::Null,
        ),
    ] {
        let body = format!(r#"{{"sandboxId": "sandbox-of-ann"{said}}}"#);
        assert_eq!(world.check_in(&body, "t").await, 204, "{said}");
        let mut expected = json!({ "userId": "ann" });
        if !passed_on.is_null() {
            expected["watchExpiresAt"] = passed_on;
        }
        assert_eq!(message.try_recv().unwrap(), expected);
    }
    world.stop().await;
}

/// A platform that knows of ann's machine, and answers the report of a check-in with `status`.
async fn platform_that_answers_reports(status: StatusCode) -> (Url, JoinSet<()>) {
    let whose = async || Json(json!({ "userId": "ann" }));
    let token = async || Json(json!({ "gatewayToken": "t" }));
    let router = Router::new()
        .route("/api/platform/user-by-sandbox", get(whose))
        .route("/api/platform/gateway-token", get(token))
        .route("/api/platform/running", post(async move || status));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url.parse().unwrap(), serving)
}

#[tokio::test]
async fn a_check_in_that_the_platform_does_not_take_is_to_be_repeated() {
    for (report, answer) in [
        (StatusCode::SERVICE_UNAVAILABLE, 503),
        // A platform without the route.
        (StatusCode::NOT_FOUND, 204),
    ] {
        let (url, _serving) = platform_that_answers_reports(report).await;
        let directory = Arc::new(HttpDirectory::new(Client::new(), url, "key".into()));
        let directory = DirectoryCache::new(directory, Arc::new(SystemClock::new()));
        let world = World::with(|parts| parts.directory = Arc::new(directory)).await;
        let notification = Notification {
            trace: None,
            user: "ann".parse().unwrap(),
            address: None,
            message_id: "m1".parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(7),
            body: Bytes::from_static(b"{}"),
        };
        let later = SystemClock::new().now() + Duration::from_secs(3600);
        world.store.accept(notification, later).await.unwrap();
        assert_eq!(world.check_in(ANN, "t").await, answer);
        assert_eq!(world.waiting().await.len(), 1, "it is due all the same");
        world.stop().await;
    }
}

/// The machine is the user's; each account has a notification of its own.
#[tokio::test]
async fn a_check_in_makes_the_further_accounts_of_its_user_due_unless_a_problem_stops_them() {
    let whose = json!({ "userId": "ann", "userIds": ["ann", "ann.team", "ann.old"] });
    let lookup = async |Query(asked): Query<HashMap<String, String>>| {
        let user = &asked["userId"];
        let problem = (user == "ann.old").then(|| json!({"code": "grant_revoked", "since": 1}));
        Json(json!({ "user": {
            "userId": user, "sandboxId": "sandbox-of-ann", "status": "running", "flyAppName": null,
            "flyMachineId": null, "googleConnected": true, "gmailNotificationsEnabled": true,
            "gmailPushOidcEmail": null, "gatewayToken": "t", "freshForMs": 1000, "problem": problem,
        }}))
    };
    let (tell, mut reported) = unbounded_channel();
    let running = async move |body: Json<Value>| tell.send(body.0).unwrap();
    let token = async || Json(json!({ "gatewayToken": "t" }));
    let router = Router::new()
        .route("/api/platform/gateway-token", get(token))
        .route("/api/platform/user-by-sandbox", get(async || Json(whose)))
        .route("/api/platform/lookup", get(lookup))
        .route("/api/platform/running", post(running));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let directory = Arc::new(HttpDirectory::new(Client::new(), url, "key".into()));
    let directory = DirectoryCache::new(directory, Arc::new(SystemClock::new()));
    let world = World::with(|parts| parts.directory = Arc::new(directory)).await;
    let now = SystemClock::new().now();
    for name in ["ann", "ann.team", "ann.old"] {
        let notification = Notification {
            trace: None,
            user: name.parse().unwrap(),
            address: None,
            message_id: format!("m-{name}").parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(7),
            body: Bytes::from_static(b"{}"),
        };
        world.store.accept(notification, now).await.unwrap();
    }
    for claim in world.waiting().await {
        let settlement = Settlement::Park {
            failure: Failure::status(503).because_of(ProblemCode::GrantRevoked),
            until: now + Duration::from_secs(3600),
        };
        world.store.settle(&claim, settlement, now).await.unwrap();
    }
    assert_eq!(world.waiting().await, []);
    let accounts = json!([{"email": "team@example.com", "deadLetters": 2}]);
    let body = json!({ "sandboxId": "sandbox-of-ann", "accounts": accounts });
    assert_eq!(world.check_in(&body.to_string(), "t").await, 204);
    let due = world.waiting().await.into_iter();
    let mut due: Vec<_> = due
        .map(|claim| claim.notification.user.to_string())
        .collect();
    due.sort();
    assert_eq!(due, ["ann", "ann.team"]);
    assert_eq!(reported.try_recv().unwrap()["accounts"], accounts);
    world.stop().await;
}

#[tokio::test]
async fn an_unauthenticated_check_in_makes_nothing_due_and_reveals_nothing() {
    let world = World::new().await;
    back_off(&world).await;
    let unknown = r#"{"sandboxId": "sandbox-of-nobody"}"#;
    for (body, token) in [(ANN, "wrong"), (unknown, &token(&world)), (ANN, "")] {
        assert_eq!(world.check_in(body, token).await, 401);
    }
    for body in ["", "{}", r#"{"sandboxId": 7}"#] {
        assert_eq!(world.check_in(body, &token(&world)).await, 400, "{body}");
    }
    assert_eq!(world.check_in(&"x".repeat(20_000), "t").await, 413);
    assert_eq!(world.waiting().await, []);
    world.stop().await;
}

#[tokio::test]
async fn unauthenticated_check_ins_are_rate_limited() {
    let world = World::new().await;
    let mut answers = Vec::new();
    for number in 0..150 {
        let unknown = format!(r#"{{"sandboxId": "{number}"}}"#);
        answers.push(world.check_in(&unknown, "t").await);
    }
    assert_eq!(answers[0], 401);
    assert!(answers.contains(&429));
    world.stop().await;
}

#[tokio::test]
async fn the_token_may_be_in_the_header_of_kiloclaws_controller() {
    let world = World::new().await;
    let (right, header) = (token(&world), "x-kiloclaw-gateway-token");
    for (bearer, header_token, status) in [
        (Some("an API key of its own"), Some(&*right), 204),
        (None, Some(&*right), 204),
        (Some(&*right), Some("wrong"), 204),
        (Some("wrong"), Some("wrong"), 401),
        (None, Some(""), 401),
        (None, None, 401),
    ] {
        let url = format!("http://{}/api/controller/checkin", world.address);
        let mut request = world.client.post(url).body(ANN);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(token) = header_token {
            request = request.header(header, token);
        }
        let answer = request.send().await.unwrap().status();
        assert_eq!(answer, status, "{bearer:?} {header_token:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_machine_that_now_belongs_to_another_user_checks_in() {
    let world = World::new().await;
    assert_eq!(world.check_in(ANN, &token(&world)).await, 204);
    let platform = world.sandbox.platform();
    platform.remove("ann");
    platform.put(PlatformInstance {
        sandbox_id: "sandbox-of-ann".to_owned(),
        ..instance("anna")
    });
    let notification = Notification {
        trace: None,
        user: "anna".parse().unwrap(),
        address: None,
        message_id: "m1".parse().unwrap(),
        published_at: None,
        history_id: HistoryId::new(7),
        body: Bytes::from_static(b"{}"),
    };
    let later = SystemClock::new().now() + Duration::from_secs(3600);
    world.store.accept(notification, later).await.unwrap();
    for _ in 0..3 {
        assert_eq!(world.check_in(ANN, &token(&world)).await, 204);
    }
    let pending = world.store.pending(&"anna".parse().unwrap()).await;
    let due = pending.unwrap().unwrap().due_at;
    assert!(due < later, "the machine is anna's");
    world.stop().await;
}

#[tokio::test]
async fn a_parked_notification_is_due_only_once_its_problem_is_over() {
    let world = World::new().await;
    assert_eq!(world.push_with(&world.claims()).await, 204);
    let claim = world.waiting().await.remove(0);
    let now = SystemClock::new().now();
    let settlement = Settlement::Park {
        failure: Failure::status(503).because_of(ProblemCode::GrantRevoked),
        until: now + Duration::from_secs(3600),
    };
    world.store.settle(&claim, settlement, now).await.unwrap();
    let with = |problem: Value| json!({ "sandboxId": "sandbox-of-ann", "problem": problem });
    let goes_on = with(json!({ "code": "grant_revoked", "since": 1 })).to_string();
    assert_eq!(world.check_in(&goes_on, &token(&world)).await, 204);
    assert_eq!(world.waiting().await, []);
    let over = with(Value::Null).to_string();
    assert_eq!(world.check_in(&over, &token(&world)).await, 204);
    assert_eq!(world.waiting().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_parked_notification_is_due_once_its_problem_stops_no_delivery() {
    let world = World::new().await;
    assert_eq!(world.push_with(&world.claims()).await, 204);
    let claim = world.waiting().await.remove(0);
    let now = SystemClock::new().now();
    let settlement = Settlement::Park {
        failure: Failure::status(503).because_of(ProblemCode::GrantRevoked),
        until: now + Duration::from_secs(3600),
    };
    world.store.settle(&claim, settlement, now).await.unwrap();
    let other =
        r#"{"sandboxId": "sandbox-of-ann", "problem": {"code": "watch_missing", "since": 1}}"#;
    assert_eq!(world.check_in(other, &token(&world)).await, 204);
    assert_eq!(world.waiting().await.len(), 1);
    world.stop().await;
}
