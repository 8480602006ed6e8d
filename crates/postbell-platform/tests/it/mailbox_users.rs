//! Several users with one mailbox.

use std::time::Duration;

use axum::http::Method;
use postbell_core::{MAX_USERS_OF_MAILBOX, Users};
use postbell_protocol::credential_envelope::CredentialEnvelope;
use postbell_protocol::gog_keyring::GogCredentials;
use postbell_protocol::tarball;
use postbell_protocol::watch_state::WatchState;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::test_platform::{Answer, TestPlatform, sandbox};

const WHOSE: &str = "/api/platform/user-by-email?email=ann@example.com";

/// Connects a user by the credentials of a mailbox.
pub(crate) async fn connect(
    world: &TestPlatform,
    sandbox: &Sandbox,
    user: &str,
    opens: &str,
) -> u16 {
    // They are called those of the address that the user names.
    let named = "ann@example.com";
    offer(world, sandbox, user, (opens, named), false).await
}

/// Connects another account of a user, by the credentials of its mailbox.
pub(crate) async fn connect_further(
    world: &TestPlatform,
    sandbox: &Sandbox,
    user: &str,
    email: &str,
) -> u16 {
    offer(world, sandbox, user, (email, email), true).await
}

async fn offer(
    world: &TestPlatform,
    sandbox: &Sandbox,
    user: &str,
    (opens, named): (&str, &str),
    is_further: bool,
) -> u16 {
    let grant = sandbox.oauth().grant(opens);
    let credentials = GogCredentials {
        client_id: grant.client_id,
        client_secret: grant.client_secret.into(),
        refresh_token: grant.refresh_token.into(),
    };
    let state = WatchState {
        account: named.to_owned(),
        ..WatchState::default()
    };
    let path = "/api/admin/public-key";
    let (_, key) = world.ask_as(user, Method::GET, path, Value::Null).await;
    let key = key["publicKey"].as_str().unwrap();
    let random = |bytes: &mut [u8]| bytes.fill(7);
    let tarball = tarball::pack(&credentials, &state, &random).unwrap();
    let tarball = tarball.expose_secret().as_bytes();
    let envelope = CredentialEnvelope::encrypt(tarball, key, &random).unwrap();
    let credentials = json!({
        "gogConfigTarball": envelope,
        "email": named,
        "gmailPushOidcEmail": "push@p.iam.gserviceaccount.com",
    });
    let body =
        json!({ "userId": user, "googleCredentials": credentials, "furtherAccount": is_further });
    let path = "/api/platform/google-credentials";
    world.ask(Method::POST, path, body).await.0
}

async fn whose(world: &TestPlatform) -> Answer {
    world.ask(Method::GET, WHOSE, Value::Null).await
}

fn users(names: &[&str]) -> Answer {
    (200, json!({ "userId": names[0], "userIds": names }))
}

#[tokio::test]
async fn each_user_whose_credentials_open_the_mailbox_is_notified_of_its_mail() {
    let sandbox = sandbox().await;
    let world = TestPlatform::with_google(&sandbox).await;
    for name in ["bob", "eve"] {
        world.add_another(name).await;
    }
    assert_eq!(whose(&world).await.0, 404);
    // Who is alone with an address needs no proof, as without a key.
    assert_eq!(
        connect(&world, &sandbox, "eve", "eve@example.com").await,
        200
    );
    assert_eq!(whose(&world).await, users(&["eve"]));
    assert_eq!(
        connect(&world, &sandbox, "ann", "ann@example.com").await,
        200
    );
    assert_eq!(whose(&world).await, users(&["ann"]));
    assert_eq!(
        connect(&world, &sandbox, "bob", "ann@example.com").await,
        200
    );
    assert_eq!(whose(&world).await, users(&["ann", "bob"]));
    world.stop().await;
    sandbox.stop().await;
}

