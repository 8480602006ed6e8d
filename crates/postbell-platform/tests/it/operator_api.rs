//! The API for operators (protocol, section 2).

use std::time::Duration;

use axum::http::Method;
use postbell_core::{
    AuditLog, DeliveryQueue, MailProblem, ProblemCode, TokenScope, UnparseableMessage,
};
use postbell_platform::{ApiKeys, system_random};
use postbell_protocol::gateway_token::GatewayTokens;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::test_platform::{Answer, GATEWAY_SECRET, TestPlatform};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl TestPlatform {
    /// A new API key.
    async fn key(&self, scope: TokenScope) -> String {
        let keys = ApiKeys {
            tokens: std::sync::Arc::new(self.operated.tokens.clone()),
            random: system_random(),
        };
        let issued = keys.issue("ci", scope, DAY, self.now()).await.unwrap();
        issued.key.expose_secret().to_owned()
    }

    /// Posts an operation with a key.
    async fn operate(&self, key: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {key}");
        let path = format!("/api/operator/{path}");
        let headers = [("authorization", &*bearer)];
        self.send(Method::POST, &path, &headers, body.to_string())
            .await
    }

    /// What the audit log says was done to whom, in order.
    async fn audited(&self) -> Vec<String> {
        let entries = self.operated.audit.entries(None, None, 1000).await.unwrap();
        let entries = entries.into_iter().rev().map(|entry| {
            let user = entry.user.map_or(String::new(), |user| user.to_string());
            format!("{} {user}", entry.action)
        });
        entries.collect()
    }
}

#[tokio::test]
async fn only_an_api_key_gives_access_and_a_read_key_changes_nothing() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Read).await;
    let user_token = world.user_token("ann", DAY).await;
    for wrong in ["", "x", "postbell_key_", &key[..key.len() - 1], &user_token] {
        let (status, _) = world.operate(wrong, "users/list", json!({})).await;
        assert_eq!(status, 401, "{wrong}");
    }
    let (status, list) = world.operate(&key, "users/list", json!({})).await;
    assert_eq!((status, &list["users"][0]["userId"]), (200, &json!("ann")));

    for (path, body) in [
        ("users/add", json!({ "userId": "bob" })),
        ("users/remove", json!({ "userId": "ann" })),
        ("invitations/add", json!({ "userId": "ann" })),
        ("tokens/add", json!({ "userId": "ann" })),
        ("dead-letters/drop", json!({ "all": true })),
        ("users/import", json!({ "csv": "user\nbob\n" })),
    ] {
        let (status, answer) = world.operate(&key, path, body).await;
        assert_eq!(
            (status, &answer["error"]),
            (403, &json!("this API key only reads"))
        );
    }
    assert_eq!(world.audited().await, [""; 0]);

    world.pass(DAY);
    let (status, _) = world.operate(&key, "users/list", json!({})).await;
    assert_eq!(status, 401, "the key has expired");
    world.stop().await;
}

