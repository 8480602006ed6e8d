//! The users: one record each, their credentials, and machines without a user.

mod record;
mod update;

use std::time::Duration;

use async_trait::async_trait;

pub use self::record::{GoogleConnection, NewAccount, NewUser, StoredCredentials, UserRecord};
pub use self::update::update_user;
use crate::{
    EmailAddress, HistoryId, ManagedMachine, ProblemCode, SandboxId, StoreError, Timestamp, UserId,
};

/// How many users may connect an account with the same address, for example one bot each.
pub const MAX_USERS_OF_MAILBOX: usize = 16;

/// How many Google accounts a user may connect. One watcher process of their machine watches all of them, and each check-in
/// reports on all of them; a machine with more mailboxes has them in its own configuration (docs/mailboxes.md).
pub const MAX_ACCOUNTS_OF_USER: usize = 20;

/// A durable record per user, and one for each further Google account of a user, which several processes may read and write at
/// the same time.
///
/// Times always come from the caller. Each promise is a test of `postbell_testkit::conformance`, for
/// every backend.
///
/// - A write is a compare-and-set: it succeeds only if the record did not change since it was read.
///   A writer that loses reads again, and so overwrites no other change ([`update_user`] does that).
/// - A history id only rises, as a number over the whole range of 64 bits, and only while a Google
///   account is connected: a late report about a disconnected account is not kept for the next one.
///   It is not part of the compare-and-set: a mail does not make another writer begin again, and a
///   write of a record that was read before the mail does not set it back.
/// - Credentials are not part of the record. They are read through [`Credentials`], and deleted with
///   the connection.
/// - A connected address belongs to at most [`MAX_USERS_OF_MAILBOX`] users, and a sandbox id to one.
/// - A further account belongs to one user, who is not a further account; a user has at most [`MAX_ACCOUNTS_OF_USER`] accounts,
///   all with different mailboxes.
/// - A connected further account has the problem [`ProblemCode::AccountsUnsupported`] while, and only while,
///   [`UserRecord::several_accounts`] of its owner is not set, whatever is written.
/// - A managed machine that loses its last user is listed in [`OrphanedMachines`].
/// - A list is read a page at a time, and each page costs the same.
#[async_trait]
pub trait Users: Send + Sync {
    /// Adds a user.
    ///
    /// # Errors
    ///
    /// [`UsersError::AlreadyExists`] or [`UsersError::SandboxTaken`]: nothing is changed.
    async fn add(&self, new: NewUser, now: Timestamp) -> Result<UserRecord, UsersError>;

    /// Adds users in one transaction, and returns for each, in order, whether it was added. One that is
    /// refused, as by [`add`](Self::add), does not hold back the others.
    async fn add_all(
        &self,
        new: Vec<NewUser>,
        now: Timestamp,
    ) -> Result<Vec<Result<UserRecord, UsersError>>, StoreError>;

