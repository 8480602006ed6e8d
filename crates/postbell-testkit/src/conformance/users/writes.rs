//! Writes, and who may make them.

use super::{SECOND, T0, add, add_connected, connection, get, new, user};
use crate::PausedClock;
use postbell_core::{InstanceStatus, MachineLocation, NewUser, Users, UsersError, update_user};

/// All of it, as it was said.
pub async fn what_was_added_is_read_back(instances: &dyn Users) {
    let added = add(instances, "ann").await;
    assert_eq!((added.created_at, added.updated_at), (T0, T0));
    assert!(added.google.is_none() && !added.notifications_enabled);
    assert_eq!(get(instances, "ann").await, Some(added));
    assert_eq!(get(instances, "bob").await, None);
}

/// Whoever is there stays as they are.
pub async fn a_user_is_added_once(instances: &dyn Users) {
    let first = add(instances, "ann").await;
    let again = NewUser {
        sandbox_id: "another".parse().unwrap(),
        ..new("ann")
    };
    let error = instances.add(again, T0 + SECOND).await.unwrap_err();
    assert!(
        matches!(error, UsersError::AlreadyThere { .. }),
        "{error:?}"
    );
    assert_eq!(get(instances, "ann").await, Some(first));
}

/// A machine's token is made of it: two users with one could open each other's.
pub async fn a_sandbox_id_is_one_users_alone(instances: &dyn Users) {
    let ann = add(instances, "ann").await;
    let bob = add(instances, "bob").await;
    let taken = NewUser {
        sandbox_id: ann.sandbox_id.clone(),
        ..new("cid")
    };
    let error = instances.add(taken, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::SandboxTaken), "{error:?}");
    let mut wrong = bob.clone();
    wrong.sandbox_id = ann.sandbox_id;
    let error = instances.replace(&wrong, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::SandboxTaken), "{error:?}");
    assert_eq!(get(instances, "bob").await, Some(bob));
    assert_eq!(get(instances, "cid").await, None);
}

/// Every field, whatever it was before.
pub async fn what_was_written_is_read_back_with_a_new_version(instances: &dyn Users) {
    let mut record = add(instances, "ann").await;
    let url = "https://bot.example.com/x".parse().unwrap();
    for (place, status) in [
        (MachineLocation::Url(url), InstanceStatus::Stopped),
        (MachineLocation::Unknown, InstanceStatus::Destroying),
        (new("ann").place, InstanceStatus::Starting),
    ] {
        record.place = place;
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
        let now = record.updated_at + SECOND;
        let written = instances.replace(&record, None, now).await.unwrap();
        assert!(written.version > record.version);
        record.version = written.version;
        record.updated_at = now;
        assert_eq!(written, record);
        assert_eq!(get(instances, "ann").await, Some(written));
    }
    record.disconnect();
    let written = instances.replace(&record, None, T0).await.unwrap();
    assert_eq!((&written.google, written.watch_expires_at), (&None, None));
    assert_eq!(get(instances, "ann").await, Some(written));
}

/// Whoever comes second must look at what the first one wrote.
pub async fn a_write_on_top_of_a_stale_record_changes_nothing(instances: &dyn Users) {
    let stale = add(instances, "ann").await;
    let mut theirs = stale.clone();
    theirs.status = InstanceStatus::Stopped;
    let written = instances.replace(&theirs, None, T0).await.unwrap();

    let mut ours = stale;
    ours.wake_on_mail = true;
    let error = instances.replace(&ours, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::Changed { .. }), "{error:?}");
    assert_eq!(get(instances, "ann").await, Some(written));
}

/// And it does not bring them back.
pub async fn a_write_to_a_user_who_is_gone_is_told(instances: &dyn Users) {
    let record = add(instances, "ann").await;
    instances.remove(&user("ann")).await.unwrap();
    let error = instances.replace(&record, None, T0).await.unwrap_err();
    assert!(matches!(error, UsersError::Missing { .. }), "{error:?}");
    assert_eq!(get(instances, "ann").await, None);
}

/// Each changes a field of its own, often, and both are as they were left.
pub async fn two_writers_at_once_lose_nobodys_change(instances: &dyn Users) {
    const TIMES: u32 = 25;
    add_connected(instances, "ann", "ann@example.com", 0).await;
    let clock = PausedClock::starting_at(T0);
    let ann = user("ann");
    let toggles = async {
        for _ in 0..TIMES {
            let toggled = update_user(instances, &ann, None, &clock, |record| {
                record.notifications_enabled = !record.notifications_enabled;
                Ok::<_, UsersError>(())
            });
            toggled.await.unwrap();
        }
    };
    let permits = async {
        for _ in 0..TIMES {
            let permitted = update_user(instances, &ann, None, &clock, |record| {
                record.wake_on_mail = !record.wake_on_mail;
                Ok::<_, UsersError>(())
            });
            permitted.await.unwrap();
        }
    };
    tokio::join!(toggles, permits);
    let record = get(instances, "ann").await.unwrap();
    // On, and toggled an odd number of times; off, and the same.
    assert_eq!(
        (record.notifications_enabled, record.wake_on_mail),
        (false, true)
    );
    assert_eq!(record.version, 2 + 2 * i64::from(TIMES));
}

/// With the address, the sandbox id and the credentials; they may come back as somebody new.
pub async fn a_removed_user_is_gone(instances: &dyn Users) {
    let before = add_connected(instances, "ann", "ann@example.com", 0).await;
    assert!(instances.remove(&user("ann")).await.unwrap());
    assert!(!instances.remove(&user("ann")).await.unwrap());

    let email = "ann@example.com".parse().unwrap();
    assert_eq!(get(instances, "ann").await, None);
    assert_eq!(instances.user_by_email(&email).await.unwrap(), None);
    let found = instances.user_by_sandbox(&before.sandbox_id).await;
    assert_eq!(found.unwrap(), None);
    let again = add(instances, "ann").await;
    assert_eq!(again.google, None);
    assert!(instances.credentials(&user("ann")).await.unwrap().is_none());
}