#[tokio::test]
async fn a_user_is_added_changed_and_removed_and_relays_and_audit_log_know() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Write).await;
    let body = json!({ "userId": "bob", "url": "https://bob.example.com", "wakeOnMail": true });
    let (status, added) = world.operate(&key, "users/add", body.clone()).await;
    assert_eq!(
        (status, &added["url"]),
        (200, &json!("https://bob.example.com/"))
    );
    let (status, again) = world.operate(&key, "users/add", body).await;
    assert_eq!(
        (status, &again["error"]),
        (409, &json!("the user bob already exists"))
    );

    let body = json!({ "userId": "bob", "wakeOnMail": false, "notifications": true });
    let (status, refused) = world.operate(&key, "users/change", body).await;
    assert_eq!(
        (status, &refused["error"]),
        (409, &json!("no Google account is connected"))
    );
    let body = json!({ "userId": "bob", "flyAppName": "bot", "flyMachineId": "m2" });
    let (_, changed) = world.operate(&key, "users/change", body).await;
    assert_eq!(changed["flyMachineId"], "m2");
    let (_, shown) = world
        .operate(&key, "users/show", json!({ "userId": "bob" }))
        .await;
    assert_eq!(shown, changed);

    let (_, removed) = world
        .operate(&key, "users/remove", json!({ "userId": "bob" }))
        .await;
    assert_eq!(removed, json!({ "removed": true }));
    let (status, _) = world
        .operate(&key, "users/show", json!({ "userId": "bob" }))
        .await;
    assert_eq!(status, 404);
    assert_eq!(*world.relays.0.lock(), ["bob has changed"; 3]);
    assert_eq!(
        world.audited().await,
        [
            "user.add bob",
            "user.change bob",
            "session.end bob",
            "user.remove bob"
        ]
    );
    let entries = world
        .operate(&key, "audit/list", json!({ "userId": "bob", "limit": 1 }))
        .await;
    let entry = &entries.1["entries"][0];
    assert!(
        entry["actor"].as_str().unwrap().starts_with("key ci ("),
        "{entry}"
    );
    world.stop().await;
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_its_reason() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Write).await;
    for (path, body, expected) in [
        (
            "users/add",
            json!({ "userId": "b b" }),
            "Malformed JSON body",
        ),
        (
            "users/add",
            json!({ "userId": "bob", "URL": "https://x" }),
            "Malformed JSON body",
        ),
        (
            "users/add",
            json!({ "userId": "bob", "flyAppName": "bot" }),
            "expected both the Fly app and the Fly machine id",
        ),
        (
            "users/add",
            json!({ "userId": "bob", "url": "ftp://bob" }),
            "url: expected a base URL without user and password, such as https://bot.example.com",
        ),
        (
            "users/list",
            json!({ "after": "~~" }),
            "after: expected a cursor of a list",
        ),
        (
            "links/add",
            json!({ "userId": "ann", "validForSeconds": 0 }),
            "validForSeconds: expected 1 to 2592000",
        ),
        (
            "sessions/end",
            json!({}),
            "expected userId, operators, or both",
        ),
        (
            "dead-letters/drop",
            json!({ "numbers": [1], "all": true }),
            "expected one of numbers, userId and all",
        ),
        (
            "tokens/revoke",
            json!({ "id": "x" }),
            "expected the id of a token: 16 hex digits",
        ),
    ] {
        let (status, answer) = world.operate(&key, path, body).await;
        assert_eq!(
            (status, &answer["error"]),
            (400, &json!(expected)),
            "{path}"
        );
    }
    assert_eq!(world.audited().await, [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn each_list_of_users_is_read_page_by_page() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Read).await;
    for (name, code) in [
        ("bob", Some(ProblemCode::GrantRevoked)),
        ("cid", Some(ProblemCode::WebhookGone)),
        ("dan", Some(ProblemCode::GrantRevoked)),
        ("eve", None),
    ] {
        world.add_another(name).await;
        let now = world.now();
        world
            .change(name, |record| {
                record.connect(postbell_core::GoogleConnection {
                    email: Some(format!("z{name}@example.com").parse().unwrap()),
                    push_account: None,
                    connected_at: now,
                });
                record.watch_expires_at = Some(now + DAY / 2);
                record.problem = code.map(|code| MailProblem { code, since: now });
            })
            .await;
    }
    for (request, expected) in [
        (json!({}), &["ann", "bob", "cid", "dan", "eve"][..]),
        (json!({ "search": "a" }), &["ann"]),
        (json!({ "search": "ZB", "by": "email" }), &["bob"]),
        (json!({ "by": "email" }), &["bob", "cid", "dan", "eve"]),
        (json!({ "filter": "problem" }), &["bob", "dan", "cid"]),
        (json!({ "filter": "grant_revoked" }), &["bob", "dan"]),
        (json!({ "filter": "without_mail" }), &["bob", "cid", "dan"]),
        (
            json!({ "filter": "watch_ends" }),
            &["bob", "cid", "dan", "eve"],
        ),
    ] {
        let mut found = Vec::new();
        let mut page = request.clone();
        page["limit"] = 1.into();
        loop {
            let (status, list) = world.operate(&key, "users/list", page.clone()).await;
            assert_eq!(status, 200, "{list}");
            let users = list["users"].as_array().unwrap();
            found.extend(
                users
                    .iter()
                    .map(|user| user["userId"].as_str().unwrap().to_owned()),
            );
            match list.get("next") {
                Some(next) => page["after"] = next.clone(),
                None => break,
            }
        }
        assert_eq!(found, expected, "{request}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_import_reports_each_line_and_a_dry_run_adds_nobody() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Write).await;
    let csv = "user,url,sandbox_id\nbob,https://bob.example.com,\nann,,\ncid,nowhere,\n\
               dan,,sandbox-of-ann\nbob,,\n";
    let lines = json!([
        { "line": 2, "userId": "bob", "outcome": "added" },
        { "line": 3, "userId": "ann", "outcome": "existing" },
        { "line": 4, "userId": "cid", "outcome": "refused",
            "problem": "url: expected a base URL such as https://bot.example.com" },
        { "line": 5, "userId": "dan", "outcome": "refused",
            "problem": "the sandbox id is another user's" },
        { "line": 6, "userId": "bob", "outcome": "refused",
            "problem": "an earlier line has the same user" },
    ]);
    for (dry_run, users) in [(true, 1), (false, 2)] {
        let body = json!({ "csv": csv, "dryRun": dry_run });
        let (status, report) = world.operate(&key, "users/import", body).await;
        let expected = json!({ "added": 1, "existing": 1, "refused": 3, "lines": lines });
        assert_eq!((status, report), (200, expected));
        let (_, list) = world.operate(&key, "users/list", json!({})).await;
        assert_eq!(list["users"].as_array().unwrap().len(), users);
    }
    assert_eq!(world.audited().await, ["user.add bob"]);
    let notified = std::mem::take(&mut *world.relays.0.lock());
    assert_eq!(
        notified,
        ["bob has changed"],
        "they may know that there is no bob"
    );
    world.stop().await;
}

#[tokio::test]
async fn an_invitation_adds_the_user_is_listed_and_can_be_revoked() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Write).await;
    let body = json!({ "userId": "bob", "url": "https://bob.example.com" });
    let (status, first) = world.operate(&key, "invitations/add", body.clone()).await;
    assert_eq!((status, &first["added"]), (200, &json!(true)));
    let url = first["url"].as_str().unwrap();
    let message = first["message"].as_str().unwrap();
    assert!(
        url.starts_with("https://bell.example.com/sign-in/link/"),
        "{url}"
    );
    assert!(
        message.contains(url) && message.contains("within 7 days"),
        "{message}"
    );
    let (_, second) = world.operate(&key, "invitations/add", body).await;
    assert_eq!(second["added"], false);

    let (_, list) = world.operate(&key, "links/list", json!({})).await;
    let links = list["links"].as_array().unwrap().clone();
    assert_eq!(links.len(), 2);
    assert!(
        !list.to_string().contains(&url[url.len() - 20..]),
        "not the secret"
    );
    for (removed, link) in [(true, &links[0]), (false, &links[0])] {
        let body = json!({ "id": link["id"] });
        let (_, answer) = world.operate(&key, "links/revoke", body).await;
        assert_eq!(answer, json!({ "removed": removed }));
    }
    assert_eq!(
        world.audited().await,
        [
            "user.add bob",
            "link.issue bob",
            "link.issue bob",
            "link.revoke bob"
        ]
    );
    world.stop().await;
}

