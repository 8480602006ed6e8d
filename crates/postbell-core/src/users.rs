//! Who the users are, and what is known of each: one record a user.

mod announced;
mod record;
mod update;

use async_trait::async_trait;

pub use self::announced::AnnouncedUsers;
pub use self::record::{GoogleConnection, NewUser, StoredCredentials, UserRecord};
pub use self::update::update_user;
use crate::{BoxError, EmailAddress, HistoryId, ManagedMachine, SandboxId, Timestamp, UserId};

/// A durable record for each user, which several processes may read and write at once.
///
/// Times always come from the caller. Each promise is a test of `postbell_testkit::conformance`, for every
/// backend.
///
/// - A write is a compare-and-set: it takes place only where nobody wrote since the record was
///   read. Whoever comes second reads again, and so loses nobody's change ([`update_user`] does that).
/// - A history id only rises, as a number over the whole range of 64 bits, and only while a Google
///   account is connected: what is reported late, of an account that is gone, is not kept for the
///   next one.
/// - StoredCredentials are no part of the record. They are read on their own, by the one who needs them,
///   and are gone with the connection.
/// - A connected address is one user's alone, like a sandbox id.
/// - A machine on Fly that was a user's, and is nobody's any more, is kept in mind until somebody says
///   that it was cleared: it holds what it was told.
/// - A list is read a page at a time, and a page costs the same wherever it begins.
#[async_trait]
pub trait Users: Send + Sync {
    /// Adds a user.
    ///
    /// # Errors
    ///
    /// [`UsersError::AlreadyThere`] or [`UsersError::SandboxTaken`]: nothing is changed.
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError>;

    /// Returns a user's record, or `None` where there is no such user.
    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, UsersError>;

    /// Writes a record that was read before, and returns it with its new version.
    ///
    /// `credentials`, where given, take the place of those that are stored. Those are forgotten
    /// where the record has no connection any more.
    ///
    /// # Errors
    ///
    /// [`UsersError::Changed`] where somebody wrote since it was read,
    /// [`UsersError::Missing`] where the user is gone, and [`UsersError::AddressTaken`] or
    /// [`UsersError::SandboxTaken`]: nothing is changed.
    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError>;

    /// Notes how far a user's mail was delivered, if that is further than what is known, and
    /// returns whether it was. No user, and no connected account: not noted.
    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
        now: Timestamp,
    ) -> Result<bool, UsersError>;

    /// Removes a user with all that is known of them, and returns whether there was one.
    async fn remove(&self, user: &UserId) -> Result<bool, UsersError>;

    /// Returns what opens a user's Google account, or `None` where none is connected.
    ///
    /// # Errors
    ///
    /// [`UsersError::Corrupt`] where they cannot be decrypted: the key is gone, or they were
    /// another user's.
    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, UsersError>;

    /// Returns whose connected account has this address, or `None` where it is nobody's.
    ///
    /// Nothing proves that a mailbox is the user's who connected it: nobody takes another's
    /// notifications by naming their address.
    async fn user_by_email(&self, email: &EmailAddress) -> Result<Option<UserId>, UsersError>;

    /// Returns whose machine has this sandbox id, or `None` where it is nobody's.
    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, UsersError>;

    /// Lists up to `most` records.
    async fn list(&self, listing: &Listing, most: usize) -> Result<Vec<UserRecord>, UsersError>;

    /// Lists up to `most` users whose machine has yet to be told of something, by user id.
    async fn untold(&self, after: Option<&UserId>, most: usize) -> Result<Vec<UserId>, UsersError>;

    /// Lists up to `most` machines that are nobody's any more and were not cleared yet, in order.
    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        most: usize,
    ) -> Result<Vec<ManagedMachine>, UsersError>;

    /// Notes that a machine that was left has been cleared.
    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), UsersError>;

    /// Counts the users.
    async fn count(&self) -> Result<u64, UsersError>;
}

/// Which records are listed, in what order, and after which one the page begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listing {
    /// Those whose user id begins so, by user id.
    ByUser {
        /// What the user id begins with; everybody's with the empty text.
        prefix: String,
        /// The last one of the page before.
        after: Option<UserId>,
    },
    /// Those whose connected account's address begins so, by address and then by user id.
    ByEmail {
        /// What the address begins with, in any case.
        prefix: String,
        /// The last one of the page before.
        after: Option<(EmailAddress, UserId)>,
    },
}

/// Why an [`Users`] call failed, in terms the caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// There is such a user already.
    #[error("there is a user {user} already")]
    AlreadyThere {
        /// Who.
        user: UserId,
    },

    /// Another user's machine has this sandbox id.
    #[error("the sandbox id is another user's")]
    SandboxTaken,

    /// Another user's account has this address, and had it first.
    #[error("the address is another user's")]
    AddressTaken,

    /// Somebody wrote since the record was read. Read it again, and try again.
    #[error("the record of {} was changed in between", .user.masked())]
    Changed {
        /// Whose record.
        user: UserId,
    },

    /// There is no such user, or not any more.
    #[error("there is no user {user}")]
    Missing {
        /// Who.
        user: UserId,
    },

    /// The backend is busy, full or out of reach. The same call may succeed later.
    #[error("the users' records are unavailable")]
    Unavailable(#[source] BoxError),

    /// What is stored is not what we wrote: a bug, damage, or a key that is gone. Never retried.
    #[error("the stored {what} cannot be read")]
    Corrupt {
        /// The column or row.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
}
