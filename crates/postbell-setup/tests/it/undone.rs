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
        credentials: world.credentials(),
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
    made.retain(|what| what != "topic");
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
async fn a_project_that_was_made_goes_only_where_that_was_said() {
    let mut world = World::with_other_sign_in().await;
    let made = "made-by-setup";
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

    let report = world.undo().await;
    let Some(State::Done {
        warning: Some(warning),
        ..
    }) = report.state(StepId::Project)
    else {
        panic!("expected to be told of the project: {report:?}");
    };
    assert!(warning.contains("--delete-project"), "{warning}");
    world.set_up().await;
    // It is remembered no more that it was made here, so it stays.
    world.wishes.delete_project = true;
    world.undo().await;
    assert!(world.sandbox.cloud().inventory(made).is_empty());
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