#[tokio::test]
async fn while_google_does_not_answer_nobody_is_notified_who_may_be_a_stranger() {
    let sandbox = sandbox().await;
    let world = TestPlatform::with_google(&sandbox).await;
    world.add_another("bob").await;
    for name in ["ann", "bob"] {
        assert_eq!(
            connect(&world, &sandbox, name, "ann@example.com").await,
            200
        );
    }
    let faults = sandbox.faults();
    faults.add(
        FaultPoint::GmailProfile,
        Kind::refuse(503),
        Frequency::Always,
    );
    assert_eq!(whose(&world).await.0, 503);
    faults.clear();
    // What is unknown is asked again after ten seconds.
    world.pass(Duration::from_secs(11));
    assert_eq!(whose(&world).await, users(&["ann", "bob"]));
    // A proof counts for an hour, and until Google answers again.
    faults.add(
        FaultPoint::GmailProfile,
        Kind::refuse(503),
        Frequency::Always,
    );
    assert_eq!(whose(&world).await, users(&["ann", "bob"]));
    world.pass(Duration::from_secs(2 * 60 * 60));
    assert_eq!(whose(&world).await, users(&["ann", "bob"]));
    world.stop().await;
    sandbox.stop().await;
}

/// Else the push would not be repeated for the one of whom Google said nothing; but credentials for which it never
/// answers keep nobody from their mail.
#[tokio::test]
async fn the_others_wait_for_a_user_of_whom_google_says_nothing_for_a_minute() {
    let sandbox = sandbox().await;
    let world = TestPlatform::with_google(&sandbox).await;
    world.add_another("bob").await;
    for name in ["ann", "bob"] {
        assert_eq!(
            connect(&world, &sandbox, name, "ann@example.com").await,
            200
        );
    }
    let once = || {
        let faults = sandbox.faults();
        faults.add(
            FaultPoint::GmailProfile,
            Kind::refuse(503),
            Frequency::Times(1),
        );
    };
    // One of the two is proven.
    once();
    assert_eq!(whose(&world).await.0, 503);
    world.pass(Duration::from_secs(11));
    once();
    assert_eq!(whose(&world).await.0, 503);
    world.pass(Duration::from_secs(50));
    once();
    let (status, answer) = whose(&world).await;
    assert_eq!(
        (status, answer["userIds"].as_array().unwrap().len()),
        (200, 1)
    );
    world.pass(Duration::from_secs(11));
    assert_eq!(whose(&world).await, users(&["ann", "bob"]));
    world.stop().await;
    sandbox.stop().await;
}

/// Strangers who name an address do not use up the places of its owner.
#[tokio::test]
async fn a_place_that_is_taken_without_proof_is_given_to_an_owner() {
    let sandbox = sandbox().await;
    let world = TestPlatform::with_google(&sandbox).await;
    let strangers: Vec<_> = (0..MAX_USERS_OF_MAILBOX)
        .map(|n| format!("eve{n}"))
        .collect();
    for name in &strangers {
        world.add_another(name).await;
        let connected = connect(&world, &sandbox, name, "eve@example.com").await;
        assert_eq!(connected, 200);
    }
    world.add_another("late").await;
    let refused = connect(&world, &sandbox, "late", "eve@example.com").await;
    assert_eq!(refused, 409, "unproven as well");
    let faults = sandbox.faults();
    faults.add(
        FaultPoint::GmailProfile,
        Kind::refuse(503),
        Frequency::Always,
    );
    let refused = connect(&world, &sandbox, "ann", "ann@example.com").await;
    assert_eq!(refused, 409, "nothing is known");
    faults.clear();
    world.pass(Duration::from_secs(11));
    let connected = connect(&world, &sandbox, "ann", "ann@example.com").await;
    assert_eq!(connected, 200);
    assert_eq!(whose(&world).await, users(&["ann"]));
    let email = "ann@example.com".parse().unwrap();
    let left = world.store.users_by_email(&email).await.unwrap();
    assert_eq!(left.len(), MAX_USERS_OF_MAILBOX, "one was disconnected");
    world.stop().await;
    sandbox.stop().await;
}
