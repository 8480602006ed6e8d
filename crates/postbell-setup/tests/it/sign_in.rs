//! Sign-in, projects and consent.

use std::sync::Arc;

use postbell_sandbox::{Audience, ClientKind, FaultPoint, Frequency, Kind, Publishing};
use postbell_setup::{Blocker, Browser, SetupError, StepId, StepState};

use crate::world::{MAILBOX, PROJECT, World, assert_failed, error_of};

fn testing(world: &World, testers: &[&str]) {
    let testers = testers.iter().map(|&tester| tester.to_owned()).collect();
    let audience = Audience {
        publishing: Publishing::Testing,
        testers,
    };
    world.sandbox.oauth().set_audience(PROJECT, audience);
}

#[tokio::test]
async fn with_a_separate_sign_in_the_project_comes_before_the_client() {
    let mut world = World::with_separate_sign_in().await;
    let made = "made-by-setup";
    world.request.client_file = None;
    world.user.answer("--project ID", made);
    world.request.project = Some(made.to_owned());
    world.request.create_project = true;
    // The user creates the client in the new project.
    let report = world.run().await;
    assert_failed(
        &report,
        StepId::Client,
        &Blocker::MissingInput("--client FILE"),
    );
    let opened = world.user.opened.lock().last().unwrap().to_string();
    assert_eq!(
        opened,
        format!("https://console.cloud.google.com/auth/clients?project={made}")
    );

    let number = world.sandbox.cloud().put_project(made);
    let client = world
        .sandbox
        .oauth()
        .add_client(made, &number, ClientKind::Installed);
    let file = world.folder.path().join("made.json");
    std::fs::write(&file, client.to_string()).unwrap();
    world.user.answer("--client FILE", file.to_str().unwrap());
    let report = world.set_up().await;
    let Some(StepState::Done { detail, .. }) = report.state(StepId::Project) else {
        panic!("{report:?}");
    };
    assert!(detail.starts_with(made), "{detail}");
}

#[tokio::test]
async fn the_user_chooses_an_existing_project() {
    let world = World::with_separate_sign_in().await;
    world.user.answer("--project ID", PROJECT);
    world.set_up().await;
}

#[tokio::test]
async fn a_client_of_another_project_is_refused() {
    let mut world = World::with_separate_sign_in().await;
    world.request.project = Some("sandbox-project".to_owned());
    let report = world.run().await;
    assert!(matches!(
        error_of(&report, StepId::Client).blocker,
        Blocker::ClientInOtherProject { .. }
    ));
}

#[tokio::test]
async fn the_client_of_a_web_application_is_refused_with_a_link() {
    let world = World::new().await;
    let number = world.sandbox.cloud().put_project(PROJECT);
    let client = world
        .sandbox
        .oauth()
        .add_client(PROJECT, &number, ClientKind::Web);
    std::fs::write(
        world.request.client_file.as_ref().unwrap(),
        client.to_string(),
    )
    .unwrap();
    let report = world.run().await;
    let error = error_of(&report, StepId::Client);
    assert!(error.problem().contains("Desktop app"), "{error}");
    assert!(
        error.remedy().contains("auth/clients/create"),
        "{}",
        error.remedy()
    );
}

#[tokio::test]
async fn an_access_token_replaces_the_sign_in() {
    let mut world = World::new().await;
    let grant = serde_json::to_value(world.sandbox.oauth().grant("owner@example.com")).unwrap();
    let mut form = grant;
    form["grant_type"] = "refresh_token".into();
    let answer = reqwest::Client::new()
        .post(format!("{}/token", world.sandbox.url()))
        .form(&form)
        .send()
        .await
        .unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    world.request.access_token = Some(answer["access_token"].as_str().unwrap().into());
    world.request.project = Some(PROJECT.to_owned());
    world.set_up().await;
    assert_eq!(
        world.user.consents(),
        1,
        "only the mailbox's owner consents"
    );

    world.request.access_token = Some("expired".into());
    let report = world.run().await;
    assert_failed(&report, StepId::Project, &Blocker::TokenRejected);
}

#[tokio::test]
async fn refused_consent_names_the_test_users() {
    let world = World::new().await;
    world.user.behave(|user| user.consents = false);
    let report = world.run().await;
    let error = error_of(&report, StepId::SignIn);
    assert_eq!(
        error.blocker,
        Blocker::ConsentRefused("access_denied".to_owned())
    );
    assert!(error.remedy().contains("test user"), "{}", error.remedy());
}

#[tokio::test]
async fn each_oauth_error_has_its_own_remedy() {
    for (word, next) in [
        ("admin_policy_enforced", "Ask your organization"),
        ("org_internal", "accounts of its own organization"),
        ("access_denied", "test user"),
    ] {
        let shown = SetupError::new(Blocker::ConsentRefused(word.to_owned())).remedy();
        assert!(shown.contains(next), "{word}: {shown}");
    }
}

#[tokio::test]
async fn consent_that_times_out_names_the_test_users() {
    let mut world = World::new().await;
    testing(&world, &[]);
    world.timeouts.consent = std::time::Duration::from_millis(50);
    let report = world.run().await;
    let error = error_of(&report, StepId::SignIn);
    assert_eq!(error.blocker, Blocker::ConsentTimeout);
    assert!(
        error.remedy().contains("auth/audience"),
        "{}",
        error.remedy()
    );
}

