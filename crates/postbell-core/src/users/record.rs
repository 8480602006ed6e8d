//! The record of a user.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::{
    EmailAddress, HistoryId, Instance, InstanceStatus, MachineLocation, MachineReport, MailProblem,
    ProblemCode, SandboxId, Timestamp, UserId,
};

/// Gmail lets a watch last seven days (<https://developers.google.com/workspace/gmail/api/reference/rest/v1/users/watch>);
/// a day more for clocks.
const LONGEST_WATCH: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The stored state of a user, or of a further Google account of a user. Nothing in it is secret.
///
/// A further account is a record of its own: it has its own connection, switch, progress, watch and problem. Its machine is
/// that of its owner, and the fields about a machine mean nothing until [`with_machine_of`](Self::with_machine_of) has
/// copied them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserRecord {
    /// The id of the user, or of the further account. Never changes.
    pub user: UserId,

    /// The user whose further account this is; `None` for a user. Never changes.
    pub owner: Option<UserId>,

    /// The name with which the machine checks in.
    pub sandbox_id: SandboxId,

    /// The machine's last known state.
    pub status: InstanceStatus,

    /// Where the machine is.
    pub location: MachineLocation,

    /// The connected Google account.
    pub google: Option<GoogleConnection>,

    /// Whether the user wants notifications.
    pub notifications_enabled: bool,

    /// The history id up to which the user's mail was delivered.
    pub last_history_id: Option<HistoryId>,

    /// When Gmail's watch on the mailbox ends, as the machine reported at its last check-in.
    pub watch_expires_at: Option<Timestamp>,

    /// What keeps mail from reaching the bot, as the machine reported at its last check-in.
    pub problem: Option<MailProblem>,

    /// How many mails the watcher has set aside, as the machine reported at its last check-in.
    pub mail_dead_letters: u64,

    /// Whether mail may start the machine. The owner pays for it.
    pub wake_on_mail: bool,

    /// Since when a machine at a URL does not answer; `None` if it does, or was not asked yet.
    pub unreachable_since: Option<Timestamp>,

    /// When the machine last fetched its configuration; `None` if it does not.
    pub config_fetched_at: Option<Timestamp>,

    /// Whether the machine was never heard of: it has not checked in, fetched its configuration or answered.
    pub never_seen: bool,

    /// Whether the machine said at its last fetch, and at each check-in since, that it watches several accounts.
    pub several_accounts: bool,

    /// The version of the record that the machine does not have yet; `None` if it is up to date.
    pub pending_sync: Option<i64>,

    /// When the user was added.
    pub created_at: Timestamp,

    /// When the record was last written. A mail does not change it.
    pub updated_at: Timestamp,

    /// Grows with each write: proves that the record did not change since it was read.
    pub version: i64,
}

/// A connected Google account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GoogleConnection {
    /// Its address, if known.
    pub email: Option<EmailAddress>,

    /// The service account that signs the pushes of the user's own subscription.
    pub push_account: Option<EmailAddress>,

    /// When it was connected.
    pub connected_at: Timestamp,
}

/// A user to add, without a Google account. The fields are those of [`UserRecord`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewUser {
    /// The user's id.
    pub user: UserId,
    /// The name with which the machine checks in.
    pub sandbox_id: SandboxId,
    /// The machine's state.
    pub status: InstanceStatus,
    /// Where the machine is.
    pub location: MachineLocation,
    /// Whether mail may start the machine.
    pub wake_on_mail: bool,
}

/// A further Google account of a user, to add.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewAccount {
    /// The id of its record.
    pub record: UserId,
    /// The user.
    pub owner: UserId,
    /// When the user was added: another one may have the same id.
    pub owner_added: Timestamp,
    /// The account.
    pub connection: GoogleConnection,
    /// When Gmail's watch ends, if the platform has started it.
    pub watch_expires_at: Option<Timestamp>,
}

/// The credentials of a user's Google account, in the form in which the platform received them.
/// Never shown.
#[derive(Clone)]
pub struct StoredCredentials(SecretString);

