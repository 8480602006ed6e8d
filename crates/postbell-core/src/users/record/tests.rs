use super::*;
use crate::ManagedMachine;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn connection(email: Option<&str>) -> GoogleConnection {
    GoogleConnection {
        email: email.map(|email| email.parse().unwrap()),
        push_account: Some("push@p.iam.gserviceaccount.com".parse().unwrap()),
        connected_at: NOW,
    }
}

fn report(watch_expires_at: Option<Timestamp>) -> MachineReport {
    let problem = MailProblem {
        code: ProblemCode::WebhookFailing,
        since: NOW,
    };
    MachineReport {
        watch_expires_at,
        problem: Some(problem),
        dead_letters: 2,
    }
}

fn record() -> UserRecord {
    let user: UserId = "ann".parse().unwrap();
    let new = NewUser {
        sandbox_id: SandboxId::from(&user),
        user,
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        wake_on_mail: false,
    };
    UserRecord::new(new, NOW)
}

#[test]
fn connecting_enables_notifications_and_disconnecting_removes_everything() {
    let mut record = record();
    let fresh = record.clone();
    record.connect(connection(Some("ann@example.com")));
    assert!(record.as_instance().wants_notifications());

    record.last_history_id = Some(HistoryId::new(7));
    record.check_in(report(Some(NOW)), NOW);
    assert_eq!(record.watch_expires_at, Some(NOW));
    assert!(record.as_instance().problem.is_some());
    record.disconnect();
    let seen = UserRecord {
        never_seen: false,
        ..fresh
    };
    assert_eq!(record, seen);
}

#[test]
fn the_watch_and_the_problem_are_those_of_the_last_check_in() {
    let stored = |record: &UserRecord| MachineReport {
        watch_expires_at: record.watch_expires_at,
        problem: record.problem,
        dead_letters: record.mail_dead_letters,
    };
    let nothing = MachineReport::default();
    let mut record = record();
    record.check_in(report(Some(NOW)), NOW);
    assert_eq!(stored(&record), nothing, "no account is connected");

    record.connect(connection(Some("ann@example.com")));
    for reported in [report(Some(NOW)), nothing, report(None)] {
        record.check_in(reported, NOW);
        assert_eq!(stored(&record), reported);
    }
    record.connect(connection(Some("ann@example.com")));
    assert_eq!(
        stored(&record),
        nothing,
        "they were the former connection's"
    );
}

#[test]
fn a_machine_that_was_off_does_not_shorten_a_watch_that_the_platform_has_renewed() {
    let mut record = record();
    record.connect(connection(Some("ann@example.com")));
    let (early, late) = (NOW, NOW + Duration::from_secs(60));
    record.watch_renewed(Err(ProblemCode::GrantRevoked), NOW);
    assert_eq!(
        record.problem.map(|it| it.code),
        Some(ProblemCode::GrantRevoked)
    );
    record.watch_renewed(Ok(late), NOW);
    assert_eq!(
        (record.watch_expires_at, record.problem),
        (Some(late), None)
    );
    record.check_in(report(Some(early)), NOW);
    assert_eq!(record.watch_expires_at, Some(late));
    // Another problem than the grant's is the machine's own.
    record.watch_renewed(Ok(late), NOW);
    assert!(record.problem.is_some());
    record.check_in(report(None), NOW);
    assert_eq!(record.watch_expires_at, None, "the machine has no watch");
}

#[test]
fn a_watch_that_ends_later_than_gmail_permits_is_not_believed() {
    let mut record = record();
    record.connect(connection(Some("ann@example.com")));
    let year_2100 = Timestamp::from_millis(4_102_444_800_000);
    record.check_in(report(Some(year_2100)), NOW);
    assert_eq!(record.watch_expires_at, None);
    record.watch_expires_at = Some(year_2100);
    record.check_in(report(Some(NOW)), NOW);
    assert_eq!(record.watch_expires_at, Some(NOW));
}

#[test]
fn a_machine_that_checks_in_is_running_unless_it_is_being_removed() {
    let mut record = record();
    for (before, after) in [
        (InstanceStatus::Stopped, InstanceStatus::Running),
        (InstanceStatus::Destroying, InstanceStatus::Destroying),
    ] {
        record.status = before;
        record.check_in(MachineReport::default(), NOW);
        assert_eq!((record.status, record.never_seen), (after, false));
    }
}

#[test]
fn only_a_machine_whose_location_is_known_is_synced() {
    let mut record = record();
    record.mark_pending_sync();
    assert_eq!(record.pending_sync, None);
    record.location = MachineLocation::Managed(ManagedMachine {
        app: "bot".to_owned(),
        machine: "m".to_owned(),
    });
    record.mark_pending_sync();
    assert_eq!(
        record.pending_sync,
        Some(2),
        "the version of the next write"
    );
}

