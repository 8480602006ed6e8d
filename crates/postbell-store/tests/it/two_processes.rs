//! What two processes that use one store at once may rely on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Accepted, AlertRecipient, AlertScope, DeliveryQueue, GoogleConnection, HistoryId,
    InstanceStatus, LinkDigest, MAX_USERS_OF_MAILBOX, MachineLocation, ManagedMachine, NewAlert,
    NewUser, Notification, PendingRevocation, Principal, RelayId, RevocationId, Settlement,
    StoredTarget, TargetId, Timestamp, UserId, UserRecord, UsersError,
};
use postbell_store::Store;

use crate::engines::{Engine, keys, on_each_engine};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// How often a race is repeated.
const ROUNDS: u64 = 12;

/// The same with [`Engine::slow_down`].
const SLOW_ROUNDS: u64 = 2;

on_each_engine! {
    the_last_place_of_an_address_is_given_to_one_of_two
    a_sandbox_id_is_given_to_one_of_two
    a_machine_that_two_users_leave_at_once_is_orphaned
    a_machine_that_is_left_and_taken_at_once_is_not_orphaned
    a_late_history_id_is_not_kept_for_a_disconnected_account
    a_start_is_recorded_by_one_of_two
    a_link_signs_one_of_two_in
    an_alert_is_claimed_by_one_of_two
    two_requests_do_not_exceed_the_number_of_targets
    both_may_encrypt_again
    a_mailbox_is_as_the_other_one_has_left_it
}

fn processes(engine: &Engine) -> [Store; 2] {
    [(); 2].map(|()| engine.open(keys("k", &[])))
}

fn user(name: &str, round: u64) -> UserId {
    format!("{name}-{round}").parse().unwrap()
}

fn new(user: &UserId, location: MachineLocation) -> NewUser {
    NewUser {
        user: user.clone(),
        sandbox_id: user.as_str().parse().unwrap(),
        status: InstanceStatus::Running,
        location,
        wake_on_mail: false,
    }
}

fn machine(round: u64) -> MachineLocation {
    MachineLocation::Managed(ManagedMachine {
        app: "bot".to_owned(),
        machine: round.to_string(),
    })
}

async fn add(store: &Store, user: &UserId, location: MachineLocation) -> UserRecord {
    store.users().add(new(user, location), NOW).await.unwrap()
}

fn connected(mut record: UserRecord, email: &str) -> UserRecord {
    record.connect(GoogleConnection {
        email: Some(email.parse().unwrap()),
        push_account: None,
        connected_at: NOW,
    });
    record
}

async fn the_last_place_of_an_address_is_given_to_one_of_two(engine: &Engine) {
    let [one, other] = processes(engine);
    let (left, right) = (one.users(), other.users());
    for round in 0..SLOW_ROUNDS {
        let address = format!("first.last{round}@gmail.com");
        for number in 1..MAX_USERS_OF_MAILBOX {
            let record = user(&format!("user{number}"), round);
            let record = add(&one, &record, MachineLocation::Unknown).await;
            let connected = connected(record, &address);
            left.replace(&connected, None, NOW).await.unwrap();
        }
        let ann = add(&one, &user("ann", round), MachineLocation::Unknown).await;
        let bob = add(&one, &user("bob", round), MachineLocation::Unknown).await;
        let ann = connected(ann, &address);
        let bob = connected(bob, &format!("firstlast{round}@googlemail.com"));
        let both = tokio::join!(
            left.replace(&ann, None, NOW),
            right.replace(&bob, None, NOW)
        );
        let taken = matches!(
            both,
            (Ok(_), Err(UsersError::AddressTaken)) | (Err(UsersError::AddressTaken), Ok(_))
        );
        assert!(taken, "{both:?}");
    }
}

async fn a_sandbox_id_is_given_to_one_of_two(engine: &Engine) {
    let [one, other] = processes(engine);
    for round in 0..ROUNDS {
        let [ann, bob] = ["ann", "bob"].map(|name| NewUser {
            sandbox_id: format!("sandbox-{round}").parse().unwrap(),
            ..new(&user(name, round), MachineLocation::Unknown)
        });
        let (one, other) = (one.users(), other.users());
        let both = tokio::join!(one.add(ann, NOW), other.add(bob, NOW));
        let taken = matches!(
            both,
            (Ok(_), Err(UsersError::SandboxTaken)) | (Err(UsersError::SandboxTaken), Ok(_))
        );
        assert!(taken, "{both:?}");
    }
}

