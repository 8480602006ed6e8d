//! The promises of [`Users`](postbell_core::Users), [`Credentials`](postbell_core::Credentials) and
//! [`OrphanedMachines`](postbell_core::OrphanedMachines).

mod accounts;
mod credentials;
mod history;
mod lists;
mod lookup;
mod machines;
mod processes;
mod writes;

use std::time::Duration;

pub use self::accounts::*;
pub use self::credentials::*;
pub use self::history::*;
pub use self::lists::*;
pub use self::lookup::*;
pub use self::machines::*;
pub use self::processes::*;
pub use self::writes::*;
use crate::UserStore;
use postbell_core::{
    GoogleConnection, InstanceStatus, MachineLocation, ManagedMachine, NewUser, StoredCredentials,
    Timestamp, UserId, UserRecord,
};

/// Expands to one test for each promise, so that a failure names the promise and the backend.
///
/// Takes an expression for an empty [`UserStore`] and a value that must live as
/// long.
#[macro_export]
macro_rules! users_conformance {
    (@each $open:expr; $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (store, _kept_alive) = $open;
                $crate::conformance::users::$promise(&store).await;
            }
        )+
    };
    ($open:expr) => {
        $crate::users_conformance! { @each $open;
            an_added_user_is_read_back
            a_user_is_added_once
            a_sandbox_id_belongs_to_one_user
            a_written_record_is_read_back_with_a_new_version
            a_write_of_a_stale_record_changes_nothing
            a_write_to_a_removed_user_is_refused
            two_concurrent_writers_lose_no_change
            a_removed_user_is_gone
            a_history_id_only_rises
            history_ids_beyond_two_to_the_63_rise_too
            no_history_id_is_stored_without_a_connection
            a_raised_history_id_makes_no_record_stale
            another_account_begins_without_a_history_id
            credentials_are_read_back_unchanged
            a_write_without_credentials_keeps_the_stored_ones
            a_record_that_has_changed_is_not_removed
            credentials_are_deleted_with_the_connection
            an_address_belongs_to_a_bounded_number_of_users
            a_mailbox_has_the_same_users_in_all_spellings
            a_disconnected_address_belongs_to_no_user
            a_user_is_found_by_sandbox_id
            users_with_a_pending_sync_are_listed
            an_orphaned_machine_is_listed_until_it_is_cleared
            a_machine_with_a_user_is_not_orphaned
            users_are_listed_in_pages
            users_are_filtered_by_the_beginning_of_their_id
            users_are_listed_by_their_problem
            users_are_listed_by_the_end_of_their_watch
            users_who_get_no_mail_are_listed
            users_whose_machine_does_not_answer_are_listed
            users_who_have_not_connected_are_listed
            users_are_filtered_by_the_beginning_of_their_address
            the_users_are_counted
            problems_are_counted_by_code
            a_start_is_recorded_once_within_the_pause
            of_two_concurrent_starts_one_is_recorded
            a_recorded_start_makes_no_record_stale
            a_mark_differs_once_its_user_has_changed
            a_further_account_has_a_record_of_its_own
            further_accounts_are_listed_by_user
            further_accounts_are_not_users
            a_user_has_a_mailbox_once
            of_two_concurrent_accounts_with_one_mailbox_one_is_added
            a_user_has_a_bounded_number_of_accounts
            a_further_account_belongs_to_a_user
            a_removed_account_leaves_its_user_and_the_other_accounts
            an_account_that_the_machine_does_not_watch_has_that_problem
            a_user_with_a_connected_account_has_connected
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
        location: MachineLocation::Managed(ManagedMachine {
            app: "bot".to_owned(),
            machine: "d8910".to_owned(),
        }),
        wake_on_mail: false,
    }
}

async fn add(store: &UserStore, name: &str) -> UserRecord {
    store.users.add(new(name), T0).await.unwrap()
}

fn connection(email: &str, connected_at: Timestamp) -> GoogleConnection {
    GoogleConnection {
        email: Some(email.parse().unwrap()),
        push_account: Some("push@p.iam.gserviceaccount.com".parse().unwrap()),
        connected_at,
    }
}

/// Adds a user with a connected account.
async fn add_connected(store: &UserStore, name: &str, email: &str, seconds: u32) -> UserRecord {
    let mut record = add(store, name).await;
    record.connect(connection(email, T0 + SECOND * seconds));
    let credentials = StoredCredentials::from(format!("credentials of {name}"));
    store
        .users
        .replace(&record, Some(&credentials), T0)
        .await
        .unwrap()
}

async fn get(store: &UserStore, name: &str) -> Option<UserRecord> {
    store.users.get(&user(name)).await.unwrap()
}

/// Removes a user or an account as it is, and returns whether it existed.
async fn remove(store: &UserStore, name: &str) -> bool {
    match get(store, name).await {
        Some(record) => store.users.remove(&record).await.unwrap(),
        None => false,
    }
}