impl UserRecord {
    /// Returns the record of a new user.
    #[must_use]
    pub fn new(new: NewUser, now: Timestamp) -> Self {
        let NewUser {
            user,
            sandbox_id,
            status,
            location,
            wake_on_mail,
        } = new;
        Self {
            user,
            owner: None,
            sandbox_id,
            status,
            location,
            google: None,
            notifications_enabled: false,
            last_history_id: None,
            watch_expires_at: None,
            problem: None,
            mail_dead_letters: 0,
            wake_on_mail,
            unreachable_since: None,
            config_fetched_at: None,
            never_seen: true,
            several_accounts: false,
            pending_sync: None,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// Returns the record of a new further account, which the machine does not have yet.
    #[must_use]
    pub fn further(new: NewAccount, now: Timestamp) -> Self {
        let own = NewUser {
            sandbox_id: SandboxId::from(&new.record),
            user: new.record,
            status: InstanceStatus::Provisioned,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        let mut record = Self::new(own, now);
        record.owner = Some(new.owner);
        record.connect(new.connection);
        record.watch_expires_at = new.watch_expires_at;
        record.mark_pending_sync();
        record
    }

    /// The user: the owner of a further account.
    #[must_use]
    pub fn bot(&self) -> &UserId {
        self.owner.as_ref().unwrap_or(&self.user)
    }

    /// Returns a further account with the machine of its owner, to deliver to or to show, not to be stored.
    #[must_use]
    pub fn with_machine_of(self, owner: &Self) -> Self {
        Self {
            sandbox_id: owner.sandbox_id.clone(),
            status: owner.status,
            location: owner.location.clone(),
            wake_on_mail: owner.wake_on_mail,
            unreachable_since: owner.unreachable_since,
            config_fetched_at: owner.config_fetched_at,
            never_seen: owner.never_seen,
            several_accounts: owner.several_accounts,
            ..self
        }
    }

    /// Sets or removes the problem that the machine does not watch this further account, of which no machine reports. A store
    /// does so with each write of the account, and of its owner if that says something else.
    pub fn set_supported(&mut self, is_supported: bool, now: Timestamp) {
        const CODE: ProblemCode = ProblemCode::AccountsUnsupported;
        let is_known = self.problem.is_some_and(|problem| problem.code == CODE);
        if self.google.is_none() || is_supported {
            self.problem.take_if(|_| is_known);
        } else if !is_known {
            self.problem = Some(MailProblem {
                code: CODE,
                since: now,
            });
        }
    }

    /// Whether the machine does not watch this account, and would drop its notifications.
    const fn is_unsupported(&self) -> bool {
        self.owner.is_some() && !self.several_accounts
    }

    /// Gives the user another machine, which is configured by the next sync; the one before is cleared.
    pub fn move_to(&mut self, location: MachineLocation) {
        if self.location != location {
            self.location = location;
            self.unreachable_since = None;
            self.config_fetched_at = None;
            self.never_seen = true;
            self.several_accounts = false;
            self.mark_pending_sync();
        }
    }

    /// Gives the user's machine another sandbox id, and so another token: the former one gives no access.
    pub fn rename_machine(&mut self, sandbox_id: SandboxId) {
        if self.sandbox_id != sandbox_id {
            self.sandbox_id = sandbox_id;
            self.several_accounts = false;
            self.mark_pending_sync();
        }
    }

    /// Connects a Google account, and enables notifications.
    ///
    /// A history id means nothing in another mailbox, so it is kept only if the account is known to
    /// be the same. The machine reports its watch and its problem once it has the new credentials.
    pub fn connect(&mut self, connection: GoogleConnection) {
        let before = self.google.take().and_then(|before| before.email);
        let is_same = before.zip(connection.email.as_ref());
        if !is_same.is_some_and(|(before, email)| before.is_same_mailbox(email.as_str())) {
            self.last_history_id = None;
        }
        self.google = Some(connection);
        self.watch_expires_at = None;
        self.problem = None;
        self.mail_dead_letters = 0;
        self.notifications_enabled = true;
    }

    /// Removes the Google account and its state.
    pub fn disconnect(&mut self) {
        self.google = None;
        self.notifications_enabled = false;
        self.last_history_id = None;
        self.watch_expires_at = None;
        self.problem = None;
        self.mail_dead_letters = 0;
    }

    /// Records a check-in of the machine. A check-in without a watch or a problem clears the stored
    /// one; those of an account that was disconnected are ignored. Whether the machine can be reached, it does not show.
    /// An end later than Gmail permits at `now` is not believed.
    pub fn check_in(&mut self, report: MachineReport, now: Timestamp) {
        self.seen();
        if self.status != InstanceStatus::Destroying {
            self.status = InstanceStatus::Running;
        }
        let report = self.google.as_ref().map(|_| report).unwrap_or_default();
        // The platform may have renewed the watch while the machine was off, and then the machine reports an earlier end.
        let is_possible = |ends: &Timestamp| *ends <= now + LONGEST_WATCH;
        let known = self.watch_expires_at.filter(is_possible);
        let reported = report.watch_expires_at.filter(is_possible);
        self.watch_expires_at = reported.map(|ends| known.map_or(ends, |known| known.max(ends)));
        self.problem = report.problem;
        self.mail_dead_letters = report.dead_letters;
    }

    /// Records that the machine has fetched its configuration.
    pub fn fetch_config(&mut self, now: Timestamp) {
        self.config_fetched_at = Some(now);
        self.seen();
    }

    /// Records the first contact of a machine: that it did not answer before it was started, says nothing.
    const fn seen(&mut self) {
        if self.never_seen {
            self.never_seen = false;
            self.unreachable_since = None;
        }
    }

    /// Records that the platform has renewed the watch until then, or what prevents that. A grant that renews a watch is not
    /// revoked.
    pub fn watch_renewed(&mut self, outcome: Result<Timestamp, ProblemCode>, now: Timestamp) {
        let known = self.problem.map(|problem| problem.code);
        match outcome {
            Ok(ends) => {
                self.watch_expires_at = Some(ends);
                if known == Some(ProblemCode::GrantRevoked) {
                    self.problem = None;
                }
            }
            Err(code) if known != Some(code) => {
                self.problem = Some(MailProblem { code, since: now })
            }
            Err(_) => (),
        }
    }

    /// Marks the next write as one that the machine must be configured with, or must fetch. A machine whose
    /// location is not known cannot be reached; that of a further account is its owner's.
    pub fn mark_pending_sync(&mut self) {
        let is_known = self.location != MachineLocation::Unknown || self.owner.is_some();
        self.pending_sync = is_known.then_some(self.version + 1);
    }

    /// Names what differs from `before`, for the audit log, which has the changes of a further account with those of its
    /// owner.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> String {
        let connection = match (&before.google, &self.google) {
            (before, after) if before == after => None,
            (_, Some(_)) => Some("connected a Google account".to_owned()),
            (_, None) => Some("disconnected the Google account".to_owned()),
        };
        let switch = |name: &str, before: bool, after: bool| {
            let state = if after { "on" } else { "off" };
            (before != after).then(|| format!("{name} {state}"))
        };
        let status = || format!("status {}", self.status.as_str());
        let changes = [
            (self.location != before.location).then(|| "machine".to_owned()),
            (self.sandbox_id != before.sandbox_id).then(|| "sandbox id".to_owned()),
            (self.status != before.status).then(status),
            connection,
            switch(
                "notifications",
                before.notifications_enabled,
                self.notifications_enabled,
            ),
            switch("wake on mail", before.wake_on_mail, self.wake_on_mail),
        ];
        let changes = changes.into_iter().flatten().collect::<Vec<_>>();
        match changes.join(", ") {
            changes if self.owner.is_some() && !changes.is_empty() => self.about_account(&changes),
            changes => changes,
        }
    }

    /// An entry of the audit log about a further account.
    #[must_use]
    pub fn about_account(&self, what: &str) -> String {
        format!("account {}: {what}", self.user)
    }

    /// Returns the part that the relay asks for. A further account that the machine does not watch has no machine that runs:
    /// so its notifications wait.
    #[must_use]
    pub fn as_instance(&self) -> Instance {
        Instance {
            sandbox_id: self.sandbox_id.to_string(),
            status: if self.is_unsupported() {
                InstanceStatus::Stopped
            } else {
                self.status
            },
            location: self.location.clone(),
            google_connected: self.google.is_some(),
            email: self.google.as_ref().and_then(|google| google.email.clone()),
            notifications_enabled: self.notifications_enabled,
            problem: self.problem,
        }
    }
}

impl StoredCredentials {
    /// Returns the text, to encrypt or to open it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for StoredCredentials {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for StoredCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredCredentials")
    }
}

#[cfg(test)]
mod tests;
