//! Injects faults into a platform's path, one by one, and checks that doctor reports the hop.

use serde_json::json;

use crate::doctor::{Path, SUBSCRIPTION, TOPIC, doctor};
use crate::platform::OurPlatform;
use crate::support::send;

const PUSH_ACCOUNT: &str = "postbell-push@sandbox-project.iam.gserviceaccount.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_taken_away_fails_its_hop() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let (pubsub, accounts) = (path.pubsub(), path.accounts());

    pubsub.forbid_gmail(TOPIC).await.unwrap();
    let told = path.look().await;
    told.assert_failed(
        "publisher",
        &[
            "gmail-api-push@",
            "roles/pubsub.publisher",
            "`postbell setup`",
        ],
    );
    pubsub.allow_gmail(TOPIC).await.unwrap();

    let (project, number) = ("sandbox-project", postbell_sandbox::PROJECT_NUMBER);
    accounts
        .stop_pubsub_signing(project, number, PUSH_ACCOUNT)
        .await
        .unwrap();
    let told = path.look().await;
    told.assert_failed(
        "signer",
        &["roles/iam.serviceAccountTokenCreator", "`postbell setup`"],
    );
    accounts
        .let_pubsub_sign(project, number, PUSH_ACCOUNT)
        .await
        .unwrap();

    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_was_changed_is_told_with_what_it_should_be() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let sandbox = ours.world.sandbox.pubsub();
    let right = sandbox.settings(SUBSCRIPTION).unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    for (pointer, other, words) in [
        (
            "/pushEndpoint",
            format!("https://old.example.com/push/user/ada/{token}?key={token}"),
            "its endpoint is https://old.example.com/push/user/ada/TOKEN, and should be",
        ),
        (
            "/oidcToken/audience",
            "https://other.example.com/".to_owned(),
            "its audience is https://other.example.com/, and should be",
        ),
        (
            "/oidcToken/serviceAccountEmail",
            "other@p.iam.gserviceaccount.com".to_owned(),
            "its service account is other@p.iam.gserviceaccount.com",
        ),
    ] {
        let mut push = right["pushConfig"].clone();
        *push.pointer_mut(pointer).unwrap() = json!(other);
        sandbox.change(SUBSCRIPTION, "pushConfig", push);
        let told = path.look().await;
        told.assert_failed("subscription", &[words, "`postbell setup`"]);
        assert!(!told.stdout.contains(token), "{}", told.stdout);
    }
    sandbox.change(SUBSCRIPTION, "pushConfig", right["pushConfig"].clone());

    sandbox.change(SUBSCRIPTION, "ackDeadlineSeconds", json!(10));
    sandbox.change(
        SUBSCRIPTION,
        "expirationPolicy",
        json!({ "ttl": "2678400s" }),
    );
    let told = path.look().await;
    assert_eq!(
        told.code,
        Some(0),
        "a warning is no failure: {}",
        told.stdout
    );
    let (state, said) = told.hop("subscription");
    assert_eq!(state, "warning");
    assert!(
        said.contains("Google deletes it") && said.contains("30 s"),
        "{said}"
    );

    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_at_google_is_mended_by_what_is_said_to_mend_it() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let pubsub = path.pubsub();
    pubsub.delete_topic(TOPIC).await.unwrap();
    let told = path.look().await;
    assert_eq!(told.code, Some(1));
    assert_eq!(told.hop("topic").0, "failed");
    assert_eq!(
        told.hop("publisher").1,
        "not checked, because it requires: Topic Next: "
    );
    let (_, said) = told.hop("subscription");
    assert!(said.contains("its topic was deleted"), "{said}");
    // The suggested command repairs it.
    let (code, told) = path.setup.run(&[]).await;
    assert_eq!(code, Some(0), "{told}");
    let told = path.look().await;
    assert_eq!(told.code, Some(0), "{}", told.stdout);
    pubsub.delete_subscription(SUBSCRIPTION).await.unwrap();
    let told = path.look().await;
    assert!(told.hop("subscription").1.contains("does not exist"));
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_not_signed_in_is_told_what_lets_google_be_looked_at() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    // The only user there is need not be named.
    let told = path.doctor(&["--json"]).await;
    assert_eq!(told.code, Some(0), "{}", told.stdout);
    for hop in ["topic", "publisher", "subscription", "signer"] {
        let (state, said) = told.hop(hop);
        assert_eq!(state, "unknown");
        assert!(said.contains("`postbell doctor --sign-in`"), "{said}");
    }
    assert_eq!(told.hop("grant").0, "ok");

    ours.world.sandbox.oauth().revoke(ours.world.email());
    let told = path.doctor(&["ada", "--json"]).await;
    told.assert_failed(
        "grant",
        &["invalid_grant", "after 7 days", "`postbell setup`"],
    );
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_down_is_told_from_one_that_does_not_answer() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let fly = ours.world.sandbox.fly();
    fly.put("bot", "d8910", "stopped", &[]);
    let told = path.doctor(&["ada", "--json"]).await;
    told.assert_failed(
        "machine",
        &["it is stopped", "`fly machine start d8910 --app bot`"],
    );
    for hop in ["controller", "watcher", "hook"] {
        assert_eq!(
            told.hop(hop).1,
            "not checked, because it requires: Machine Next: "
        );
    }

    fly.put("bot", "d8910", "started", &[]);
    path.controller.signal_kill();
    send(&ours.world, 1);
    while ours.deliveries().await[0]["outcome"] != "failed" {
        tokio::task::yield_now().await;
    }
    let told = path.doctor(&["ada", "--json"]).await;
    assert_eq!(told.code, Some(1));
    let (state, said) = told.hop("machine");
    assert_eq!(state, "failed");
    assert!(said.contains("connection refused"), "{said}");
    let (state, said) = told.hop("last-delivery");
    assert_eq!(state, "failed");
    assert!(
        said.contains("and will be retried: ") && said.contains("`postbell deliveries ada`"),
        "{said}"
    );
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_services_are_stopped_the_rest_is_looked_at_all_the_same() {
    let ours = OurPlatform::new().await;
    let mut path = Path::new(&ours).await;
    path.service.stop().await;
    let told = path.doctor(&["ada", "--json"]).await;
    told.assert_failed(
        "address",
        &[
            "is unreachable: connection refused",
            "Start `postbell serve`",
        ],
    );

    ours.world.sandbox.clock().set_skew(600);
    let told = path.doctor(&["ada", "--json"]).await;
    assert_eq!(told.hop("clock").0, "failed", "{}", told.stdout);
    let (_, said) = told.hop("clock");
    assert!(
        said.contains("9 minutes behind Google") || said.contains("10 minutes behind Google"),
        "{said}"
    );
    assert!(said.contains("`sudo timedatectl set-ntp true`"), "{said}");
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_the_first_hop_to_fail() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let with = async |name: &'static str, value: &str| {
        let mut variables = path.variables.clone();
        variables.retain(|(set, _)| *set != name);
        variables.push((name, value.to_owned()));
        doctor(&["ada", "--json"], &variables, path.setup.home.path()).await
    };
    let told = with("POSTBELL_RELAY__RETRY__FACTOR", "0.5").await;
    told.assert_failed(
        "configuration",
        &["relay.retry.factor", "`postbell config check`"],
    );

    let told = with("POSTBELL_RELAY__LISTEN", "nowhere").await;
    told.assert_failed("configuration", &["POSTBELL_RELAY__LISTEN"]);
    assert_eq!(
        told.hop("grant").1,
        "not checked, because it requires: Configuration Next: "
    );

    let told = with("POSTBELL_RELAY__AUDIENCE", "http://127.0.0.1:9").await;
    let (state, said) = told.hop("audience");
    assert_eq!(state, "failed", "{}", told.stdout);
    assert!(
        said.contains("http://127.0.0.1:9/push/user/ada, but setup configured"),
        "{said}"
    );

    let told = with(
        "POSTBELL_PLATFORM__GATEWAY_SECRET",
        "another secret of the platform",
    )
    .await;
    assert_eq!(told.hop("keys").0, "failed", "{}", told.stdout);
    let (state, said) = told.hop("controller");
    assert_eq!(state, "failed");
    assert!(said.contains("rejects the platform's token"), "{said}");

    let told = with("POSTBELL_PLATFORM__STORE", "sqlite:/nowhere/postbell.db").await;
    assert_eq!(told.code, Some(1));
    assert!(
        told.hop("user").1.contains("the file does not exist"),
        "{}",
        told.stdout
    );

    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whom_nobody_knows_and_one_without_an_account_are_told_apart() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let told = path.doctor(&["bob", "--json"]).await;
    assert!(
        told.hop("user").1.contains("there is no user bob"),
        "{}",
        told.stdout
    );
    ours.disconnect_with_token().await;
    let told = path.doctor(&["ada", "--json"]).await;
    assert!(
        told.hop("user")
            .1
            .contains("ada has no Google account connected"),
        "{}",
        told.stdout
    );
    path.end().await;
}
