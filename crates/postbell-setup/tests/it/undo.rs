//! Undo.

use postbell_protocol::watch_state::StateFile;
use postbell_sandbox::{FaultPoint, Frequency, Kind};
use postbell_setup::{Destination, StepId, StepState};
use serde_json::json;

use crate::world::{MAILBOX, PROJECT, World};

#[tokio::test]
async fn undo_removes_everything_that_setup_created() {
    let world = World::new().await;
    let before = world.inventory();
    world.set_up().await;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
    let state = StateFile::peek(&world.watch_state(), MAILBOX).unwrap();
    assert_eq!(state, None);
    assert!(!world.progress_file().exists());
    world.undo().await;
}

#[tokio::test]
async fn a_declined_undo_names_project_and_mailbox_and_changes_nothing() {
    let world = World::new().await;
    world.set_up().await;
    let before = world.inventory();
    let question = "Remove what setup created";
    world.user.behave(|user| user.declines = Some(question));
    world.undo().await;
    assert_eq!(world.inventory(), before);
    let shown = world.user.transcript();
    let asked = shown.lines().find(|line| line.contains(question)).unwrap();
    assert!(
        asked.contains(PROJECT) && asked.contains(MAILBOX),
        "{asked}"
    );
    assert!(shown.ends_with("Nothing was removed."), "{shown}");
}

#[tokio::test]
async fn undo_of_one_mailbox_keeps_what_the_others_need() {
    const OTHER: &str = "bob@example.com";
    let mut world = World::new().await;
    let empty = world.inventory();
    world.set_up().await;
    let of_ann = world.inventory();
    world.request.mailbox = Some(OTHER.parse().unwrap());
    world.set_up().await;
    let of_both = world.inventory();
    let file = world.folder.path().join(format!("google-{OTHER}.json"));
    assert!(file.exists());

    // A mailbox that setup was never run for.
    world.request.mailbox = Some("carl@example.com".parse().unwrap());
    world.undo().await;
    assert_eq!(world.inventory(), of_both);

    world.request.mailbox = Some(OTHER.parse().unwrap());
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), of_ann);
    assert_eq!(world.sandbox.oauth().grants(OTHER), 0);
    assert!(world.sandbox.gmail().watch(OTHER).is_none() && !file.exists());
    assert!(
        StateFile::peek(&world.watch_state(), MAILBOX)
            .unwrap()
            .is_some()
    );

    // The next run is about the mailbox that is left, and has nothing to do.
    world.request.mailbox = None;
    world.request.destination = None;
    let consents = world.user.consents();
    world.set_up().await;
    assert_eq!(world.user.consents(), consents + 1, "the sign-in's");
    assert_eq!(world.inventory(), of_ann);

    // Without a name, all are removed, and named.
    world.request.mailbox = Some(OTHER.parse().unwrap());
    world.set_up().await;
    world.request.mailbox = None;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), empty);
    assert!(!world.progress_file().exists());
    let shown = world.user.transcript();
    let questions = shown
        .lines()
        .filter(|line| line.contains("will get no mail of"));
    let named: Vec<_> = questions
        .map(|line| (line.contains(MAILBOX), line.contains(OTHER)))
        .collect();
    assert_eq!(named, [(false, true), (true, true)], "{shown}");
}

