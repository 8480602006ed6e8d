//! What [`Users`] promises: a file for each kind of promise.

mod credentials;
mod history;
mod lists;
mod look_ups;
mod machines;
mod writes;

use std::time::Duration;

pub use self::credentials::*;
pub use self::history::*;
pub use self::lists::*;
pub use self::look_ups::*;
pub use self::machines::*;
pub use self::writes::*;
use postbell_core::{
    GoogleConnection, InstanceStatus, MachineLocation, ManagedMachine, NewUser, StoredCredentials,
    Timestamp, UserId, UserRecord, Users,
};

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression that gives a box or an `Arc` of records that are empty and nobody else's,
/// and whatever must live as long as they do.
#[macro_export]
macro_rules! users_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (instances, _kept_alive) = $open;
                $crate::conformance::users::$promise(&*instances).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::users_conformance! { @each $open;
            what_was_added_is_read_back
            a_user_is_added_once
            a_sandbox_id_is_one_users_alone
            what_was_written_is_read_back_with_a_new_version
            a_write_on_top_of_a_stale_record_changes_nothing
            a_write_to_a_user_who_is_gone_is_told
            two_writers_at_once_lose_nobodys_change
            a_removed_user_is_gone
            a_history_id_only_rises
            history_ids_beyond_two_to_the_63_rise_too
            no_history_id_is_noted_without_a_connection
            a_history_id_that_rose_makes_a_writer_read_again
            credentials_are_read_back_unchanged
            a_write_without_credentials_keeps_those_that_are_stored
            credentials_are_gone_with_the_connection
            an_address_is_one_users_alone
            an_address_that_is_not_connected_any_more_is_nobodys
            a_machine_is_found_by_its_sandbox_id
            what_a_machine_has_yet_to_be_told_is_kept_in_mind
            a_machine_that_nobody_has_any_more_is_kept_in_mind_until_it_is_cleared
            a_machine_that_somebody_has_still_or_again_is_not_left
            users_are_listed_a_page_at_a_time
            users_are_searched_by_the_beginning_of_their_id
            users_are_searched_by_the_beginning_of_their_address
            the_users_are_counted
        }
    };
}

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn new(name: &str) -> NewUser {
    NewUser {
        user: user(name),
        sandbox_id: format!("sandbox-of-{name}").parse().unwrap(),
        status: InstanceStatus::Running,
        place: MachineLocation::Managed(ManagedMachine {
            app: "bot".to_owned(),
            machine: "d8910".to_owned(),
        }),
        wake_on_mail: false,
    }
}

async fn add(instances: &dyn Users, name: &str) -> UserRecord {
    instances.add(new(name), T0).await.unwrap()
}

fn connection(email: &str, connected_at: Timestamp) -> GoogleConnection {
    GoogleConnection {
        email: Some(email.parse().unwrap()),
        push_account: Some("push@p.iam.gserviceaccount.com".parse().unwrap()),
        connected_at,
    }
}

/// Adds a user whose account has this address, connected so many seconds after the start.
async fn add_connected(instances: &dyn Users, name: &str, email: &str, seconds: u32) -> UserRecord {
    let mut record = add(instances, name).await;
    record.connect(connection(email, T0 + SECOND * seconds));
    let credentials = StoredCredentials::from(format!("credentials of {name}"));
    instances
        .replace(&record, Some(&credentials), T0)
        .await
        .unwrap()
}

async fn get(instances: &dyn Users, name: &str) -> Option<UserRecord> {
    instances.get(&user(name)).await.unwrap()
}