#[tokio::test]
async fn missing_scopes_are_named() {
    let world = World::new().await;
    world
        .user
        .behave(|user| user.unticked = &["https://www.googleapis.com/auth/gmail.readonly"]);
    let report = world.run().await;
    let error = error_of(&report, StepId::Mailbox);
    assert_eq!(
        error.blocker,
        Blocker::ScopesNotGranted(vec!["read mail (gmail.readonly)"])
    );
    assert!(!world.credentials().exists());
    world.user.behave(|user| user.unticked = &[]);
    world.set_up().await;
}

#[tokio::test]
async fn consent_of_another_account_is_refused() {
    let world = World::new().await;
    world
        .user
        .behave(|user| user.account = Some("bob@example.com"));
    let report = world.run().await;
    let wanted = MAILBOX.to_owned();
    assert_failed(&report, StepId::Mailbox, &Blocker::WrongAccount { wanted });
    assert!(!world.credentials().exists());
}

#[tokio::test]
async fn a_failed_consent_is_repeated_without_another_sign_in() {
    let world = World::new().await;
    world.user.answer("a browser", "Yes");
    let user = Arc::clone(&world.user);
    // Bob consents in place of Ann, once.
    let before = move |consents| {
        user.behave(|user| user.account = (consents == 1).then_some("bob@example.com"));
    };
    world
        .user
        .behave(|user| user.before_consent = Some(Arc::new(before)));
    world.set_up().await;
    assert_eq!(
        world.user.consents(),
        3,
        "one sign-in, and the mailbox twice"
    );
}

#[tokio::test]
async fn consent_is_repeated_after_the_app_is_published() {
    let world = World::new().await;
    testing(&world, &[MAILBOX, "owner@example.com"]);
    let oauth = world.sandbox.clone();
    world.user.behave(|user| {
        // The owner publishes the app before the third consent, after sign-in and mailbox.
        user.before_consent = Some(Arc::new(move |consents| {
            if consents == 3 {
                oauth.oauth().set_audience(PROJECT, Audience::default());
            }
        }));
    });
    let report = world.set_up().await;
    assert_eq!(world.user.consents(), 3);
    let shown = world.user.transcript();
    assert!(
        shown.contains("this grant expires in seven days"),
        "{shown}"
    );
    let opened = world
        .user
        .opened
        .lock()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let page = format!("https://console.cloud.google.com/auth/audience?project={PROJECT}");
    assert!(opened.contains(&page), "{opened:?}");
    assert!(matches!(
        report.state(StepId::Mailbox),
        Some(StepState::Done { warning: None, .. })
    ));
}

#[tokio::test]
async fn in_testing_the_expiry_is_shown_and_the_next_run_asks_again() {
    let world = World::new().await;
    testing(&world, &[MAILBOX, "owner@example.com"]);
    // The user applies the plan, but does not publish the app.
    let report = world.run().await;
    let Some(StepState::Done {
        warning: Some(warning),
        ..
    }) = report.state(StepId::Mailbox)
    else {
        panic!("expected a warning: {report:?}");
    };
    assert!(warning.contains("the grant expires on"), "{warning}");
    assert_eq!(world.user.consents(), 4);
    world
        .sandbox
        .oauth()
        .set_audience(PROJECT, Audience::default());
    let report = world.set_up().await;
    assert!(matches!(
        report.state(StepId::Mailbox),
        Some(StepState::Done {
            changed: true,
            warning: None,
            ..
        })
    ));
}

#[tokio::test]
async fn a_revoked_grant_is_requested_again() {
    let world = World::new().await;
    world.set_up().await;
    world.sandbox.oauth().revoke(MAILBOX);
    let report = world.set_up().await;
    assert!(matches!(
        report.state(StepId::Mailbox),
        Some(StepState::Done { changed: true, .. })
    ));
    assert!(matches!(
        report.state(StepId::Credentials),
        Some(StepState::Done { changed: true, .. })
    ));
}

#[tokio::test]
async fn consent_is_not_repeated_while_google_is_unavailable() {
    let world = World::new().await;
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::OAuthToken,
        Kind::refuse(503),
        Frequency::Times(3),
    );
    world.set_up().await;
    assert_eq!(world.user.consents(), 2);
}

#[tokio::test]
async fn with_a_remote_browser_no_page_is_opened() {
    let mut world = World::new().await;
    testing(&world, &[MAILBOX, "owner@example.com"]);
    world.request.browser = Browser::Remote;
    let file = world.request.client_file.take().unwrap();
    world.user.answer("--client FILE", file.to_str().unwrap());
    world.set_up().await;
    let opened = world.user.opened.lock().clone();
    assert!(opened.is_empty(), "{opened:?}");
    let shown = world.user.transcript();
    for page in ["auth/clients", "auth/audience"] {
        let page = format!("https://console.cloud.google.com/{page}");
        assert!(shown.contains(&page), "{shown}");
    }
}

#[tokio::test]
async fn a_project_other_than_the_clients_is_refused_before_its_apis_are_enabled() {
    let mut world = World::new().await;
    world.request.project = Some("another-project".to_owned());
    let before = world.inventory();
    let report = world.run().await;
    let blocker = error_of(&report, StepId::Project).blocker;
    assert!(
        matches!(blocker, Blocker::ClientInOtherProject { .. }),
        "{blocker:?}"
    );
    assert_eq!(world.inventory(), before);
}

#[tokio::test]
async fn a_refused_project_id_is_not_retried() {
    let mut world = World::with_separate_sign_in().await;
    world.request.project = Some("Capitals".to_owned());
    world.request.create_project = true;
    let report = world.run().await;
    assert_failed(&report, StepId::Project, &Blocker::Refused);
    world.request.project = None;
    world.request.create_project = false;
    world.user.answer("--project ID", PROJECT);
    world.set_up().await;
}