#[tokio::test]
async fn undo_removes_the_push_account_and_its_role() {
    let mut world = World::new().await;
    let before = world.inventory();
    world.request.destination = Some(Destination::Serve {
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
async fn undo_keeps_resources_that_existed_before() {
    let world = World::new().await;
    world.set_up().await;
    std::fs::remove_file(world.progress_file()).unwrap();
    // Without the progress file, every resource existed before.
    world.set_up().await;
    let before = world.inventory();
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
}

#[tokio::test]
async fn undo_keeps_other_members_of_a_policy() {
    let world = World::new().await;
    world.set_up().await;
    let policy = world.sandbox.pubsub().topic_policy(&world.topic()).unwrap();
    assert_eq!(policy["bindings"].as_array().unwrap().len(), 1);
    // The topic is not ours, and others publish to it.
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
async fn undo_keeps_what_foreign_subscriptions_need() {
    let world = World::new().await;
    world.set_up().await;
    let all = world.inventory();
    // The only subscription is not ours.
    let mut progress: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.progress_file()).unwrap()).unwrap();
    let made = progress["made"].as_array_mut().unwrap();
    made.retain(|what| what["kind"] != "subscription");
    std::fs::write(world.progress_file(), progress.to_string()).unwrap();
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    for step in [StepId::Topic, StepId::Publisher, StepId::Apis] {
        let Some(StepState::Done {
            warning: Some(_), ..
        }) = report.state(step)
        else {
            panic!("expected to be shown of {step:?}: {report:#?}");
        };
    }
    let of_the_mailbox = ["a watch", "a file", "a grant"];
    let in_the_project: Vec<_> = all
        .into_iter()
        .filter(|one| !of_the_mailbox.contains(&one.as_str()))
        .collect();
    assert_eq!(world.inventory(), in_the_project);
    assert!(world.progress_file().exists(), "it can be removed later");
}

/// A world after setup in a project that setup created.
async fn in_a_project_of_its_own(made: &str) -> World {
    let mut world = World::with_separate_sign_in().await;
    world.request.project = Some(made.to_owned());
    world.request.create_project = true;
    world.request.client_file = None;
    world.run().await;
    let number = world.sandbox.cloud().put_project(made);
    let kind = postbell_sandbox::ClientKind::Installed;
    let client = world.sandbox.oauth().add_client(made, &number, kind);
    let file = world.folder.path().join("made.json");
    std::fs::write(&file, client.to_string()).unwrap();
    world.request.client_file = Some(file);
    world.set_up().await;
    world
}

#[tokio::test]
async fn undo_deletes_the_project_only_on_request() {
    let made = "made-by-setup";
    let mut world = in_a_project_of_its_own(made).await;
    let report = world.undo().await;
    let Some(StepState::Done {
        warning: Some(warning),
        ..
    }) = report.state(StepId::Project)
    else {
        panic!("expected to be shown of the project: {report:?}");
    };
    assert!(warning.contains("--delete-project"), "{warning}");
    assert!(!world.sandbox.cloud().is_deleted(made));

    // The suggested option works.
    world.request.delete_project = true;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:?}");
    assert!(world.sandbox.cloud().is_deleted(made));
    assert!(!world.progress_file().exists());
}

#[tokio::test]
async fn the_credentials_file_is_kept_until_the_grant_is_revoked() {
    let made = "made-by-setup";
    let mut world = in_a_project_of_its_own(made).await;
    world.request.delete_project = true;
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::OAuthRevoke,
        Kind::refuse(503),
        Frequency::Always,
    );
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
async fn undo_covers_earlier_names_and_destinations() {
    let mut world = World::new().await;
    let before = world.inventory();
    let pull = world.request.destination.clone();
    world.request.destination = Some(Destination::Serve {
        credentials: Some(world.folder.path().join("other.json")),
        endpoint: url::Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
    });
    world.set_up().await;
    world.request.destination = pull;
    world.request.names.topic = Some("another-topic".to_owned());
    world.set_up().await;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    assert_eq!(world.inventory(), before);
    assert!(!world.folder.path().join("other.json").exists());
    assert!(!world.progress_file().exists());
}

#[tokio::test]
async fn names_requested_for_undo_remove_nothing_foreign() {
    let mut world = World::new().await;
    world.set_up().await;
    let other = format!("projects/{PROJECT}/topics/of-others");
    world.sandbox.pubsub().put_topic(&other);
    world.request.names.topic = Some("of-others".to_owned());
    world.request.names.subscription = Some("another".to_owned());
    let theirs = world.inventory();
    world.set_up().await;
    let report = world.undo().await;
    assert!(!report.has_failed(), "{report:#?}");
    let left = world.sandbox.pubsub().inventory(PROJECT);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(theirs.contains(&left[0]) && left[0].contains("of-others"));
}

#[tokio::test]
async fn undo_keeps_a_foreign_watch() {
    let world = World::new().await;
    let theirs = format!("projects/{PROJECT}/topics/of-others");
    world.sandbox.gmail().watch_elsewhere(MAILBOX, &theirs);
    let no = "Replace it?";
    world.user.behave(|user| user.declines = Some(no));
    let report = world.run().await;
    assert!(report.has_failed(), "{report:?}");
    world.undo().await;
    assert_eq!(world.sandbox.gmail().watch(MAILBOX).unwrap().0, theirs);
}

#[tokio::test]
async fn apis_that_google_refused_to_enable_are_not_ours() {
    let world = World::new().await;
    let faults = world.sandbox.faults();
    let billing = Kind::Blocked {
        blocker: postbell_sandbox::Blocker::Billing,
    };
    faults.add(FaultPoint::ServicesEnable, billing, Frequency::Always);
    world.run().await;
    let saved = std::fs::read_to_string(world.progress_file()).unwrap();
    assert!(!saved.contains("service"), "{saved}");
}

#[tokio::test]
async fn resources_that_are_already_gone_do_not_fail_undo() {
    let mut world = World::new().await;
    let before = world.inventory();
    world.request.destination = Some(Destination::Serve {
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
async fn a_failed_undo_can_be_repeated() {
    let world = World::new().await;
    let before = world.inventory();
    world.set_up().await;
    let faults = world.sandbox.faults();
    faults.add(
        FaultPoint::TopicSetPolicy,
        Kind::refuse(403),
        Frequency::Always,
    );
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
