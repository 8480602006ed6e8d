//! Each route of section 2 of the protocol, and each way in which it fails.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::test_platform::{API_KEY, TestPlatform, gateway_token, google_credentials};

/// A route, requested for `ann`.
struct Row {
    method: Method,
    path: &'static str,
    /// The body besides the user. A route without a body has the user in its URL.
    body: Option<Value>,
    /// The response if `ann` is connected.
    happy: Value,
}

fn row(method: Method, path: &'static str, body: Option<Value>, happy: Value) -> Row {
    Row {
        method,
        path,
        body,
        happy,
    }
}

fn rows() -> Vec<Row> {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let on = json!({ "gmailNotificationsEnabled": true });
    let off = json!({ "gmailNotificationsEnabled": false });
    let connected = json!({ "googleConnected": true, "gmailNotificationsEnabled": true });
    let disconnected = json!({ "googleConnected": false, "gmailNotificationsEnabled": false });
    let credentials = json!({ "googleCredentials": google_credentials() });
    let token = json!({ "gatewayToken": gateway_token("sandbox-of-ann") });
    let account = json!({ "gmailPushOidcEmail": "push@p.iam.gserviceaccount.com" });
    let ok = json!({ "ok": true });
    let asleep = json!({ "starting": false });
    vec![
        row(get.clone(), "status", None, Value::Null),
        row(get.clone(), "gateway-token", None, token),
        row(get, "gmail-oidc-email", None, account),
        row(
            post.clone(),
            "gmail-history-id",
            Some(json!({ "historyId": 7 })),
            ok.clone(),
        ),
        row(post.clone(), "gmail-notifications", Some(json!({})), on),
        row(delete.clone(), "gmail-notifications", None, off),
        row(post.clone(), "wake", Some(json!({})), asleep),
        row(post.clone(), "running", Some(json!({})), ok),
        row(post, "google-credentials", Some(credentials), connected),
        row(delete, "google-credentials", None, disconnected),
    ]
}

impl Row {
    fn route(&self) -> String {
        format!("/api/platform/{}", self.path)
    }

    /// Sends the request for a user, or without one.
    async fn ask(&self, world: &TestPlatform, user: Option<&str>) -> (u16, Value) {
        let method = self.method.clone();
        match (self.body.clone(), user) {
            (Some(mut body), Some(user)) => {
                body["userId"] = json!(user);
                world.ask(method, &self.route(), body).await
            }
            (Some(body), None) => world.ask(method, &self.route(), body).await,
            (None, Some(user)) => {
                let uri = format!("{}?userId={user}", self.route());
                world.ask(method, &uri, Value::Null).await
            }
            (None, None) => world.ask(method, &self.route(), Value::Null).await,
        }
    }
}

