//! Setup for the operator of a platform.

use std::path::PathBuf;

use postbell_sandbox::{ClientKind, FaultPoint, Frequency, Kind};
use postbell_setup::{Blocker, Destination, Report, StepId, StepState};
use serde_json::json;
use url::Url;

use crate::world::{PROJECT, World, error_of};

const REDIRECT: &str = "https://bell.example.com/bot/google/back";

/// A world in which an operator signs in with a client of another project.
async fn world() -> World {
    let mut world = World::with_separate_sign_in().await;
    world.request.client_file = None;
    world.request.mailbox = None;
    world.request.webhook = None;
    world.request.project = Some(PROJECT.to_owned());
    world.request.is_for_operator = true;
    world.request.destination = Some(Destination::Operator {
        pages: Url::parse("https://bell.example.com").unwrap(),
        relay: Url::parse("https://push.example.com/").unwrap(),
    });
    world.request.secret_file = Some(secret_file(&world));
    world
}

fn secret_file(world: &World) -> PathBuf {
    world.folder.path().join("google-client-secret")
}

/// Creates a client in the console, and downloads its file.
fn download(world: &World, project: &str, kind: ClientKind, redirect: &str) -> PathBuf {
    let number = world.sandbox.cloud().put_project(project);
    let oauth = world.sandbox.oauth();
    let client = match kind {
        ClientKind::Web => oauth.add_web_client(project, &number, vec![redirect.to_owned()]),
        ClientKind::Installed => oauth.add_client(project, &number, kind),
    };
    let file = world
        .folder
        .path()
        .join(format!("{project}-{kind:?}-{}.json", redirect.len()));
    std::fs::write(&file, client.to_string()).unwrap();
    file
}

fn web_client(world: &World) -> PathBuf {
    download(world, PROJECT, ClientKind::Web, REDIRECT)
}

fn subscription() -> String {
    format!("projects/{PROJECT}/subscriptions/postbell-operator")
}

fn assert_complete(world: &World, report: &Report) {
    assert!(report.is_done(), "{report:#?}\n{}", world.user.transcript());
    let account = format!("postbell-operator@{PROJECT}.iam.gserviceaccount.com");
    let settings = world.sandbox.pubsub().settings(&subscription()).unwrap();
    let push = &settings["pushConfig"];
    assert_eq!(push["pushEndpoint"], "https://push.example.com/push/gmail");
    let oidc = json!({ "serviceAccountEmail": account, "audience": "https://push.example.com/push/gmail" });
    assert_eq!(push["oidcToken"], oidc);
    let lines = report.configuration.join("\n");
    let file = secret_file(world);
    for line in [
        "[google.client]".to_owned(),
        format!("client_secret_file = \"{}\"", file.display()),
        format!("topic = \"projects/{PROJECT}/topics/postbell-operator\""),
        format!("push_account = \"{account}\""),
    ] {
        assert!(lines.contains(&line), "{line}: {lines}");
    }
    let settings: Vec<_> = report.settings.iter().collect();
    assert_eq!(
        settings,
        [
            (&"platform.url", &"https://bell.example.com".to_owned()),
            (&"relay.audience", &"https://push.example.com".to_owned())
        ]
    );
    let secret = std::fs::read_to_string(file).unwrap();
    assert!(
        secret.starts_with("GOCSPX-") && !lines.contains(&secret),
        "{lines}"
    );
}

#[tokio::test]
async fn an_operators_project_ends_with_one_subscription_and_a_configuration() {
    let world = world().await;
    world
        .user
        .answer("--web-client FILE", web_client(&world).to_str().unwrap());
    let before = world.inventory();
    let report = world.run().await;
    assert_complete(&world, &report);
    assert!(
        world.user.transcript().contains(REDIRECT),
        "{}",
        world.user.transcript()
    );
    assert_eq!(world.user.consents(), 1, "the sign-in alone");

    // A second run changes nothing, and prints the configuration again.
    let inventory = world.inventory();
    let again = world.run().await;
    assert_complete(&world, &again);
    assert_eq!(world.inventory(), inventory);
    let changed = again.steps.iter();
    let changed =
        changed.filter(|(_, state)| matches!(state, StepState::Done { changed: true, .. }));
    let changed: Vec<_> = changed.map(|(step, _)| *step).collect();
    assert_eq!(changed, [StepId::SignIn]);

    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
    assert!(!secret_file(&world).exists() && !world.progress_file().exists());
    let Some(StepState::Done {
        warning: Some(kept),
        ..
    }) = report.state(StepId::WebClient)
    else {
        panic!("expected the client to be named: {report:#?}");
    };
    assert!(kept.contains("auth/clients?project=my-project"), "{kept}");
}

#[tokio::test]
async fn an_interrupted_run_is_continued_without_the_answers() {
    let mut world = world().await;
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::SubscriptionCreate,
        Kind::refuse(403),
        Frequency::Always,
    );
    let report = world.run().await;
    assert!(report.has_failed());
    assert!(report.configuration.is_empty(), "{report:#?}");
    faults.clear();
    world.request.destination = None;
    world.request.project = None;
    world.request.web_client_file = Some(web_client(&world));
    assert_complete(&world, &world.run().await);
}

#[tokio::test]
async fn a_new_address_of_the_pages_replaces_the_saved_one_and_the_relays_stays() {
    let mut world = world().await;
    world.request.web_client_file = Some(web_client(&world));
    assert!(world.run().await.is_done(), "{}", world.user.transcript());
    world.request.destination = None;
    world.request.pages = Some(Url::parse("https://mail.example.com").unwrap());
    let report = world.run().await;
    let error = error_of(&report, StepId::WebClient);
    assert!(
        error
            .problem()
            .contains("https://mail.example.com/bot/google/back"),
        "{error}"
    );
    let saved = std::fs::read_to_string(world.progress_file()).unwrap();
    assert!(saved.contains("https://push.example.com/"), "{saved}");
}

#[tokio::test]
async fn a_client_that_users_could_not_connect_with_is_refused() {
    let mut world = world().await;
    let elsewhere = "https://bell.example.com/";
    for (file, expected) in [
        (
            download(&world, PROJECT, ClientKind::Web, elsewhere),
            REDIRECT,
        ),
        (
            download(&world, PROJECT, ClientKind::Installed, ""),
            "Web application",
        ),
        (
            download(&world, "other-project", ClientKind::Web, REDIRECT),
            "project number",
        ),
    ] {
        world.request.web_client_file = Some(file);
        let report = world.run().await;
        let error = error_of(&report, StepId::WebClient);
        assert!(
            matches!(error.blocker, Blocker::InvalidWebClient(_)),
            "{error:?}"
        );
        assert!(error.problem().contains(expected), "{}", error.problem());
        assert!(report.configuration.is_empty());
    }
}

#[tokio::test]
async fn a_file_that_is_not_setups_is_not_overwritten() {
    let mut world = world().await;
    world.request.web_client_file = Some(web_client(&world));
    std::fs::write(secret_file(&world), "of another program").unwrap();
    let report = world.run().await;
    let error = error_of(&report, StepId::ClientSecret);
    assert!(
        error.problem().contains("--secret-file"),
        "{}",
        error.problem()
    );
    let kept = std::fs::read_to_string(secret_file(&world)).unwrap();
    assert_eq!(kept, "of another program");
}