async fn a_mailbox_is_as_the_other_one_has_left_it(engine: &Engine) {
    let [one, other] = processes(engine);
    let mut queues = [one.queue(), other.queue()];
    let lease = Duration::from_secs(60);
    for round in 1..=ROUNDS {
        let notification = Notification {
            user: user("ann", 0),
            address: None,
            message_id: format!("m{round}").parse().unwrap(),
            published_at: None,
            history_id: HistoryId::new(round),
            trace: None,
            body: Bytes::from_static(b"{}"),
        };
        let accept = |queue: &Arc<dyn DeliveryQueue>| {
            let (queue, notification) = (Arc::clone(queue), notification.clone());
            async move { queue.accept(notification, NOW).await.unwrap() }
        };
        assert_eq!(accept(&queues[0]).await, Accepted::Queued);
        let claimed = queues[1].claim(RelayId::new(1), NOW, lease, 9).await;
        let claim = &claimed.unwrap().claims[0];
        let settled = queues[1].settle(claim, Settlement::Delivered, NOW).await;
        settled.unwrap();
        assert_eq!(accept(&queues[0]).await, Accepted::Duplicate);
        queues.swap(0, 1);
    }
}

async fn orphaned(store: &Store) -> usize {
    let listed = store.orphaned_machines().orphaned_machines(None, 99).await;
    listed.unwrap().len()
}

async fn a_machine_that_two_users_leave_at_once_is_orphaned(engine: &Engine) {
    let [one, other] = processes(engine);
    for round in 0..ROUNDS {
        let (ann, bob) = (user("ann", round), user("bob", round));
        let ann = add(&one, &ann, machine(round)).await;
        let mut moved = add(&one, &bob, machine(round)).await;
        moved.location = MachineLocation::Unknown;
        let (left, right) = (one.users(), other.users());
        let (removed, replaced) = tokio::join!(left.remove(&ann), right.replace(&moved, None, NOW));
        assert!(removed.unwrap() && replaced.is_ok());
        assert_eq!(orphaned(&one).await as u64, round + 1);
    }
}

async fn a_machine_that_is_left_and_taken_at_once_is_not_orphaned(engine: &Engine) {
    let [one, other] = processes(engine);
    add(&one, &user("first", 0), MachineLocation::Unknown).await;
    engine.slow_down("user_record", 0.15);
    engine.slow_down("orphaned_machine", 0.3);
    for round in 0..SLOW_ROUNDS {
        let (ann, bob) = (user("ann", round), user("bob", round));
        let ann = add(&one, &ann, machine(round)).await;
        let mut moved = add(&one, &bob, MachineLocation::Unknown).await;
        moved.location = machine(round);
        let (left, right) = (one.users(), other.users());
        let (removed, taken) = tokio::join!(left.remove(&ann), right.replace(&moved, None, NOW));
        assert!(removed.unwrap() && taken.is_ok());
        assert_eq!(orphaned(&one).await, 0);
    }
}

async fn a_late_history_id_is_not_kept_for_a_disconnected_account(engine: &Engine) {
    let [one, other] = processes(engine);
    add(&one, &user("first", 0), MachineLocation::Unknown).await;
    engine.slow_down("progress", 0.1);
    for round in 0..SLOW_ROUNDS {
        let ann = user("ann", round);
        let record = add(&one, &ann, MachineLocation::Unknown).await;
        let record = connected(record, &format!("ann{round}@example.com"));
        let mut record = one.users().replace(&record, None, NOW).await.unwrap();
        record.disconnect();
        let (left, right) = (one.users(), other.users());
        let late = right.raise_history_id(&ann, HistoryId::new(7));
        let (disconnected, late) = tokio::join!(left.replace(&record, None, NOW), late);
        assert!(disconnected.is_ok() && late.is_ok());
        let record = left.get(&ann).await.unwrap().unwrap();
        assert_eq!((record.google, record.last_history_id), (None, None));
    }
}

async fn a_start_is_recorded_by_one_of_two(engine: &Engine) {
    let [one, other] = processes(engine);
    for round in 0..ROUNDS {
        let ann = user("ann", round);
        add(&one, &ann, machine(round)).await;
        let (one, other) = (one.users(), other.users());
        let pause = Duration::from_secs(300);
        let both = tokio::join!(
            one.record_start(&ann, NOW, pause),
            other.record_start(&ann, NOW, pause)
        );
        assert_ne!(both.0.unwrap(), both.1.unwrap());
    }
}

async fn a_link_signs_one_of_two_in(engine: &Engine) {
    let [one, other] = processes(engine);
    let principal = Principal {
        user: None,
        operator: Some("op".to_owned()),
        is_viewer: false,
    };
    for round in 0..ROUNDS {
        let link = LinkDigest([u8::try_from(round).unwrap(); 32]);
        let (left, right) = (one.sessions(), other.sessions());
        let end = NOW + Duration::from_secs(60);
        left.add_link(link, &principal, end, NOW).await.unwrap();
        let both = tokio::join!(left.redeem_link(link, NOW), right.redeem_link(link, NOW));
        let signed_in = [both.0.unwrap(), both.1.unwrap()];
        assert_eq!(signed_in.iter().flatten().count(), 1);
    }
}

fn target_id(number: u64) -> TargetId {
    format!("tgt_{number:016x}").parse().unwrap()
}

