//! What machines have yet to be told, and which of them were left.

use super::{T0, add, get, new, user};
use postbell_core::{MachineLocation, ManagedMachine, NewUser, Users};

fn machine(name: &str) -> ManagedMachine {
    ManagedMachine {
        app: "bot".to_owned(),
        machine: name.to_owned(),
    }
}

async fn add_on(instances: &dyn Users, name: &str, machine: ManagedMachine) {
    let new = NewUser {
        place: MachineLocation::Managed(machine),
        ..new(name)
    };
    instances.add(new, T0).await.unwrap();
}

async fn move_to(instances: &dyn Users, name: &str, place: MachineLocation) {
    let mut record = get(instances, name).await.unwrap();
    record.place = place;
    instances.replace(&record, None, T0).await.unwrap();
}

async fn left(instances: &dyn Users) -> Vec<ManagedMachine> {
    instances.orphaned_machines(None, 10).await.unwrap()
}

/// Until it is told; a page at a time.
pub async fn what_a_machine_has_yet_to_be_told_is_kept_in_mind(instances: &dyn Users) {
    for name in ["cid", "ann", "bob"] {
        let mut record = add(instances, name).await;
        record.mark_pending_sync();
        let written = instances.replace(&record, None, T0).await.unwrap();
        assert_eq!(written.untold, Some(written.version));
        assert_eq!(get(instances, name).await, Some(written));
    }
    add(instances, "dan").await;
    let first = instances.untold(None, 2).await.unwrap();
    assert_eq!(first, [user("ann"), user("bob")]);
    let rest = instances.untold(first.last(), 2).await.unwrap();
    assert_eq!(rest, [user("cid")]);

    let mut told = get(instances, "bob").await.unwrap();
    told.untold = None;
    instances.replace(&told, None, T0).await.unwrap();
    instances.remove(&user("cid")).await.unwrap();
    assert_eq!(instances.untold(None, 10).await.unwrap(), [user("ann")]);
}

/// It holds what it was told, whether its user was removed or has another one.
pub async fn a_machine_that_nobody_has_any_more_is_kept_in_mind_until_it_is_cleared(
    instances: &dyn Users,
) {
    for (name, of) in [("ann", "1"), ("bob", "2"), ("cid", "3"), ("dan", "4")] {
        add_on(instances, name, machine(of)).await;
    }
    assert_eq!(left(instances).await, []);
    instances.remove(&user("ann")).await.unwrap();
    move_to(instances, "bob", MachineLocation::Managed(machine("5"))).await;
    move_to(instances, "cid", MachineLocation::Unknown).await;
    let [one, two, three] = ["1", "2", "3"].map(machine);
    assert_eq!(left(instances).await, [one.clone(), two, three.clone()]);
    let rest = instances.orphaned_machines(Some(&one), 1).await.unwrap();
    assert_eq!(rest, [machine("2")]);

    instances
        .remove_orphaned_machine(&machine("2"))
        .await
        .unwrap();
    instances
        .remove_orphaned_machine(&machine("2"))
        .await
        .unwrap();
    assert_eq!(left(instances).await, [one, three]);
}

/// Whoever has it sees to what it holds.
pub async fn a_machine_that_somebody_has_still_or_again_is_not_left(instances: &dyn Users) {
    for (name, of) in [("ann", "1"), ("bob", "1"), ("cid", "2"), ("dan", "3")] {
        add_on(instances, name, machine(of)).await;
    }
    instances.remove(&user("ann")).await.unwrap();
    assert_eq!(left(instances).await, [], "bob has it still");
    instances.remove(&user("cid")).await.unwrap();
    instances.remove(&user("dan")).await.unwrap();
    assert_eq!(left(instances).await, [machine("2"), machine("3")]);
    add_on(instances, "eve", machine("2")).await;
    move_to(instances, "bob", MachineLocation::Managed(machine("3"))).await;
    assert_eq!(left(instances).await, [machine("1")]);
}