#[tokio::test]
async fn each_route_works_with_the_key() {
    for row in rows() {
        let world = TestPlatform::new().await;
        world.connect("ann").await;
        let (status, body) = row.ask(&world, Some("ann")).await;
        assert_eq!(status, 200, "{} {}: {body}", row.method, row.path);
        if !row.happy.is_null() {
            assert_eq!(body, row.happy, "{} {}", row.method, row.path);
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_parsed() {
    let world = TestPlatform::new().await;
    let connected = world.connect("ann").await;
    assert_eq!(connected.0, 200);
    let before = world.record("ann").await;
    let paths = rows()
        .into_iter()
        .map(|row| (row.method.clone(), row.route()));
    let look_ups = ["user-by-email", "user-by-sandbox"]
        .map(|path| (Method::GET, format!("/api/platform/{path}")));
    for (method, route) in paths.chain(look_ups) {
        let almost = &API_KEY[..API_KEY.len() - 1];
        for key in [None, Some(""), Some("wrong"), Some(almost)] {
            let headers: Vec<_> = key
                .into_iter()
                .map(|key| ("x-internal-api-key", key))
                .collect();
            let refused = world
                .send(method.clone(), &route, &headers, "no JSON")
                .await;
            let expected = (401, json!({ "error": "Unauthorized" }));
            assert_eq!(refused, expected, "{method} {route} with {key:?}");
        }
    }
    assert_eq!(world.record("ann").await, before);
    world.stop().await;
}

#[tokio::test]
async fn a_request_without_a_user_is_rejected() {
    let world = TestPlatform::new().await;
    for row in rows() {
        for user in [None, Some("")] {
            let refused = row.ask(&world, user).await;
            let expected = (400, json!({ "error": "userId is required" }));
            assert_eq!(refused, expected, "{} {}", row.method, row.path);
        }
        if row.body.is_some() {
            for body in ["", "{", "[]"] {
                let key = [("x-internal-api-key", API_KEY)];
                let route = row.route();
                let (status, _) = world.send(row.method.clone(), &route, &key, body).await;
                assert_eq!(status, 400, "{} {body:?}", row.path);
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn an_unknown_user_is_not_found() {
    let world = TestPlatform::new().await;
    for row in rows() {
        // The second is not a valid user id.
        for user in ["bob", "b%20b"] {
            let refused = row.ask(&world, Some(user)).await;
            let expected = (404, json!({ "error": "No instance" }));
            assert_eq!(refused, expected, "{} {}", row.method, row.path);
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn the_status_has_the_fields_of_the_protocol() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let uri = "/api/platform/status?userId=ann";
    let (_, mut status) = world.ask(Method::GET, uri, Value::Null).await;
    for field in ["createdAt", "updatedAt", "googleConnectedAt"] {
        assert!(status[field].as_i64() > Some(0), "{field}: {status}");
        status.as_object_mut().unwrap().remove(field);
    }
    let expected = json!({
        "userId": "ann",
        "sandboxId": "sandbox-of-ann",
        "status": "running",
        "flyAppName": "bot",
        "flyMachineId": "m",
        "url": null,
        "googleConnected": true,
        "googleAccountEmail": "ann@example.com",
        "gmailPushOidcEmail": "push@p.iam.gserviceaccount.com",
        "gmailNotificationsEnabled": true,
        "gmailLastHistoryId": null,
        "watchExpiresAt": null,
        "problem": null,
        "neverSeen": true,
        "wakeOnMail": false,
    });
    assert_eq!(status, expected);
    world.stop().await;
}

#[tokio::test]
async fn users_are_found_by_address_and_by_sandbox() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let ann = (200, json!({ "userId": "ann", "userIds": ["ann"] }));
    let no_instance = (404, json!({ "error": "No instance" }));
    for (query, expected) in [
        ("user-by-email?email=ANN%40example.com", ann.clone()),
        ("user-by-email?email=bob@example.com", no_instance.clone()),
        ("user-by-email?email=no-address", no_instance.clone()),
        (
            "user-by-email",
            (400, json!({ "error": "email is required" })),
        ),
        ("user-by-sandbox?sandboxId=sandbox-of-ann", ann),
        ("user-by-sandbox?sandboxId=a%20b", no_instance.clone()),
        ("user-by-sandbox?sandboxId=sandbox-of-bob", no_instance),
        (
            "user-by-sandbox?sandboxId=",
            (400, json!({ "error": "sandboxId is required" })),
        ),
    ] {
        let uri = format!("/api/platform/{query}");
        let found = world.ask(Method::GET, &uri, Value::Null).await;
        assert_eq!(found, expected, "{query}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let world = TestPlatform::new().await;
    let key = [("x-internal-api-key", API_KEY)];
    for (path, bytes, expected) in [
        ("gmail-notifications", 17 * 1024, 413),
        ("google-credentials", 17 * 1024, 400),
        ("google-credentials", 1025 * 1024, 413),
    ] {
        let route = format!("/api/platform/{path}");
        let body = "x".repeat(bytes);
        let (status, body) = world.send(Method::POST, &route, &key, body).await;
        assert_eq!(status, expected, "{path} {bytes}");
        assert!(body["error"].is_string(), "{body}");
    }
    world.stop().await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_in_json() {
    let world = TestPlatform::new().await;
    let (status, body) = world.send(Method::GET, "/api/nothing", &[], "").await;
    assert_eq!((status, body), (404, json!({ "error": "no such route" })));
    let (status, body) = world
        .send(Method::PUT, "/api/platform/status", &[], "")
        .await;
    assert_eq!((status, body), (405, json!({ "error": "no such method" })));
    for path in ["/health", "/ready"] {
        assert_eq!(world.send(Method::GET, path, &[], "").await.0, 200);
    }
    world.stop().await;
}

/// An endless body with one byte per second.
fn trickle() -> Body {
    let bytes = futures_util::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, std::io::Error>("x"), ()))
    });
    Body::from_stream(bytes)
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_rejected() {
    let world = TestPlatform::new().await;
    let bearer = [("authorization", "Bearer anything")];
    let uri = "/api/controller/checkin";
    let refused = world.send(Method::POST, uri, &bearer, trickle()).await;
    let text = "the body did not come in time";
    assert_eq!(refused, (408, json!({ "error": text })));
    world.stop().await;
}

/// A user who does not exist is told apart from a platform without this route.
#[tokio::test]
async fn a_lookup_answers_all_that_a_relay_needs() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let ask = async |query: &str| {
        let path = format!("/api/platform/lookup{query}");
        let key = [("x-internal-api-key", API_KEY)];
        let (status, body) = world.send(Method::GET, &path, &key, "").await;
        (status, body)
    };
    let (status, found) = ask("?userId=ann").await;
    assert_eq!(status, 200);
    let user = &found["user"];
    assert_eq!(user["userId"], "ann");
    assert_eq!(user["gatewayToken"], gateway_token("sandbox-of-ann"));
    assert_eq!(user["gmailPushOidcEmail"], "push@p.iam.gserviceaccount.com");
    assert_eq!(user["gmailNotificationsEnabled"], true);
    assert_eq!(user["freshForMs"], 60_000);
    let nobody = json!({ "user": null });
    for query in ["?userId=nobody", "?userId=a%20b"] {
        assert_eq!(ask(query).await, (200, nobody.clone()), "{query}");
    }
    assert_eq!(ask("").await.0, 400);
    let (status, _) = world
        .send(Method::GET, "/api/platform/lookup?userId=ann", &[], "")
        .await;
    assert_eq!(status, 401);
    world.stop().await;
}