#[test]
fn another_machine_is_not_known_to_be_unreachable_or_to_fetch() {
    let mut record = record();
    record.unreachable_since = Some(NOW);
    record.fetch_config(NOW);
    let seen = (record.never_seen, record.unreachable_since);
    assert_eq!(seen, (false, None), "it was not started before");
    record.unreachable_since = Some(NOW);
    record.check_in(MachineReport::default(), NOW);
    assert_eq!(record.unreachable_since, Some(NOW));
    let url = |url: &str| MachineLocation::Url(url.parse().unwrap());
    record.move_to(url("https://bot.example.com"));
    assert_eq!(
        (record.unreachable_since, record.config_fetched_at),
        (None, None)
    );
    assert!(record.never_seen);
    record.unreachable_since = Some(NOW);
    record.move_to(url("https://bot.example.com"));
    assert_eq!(record.unreachable_since, Some(NOW), "it is the same");
}

#[test]
fn the_history_id_survives_only_a_reconnection_of_the_same_account() {
    for (again, kept) in [
        (Some("a.nn@gmail.com"), true),
        (Some("Ann@googlemail.com"), true),
        (Some("bob@gmail.com"), false),
        (None, false),
    ] {
        let mut record = record();
        record.connect(connection(Some("ann@gmail.com")));
        record.last_history_id = Some(HistoryId::new(7));
        record.connect(connection(again));
        assert_eq!(record.last_history_id.is_some(), kept, "{again:?}");
    }
    let mut unnamed = record();
    unnamed.connect(connection(None));
    unnamed.last_history_id = Some(HistoryId::new(7));
    unnamed.connect(connection(None));
    assert_eq!(unnamed.last_history_id, None, "it may be another account");
}

fn account(owner: &UserRecord) -> UserRecord {
    let new = NewAccount {
        record: "ann.team".parse().unwrap(),
        owner: owner.user.clone(),
        owner_added: owner.created_at,
        connection: connection(Some("team@example.com")),
        watch_expires_at: Some(NOW),
    };
    UserRecord::further(new, NOW)
}

#[test]
fn a_further_account_has_the_machine_of_its_owner_and_a_state_of_its_own() {
    let mut owner = record();
    owner.move_to(MachineLocation::Url(
        "https://bot.example.com".parse().unwrap(),
    ));
    owner.several_accounts = true;
    owner.wake_on_mail = true;
    owner.connect(connection(Some("ann@example.com")));
    owner.check_in(report(Some(NOW)), NOW);
    let account = account(&owner).with_machine_of(&owner);
    let (theirs, own) = (owner.as_instance(), account.as_instance());
    assert_eq!(account.bot(), &owner.user);
    assert!(own.wants_notifications() && account.wake_on_mail);
    assert_eq!(
        (&own.sandbox_id, own.status, &own.location),
        (&theirs.sandbox_id, theirs.status, &theirs.location)
    );
    assert_eq!(own.problem, None, "the problem is the first account's");
    assert_eq!(own.email.unwrap().as_str(), "team@example.com");
}

#[test]
fn notifications_of_an_account_that_the_machine_does_not_watch_wait() {
    let mut owner = record();
    owner.move_to(MachineLocation::Url(
        "https://bot.example.com".parse().unwrap(),
    ));
    let stored = account(&owner);
    for held in [stored.clone(), stored.clone().with_machine_of(&owner)] {
        assert_eq!(held.as_instance().status, InstanceStatus::Stopped);
    }
    owner.several_accounts = true;
    let watched = stored.clone().with_machine_of(&owner).as_instance();
    assert_eq!(
        (watched.status, watched.problem),
        (InstanceStatus::Running, None)
    );
    // Another machine has to say it anew.
    owner.move_to(MachineLocation::Url(
        "https://new.example.com".parse().unwrap(),
    ));
    let held = stored.with_machine_of(&owner).as_instance();
    assert_eq!(held.status, InstanceStatus::Stopped);
}

#[test]
fn the_problem_of_an_account_that_the_machine_does_not_watch_begins_once() {
    let mut account = account(&record());
    let revoked = MailProblem {
        code: ProblemCode::GrantRevoked,
        since: NOW,
    };
    account.problem = Some(revoked);
    account.set_supported(true, NOW);
    assert_eq!(account.problem, Some(revoked));
    for seconds in [1, 2] {
        account.set_supported(false, NOW + Duration::from_secs(seconds));
        let problem = account.problem.unwrap();
        assert_eq!(
            problem.blocking_code(),
            Some(ProblemCode::AccountsUnsupported)
        );
        assert_eq!(problem.since, NOW + Duration::from_secs(1));
    }
    account.set_supported(true, NOW);
    assert_eq!(account.problem, None);
    account.disconnect();
    account.set_supported(false, NOW);
    assert_eq!(account.problem, None);
}

#[test]
fn the_audit_log_names_the_account_that_was_changed() {
    let before = account(&record());
    let mut after = before.clone();
    after.notifications_enabled = false;
    assert_eq!(
        after.changes_since(&before),
        "account ann.team: notifications off"
    );
    assert_eq!(after.changes_since(&after), "");
}
