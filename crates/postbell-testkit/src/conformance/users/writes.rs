//! Writes and their conflicts.

use super::{SECOND, T0, add, add_connected, connection, get, new, remove, user};
use crate::PausedClock;
use crate::UserStore;
use postbell_core::{
    InstanceStatus, MachineLocation, MailProblem, NewUser, ProblemCode, StoredCredentials,
    UsersError, update_user,
};

/// With all fields.
pub async fn an_added_user_is_read_back(store: &UserStore) {
    let added = add(store, "ann").await;
    assert_eq!((added.created_at, added.updated_at), (T0, T0));
    assert!(added.google.is_none() && !added.notifications_enabled);
    assert_eq!(get(store, "ann").await, Some(added));
    assert_eq!(get(store, "bob").await, None);
}

/// The existing user is not changed.
pub async fn a_user_is_added_once(store: &UserStore) {
    let first = add(store, "ann").await;
    let again = NewUser {
        sandbox_id: "another".parse().unwrap(),
        ..new("ann")
    };
    let error = store.users.add(again, T0 + SECOND).await.unwrap_err();
    assert!(
        matches!(error, UsersError::AlreadyExists { .. }),
        "{error:?}"
    );
    assert_eq!(get(store, "ann").await, Some(first));
}

/// A machine's token is derived from it: users who shared one could access each other's machine.
pub async fn a_sandbox_id_belongs_to_one_user(store: &UserStore) {
    let ann = add(store, "ann").await;
    let bob = add(store, "bob").await;
    let taken = NewUser {
        sandbox_id: ann.sandbox_id.clone(),
        ..new("cid")
    };
    let error = store.users.add(taken, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::SandboxTaken), "{error:?}");
    let mut wrong = bob.clone();
    wrong.sandbox_id = ann.sandbox_id;
    let error = store.users.replace(&wrong, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::SandboxTaken), "{error:?}");
    assert_eq!(get(store, "bob").await, Some(bob));
    assert_eq!(get(store, "cid").await, None);
}

/// Every field.
pub async fn a_written_record_is_read_back_with_a_new_version(store: &UserStore) {
    let mut record = add(store, "ann").await;
    let url = "https://bot.example.com/x".parse().unwrap();
    for (location, status) in [
        (MachineLocation::Url(url), InstanceStatus::Stopped),
        (MachineLocation::Unknown, InstanceStatus::Destroying),
        (new("ann").location, InstanceStatus::Starting),
    ] {
        record.location = location;
        record.status = status;
        record.wake_on_mail = !record.wake_on_mail;
        record.sandbox_id = format!("now-{status:?}").parse().unwrap();
        let mut unnamed = connection("ann@example.com", T0);
        unnamed.email = None;
        unnamed.push_account = None;
        record.connect(match status {
            InstanceStatus::Stopped => unnamed,
            _ => connection("Ann@Example.com", T0 + SECOND),
        });
        record.watch_expires_at = match status {
            InstanceStatus::Destroying => None,
            _ => Some(T0 + SECOND * 7),
        };
        record.problem = record.watch_expires_at.map(|since| MailProblem {
            code: ProblemCode::WebhookFailing,
            since,
        });
        let now = record.updated_at + SECOND;
        let written = store.users.replace(&record, None, now).await.unwrap();
        assert!(written.version > record.version);
        record.version = written.version;
        record.updated_at = now;
        assert_eq!(written, record);
        assert_eq!(get(store, "ann").await, Some(written));
    }
    record.disconnect();
    let written = store.users.replace(&record, None, T0).await.unwrap();
    assert_eq!((&written.google, written.watch_expires_at), (&None, None));
    assert_eq!(written.problem, None);
    assert_eq!(get(store, "ann").await, Some(written));
}

/// The second writer must read again.
pub async fn a_write_of_a_stale_record_changes_nothing(store: &UserStore) {
    let stale = add(store, "ann").await;
    let mut theirs = stale.clone();
    theirs.status = InstanceStatus::Stopped;
    let written = store.users.replace(&theirs, None, T0).await.unwrap();

    let mut ours = stale;
    ours.wake_on_mail = true;
    let error = store.users.replace(&ours, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::Changed { .. }), "{error:?}");
    assert_eq!(get(store, "ann").await, Some(written));
}

/// The user is not restored.
pub async fn a_write_to_a_removed_user_is_refused(store: &UserStore) {
    let record = add(store, "ann").await;
    remove(store, "ann").await;
    let error = store.users.replace(&record, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::Missing { .. }), "{error:?}");
    assert_eq!(get(store, "ann").await, None);
}

/// Each writer changes a field of its own many times.
pub async fn two_concurrent_writers_lose_no_change(store: &UserStore) {
    const TIMES: u32 = 25;
    add_connected(store, "ann", "ann@example.com", 0).await;
    let clock = PausedClock::starting_at(T0);
    let ann = user("ann");
    let toggles = async {
        for _ in 0..TIMES {
            let toggled = update_user(&*store.users, &ann, None, &clock, |record| {
                record.notifications_enabled = !record.notifications_enabled;
                Ok::<_, UsersError>(())
            });
            toggled.await.unwrap();
        }
    };
    let permits = async {
        for _ in 0..TIMES {
            let permitted = update_user(&*store.users, &ann, None, &clock, |record| {
                record.wake_on_mail = !record.wake_on_mail;
                Ok::<_, UsersError>(())
            });
            permitted.await.unwrap();
        }
    };
    tokio::join!(toggles, permits);
    let record = get(store, "ann").await.unwrap();
    // On, and toggled an odd number of times; off, and the same.
    assert_eq!(
        (record.notifications_enabled, record.wake_on_mail),
        (false, true)
    );
    assert_eq!(record.version, 2 + 2 * i64::from(TIMES));
}

/// The address, the sandbox id and the credentials become free.
pub async fn a_removed_user_is_gone(store: &UserStore) {
    let before = add_connected(store, "ann", "ann@example.com", 0).await;
    assert!(remove(store, "ann").await);
    assert!(!remove(store, "ann").await);

    let email = "ann@example.com".parse().unwrap();
    assert_eq!(get(store, "ann").await, None);
    assert_eq!(store.users.users_by_email(&email).await.unwrap(), []);
    let found = store.users.user_by_sandbox(&before.sandbox_id).await;
    assert_eq!(found.unwrap(), None);
    let again = add(store, "ann").await;
    assert_eq!(again.google, None);
    assert!(
        store
            .credentials
            .credentials(&user("ann"))
            .await
            .unwrap()
            .is_none()
    );
}

/// Not, as of a user whose account was connected meanwhile, another one than that which was read.
pub async fn a_record_that_has_changed_is_not_removed(store: &UserStore) {
    let stale = add(store, "ann").await;
    let mut connected = stale.clone();
    connected.connect(connection("ann@example.com", T0));
    let credentials = StoredCredentials::from("credentials".to_owned());
    let written = store.users.replace(&connected, Some(&credentials), T0);
    let written = written.await.unwrap();
    let refused = store.users.remove(&stale).await;
    assert!(
        matches!(refused, Err(UsersError::Changed { .. })),
        "{refused:?}"
    );
    assert_eq!(get(store, "ann").await, Some(written.clone()));
    let kept = store.credentials.credentials(&stale.user).await.unwrap();
    assert!(kept.is_some());
    assert!(store.users.remove(&written).await.unwrap());
    assert!(!store.users.remove(&written).await.unwrap());
}
