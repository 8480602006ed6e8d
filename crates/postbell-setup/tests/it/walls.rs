//! Where people stand before a wall: each is told what it is, what Google said, and the next move;
//! and what does not need it is done all the same.

use postbell_sandbox::{Kind, Often, Place, Wall as Said};
use postbell_setup::{StepId, Wall};

use crate::world::{MAILBOX, PROJECT, World, skipped, trouble};

/// Stands before a wall at `place`; asserts what the step says, and that the wall is gone in the next
/// run once it is gone.
async fn stand_before(said: Said, place: Place, step: StepId, wall: Wall, next: &str) {
    let world = World::new().await;
    let kind = Kind::Wall { wall: said };
    world.sandbox.faults().add(place, kind, Often::Always);
    let report = world.run().await;
    let trouble = trouble(&report, step);
    assert_eq!(trouble.wall, wall);
    assert!(trouble.said.is_some(), "{trouble:?}");
    assert!(trouble.next().contains(next), "{}", trouble.next());
    assert!(!report.is_done() && report.has_failed());
    world.sandbox.faults().clear();
    world.set_up().await;
}

#[tokio::test]
async fn terms_of_service() {
    let page = "accept the terms";
    stand_before(
        Said::TermsOfService,
        Place::ServicesEnable,
        StepId::Apis,
        Wall::TermsOfService,
        page,
    )
    .await;
}

#[tokio::test]
async fn an_organisation_that_lets_nobody_in() {
    let page = format!("iam-allowedPolicyMemberDomains?project={PROJECT}");
    stand_before(
        Said::DomainRestrictedSharing,
        Place::TopicSetPolicy,
        StepId::Publisher,
        Wall::OutsidersForbidden,
        &page,
    )
    .await;
}

#[tokio::test]
async fn an_api_that_never_comes_up() {
    stand_before(
        Said::ServiceDisabled,
        Place::TopicGet,
        StepId::Topic,
        Wall::ServiceDisabled,
        "apis/dashboard",
    )
    .await;
}

#[tokio::test]
async fn no_permission() {
    stand_before(
        Said::PermissionDenied,
        Place::TopicCreate,
        StepId::Topic,
        Wall::NoPermission,
        "Ask an owner of the project",
    )
    .await;
}

#[tokio::test]
async fn billing() {
    let page = format!("billing/linkedaccount?project={PROJECT}");
    stand_before(
        Said::Billing,
        Place::ServicesEnable,
        StepId::Apis,
        Wall::Billing,
        &page,
    )
    .await;
}

#[tokio::test]
async fn a_policy_that_is_never_left_alone() {
    stand_before(
        Said::ConcurrentPolicyChange,
        Place::TopicSetPolicy,
        StepId::Publisher,
        Wall::Conflict,
        "in some minutes",
    )
    .await;
}

#[tokio::test]
async fn what_fails_stops_only_what_needs_it() {
    let world = World::new().await;
    let kind = Kind::Wall {
        wall: Said::DomainRestrictedSharing,
    };
    world
        .sandbox
        .faults()
        .add(Place::TopicSetPolicy, kind, Often::Always);
    let report = world.run().await;
    assert_eq!(skipped(&report), [StepId::Watch, StepId::Arrival]);
    for step in [
        StepId::Subscription,
        StepId::Mailbox,
        StepId::Credentials,
        StepId::Hook,
    ] {
        assert!(report.state(step).unwrap().is_done(), "{step}");
    }
    assert!(world.credentials().exists());
}

#[tokio::test]
async fn the_terms_and_the_quota_fail_a_projects_operation() {
    for (said, wall) in [
        (Said::TermsOfService, Wall::TermsOfService),
        (Said::ProjectQuota, Wall::ProjectQuota),
    ] {
        let mut world = World::with_other_sign_in().await;
        world.wishes.project = Some("made-by-setup".to_owned());
        world.wishes.create_project = true;
        let kind = Kind::Wall { wall: said };
        world
            .sandbox
            .faults()
            .add(Place::ProjectCreate, kind, Often::Always);
        let report = world.run().await;
        assert_eq!(trouble(&report, StepId::Project).wall, wall);
    }
}

#[tokio::test]
async fn a_projects_id_that_is_taken_elsewhere() {
    let mut world = World::with_other_sign_in().await;
    world.wishes.project = Some("taken-by-others".to_owned());
    world.wishes.create_project = true;
    // Somebody else's project cannot be seen, but its id is taken.
    world.sandbox.cloud().put_project("taken-by-others");
    let kind = Kind::Wall {
        wall: Said::PermissionDenied,
    };
    world
        .sandbox
        .faults()
        .add(Place::ProjectGet, kind, Often::Always);
    let report = world.run().await;
    assert_eq!(trouble(&report, StepId::Project).wall, Wall::ProjectTaken);
}

#[tokio::test]
async fn a_project_that_is_on_its_way_out() {
    let mut world = World::with_other_sign_in().await;
    world.wishes.project = Some(PROJECT.to_owned());
    world.set_up().await;
    world.sandbox.cloud().delete(PROJECT);
    let report = world.run().await;
    assert_eq!(trouble(&report, StepId::Project).wall, Wall::ProjectGone);
}

#[tokio::test]
async fn a_mailbox_that_tells_another_topic() {
    let world = World::new().await;
    world.set_up().await;
    world.memory.0.lock().clear();
    world
        .sandbox
        .gmail()
        .watch_elsewhere(MAILBOX, "projects/my-project/topics/other");
    world.person.behave(|person| person.confirms = true);
    // Whoever says so ends the other one.
    world.set_up().await;
    assert_eq!(
        world.sandbox.gmail().watch(MAILBOX).unwrap().0,
        world.topic()
    );
}

#[tokio::test]
async fn google_out_of_reach_is_waited_for() {
    let world = World::new().await;
    world
        .sandbox
        .faults()
        .add(Place::TopicCreate, Kind::refuse(503), Often::Times(2));
    world.set_up().await;
    assert!(world.person.told().contains("waiting: Google is busy"));
}

#[tokio::test]
async fn a_notification_that_never_comes() {
    let mut world = World::new().await;
    world.patience.arrival = std::time::Duration::from_millis(5);
    world.set_up().await;
    world.wishes.again = true;
    // Whatever waits is gone, and nothing new is let through.
    world.sandbox.pubsub().change(
        &world.subscription(),
        "filter",
        serde_json::json!("attributes.no = \"1\""),
    );
    world.set_up().await;
}

#[tokio::test]
async fn nothing_secret_is_ever_shown() {
    let world = World::new().await;
    world.set_up().await;
    let credentials = std::fs::read_to_string(world.credentials()).unwrap();
    let credentials: serde_json::Value = serde_json::from_str(&credentials).unwrap();
    let told = world.person.told();
    let remembered = std::fs::read_to_string(world.progress_file()).unwrap();
    for secret in [
        credentials["refresh_token"].as_str().unwrap(),
        credentials["client_secret"].as_str().unwrap(),
        world.sandbox.bot().token(),
        "ya29.",
        "1//",
        "4/",
    ] {
        assert!(!told.contains(secret), "{secret} was shown");
        assert!(!remembered.contains(secret), "{secret} was remembered");
    }
}
