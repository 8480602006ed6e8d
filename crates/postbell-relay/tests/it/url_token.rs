use postbell_relay::{RejectPolicy, UrlTokenKey};
use postbell_sandbox::IdTokenClaims;

use crate::world::{ACCOUNT, World, notification};

const SECRET: &str = "a secret of the operator's";

async fn world() -> World {
    World::with(|parts| parts.url_tokens = Some(UrlTokenKey::new(&SECRET.into()))).await
}

fn path(user: &str) -> String {
    let key = UrlTokenKey::new(&SECRET.into());
    format!("/push/user/{user}/{}", key.token(&user.parse().unwrap()))
}

async fn push(world: &World, path: &str, token: Option<&str>) -> u16 {
    let body = notification("m1", 7).to_string();
    let request = world.client.post(format!("http://{}{path}", world.address));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_secret_url_needs_no_id_token() {
    let world = world().await;
    assert_eq!(push(&world, &path("ann"), None).await, 204);
    assert_eq!(world.waiting().await[0].notification.user.as_str(), "ann");
    world.stop().await;
}

#[tokio::test]
async fn a_wrong_url_token_is_forbidden_and_nothing_is_stored() {
    let world = world().await;
    let of_bob = path("bob").replace("bob", "ann");
    let upper = path("ann")
        .to_uppercase()
        .replace("/PUSH/USER/ANN", "/push/user/ann");
    for path in [
        of_bob,
        upper,
        format!("{}0", path("ann")),
        "/push/user/ann/x".to_owned(),
    ] {
        assert_eq!(push(&world, &path, None).await, 403, "{path}");
        let good = world.token();
        assert_eq!(push(&world, &path, Some(&good)).await, 403, "{path}");
    }
    world.assert_nothing_stored().await;
    world.stop().await;
}

#[tokio::test]
async fn without_a_secret_every_url_token_is_refused() {
    let world = World::new().await;
    assert_eq!(push(&world, &path("ann"), None).await, 403);
    assert_eq!(push(&world, &path("ann"), Some(&world.token())).await, 403);
    world.stop().await;
}

#[tokio::test]
async fn an_id_token_is_checked_if_present() {
    let world = world().await;
    // The audience is that of the plain route, without the secret.
    assert_eq!(push(&world, &path("ann"), Some(&world.token())).await, 204);
    assert_eq!(push(&world, &path("ann"), Some("no.jwt")).await, 401);
    let thief = IdTokenClaims {
        email: "thief@evil.iam.gserviceaccount.com".to_owned(),
        ..world.claims()
    };
    let thief = world.sandbox.oauth().id_token(&thief);
    assert_eq!(push(&world, &path("ann"), Some(&thief)).await, 403);
    world.stop().await;
}

#[tokio::test]
async fn a_secret_url_suffices_if_no_service_account_is_stored() {
    let world = world().await;
    let platform = world.sandbox.platform();
    platform.update("ann", |instance| instance.gmail_push_oidc_email = None);
    assert_eq!(push(&world, &path("ann"), None).await, 204);
    assert_eq!(push(&world, &path("ann"), Some(&world.token())).await, 204);
    assert_eq!(world.waiting().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn refused_pushes_are_acknowledged_if_configured() {
    let world = World::with(|parts| parts.reject_policy = RejectPolicy::Ack).await;
    let body = || notification("m1", 7).to_string();
    for (path, token, body) in [
        ("/push/user/ann", "hunter2", body()),
        ("/push/user/ann/token", "hunter2", body()),
        ("/push/user/a%20b", "hunter2", body()),
        ("/push/gmail", "hunter2", body()),
        ("/push/user/ann", &world.token(), "x".repeat(64 * 1024 + 1)),
    ] {
        assert_eq!(world.push(path, token, body).await.status(), 204, "{path}");
    }
    assert_eq!(world.push("/elsewhere", ACCOUNT, "").await.status(), 404);
    world.assert_nothing_stored().await;
    world.stop().await;
}
