//! Taking back.

use postbell_sandbox::{Kind, Often, Place};
use postbell_setup::{Destination, State, StepId};
use serde_json::json;

use crate::world::{MAILBOX, PROJECT, World};

#[tokio::test]
async fn what_was_made_is_taken_back_and_nothing_is_left() {
    let world = World::new().await;
    let before = world.inventory();
    world.set_up().await;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
    assert!(world.memory.0.lock().is_empty());
    assert!(!world.progress_file().exists());
    world.undo().await;
}

#[tokio::test]
async fn with_pushes_the_account_and_its_role_go_too() {
    let mut world = World::new().await;
    let before = world.inventory();
    world.wishes.destination = Some(Destination::Serve {
        credentials: Some(world.credentials()),
        endpoint: url::Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
    });
    world.set_up().await;
    assert!(
        world
            .inventory()
            .iter()
            .any(|one| one.starts_with("postbell-push@"))
    );
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
}

#[tokio::test]
async fn what_was_there_before_stays() {
    let world = World::new().await;
    world.set_up().await;
    std::fs::remove_file(world.progress_file()).unwrap();
    // Whoever has set it up before is not remembered: everything was there already.
    world.set_up().await;
    let before = world.inventory();
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
}

#[tokio::test]
async fn other_members_of_a_policy_stay() {
    let world = World::new().await;
    world.set_up().await;
    let policy = world.sandbox.pubsub().topic_policy(&world.topic()).unwrap();
    assert_eq!(policy["bindings"].as_array().unwrap().len(), 1);
    // The topic is somebody else's by now, and others publish there.
    let mut progress: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.progress_file()).unwrap()).unwrap();
    let made = progress["made"].as_array_mut().unwrap();
    made.retain(|what| what["kind"] != "topic");
    std::fs::write(world.progress_file(), progress.to_string()).unwrap();
    let other = json!({ "role": "roles/pubsub.publisher", "members": ["user:bob@example.com"] });
    world
        .sandbox
        .pubsub()
        .add_binding(&world.topic(), other.clone());
    world.undo().await;
    let policy = world.sandbox.pubsub().topic_policy(&world.topic()).unwrap();
    assert_eq!(policy["bindings"], json!([other]));
}

#[tokio::test]
async fn what_somebody_elses_subscription_needs_stays() {
    let world = World::new().await;
    world.set_up().await;
    let all = world.inventory();
    // The one subscription is another user's.
    let mut progress: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.progress_file()).unwrap()).unwrap();
    let made = progress["made"].as_array_mut().unwrap();
    made.retain(|what| what["kind"] != "subscription");
    std::fs::write(world.progress_file(), progress.to_string()).unwrap();
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    for step in [StepId::Topic, StepId::Publisher, StepId::Apis] {
        let Some(State::Done {
            warning: Some(_), ..
        }) = report.state(step)
        else {
            panic!("expected to be told of {step:?}: {report:#?}");
        };
    }
    let of_the_mailbox = ["a watch", "a file", "a grant"];
    let in_the_project: Vec<_> = all
        .into_iter()
        .filter(|one| !of_the_mailbox.contains(&one.as_str()))
        .collect();
    assert_eq!(world.inventory(), in_the_project);
    assert!(world.progress_file().exists(), "it can be taken back later");
}

/// A world in which everything is set up in a project that was made for it.
async fn in_a_project_of_its_own(made: &str) -> World {
    let mut world = World::with_other_sign_in().await;
    world.wishes.project = Some(made.to_owned());
    world.wishes.create_project = true;
    world.wishes.client_file = None;
    world.run().await;
    let number = world.sandbox.cloud().put_project(made);
    let kind = postbell_sandbox::ClientKind::Installed;
    let client = world.sandbox.oauth().add_client(made, &number, kind);
    let file = world.folder.path().join("made.json");
    std::fs::write(&file, client.to_string()).unwrap();
    world.wishes.client_file = Some(file);
    world.set_up().await;
    world
}

#[tokio::test]
async fn a_project_that_was_made_goes_only_where_that_was_said() {
    let made = "made-by-setup";
    let mut world = in_a_project_of_its_own(made).await;
    let report = world.undo().await;
    let Some(State::Done {
        warning: Some(warning),
        ..
    }) = report.state(StepId::Project)
    else {
        panic!("expected to be told of the project: {report:?}");
    };
    assert!(warning.contains("--delete-project"), "{warning}");
    assert!(!world.sandbox.cloud().is_deleted(made));

    // What was said can be done.
    world.wishes.delete_project = true;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:?}");
    assert!(world.sandbox.cloud().is_deleted(made));
    assert!(!world.progress_file().exists());
}

