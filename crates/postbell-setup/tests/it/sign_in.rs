//! Signing in, and consent.

use std::sync::Arc;

use postbell_sandbox::{Audience, ClientKind, Publishing};
use postbell_setup::{Browser, State, StepId, Wall};

use crate::world::{MAILBOX, PROJECT, World, assert_failed, trouble};

fn testing(world: &World, testers: &[&str]) {
    let testers = testers.iter().map(|&tester| tester.to_owned()).collect();
    let audience = Audience {
        publishing: Publishing::Testing,
        testers,
    };
    world.sandbox.oauth().set_audience(PROJECT, audience);
}

#[tokio::test]
async fn another_sign_in_makes_the_project_first_and_the_client_after_it() {
    let mut world = World::with_other_sign_in().await;
    let made = "made-by-setup";
    world.wishes.client_file = None;
    world.person.answer("--project ID", made);
    world.wishes.project = Some(made.to_owned());
    world.wishes.create_project = true;
    // The client is made once the project is there, as the page says.
    let report = world.run().await;
    assert_failed(&report, StepId::Client, &Wall::Unattended("--client FILE"));
    let opened = world.person.opened.lock().last().unwrap().to_string();
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
    world.person.answer("--client FILE", file.to_str().unwrap());
    let report = world.set_up().await;
    let Some(State::Done { detail, .. }) = report.state(StepId::Project) else {
        panic!("{report:?}");
    };
    assert!(detail.starts_with(made), "{detail}");
}

#[tokio::test]
async fn a_project_is_chosen_from_those_there_are() {
    let world = World::with_other_sign_in().await;
    world.person.answer("--project ID", PROJECT);
    world.set_up().await;
}

#[tokio::test]
async fn a_client_of_another_project_is_refused() {
    let mut world = World::with_other_sign_in().await;
    world.wishes.project = Some("sandbox-project".to_owned());
    let report = world.run().await;
    assert!(matches!(
        trouble(&report, StepId::Client).wall,
        Wall::ClientElsewhere { .. }
    ));
}

#[tokio::test]
async fn a_web_applications_client_is_refused_with_the_page_where_another_is_made() {
    let world = World::new().await;
    let number = world.sandbox.cloud().put_project(PROJECT);
    let client = world
        .sandbox
        .oauth()
        .add_client(PROJECT, &number, ClientKind::Web);
    std::fs::write(
        world.wishes.client_file.as_ref().unwrap(),
        client.to_string(),
    )
    .unwrap();
    let report = world.run().await;
    let trouble = trouble(&report, StepId::Client);
    assert!(trouble.what().contains("Desktop app"), "{trouble}");
    assert!(
        trouble.next().contains("auth/clients/create"),
        "{}",
        trouble.next()
    );
}

#[tokio::test]
async fn a_token_from_elsewhere_does_in_place_of_a_sign_in() {
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
    world.wishes.access_token = Some(answer["access_token"].as_str().unwrap().into());
    world.wishes.project = Some(PROJECT.to_owned());
    world.set_up().await;
    assert_eq!(
        world.person.consents(),
        1,
        "the mailbox's owner alone is asked"
    );

    world.wishes.access_token = Some("expired".into());
    let report = world.run().await;
    assert_failed(&report, StepId::Project, &Wall::TokenRefused);
}

#[tokio::test]
async fn whoever_refuses_is_told_of_the_testers_list() {
    let world = World::new().await;
    world.person.behave(|person| person.consents = false);
    let report = world.run().await;
    let trouble = trouble(&report, StepId::SignIn);
    assert_eq!(
        trouble.wall,
        Wall::ConsentRefused("access_denied".to_owned())
    );
    assert!(trouble.next().contains("test user"), "{}", trouble.next());
}

#[tokio::test]
async fn whoever_never_comes_back_is_told_of_the_testers_list() {
    let mut world = World::new().await;
    testing(&world, &[]);
    world.patience.consent = std::time::Duration::from_millis(50);
    let report = world.run().await;
    let trouble = trouble(&report, StepId::SignIn);
    assert_eq!(trouble.wall, Wall::NobodyConsented);
    assert!(
        trouble.next().contains("auth/audience"),
        "{}",
        trouble.next()
    );
}

#[tokio::test]
async fn what_was_not_ticked_is_named() {
    let world = World::new().await;
    world
        .person
        .behave(|person| person.unticked = &["https://www.googleapis.com/auth/gmail.readonly"]);
    let report = world.run().await;
    let trouble = trouble(&report, StepId::Mailbox);
    assert_eq!(
        trouble.wall,
        Wall::NotTicked(vec!["to read mail (gmail.readonly)"])
    );
    assert!(!world.credentials().exists());
    world.person.behave(|person| person.unticked = &[]);
    world.set_up().await;
}

