//! Each blocker is reported with Google's message and the next action, and stops only dependent
//! steps.

use postbell_protocol::watch_state::StateFile;
use postbell_sandbox::{Blocker as SandboxError, FaultPoint, Frequency, Kind};
use postbell_setup::{Blocker, StepId};

use crate::world::{MAILBOX, PROJECT, World, assert_failed, error_of, skipped};

/// Makes Google refuse at `place`. Asserts the blocker of `step`, and that the next run succeeds once
/// Google accepts.
async fn assert_blocked(
    refusal: SandboxError,
    point: FaultPoint,
    step: StepId,
    blocker: Blocker,
    next: &str,
) {
    let world = World::new().await;
    let kind = Kind::Blocked { blocker: refusal };
    world.sandbox.faults().add(point, kind, Frequency::Always);
    let report = world.run().await;
    let error = error_of(&report, step);
    assert_eq!(error.blocker, blocker);
    assert!(error.google_message.is_some(), "{error:?}");
    assert!(error.remedy().contains(next), "{}", error.remedy());
    assert!(!report.is_done() && report.has_failed());
    world.sandbox.faults().clear();
    world.set_up().await;
}

#[tokio::test]
async fn terms_of_service() {
    let page = "accept the terms";
    assert_blocked(
        SandboxError::TermsOfService,
        FaultPoint::ServicesEnable,
        StepId::Apis,
        Blocker::TermsOfService,
        page,
    )
    .await;
}

#[tokio::test]
async fn organization_policy() {
    let page = format!("iam-admin/orgpolicies/list?project={PROJECT}");
    assert_blocked(
        SandboxError::DomainRestrictedSharing,
        FaultPoint::TopicSetPolicy,
        StepId::Publisher,
        Blocker::OrgPolicy,
        &page,
    )
    .await;
}

#[tokio::test]
async fn api_that_stays_disabled() {
    assert_blocked(
        SandboxError::ServiceDisabled,
        FaultPoint::TopicGet,
        StepId::Topic,
        Blocker::ApiDisabled,
        "apis/dashboard",
    )
    .await;
}

#[tokio::test]
async fn missing_permission() {
    assert_blocked(
        SandboxError::PermissionDenied,
        FaultPoint::TopicCreate,
        StepId::Topic,
        Blocker::PermissionDenied,
        "Ask a project owner",
    )
    .await;
}

#[tokio::test]
async fn missing_billing_account() {
    let page = format!("billing/linkedaccount?project={PROJECT}");
    assert_blocked(
        SandboxError::Billing,
        FaultPoint::ServicesEnable,
        StepId::Apis,
        Blocker::BillingRequired,
        &page,
    )
    .await;
}

#[tokio::test]
async fn policy_that_keeps_changing() {
    assert_blocked(
        SandboxError::ConcurrentPolicyChange,
        FaultPoint::TopicSetPolicy,
        StepId::Publisher,
        Blocker::PolicyConflict,
        "in some minutes",
    )
    .await;
}