#[tokio::test]
async fn a_grant_that_cannot_be_revoked_yet_keeps_its_file_also_where_the_project_is_gone() {
    let made = "made-by-setup";
    let mut world = in_a_project_of_its_own(made).await;
    world.wishes.delete_project = true;
    let faults = world.sandbox.faults();
    faults.add(Place::OAuthRevoke, Kind::refuse(503), Often::Always);
    let report = world.undo().await;
    assert!(report.has_failed(), "{report:?}");
    assert!(world.sandbox.cloud().is_deleted(made));
    assert!(
        world.credentials().exists(),
        "the one copy of what is revoked"
    );

    faults.clear();
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:?}");
    assert_eq!(world.sandbox.oauth().grants(MAILBOX), 0);
    assert!(!world.credentials().exists());
    assert!(!world.progress_file().exists());
}

#[tokio::test]
async fn what_was_made_under_other_names_and_for_another_destination_is_taken_back_too() {
    let mut world = World::new().await;
    let before = world.inventory();
    let pull = world.wishes.destination.clone();
    world.wishes.destination = Some(Destination::Serve {
        credentials: Some(world.folder.path().join("other.json")),
        endpoint: url::Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
    });
    world.set_up().await;
    world.wishes.destination = pull;
    world.wishes.names.topic = Some("another-topic".to_owned());
    world.set_up().await;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
    assert!(!world.folder.path().join("other.json").exists());
    assert!(!world.progress_file().exists());
}

#[tokio::test]
async fn names_that_are_wished_for_when_taking_back_take_nothing_of_others() {
    let mut world = World::new().await;
    world.set_up().await;
    let other = format!("projects/{PROJECT}/topics/of-others");
    world.sandbox.pubsub().put_topic(&other);
    world.wishes.names.topic = Some("of-others".to_owned());
    world.wishes.names.subscription = Some("another".to_owned());
    let theirs = world.inventory();
    world.set_up().await;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    let left = world.sandbox.pubsub().inventory(PROJECT);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(theirs.contains(&left[0]) && left[0].contains("of-others"));
}

#[tokio::test]
async fn a_watch_of_others_that_was_not_ended_is_not_ended_by_taking_back() {
    let world = World::new().await;
    let theirs = format!("projects/{PROJECT}/topics/of-others");
    world.sandbox.gmail().watch_elsewhere(MAILBOX, &theirs);
    let no = "End that, and tell this one?";
    world.person.behave(|person| person.declines = Some(no));
    let report = world.run().await;
    assert!(report.has_failed(), "{report:?}");
    world.undo().await;
    assert_eq!(world.sandbox.gmail().watch(MAILBOX).unwrap().0, theirs);
}

#[tokio::test]
async fn apis_that_google_refused_to_enable_are_not_ours_once_others_have() {
    let world = World::new().await;
    let faults = world.sandbox.faults();
    let billing = Kind::Wall {
        wall: postbell_sandbox::Wall::Billing,
    };
    faults.add(Place::ServicesEnable, billing, Often::Always);
    world.run().await;
    let remembered = std::fs::read_to_string(world.progress_file()).unwrap();
    assert!(!remembered.contains("service"), "{remembered}");
}

#[tokio::test]
async fn what_others_have_removed_meanwhile_is_gone_and_no_failure() {
    let mut world = World::new().await;
    let before = world.inventory();
    world.wishes.destination = Some(Destination::Serve {
        credentials: Some(world.credentials()),
        endpoint: url::Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
    });
    world.set_up().await;
    let account = format!("postbell-push@{PROJECT}.iam.gserviceaccount.com");
    world.sandbox.cloud().remove_account(PROJECT, &account);
    world.sandbox.pubsub().remove_topic(&world.topic());
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
}

#[tokio::test]
async fn what_cannot_be_taken_back_now_is_remembered_for_the_next_time() {
    let world = World::new().await;
    let before = world.inventory();
    world.set_up().await;
    let faults = world.sandbox.faults();
    faults.add(Place::TopicSetPolicy, Kind::refuse(403), Often::Always);
    let report = world.undo().await;
    assert!(report.has_failed(), "{report:?}");
    assert!(world.progress_file().exists());
    faults.clear();
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:?}");
    assert_eq!(world.inventory(), before);
    assert_eq!(world.sandbox.oauth().grants(MAILBOX), 0);
    assert!(world.sandbox.pubsub().inventory(PROJECT).is_empty());
}
