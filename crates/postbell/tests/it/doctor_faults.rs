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
    let output = path.doctor_signed_in().await;
    output.assert_failed(
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
    let output = path.doctor_signed_in().await;
    output.assert_failed(
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
        let output = path.doctor_signed_in().await;
        output.assert_failed("subscription", &[words, "`postbell setup`"]);
        assert!(!output.stdout.contains(token), "{}", output.stdout);
    }
    sandbox.change(SUBSCRIPTION, "pushConfig", right["pushConfig"].clone());

    sandbox.change(SUBSCRIPTION, "ackDeadlineSeconds", json!(10));
    sandbox.change(
        SUBSCRIPTION,
        "expirationPolicy",
        json!({ "ttl": "2678400s" }),
    );
    let output = path.doctor_signed_in().await;
    assert_eq!(
        output.code,
        Some(0),
        "a warning is no failure: {}",
        output.stdout
    );
    let (state, detail) = output.hop("subscription");
    assert_eq!(state, "warning");
    assert!(
        detail.contains("Google deletes it") && detail.contains("30 s"),
        "{detail}"
    );

    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_at_google_is_mended_by_what_is_said_to_mend_it() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let pubsub = path.pubsub();
    pubsub.delete_topic(TOPIC).await.unwrap();
    let output = path.doctor_signed_in().await;
    assert_eq!(output.code, Some(1));
    assert_eq!(output.hop("topic").0, "failed");
    assert_eq!(
        output.hop("publisher").1,
        "not checked, because it requires: Topic Next: "
    );
    let (_, detail) = output.hop("subscription");
    assert!(detail.contains("its topic was deleted"), "{detail}");
    // The suggested command repairs it.
    let (code, output) = path.setup.run(&[]).await;
    assert_eq!(code, Some(0), "{output}");
    let output = path.doctor_signed_in().await;
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    pubsub.delete_subscription(SUBSCRIPTION).await.unwrap();
    let output = path.doctor_signed_in().await;
    assert!(output.hop("subscription").1.contains("does not exist"));
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_not_signed_in_is_told_what_lets_google_be_looked_at() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    // The only user there is need not be named.
    let output = path.doctor(&["--json"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    for hop in ["topic", "publisher", "subscription", "signer"] {
        let (state, detail) = output.hop(hop);
        assert_eq!(state, "unknown");
        assert!(detail.contains("`postbell doctor --sign-in`"), "{detail}");
    }
    assert_eq!(output.hop("grant").0, "ok");

    ours.world.sandbox.oauth().revoke(ours.world.email());
    let output = path.doctor(&["ada", "--json"]).await;
    output.assert_failed(
        "grant",
        &["invalid_grant", "after 7 days", "`postbell setup`"],
    );
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_secret_is_told_once_as_what_is_to_be_restored() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let other = ("POSTBELL_PLATFORM__GATEWAY_SECRET", "y".repeat(32));
    let output = path.doctor_with(&["ada", "--json"], &[other]).await;
    let (state, detail) = output.hop("keys");
    assert_eq!(state, "failed", "{detail}");
    assert!(
        detail.contains("Restore platform.gateway_secret"),
        "{detail}"
    );
    let (state, detail) = output.hop("controller");
    assert_eq!(state, "failed", "{detail}");
    assert!(
        detail.contains("Repair Keys first") && !detail.contains("Set OPENCLAW_GATEWAY_TOKEN"),
        "{detail}"
    );
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_down_is_told_from_one_that_does_not_answer() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let fly = ours.world.sandbox.fly();
    fly.put("bot", "d8910", "stopped", &[]);
    let output = path.doctor(&["ada", "--json"]).await;
    output.assert_failed(
        "machine",
        &["it is stopped", "`fly machine start d8910 --app bot`"],
    );
    for hop in ["controller", "watcher", "hook"] {
        assert_eq!(
            output.hop(hop).1,
            "not checked, because it requires: Machine Next: "
        );
    }

    // What the machine reported last is shown beside it.
    let problem = json!({ "code": "webhook_gone", "since": 1_790_000_000_000_u64 });
    ours.check_in_with(json!({ "sandboxId": "ada", "problem": problem }))
        .await;
    let output = path.doctor(&["ada", "--json"]).await;
    let (state, detail) = output.hop("watcher");
    assert_eq!(state, "failed");
    assert!(detail.contains("webhook_gone since 2026-09-21"), "{detail}");
    ours.check_in().await;

    fly.put("bot", "d8910", "started", &[]);
    path.controller.signal_kill();
    send(&ours.world, 1);
    while ours.deliveries().await[0]["outcome"] != "failed" {
        tokio::task::yield_now().await;
    }
    let output = path.doctor(&["ada", "--json"]).await;
    assert_eq!(output.code, Some(1));
    let (state, detail) = output.hop("machine");
    assert_eq!(state, "failed");
    assert!(detail.contains("connection refused"), "{detail}");
    let (state, detail) = output.hop("last-delivery");
    assert_eq!(state, "failed");
    assert!(
        detail.contains("and will be retried: ") && detail.contains("`postbell deliveries ada`"),
        "{detail}"
    );
    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_services_are_stopped_the_rest_is_looked_at_all_the_same() {
    let ours = OurPlatform::new().await;
    let mut path = Path::new(&ours).await;
    path.service.stop().await;
    let output = path.doctor(&["ada", "--json"]).await;
    output.assert_failed(
        "address",
        &[
            "is unreachable: connection refused",
            "Start `postbell serve`",
        ],
    );

    ours.world.sandbox.clock().set_skew(600);
    let output = path.doctor(&["ada", "--json"]).await;
    assert_eq!(output.hop("clock").0, "failed", "{}", output.stdout);
    let (_, detail) = output.hop("clock");
    assert!(
        detail.contains("9 minutes behind Google") || detail.contains("10 minutes behind Google"),
        "{detail}"
    );
    assert!(
        detail.contains("`sudo timedatectl set-ntp true`"),
        "{detail}"
    );
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
    let output = with("POSTBELL_RELAY__RETRY__FACTOR", "0.5").await;
    output.assert_failed(
        "configuration",
        &["relay.retry.factor", "`postbell config check`"],
    );

    let output = with("POSTBELL_RELAY__LISTEN", "nowhere").await;
    output.assert_failed("configuration", &["POSTBELL_RELAY__LISTEN"]);
    assert_eq!(
        output.hop("grant").1,
        "not checked, because it requires: Configuration Next: "
    );

    let output = with("POSTBELL_RELAY__AUDIENCE", "http://127.0.0.1:9").await;
    let (state, detail) = output.hop("audience");
    assert_eq!(state, "failed", "{}", output.stdout);
    assert!(
        detail.contains("http://127.0.0.1:9/push/user/ada, but setup configured"),
        "{detail}"
    );

    let output = with(
        "POSTBELL_PLATFORM__GATEWAY_SECRET",
        "another secret of the platform",
    )
    .await;
    assert_eq!(output.hop("keys").0, "failed", "{}", output.stdout);
    let (state, detail) = output.hop("controller");
    assert_eq!(state, "failed");
    assert!(detail.contains("rejects the platform's token"), "{detail}");

    let output = with("POSTBELL_PLATFORM__STORE", "sqlite:/nowhere/postbell.db").await;
    assert_eq!(output.code, Some(1));
    assert!(
        output.hop("user").1.contains("the file does not exist"),
        "{}",
        output.stdout
    );

    path.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whom_nobody_knows_and_one_without_an_account_are_told_apart() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let output = path.doctor(&["bob", "--json"]).await;
    assert!(
        output.hop("user").1.contains("there is no user bob"),
        "{}",
        output.stdout
    );
    ours.disconnect_with_token().await;
    let output = path.doctor(&["ada", "--json"]).await;
    assert!(
        output
            .hop("user")
            .1
            .contains("ada has no Google account connected"),
        "{}",
        output.stdout
    );
    path.end().await;
}