#[tokio::test]
async fn another_account_than_the_mailboxs_is_noticed() {
    let world = World::new().await;
    world
        .person
        .behave(|person| person.account = Some("bob@example.com"));
    let report = world.run().await;
    let wanted = MAILBOX.to_owned();
    assert_failed(&report, StepId::Mailbox, &Wall::WrongAccount { wanted });
    assert!(!world.credentials().exists());
}

#[tokio::test]
async fn an_app_in_testing_is_published_and_its_owner_asked_again() {
    let world = World::new().await;
    testing(&world, &[MAILBOX, "owner@example.com"]);
    let oauth = world.sandbox.clone();
    world.person.behave(|person| {
        // The owner publishes the app before the third consent: sign-in, mailbox, mailbox again.
        person.before_consent = Some(Arc::new(move |consents| {
            if consents == 3 {
                oauth.oauth().set_audience(PROJECT, Audience::default());
            }
        }));
    });
    let report = world.set_up().await;
    assert_eq!(world.person.consents(), 3);
    let told = world.person.told();
    assert!(told.contains("ends this grant after seven days"), "{told}");
    let opened = world
        .person
        .opened
        .lock()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let page = format!("https://console.cloud.google.com/auth/audience?project={PROJECT}");
    assert!(opened.contains(&page), "{opened:?}");
    assert!(matches!(
        report.state(StepId::Mailbox),
        Some(State::Done { warning: None, .. })
    ));
}

#[tokio::test]
async fn whoever_stays_in_testing_is_told_when_mail_ends_and_asked_again_next_time() {
    let world = World::new().await;
    testing(&world, &[MAILBOX, "owner@example.com"]);
    // They confirm that they go on, but not that the app is published: it stays in testing for all
    // three tries.
    let report = world.run().await;
    let Some(State::Done {
        warning: Some(warning),
        ..
    }) = report.state(StepId::Mailbox)
    else {
        panic!("expected a warning: {report:?}");
    };
    assert!(warning.contains("the grant ends on"), "{warning}");
    assert_eq!(world.person.consents(), 4);
    world
        .sandbox
        .oauth()
        .set_audience(PROJECT, Audience::default());
    let report = world.set_up().await;
    assert!(matches!(
        report.state(StepId::Mailbox),
        Some(State::Done {
            changed: true,
            warning: None,
            ..
        })
    ));
}

#[tokio::test]
async fn a_grant_that_was_taken_back_is_asked_for_again() {
    let world = World::new().await;
    world.set_up().await;
    world.sandbox.oauth().revoke(MAILBOX);
    let report = world.set_up().await;
    assert!(matches!(
        report.state(StepId::Mailbox),
        Some(State::Done { changed: true, .. })
    ));
    assert!(matches!(
        report.state(StepId::Credentials),
        Some(State::Done { changed: true, .. })
    ));
}

#[tokio::test]
async fn where_the_browser_is_elsewhere_no_page_is_opened_here() {
    let mut world = World::new().await;
    testing(&world, &[MAILBOX, "owner@example.com"]);
    world.wishes.browser = Browser::Elsewhere;
    let file = world.wishes.client_file.take().unwrap();
    world.person.answer("--client FILE", file.to_str().unwrap());
    world.set_up().await;
    let opened = world.person.opened.lock().clone();
    assert!(opened.is_empty(), "{opened:?}");
    let told = world.person.told();
    for page in ["auth/clients", "auth/audience"] {
        let page = format!("https://console.cloud.google.com/{page}");
        assert!(told.contains(&page), "{told}");
    }
}

#[tokio::test]
async fn another_project_than_the_clients_is_refused_before_its_apis_are_enabled() {
    let mut world = World::new().await;
    world.wishes.project = Some("another-project".to_owned());
    let before = world.inventory();
    let report = world.run().await;
    let wall = trouble(&report, StepId::Project).wall;
    assert!(matches!(wall, Wall::ClientElsewhere { .. }), "{wall:?}");
    assert_eq!(world.inventory(), before);
}

#[tokio::test]
async fn a_project_that_google_refuses_is_not_insisted_on() {
    let mut world = World::with_other_sign_in().await;
    world.wishes.project = Some("Capitals".to_owned());
    world.wishes.create_project = true;
    let report = world.run().await;
    assert_failed(&report, StepId::Project, &Wall::Refused);
    world.wishes.project = None;
    world.wishes.create_project = false;
    world.person.answer("--project ID", PROJECT);
    world.set_up().await;
}