async fn an_alert_is_claimed_by_one_of_two(engine: &Engine) {
    let [one, other] = processes(engine);
    let scope = AlertScope {
        operator: vec![target_id(1)],
        users: true,
    };
    let lease = Duration::from_secs(60);
    for round in 0..ROUNDS {
        let alerts: Vec<_> = (0..4)
            .map(|number| NewAlert {
                id: format!("evt_{:032x}", round * 4 + number).parse().unwrap(),
                event: "{}".to_owned(),
                recipients: vec![AlertRecipient {
                    user: None,
                    target: target_id(1),
                }],
            })
            .collect();
        let (left, right) = (one.alert_outbox(), other.alert_outbox());
        // Of two that observe the same mark, one stores the alerts.
        let mark = left.mark("some thing").await.unwrap();
        let both = tokio::join!(
            left.observe(&mark, &alerts, NOW),
            right.observe(&mark, &alerts, NOW)
        );
        assert_ne!(both.0.unwrap(), both.1.unwrap());
        let both = tokio::join!(
            left.claim(&scope, NOW, lease, 3),
            right.claim(&scope, NOW, lease, 3)
        );
        let rest = left.claim(&scope, NOW, lease, 9).await.unwrap();
        let claimed = [both.0.unwrap(), both.1.unwrap(), rest].concat();
        assert_eq!(claimed.len(), alerts.len());
        let distinct: HashSet<_> = claimed.iter().map(|claim| claim.id.as_str()).collect();
        assert_eq!(distinct.len(), alerts.len());
    }
}

async fn two_requests_do_not_exceed_the_number_of_targets(engine: &Engine) {
    let [one, other] = processes(engine);
    for round in 0..ROUNDS {
        let ann = user("ann", round);
        let (left, right) = (one.alert_targets(), other.alert_targets());
        let [first, second] = [1, 2].map(|number| StoredTarget {
            id: target_id(number),
            text: "https://example.com".into(),
            added_at: NOW,
        });
        let both = tokio::join!(
            left.add_target(&ann, &first, 1),
            right.add_target(&ann, &second, 1)
        );
        assert_ne!(both.0.unwrap(), both.1.unwrap());
        assert_eq!(left.targets(&ann).await.unwrap().len(), 1);
    }
}

/// Several platforms of a new configuration may start at once.
async fn both_may_encrypt_again(engine: &Engine) {
    let old = engine.open(keys("old", &[]));
    for round in 0..120 {
        let ann = user("ann", round);
        let record = add(&old, &ann, MachineLocation::Unknown).await;
        let record = connected(record, &format!("ann{round}@example.com"));
        let secret = format!("secret {round}").into();
        let written = old.users().replace(&record, Some(&secret), NOW).await;
        written.unwrap();
        let target = StoredTarget {
            id: target_id(1),
            text: format!("https://example.com/{round}").into(),
            added_at: NOW,
        };
        let added = old.alert_targets().add_target(&ann, &target, 1).await;
        assert!(added.unwrap());
    }
    for number in 0..120 {
        let permission = PendingRevocation {
            id: RevocationId([number; 32]),
            secret: format!("secret {number}").into(),
            added_at: NOW,
        };
        let added = old.revocations();
        added.add_revocation(&permission, NOW).await.unwrap();
    }
    drop(old);
    let [one, other] = [(); 2].map(|()| engine.open(keys("new", &["old"])));
    let (one, other) = (one.users(), other.users());
    let both = tokio::join!(one.count(), other.count());
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (120, 120));
    let new = engine.open(keys("new", &[]));
    for round in 0..120 {
        let ann = user("ann", round);
        let credentials = new.credentials().credentials(&ann).await.unwrap();
        assert_eq!(credentials.unwrap().expose(), format!("secret {round}"));
        assert_eq!(new.alert_targets().targets(&ann).await.unwrap().len(), 1);
    }
    let claimed = new.revocations().claim_revocations(NOW, NOW, 200).await;
    assert_eq!(claimed.unwrap().len(), 120);
}

/// As a process that was stopped in the middle of a write, for example with its container.
#[tokio::test]
async fn a_file_that_another_process_keeps_locked_is_not_ready_and_refuses_writes() {
    let engine = Engine::sqlite();
    let store = engine.open(keys("k", &[]));
    let url = engine.url();
    let other = rusqlite::Connection::open(url.trim_start_matches("sqlite:")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (users, late) = (store.users(), user("late", 1));
    let (ready, added) = tokio::join!(
        users.check_ready(NOW),
        users.add(new(&late, MachineLocation::Unknown), NOW)
    );
    assert!(ready.is_err() && added.is_err());
    assert_eq!(users.count().await.unwrap(), 0, "it can still be read");
    other.execute_batch("COMMIT").unwrap();
    let mut second = NOW;
    while users.check_ready(second).await.is_err() {
        second = second + std::time::Duration::from_secs(1);
    }
    let record = users.get(&late).await.unwrap();
    if record.is_none() {
        add(&store, &late, MachineLocation::Unknown).await;
    }
}