#[tokio::test]
async fn what_a_machine_needs_is_shown_to_who_may_change_and_is_recorded() {
    let world = TestPlatform::new().await;
    let body = json!({ "userId": "ann" });
    let reader = world.key(TokenScope::Read).await;
    let (status, _) = world.operate(&reader, "users/machine", body.clone()).await;
    assert_eq!(status, 403);
    let key = world.key(TokenScope::Write).await;
    let (status, machine) = world.operate(&key, "users/machine", body).await;
    assert_eq!(status, 200);
    let token =
        GatewayTokens::new(&GATEWAY_SECRET.into()).token(&"sandbox-of-ann".parse().unwrap());
    let expected = json!({
        "platformUrl": "https://bell.example.com/",
        "sandboxId": "sandbox-of-ann",
        "gatewayToken": token.expose_secret(),
    });
    assert_eq!(machine, expected);
    let unknown = json!({ "userId": "zoe" });
    assert_eq!(world.operate(&key, "users/machine", unknown).await.0, 404);
    assert_eq!(world.audited().await, ["machine_token.show ann"]);
    world.stop().await;
}

#[tokio::test]
async fn a_user_is_not_the_owner_of_dead_letters_without_one() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Write).await;
    let reserved = json!({ "userId": "/push/gmail" });
    let (status, answer) = world.operate(&key, "users/add", reserved.clone()).await;
    assert_eq!(status, 400, "{answer}");
    let message = UnparseableMessage {
        user: "/push/gmail".parse().unwrap(),
        message_id: "m1".parse().unwrap(),
        body: bytes::Bytes::from_static(b"?"),
        cause: "expected JSON".to_owned(),
    };
    world
        .operated
        .deliveries
        .dead_letter(message, world.now())
        .await
        .unwrap();
    let (_, answer) = world.operate(&key, "users/remove", reserved).await;
    assert_eq!(answer["removed"], false);
    let (_, list) = world.operate(&key, "dead-letters/list", json!({})).await;
    assert_eq!(list["deadLetters"].as_array().unwrap().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_token_is_valid_until_it_is_revoked_or_its_user_signed_out() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Write).await;
    let status_with = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        let path = "/api/admin/google-credentials";
        world.send(Method::GET, path, &headers, "").await.0
    };
    for (path, by_id) in [("tokens/revoke", true), ("sessions/end", false)] {
        let (_, issued) = world
            .operate(&key, "tokens/add", json!({ "userId": "ann" }))
            .await;
        let token = issued["token"].as_str().unwrap();
        assert_eq!(status_with(token).await, 200);
        let (_, list) = world
            .operate(&key, "tokens/list", json!({ "userId": "ann" }))
            .await;
        let listed = &list["tokens"][0];
        assert_eq!(
            (&listed["id"], &listed["scope"]),
            (&issued["id"], &json!("setup"))
        );
        assert!(listed["lastUsedAt"].is_i64(), "{listed}");
        let body = if by_id {
            json!({ "id": issued["id"] })
        } else {
            json!({ "userId": "ann" })
        };
        assert_eq!(world.operate(&key, path, body).await.0, 200);
        assert_eq!(status_with(token).await, 401, "{path}");
    }
    let old = world.user_token("ann", DAY).await;
    assert_eq!(status_with(&old).await, 200, "one of an earlier version");
    world.stop().await;
}

#[tokio::test]
async fn a_revoked_key_gives_no_access() {
    let world = TestPlatform::new().await;
    let key = world.key(TokenScope::Write).await;
    let (_, list) = world.operate(&key, "tokens/list", json!({})).await;
    let body = json!({ "id": list["tokens"][0]["id"] });
    let (status, _) = world.operate(&key, "tokens/revoke", body).await;
    assert_eq!(status, 200);
    let (status, _) = world.operate(&key, "tokens/list", json!({})).await;
    assert_eq!(status, 401);
    world.stop().await;
}