    /// Adds a further account of a user, which is connected, with its credentials.
    ///
    /// # Errors
    ///
    /// [`UsersError::Missing`] if the user does not exist or was added at another time, [`UsersError::IsAccount`],
    /// [`UsersError::AlreadyExists`], [`UsersError::TooManyAccounts`], [`UsersError::AccountConnected`] or
    /// [`UsersError::AddressTaken`]: nothing is changed.
    async fn add_account(
        &self,
        new: NewAccount,
        credentials: &StoredCredentials,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError>;

    /// Returns the further accounts of these users: by user, those of each in the order in which they were connected.
    async fn accounts_of(&self, owners: &[UserId]) -> Result<Vec<UserRecord>, StoreError>;

    /// Returns the record of a user or of a further account, or `None` if there is none with this id.
    async fn get(&self, user: &UserId) -> Result<Option<UserRecord>, StoreError>;

    /// Writes a record that was read before, and returns it with its new version.
    ///
    /// `credentials` replace those that are stored. A record without a connection deletes them.
    ///
    /// # Errors
    ///
    /// [`UsersError::Changed`] if the record changed since it was read, [`UsersError::Missing`] if
    /// the user was removed, and [`UsersError::AddressTaken`], [`UsersError::AccountConnected`] or
    /// [`UsersError::SandboxTaken`]: nothing is changed.
    async fn replace(
        &self,
        record: &UserRecord,
        credentials: Option<&StoredCredentials>,
        now: Timestamp,
    ) -> Result<UserRecord, UsersError>;

    /// Stores the history id up to which a user's mail was delivered, if it is greater than the
    /// stored one, and returns whether it was. Ignores a user who does not exist or has no connected
    /// account.
    async fn raise_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<bool, StoreError>;

    /// Records that a user's machine is started because of mail, unless a start was recorded less than
    /// `pause` before `now`; returns whether it was. Returns `false` for an unknown user.
    ///
    /// Of several processes that ask at once, one gets `true`. A start that was recorded while the clock
    /// was ahead does not count. Not part of the compare-and-set, like a history id.
    async fn record_start(
        &self,
        user: &UserId,
        now: Timestamp,
        pause: Duration,
    ) -> Result<bool, StoreError>;

    /// Removes a user, or a further account, that was read before, with the credentials, and returns whether they existed. The
    /// machine of the owner of a further account is configured by the next sync.
    ///
    /// # Errors
    ///
    /// [`UsersError::Changed`] if the record changed since it was read: an account that was connected meanwhile has a permission
    /// at Google to end. [`UsersError::HasAccounts`] while the user has further accounts, each of which has one, too. Nothing is
    /// changed.
    async fn remove(&self, record: &UserRecord) -> Result<bool, UsersError>;

    /// Returns the users and further accounts whose connected account has this address, in the order in which they connected it, at most
    /// [`MAX_USERS_OF_MAILBOX`].
    ///
    /// The address is not proven to be their own: so a caller must not send one of them what is another's.
    async fn users_by_email(&self, email: &EmailAddress) -> Result<Vec<UserId>, StoreError>;

    /// Returns the user whose machine has this sandbox id.
    async fn user_by_sandbox(&self, sandbox_id: &SandboxId) -> Result<Option<UserId>, StoreError>;

    /// Lists up to `limit` records.
    async fn list(&self, listing: &Listing, limit: usize) -> Result<Vec<UserRecord>, StoreError>;

    /// Lists up to `limit` users whose machine does not have its stored configuration yet, by user
    /// id.
    async fn pending_sync(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, StoreError>;

    /// Returns for each of these users and further accounts, if they exist, a text that differs once their record or history
    /// id has changed, in whatever process. One query, for the pages that are open.
    async fn marks(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError>;

    /// Counts the users, without their further accounts.
    async fn count(&self) -> Result<u64, StoreError>;

    /// Counts the accounts of which the machine has reported a problem, by its code. Codes without accounts are
    /// omitted.
    async fn count_problems(&self) -> Result<Vec<(ProblemCode, u64)>, StoreError>;

    /// Counts the accounts, and the machines, that need an operator.
    ///
    /// Their machines have reported when their watch ends; those of [`FleetCounts::watch_ends`] do so
    /// before `until`.
    async fn fleet_counts(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<FleetCounts, StoreError>;

    /// Fails while the store cannot be read, or writes fail or wait: its disk is full, its file system is
    /// read-only, another process holds its lock, its standby is missing. Answers within five seconds.
    ///
    /// Writes nothing while writes succeed. After a failed one, it tries another at most once a
    /// second.
    async fn check_ready(&self, now: Timestamp) -> Result<(), StoreError>;
}

/// The credentials of the users' Google accounts. [`Users::replace`] writes them.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Returns the credentials of a user's Google account, or `None` if none is connected.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if they cannot be decrypted: the key is not configured, or they were
    /// stored for another user.
    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, StoreError>;
}

/// Managed machines without a user whose configuration was not cleared yet.
///
/// [`Users::replace`] and [`Users::remove`] add a machine that loses its last user; a machine that a
/// user gets is removed.
#[async_trait]
pub trait OrphanedMachines: Send + Sync {
    /// Lists up to `limit` machines, in order.
    async fn orphaned_machines(
        &self,
        after: Option<&ManagedMachine>,
        limit: usize,
    ) -> Result<Vec<ManagedMachine>, StoreError>;

    /// Removes a machine whose configuration was cleared.
    async fn remove_orphaned_machine(&self, machine: &ManagedMachine) -> Result<(), StoreError>;
}

/// Which records are listed, in what order, and where the page begins: all but [`ByUser`](Self::ByUser) and
/// [`Unreachable`](Self::Unreachable) list further accounts, too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listing {
    /// By id.
    ByRecord {
        /// The last record of the page before.
        after: Option<UserId>,
    },
    /// Users, without their further accounts, by user id.
    ByUser {
        /// The beginning of the user id; all users if empty.
        prefix: String,
        /// The last user of the page before.
        after: Option<UserId>,
    },
    /// By the address of the connected account, then by user id.
    ByEmail {
        /// The beginning of the address, in any case.
        prefix: String,
        /// The last user of the page before.
        after: Option<(EmailAddress, UserId)>,
    },
    /// Users whose machine has reported a problem, by its code, then by user id.
    ByProblem {
        /// The problem; any if `None`.
        code: Option<ProblemCode>,
        /// The last user of the page before.
        after: Option<(ProblemCode, UserId)>,
    },
    /// Users whose watch ends before a time, also those whose watch has ended, by that time, then by
    /// user id.
    ByWatchEnd {
        /// The time.
        until: Timestamp,
        /// The last user of the page before.
        after: Option<(Timestamp, UserId)>,
    },
    /// Users who want notifications and get none now, because their machine has reported a problem or
    /// their watch has ended; by user id.
    WithoutMail {
        /// The time.
        now: Timestamp,
        /// The last user of the page before.
        after: Option<UserId>,
    },
    /// Users whose machine does not answer ([`UserRecord::unreachable_since`]), by user id.
    Unreachable {
        /// The last user of the page before.
        after: Option<UserId>,
    },
    /// Users without a connected Google account, by user id: no further one is connected either.
    NotConnected {
        /// The last user of the page before.
        after: Option<UserId>,
    },
}

/// How many accounts and machines need an operator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FleetCounts {
    /// Of [`Listing::WithoutMail`].
    pub without_mail: u64,
    /// Of [`Listing::ByWatchEnd`].
    pub watch_ends: u64,
    /// Of [`Listing::Unreachable`].
    pub unreachable: u64,
    /// Of [`Listing::NotConnected`].
    pub not_connected: u64,
}

/// Why a user could not be added or changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// A user with this id exists.
    #[error("the user {user} already exists")]
    AlreadyExists {
        /// The id.
        user: UserId,
    },

    /// Another user's machine has this sandbox id.
    #[error("the sandbox id is another user's")]
    SandboxTaken,

    /// The user has [`MAX_ACCOUNTS_OF_USER`] accounts.
    #[error("the user has as many accounts as a user may have")]
    TooManyAccounts,

    /// Another account of the same user has this mailbox.
    #[error("the account {record} of the same user has the mailbox")]
    AccountConnected {
        /// The id of its record.
        record: UserId,
    },

    /// The record is a further account of a user.
    #[error("{user} is a further account of {owner}, not a user")]
    IsAccount {
        /// The id.
        user: UserId,
        /// The user.
        owner: UserId,
    },

    /// The user has further accounts.
    #[error("{user} has further accounts")]
    HasAccounts {
        /// The id.
        user: UserId,
    },

    /// [`MAX_USERS_OF_MAILBOX`] other users have connected accounts with this address.
    #[error("the address has too many users")]
    AddressTaken,

    /// The record changed since it was read. Read it again, and retry.
    #[error("the record of {} was changed in between", .user.masked())]
    Changed {
        /// The user whose record it is.
        user: UserId,
    },

    /// The user does not exist.
    #[error("there is no user {user}")]
    Missing {
        /// The id.
        user: UserId,
    },

    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
