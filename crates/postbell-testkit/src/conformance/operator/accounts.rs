//! Entries about further accounts.

use postbell_core::{GoogleConnection, NewAccount};

use super::{Operated, T0, done, is_done, new, olga, user};

/// With those of their user, so that they are found by the user's id.
pub async fn each_change_of_an_account_has_an_entry_of_its_user(operated: &Operated) {
    let users = operated.ports.users(&olga());
    users.add(new("ann"), T0).await.unwrap();
    let account = NewAccount {
        record: user("ann.team"),
        owner: user("ann"),
        owner_added: T0,
        connection: GoogleConnection {
            email: Some("team@example.com".parse().unwrap()),
            push_account: None,
            connected_at: T0,
        },
        watch_expires_at: None,
    };
    let secret = "the refresh token".to_owned().into();
    let account = users.add_account(account, &secret, T0).await;
    let mut account = account.unwrap();
    account.notifications_enabled = false;
    let account = users.replace(&account, None, T0).await.unwrap();
    assert!(users.remove(&account).await.unwrap());
    let change = |detail| ("user.change", "ann", detail);
    is_done(
        &done(operated).await,
        &[
            ("user.add", "ann", ""),
            change("account ann.team: connected a further Google account"),
            change("account ann.team: notifications off"),
            change("account ann.team: disconnected the Google account"),
        ],
    );
}
