//! Pending configuration of machines, and machines without a user.

use super::{T0, add, get, new, remove, user};
use crate::UserStore;
use postbell_core::{MachineLocation, ManagedMachine, NewUser};

fn machine(name: &str) -> ManagedMachine {
    ManagedMachine {
        app: "bot".to_owned(),
        machine: name.to_owned(),
    }
}

async fn add_on(store: &UserStore, name: &str, machine: ManagedMachine) {
    let new = NewUser {
        location: MachineLocation::Managed(machine),
        ..new(name)
    };
    store.users.add(new, T0).await.unwrap();
}

async fn move_to(store: &UserStore, name: &str, location: MachineLocation) {
    let mut record = get(store, name).await.unwrap();
    record.location = location;
    store.users.replace(&record, None, T0).await.unwrap();
}

async fn orphaned(store: &UserStore) -> Vec<ManagedMachine> {
    store
        .orphaned_machines
        .orphaned_machines(None, 10)
        .await
        .unwrap()
}

/// In pages, until the sync is done.
pub async fn users_with_a_pending_sync_are_listed(store: &UserStore) {
    for name in ["cid", "ann", "bob"] {
        let mut record = add(store, name).await;
        record.mark_pending_sync();
        let written = store.users.replace(&record, None, T0).await.unwrap();
        assert_eq!(written.pending_sync, Some(written.version));
        assert_eq!(get(store, name).await, Some(written));
    }
    add(store, "dan").await;
    let first = store.users.pending_sync(None, 2).await.unwrap();
    assert_eq!(first, [user("ann"), user("bob")]);
    let rest = store.users.pending_sync(first.last(), 2).await.unwrap();
    assert_eq!(rest, [user("cid")]);

    let mut synced = get(store, "bob").await.unwrap();
    synced.pending_sync = None;
    store.users.replace(&synced, None, T0).await.unwrap();
    remove(store, "cid").await;
    assert_eq!(
        store.users.pending_sync(None, 10).await.unwrap(),
        [user("ann")]
    );
}

/// Whether its user was removed or got another machine.
pub async fn an_orphaned_machine_is_listed_until_it_is_cleared(store: &UserStore) {
    for (name, of) in [("ann", "1"), ("bob", "2"), ("cid", "3"), ("dan", "4")] {
        add_on(store, name, machine(of)).await;
    }
    assert_eq!(orphaned(store).await, []);
    remove(store, "ann").await;
    move_to(store, "bob", MachineLocation::Managed(machine("5"))).await;
    move_to(store, "cid", MachineLocation::Unknown).await;
    let [one, two, three] = ["1", "2", "3"].map(machine);
    assert_eq!(orphaned(store).await, [one.clone(), two, three.clone()]);
    let rest = store
        .orphaned_machines
        .orphaned_machines(Some(&one), 1)
        .await
        .unwrap();
    assert_eq!(rest, [machine("2")]);

    store
        .orphaned_machines
        .remove_orphaned_machine(&machine("2"))
        .await
        .unwrap();
    store
        .orphaned_machines
        .remove_orphaned_machine(&machine("2"))
        .await
        .unwrap();
    assert_eq!(orphaned(store).await, [one, three]);
}

/// A machine may have several users.
pub async fn a_machine_with_a_user_is_not_orphaned(store: &UserStore) {
    for (name, of) in [("ann", "1"), ("bob", "1"), ("cid", "2"), ("dan", "3")] {
        add_on(store, name, machine(of)).await;
    }
    remove(store, "ann").await;
    assert_eq!(orphaned(store).await, [], "bob has it still");
    remove(store, "cid").await;
    remove(store, "dan").await;
    assert_eq!(orphaned(store).await, [machine("2"), machine("3")]);
    add_on(store, "eve", machine("2")).await;
    move_to(store, "bob", MachineLocation::Managed(machine("3"))).await;
    assert_eq!(orphaned(store).await, [machine("1")]);
}
