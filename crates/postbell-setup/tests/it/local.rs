//! Setup for a watcher on this machine.

use postbell_protocol::watch_state::StateFile;
use postbell_sandbox::{Blocker as SandboxError, FaultPoint, Frequency, Kind, Lag};
use postbell_setup::{
    Blocker, Browser, Destination, Mode, Report, ResourceNames, StepId, StepState, run,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use url::Url;

use crate::world::{MAILBOX, PROJECT, World, assert_failed, error_of, in_two_hours};

#[tokio::test]
async fn an_empty_project_ends_with_a_delivered_notification() {
    let world = World::new().await;
    let report = world.set_up().await;

    let credentials = std::fs::read_to_string(world.credentials()).unwrap();
    let credentials: Value = serde_json::from_str(&credentials).unwrap();
    assert_eq!(credentials["type"], "authorized_user");
    let (topic, _) = world.sandbox.gmail().watch(MAILBOX).unwrap();
    assert_eq!(topic, world.topic());
    let hooks = world.sandbox.bot().hooks();
    assert_eq!(hooks[0].body["test"], true);
    assert!(hooks[0].signature.as_ref().unwrap().starts_with("v1,"));
    let settings = world
        .sandbox
        .pubsub()
        .settings(&world.subscription())
        .unwrap();
    assert_eq!(settings["expirationPolicy"], json!({}));
    assert_eq!(settings["ackDeadlineSeconds"], 30);
    // The notification stays in the subscription for the watcher.
    assert_eq!(
        world.sandbox.pubsub().unacknowledged(&world.subscription()),
        1
    );
    assert!(
        report
            .next_commands
            .iter()
            .any(|line| line.contains("watch pull")),
        "{report:?}"
    );
    assert_eq!(world.user.consents(), 2);
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let world = World::new().await;
    world.set_up().await;
    let before = world.everything();
    let hooks = world.sandbox.bot().hooks().len();
    let report = world.set_up().await;
    assert_eq!(world.everything(), before);
    assert_eq!(world.sandbox.bot().hooks().len(), hooks);
    let changed = report.steps.iter();
    let changed =
        changed.filter(|(_, state)| matches!(state, StepState::Done { changed: true, .. }));
    let changed: Vec<_> = changed.map(|(step, _)| *step).collect();
    assert_eq!(changed, [StepId::SignIn], "only the sign-in is per run");
}

/// Earlier versions made one topic for all mailboxes of a project.
#[tokio::test]
async fn a_setup_of_an_earlier_version_moves_to_a_topic_of_its_mailbox() {
    let mut world = World::new().await;
    world.request.names = ResourceNames {
        topic: Some("postbell-gmail".to_owned()),
        subscription: Some("postbell-pull".to_owned()),
        account: None,
    };
    world.set_up().await;
    world.request.names = ResourceNames::default();
    let progress = std::fs::read(world.progress_file()).unwrap();
    let mut progress: Value = serde_json::from_slice(&progress).unwrap();
    progress.as_object_mut().unwrap().remove("names").unwrap();
    std::fs::write(world.progress_file(), progress.to_string()).unwrap();

    world.set_up().await;
    let (topic, _) = world.sandbox.gmail().watch(MAILBOX).unwrap();
    assert_eq!(topic, world.topic());
    // The watcher that runs pulls from it.
    let subscription = format!("projects/{PROJECT}/subscriptions/postbell-pull");
    let settings = world.sandbox.pubsub().settings(&subscription).unwrap();
    assert_eq!(settings["topic"], world.topic());
    assert!(world.set_up().await.is_done());
    world.undo().await;
    assert_eq!(world.sandbox.pubsub().inventory(PROJECT), [] as [String; 0]);
}

#[tokio::test]
async fn two_mailboxes_of_a_project_get_only_their_own_notifications() {
    let mut world = World::new().await;
    world.set_up().await;
    let first = world.topic();
    world.request.mailbox = Some("bob@example.com".parse().unwrap());
    world.request.destination = Some(Destination::Pull {
        credentials: Some(world.folder.path().join("bob.json")),
    });
    world.set_up().await;
    let (topic, _) = world.sandbox.gmail().watch("bob@example.com").unwrap();
    assert_ne!(topic, first);
    assert_eq!(world.sandbox.gmail().watch(MAILBOX).unwrap().0, first);
}

#[tokio::test]
async fn the_credentials_of_another_mailbox_are_kept() {
    let mut world = World::new().await;
    world.set_up().await;
    let of_first = std::fs::read(world.credentials()).unwrap();
    world.request.mailbox = Some("bob@example.com".parse().unwrap());
    world.set_up().await;
    let own = world.folder.path().join("google-bob@example.com.json");
    assert!(own.exists(), "{}", world.user.transcript());
    // The next run finds them.
    world.request.destination = Some(Destination::Pull { credentials: None });
    let consents = world.user.consents();
    world.set_up().await;
    assert_eq!(world.user.consents(), consents + 1, "only for the sign-in");

    // A file that is named is not replaced by another one.
    world.request.credentials = Some(world.credentials());
    let report = world.run().await;
    let error = error_of(&report, StepId::Mailbox);
    assert!(error.problem().contains("another mailbox"), "{error}");
    assert_eq!(std::fs::read(world.credentials()).unwrap(), of_first);
}

#[tokio::test]
async fn a_plan_lists_every_change_and_makes_none() {
    let world = World::new().await;
    let before = world.inventory();
    let report = run(&mut world.context(Mode::Plan)).await.unwrap();
    assert_eq!(world.inventory(), before);
    assert!(world.sandbox.bot().hooks().is_empty());
    assert!(!world.progress_file().exists(), "a plan saves no progress");
    let to_do = report
        .steps
        .iter()
        .filter(|(_, state)| state.is_pending())
        .count();
    assert_eq!(
        to_do,
        report.steps.len() - 3,
        "all except client, sign-in and project: {report:?}"
    );
    world.set_up().await;
    let report = run(&mut world.context(Mode::Plan)).await.unwrap();
    assert!(report.is_done(), "{report:?}");
}

#[tokio::test]
async fn a_remote_browser_works_too() {
    let mut world = World::new().await;
    world.request.browser = Browser::Remote;
    world.set_up().await;
    assert!(world.user.opened.lock().is_empty());
}

#[tokio::test]
async fn setup_waits_for_slow_changes_and_shows_the_reason() {
    let world = World::new().await;
    world.sandbox.cloud().set_lag(Lag {
        operations: 3,
        services: 2,
        policies: 3,
        accounts: 2,
    });
    world.set_up().await;
    let shown = world.user.transcript();
    assert!(
        shown.contains("waiting: a newly enabled API takes some minutes"),
        "{shown}"
    );
    assert!(
        shown.contains("waiting: Google takes up to 7 minutes"),
        "{shown}"
    );
    assert_eq!(
        world.user.consents(),
        2,
        "retries do not ask for consent again"
    );
}

#[tokio::test]
async fn a_policy_that_changes_concurrently_is_read_again() {
    let world = World::new().await;
    let conflict = Kind::Blocked {
        blocker: SandboxError::ConcurrentPolicyChange,
    };
    let faults = world.sandbox.faults();
    faults.add(FaultPoint::TopicSetPolicy, conflict, Frequency::Times(2));
    faults.add(
        FaultPoint::SubscriptionSetPolicy,
        conflict,
        Frequency::Times(2),
    );
    world.set_up().await;
    assert!(!world.user.transcript().contains("waiting: another process"));
}

#[tokio::test]
async fn existing_resources_are_used_and_corrected() {
    let world = World::new().await;
    world.set_up().await;
    let pubsub = world.sandbox.pubsub();
    pubsub.change(&world.subscription(), "ackDeadlineSeconds", 10.into());
    pubsub.change(
        &world.subscription(),
        "expirationPolicy",
        json!({ "ttl": "86400s" }),
    );
    let report = world.set_up().await;
    assert!(matches!(
        report.state(StepId::Subscription),
        Some(StepState::Done { changed: true, .. })
    ));
    let settings = pubsub.settings(&world.subscription()).unwrap();
    assert_eq!(settings["expirationPolicy"], json!({}));
    assert_eq!(settings["ackDeadlineSeconds"], 30);
}

#[tokio::test]
async fn a_watch_that_expires_soon_is_renewed() {
    let world = World::new().await;
    world.set_up().await;
    let file = StateFile::open(&world.watch_state(), MAILBOX).unwrap();
    let mut state = file.read().unwrap();
    state.expiration_ms = 0;
    state.provider_expiration_ms = 0;
    file.write(&state).unwrap();
    drop(file);
    world.set_up().await;
    let state = StateFile::peek(&world.watch_state(), MAILBOX).unwrap();
    assert!(state.unwrap().expires_at() > Some(in_two_hours()));
}

#[tokio::test]
async fn a_running_watcher_may_pull_the_test_notification() {
    let mut world = World::new().await;
    world.set_up().await;
    let _watcher = StateFile::open(&world.watch_state(), MAILBOX).unwrap();
    world.request.repeat_tests = true;
    // The watcher pulls at once, so that setup never sees the notification.
    let nothing = json!("attributes.no = \"1\"");
    let pubsub = world.sandbox.pubsub();
    pubsub.change(&world.subscription(), "filter", nothing);
    let warning = warning(&world.set_up().await, StepId::Arrival);
    assert!(warning.contains("a running watcher"), "{warning}");
    // The next run does not know more.
    world.request.repeat_tests = false;
    let again = world.set_up().await;
    assert!(warning == self::warning(&again, StepId::Arrival));
}

fn warning(report: &Report, step: StepId) -> String {
    match report.state(step) {
        Some(StepState::Done {
            warning: Some(warning),
            ..
        }) => warning.clone(),
        other => panic!("expected a warning: {other:?}"),
    }
}

#[tokio::test]
async fn again_repeats_both_tests() {
    let mut world = World::new().await;
    world.set_up().await;
    let hooks = world.sandbox.bot().hooks().len();
    let waiting = world.sandbox.pubsub().unacknowledged(&world.subscription());
    world.request.repeat_tests = true;
    world.set_up().await;
    assert_eq!(world.sandbox.bot().hooks().len(), hooks + 1);
    let now = world.sandbox.pubsub().unacknowledged(&world.subscription());
    assert_eq!(now, waiting + 1);
}

#[tokio::test]
async fn saved_credentials_are_found_from_any_folder() {
    let mut world = World::new().await;
    world.set_up().await;
    let consents = world.user.consents();
    world.request.destination = Some(Destination::Pull { credentials: None });
    let report = world.set_up().await;
    let Some(StepState::Done { detail, .. }) = report.state(StepId::Credentials) else {
        panic!("{report:?}");
    };
    assert_eq!(*detail, world.credentials().display().to_string());
    assert_eq!(world.user.consents(), consents + 1, "only for the sign-in");
}

#[tokio::test]
async fn a_file_with_other_content_is_kept_and_no_consent_is_requested() {
    let world = World::new().await;
    let theirs = r#"{"type":"service_account","client_email":"a","private_key":"b"}"#;
    std::fs::write(world.credentials(), theirs).unwrap();
    let report = world.run().await;
    let error = error_of(&report, StepId::Mailbox);
    assert!(error.problem().contains("--credentials"), "{error}");
    assert_eq!(world.user.consents(), 1, "only for the sign-in");
    world.undo().await;
    let left = std::fs::read_to_string(world.credentials()).unwrap();
    assert_eq!(left, theirs);
}

#[tokio::test]
async fn a_public_endpoint_must_refuse_unauthenticated_requests() {
    let mut world = World::new().await;
    world.request.destination = Some(Destination::Serve {
        credentials: Some(world.credentials()),
        // The sandbox's bot also refuses unauthenticated requests.
        endpoint: Url::parse(&world.sandbox.bot().hook_url()).unwrap(),
    });
    let report = world.set_up().await;
    let shown = warning(&report, StepId::Arrival);
    assert!(
        shown.contains("refuses unauthenticated requests"),
        "{shown}"
    );
    world.request.repeat_tests = true;
    let again = world.set_up().await;
    let state = again.state(StepId::Arrival);
    assert!(
        matches!(state, Some(StepState::Done { changed: true, .. })),
        "{again:?}"
    );
    let path = Url::parse(&world.sandbox.bot().hook_url()).unwrap();
    let command = format!("watch serve --path {} --verify-oidc", path.path());
    assert!(
        report
            .next_commands
            .iter()
            .any(|line| line.contains(&command)),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_webhook_that_refuses_the_test_is_corrected_in_the_same_run() {
    let mut world = World::new().await;
    let right = world.request.webhook.clone().unwrap();
    let wrong = right.url.join("/bot/hooks/gmial").unwrap();
    world.request.webhook.as_mut().unwrap().url = wrong.clone();
    world.user.answer("--hook-url URL", right.url.as_str());
    let token = right.token.as_ref().unwrap().expose_secret();
    world.user.answer("POSTBELL_WATCH_HOOK_TOKEN", token);
    world
        .user
        .behave(|user| user.chooses = Some("Enter its URL"));
    world.set_up().await;
    assert_eq!(world.user.consents(), 2, "no further sign-in");
    let transcript = world.user.transcript();
    let problem = format!("{wrong}: there is no webhook at this URL (404).");
    assert!(transcript.contains(&problem), "{transcript}");
    let progress = std::fs::read_to_string(world.progress_file()).unwrap();
    let progress: Value = serde_json::from_str(&progress).unwrap();
    assert_eq!(progress["hook"], right.url.as_str());
}

#[tokio::test]
async fn a_saved_webhook_is_named_without_its_secrets_and_not_asked_for() {
    let mut world = World::new().await;
    let webhook = world.request.webhook.as_mut().unwrap();
    webhook.url.set_query(Some("token=hunter2"));
    let token = webhook.token.clone().unwrap();
    world.set_up().await;
    let home = world.folder.path();
    std::fs::create_dir(home.join(".openclaw")).unwrap();
    std::fs::write(home.join(".openclaw/openclaw.json"), "{").unwrap();
    world.request.home = Some(home.to_owned());
    world.request.webhook = None;
    world.request.repeat_tests = true;
    let token = token.expose_secret();
    world.user.answer("POSTBELL_WATCH_HOOK_TOKEN", token);
    world.set_up().await;
    let shown = world.user.shown.lock().clone();
    let shown = |part: &str| {
        let mut lines = shown.iter();
        lines.any(|line| line.contains(part) && !line.starts_with("summary: "))
    };
    assert!(shown("The webhook is http://") && shown("enter its token, or"));
    // The command to start the watcher, in the summary, needs the whole URL.
    assert!(!shown("hunter2") && !shown("enter URL"));
}

#[tokio::test]
async fn the_answer_of_a_webhook_that_refuses_is_reported() {
    let world = World::new().await;
    world
        .sandbox
        .faults()
        .add(FaultPoint::Hook, Kind::refuse(500), Frequency::Always);
    let report = world.run().await;
    assert_failed(
        &report,
        StepId::Hook,
        &Blocker::Webhook("the webhook answered 500".to_owned()),
    );
    assert!(
        report.state(StepId::Arrival).unwrap().is_done(),
        "nothing else needs it"
    );
}
