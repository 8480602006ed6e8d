//! Which sessions by an account outlive its disconnection.
//!
//! Who has signed in by an account may disconnect it, and connect it again. Another account in between ends the session for
//! good. So the connections of each mailbox of a user are counted, and those of all mailboxes: the difference changes only with
//! connections of others. The counts are epochs of subjects that no session has.

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{EmailAddress, Sessions, StoreError, UserId};

/// Counts a connection of the user's first account. Called before it is stored, so that none is missed.
pub(crate) async fn count_connection(
    sessions: &dyn Sessions,
    user: &UserId,
    mailbox: Option<&EmailAddress>,
) -> Result<(), StoreError> {
    sessions.end_sessions(&all_of(user)).await?;
    if let Some(mailbox) = mailbox {
        sessions.end_sessions(&of_mailbox(user, mailbox)).await?;
    }
    Ok(())
}

/// Returns how often other accounts than that of the mailbox were connected.
pub(crate) async fn connections_of_others(
    sessions: &dyn Sessions,
    user: &UserId,
    mailbox: &EmailAddress,
) -> Result<i64, StoreError> {
    // In this order, a connection of the mailbox in between ends no session too late.
    let own = sessions.epoch(&of_mailbox(user, mailbox)).await?;
    Ok(sessions.epoch(&all_of(user)).await? - own)
}

/// No user id contains a space.
fn all_of(user: &UserId) -> String {
    format!("accounts of {user}")
}

/// The address is not stored, because it may be of an account that is disconnected.
fn of_mailbox(user: &UserId, mailbox: &EmailAddress) -> String {
    let hash = digest(&SHA256, mailbox.mailbox_key().as_bytes());
    format!("account {} of {user}", hex::encode(&hash.as_ref()[..16]))
}