#[tokio::test]
async fn a_failed_step_stops_only_dependent_steps() {
    let world = World::new().await;
    let kind = Kind::Blocked {
        blocker: SandboxError::DomainRestrictedSharing,
    };
    world
        .sandbox
        .faults()
        .add(FaultPoint::TopicSetPolicy, kind, Frequency::Always);
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
async fn terms_and_quota_fail_the_creation_of_a_project() {
    for (refusal, blocker) in [
        (SandboxError::TermsOfService, Blocker::TermsOfService),
        (SandboxError::ProjectQuota, Blocker::ProjectQuota),
    ] {
        let mut world = World::with_separate_sign_in().await;
        world.request.project = Some("made-by-setup".to_owned());
        world.request.create_project = true;
        let kind = Kind::Blocked { blocker: refusal };
        world
            .sandbox
            .faults()
            .add(FaultPoint::ProjectCreate, kind, Frequency::Always);
        let report = world.run().await;
        assert_eq!(error_of(&report, StepId::Project).blocker, blocker);
    }
}

#[tokio::test]
async fn project_id_in_use() {
    let mut world = World::with_separate_sign_in().await;
    world.request.project = Some("taken-by-others".to_owned());
    world.request.create_project = true;
    // A foreign project is invisible, but its id is in use.
    world.sandbox.cloud().put_project("taken-by-others");
    let kind = Kind::Blocked {
        blocker: SandboxError::PermissionDenied,
    };
    world
        .sandbox
        .faults()
        .add(FaultPoint::ProjectGet, kind, Frequency::Always);
    let report = world.run().await;
    assert_eq!(
        error_of(&report, StepId::Project).blocker,
        Blocker::ProjectIdTaken
    );
}

#[tokio::test]
async fn setup_waits_for_a_new_project_to_become_visible() {
    let mut world = World::with_separate_sign_in().await;
    world.request.project = Some("made-by-setup".to_owned());
    world.request.create_project = true;
    let kind = Kind::Blocked {
        blocker: SandboxError::PermissionDenied,
    };
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::ProjectGet, kind, Frequency::Times(4));
    let report = world.run().await;
    assert!(report.state(StepId::Project).unwrap().is_done());
    let saved = std::fs::read_to_string(world.progress_file()).unwrap();
    assert!(saved.contains(r#""kind": "project""#), "{saved}");
}

#[tokio::test]
async fn project_scheduled_for_deletion() {
    let mut world = World::with_separate_sign_in().await;
    world.request.project = Some(PROJECT.to_owned());
    world.set_up().await;
    world.sandbox.cloud().delete(PROJECT);
    let report = world.run().await;
    assert_eq!(
        error_of(&report, StepId::Project).blocker,
        Blocker::ProjectDeleted
    );
}

#[tokio::test]
async fn watch_on_another_topic() {
    let world = World::new().await;
    world.set_up().await;
    let watch_state = StateFile::open(&world.watch_state(), MAILBOX).unwrap();
    watch_state.remove().unwrap();
    world
        .sandbox
        .gmail()
        .watch_elsewhere(MAILBOX, "projects/my-project/topics/other");
    let no = "Replace it?";
    world.user.behave(|user| user.declines = Some(no));
    let report = world.run().await;
    assert_failed(&report, StepId::Watch, &Blocker::WatchOnOtherTopic);
    world.user.behave(|user| user.declines = None);
    // A user who confirms replaces the watch.
    world.set_up().await;
    assert_eq!(
        world.sandbox.gmail().watch(MAILBOX).unwrap().0,
        world.topic()
    );
}

#[tokio::test]
async fn setup_waits_while_google_is_unavailable() {
    let world = World::new().await;
    world.sandbox.faults().add(
        FaultPoint::TopicCreate,
        Kind::refuse(503),
        Frequency::Times(2),
    );
    world.set_up().await;
    assert!(
        world
            .user
            .transcript()
            .contains("waiting: Google is unavailable")
    );
}

#[tokio::test]
async fn notification_that_never_arrives() {
    let mut world = World::new().await;
    world.timeouts.arrival = std::time::Duration::from_millis(5);
    world.set_up().await;
    world.request.repeat_tests = true;
    // Pending notifications are dropped, and new ones blocked.
    world.sandbox.pubsub().change(
        &world.subscription(),
        "filter",
        serde_json::json!("attributes.no = \"1\""),
    );
    let report = world.run().await;
    assert!(report.state(StepId::Hook).unwrap().is_done());
    assert_failed(&report, StepId::Arrival, &Blocker::NotificationTimeout);
}

#[tokio::test]
async fn setup_waits_while_google_is_unavailable_for_the_check_after_apply() {
    let world = World::new().await;
    world.set_up().await;
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::TopicGet, Kind::refuse(503), Frequency::Times(1));
    world.set_up().await;
    let kind = Kind::Blocked {
        blocker: SandboxError::ServiceDisabled,
    };
    faults.add(FaultPoint::ServicesGet, kind, Frequency::Times(1));
    world.set_up().await;
}

#[tokio::test]
async fn secrets_are_never_shown_or_saved() {
    let world = World::new().await;
    world.set_up().await;
    let credentials = std::fs::read_to_string(world.credentials()).unwrap();
    let credentials: serde_json::Value = serde_json::from_str(&credentials).unwrap();
    let shown = world.user.transcript();
    let saved = std::fs::read_to_string(world.progress_file()).unwrap();
    for secret in [
        credentials["refresh_token"].as_str().unwrap(),
        credentials["client_secret"].as_str().unwrap(),
        world.sandbox.bot().token(),
        "ya29.",
        "1//",
        "4/",
    ] {
        assert!(!shown.contains(secret), "{secret} was shown");
        assert!(!saved.contains(secret), "{secret} was saved");
    }
}
