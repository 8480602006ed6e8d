//! What is known of a user.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::{
    EmailAddress, HistoryId, Instance, InstanceStatus, MachineLocation, SandboxId, Timestamp,
    UserId,
};

/// What is known of a user. Nothing in it is secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserRecord {
    /// Who. Never changes.
    pub user: UserId,

    /// The name under which the machine reports in.
    pub sandbox_id: SandboxId,

    /// What the machine is doing, as far as we were told.
    pub status: InstanceStatus,

    /// Where the machine is.
    pub place: MachineLocation,

    /// The connected Google account.
    pub google: Option<GoogleConnection>,

    /// Whether the user wants to be told of new mail.
    pub notifications_enabled: bool,

    /// How far the user's mail was delivered.
    pub last_history_id: Option<HistoryId>,

    /// When Gmail's watch on the mailbox ends, as the machine said when it reported in last.
    pub watch_expires_at: Option<Timestamp>,

    /// Whether the machine may be started because mail waits for it: its owner pays for it.
    pub wake_on_mail: bool,

    /// The version with which something was written that the machine has yet to be told of; `None`
    /// where it knows everything.
    pub untold: Option<i64>,

    /// When the user was added.
    pub created_at: Timestamp,

    /// When anything of this was written last.
    pub updated_at: Timestamp,

    /// Grows with each write: proves that nobody wrote since.
    pub version: i64,
}

/// A connected Google account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GoogleConnection {
    /// Its address, where it was named.
    pub email: Option<EmailAddress>,

    /// The service account that signs the pushes of the user's own subscription.
    pub push_account: Option<EmailAddress>,

    /// When it was connected.
    pub connected_at: Timestamp,
}

/// A user who is to be added, without a Google account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewUser {
    /// Who.
    pub user: UserId,
    /// The name under which the machine reports in.
    pub sandbox_id: SandboxId,
    /// What the machine is doing.
    pub status: InstanceStatus,
    /// Where the machine is.
    pub place: MachineLocation,
    /// Whether the machine may be started because mail waits for it.
    pub wake_on_mail: bool,
}

/// What opens a user's Google account, in the form in which the platform got it. Never shown.
#[derive(Clone)]
pub struct StoredCredentials(SecretString);

impl UserRecord {
    /// The record of a user who has just been added.
    #[must_use]
    pub fn new(new: NewUser, now: Timestamp) -> Self {
        let NewUser {
            user,
            sandbox_id,
            status,
            place,
            wake_on_mail,
        } = new;
        Self {
            user,
            sandbox_id,
            status,
            place,
            google: None,
            notifications_enabled: false,
            last_history_id: None,
            watch_expires_at: None,
            wake_on_mail,
            untold: None,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// Connects a Google account, and turns notifications on.
    ///
    /// The place in another mailbox's history means nothing in this one: it is forgotten, unless
    /// the account is known to be the same. The watch is told of by the machine once it has the new
    /// credentials.
    pub fn connect(&mut self, connection: GoogleConnection) {
        let before = self.google.take().and_then(|before| before.email);
        if before.is_none() || before != connection.email {
            self.last_history_id = None;
        }
        self.google = Some(connection);
        self.watch_expires_at = None;
        self.notifications_enabled = true;
    }

    /// Forgets the Google account, and all that came with it.
    pub fn disconnect(&mut self) {
        self.google = None;
        self.notifications_enabled = false;
        self.last_history_id = None;
        self.watch_expires_at = None;
    }

    /// Notes that the machine has reported in. What it does not say of the watch it does not know;
    /// what it says of an account that is gone is not kept for the next one.
    pub fn report_in(&mut self, watch_expires_at: Option<Timestamp>) {
        if self.status != InstanceStatus::Destroying {
            self.status = InstanceStatus::Running;
        }
        self.watch_expires_at = watch_expires_at.filter(|_| self.google.is_some());
    }

    /// Notes that what is written next has to be told to the machine. Only one on Fly can be told.
    pub fn mark_pending_sync(&mut self) {
        let is_on_fly = matches!(self.place, MachineLocation::Managed(_));
        self.untold = is_on_fly.then_some(self.version + 1);
    }

    /// What the relay wants to know of it.
    #[must_use]
    pub fn as_instance(&self) -> Instance {
        Instance {
            sandbox_id: self.sandbox_id.to_string(),
            status: self.status,
            place: self.place.clone(),
            google_connected: self.google.is_some(),
            notifications_enabled: self.notifications_enabled,
        }
    }
}

impl StoredCredentials {
    /// The text itself, for the one who stores or opens it.
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
mod tests {
    use super::*;
    use crate::ManagedMachine;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn connection(email: Option<&str>) -> GoogleConnection {
        GoogleConnection {
            email: email.map(|email| email.parse().unwrap()),
            push_account: Some("push@p.iam.gserviceaccount.com".parse().unwrap()),
            connected_at: NOW,
        }
    }

    fn record() -> UserRecord {
        let user: UserId = "ann".parse().unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&user),
            user,
            status: InstanceStatus::Running,
            place: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        UserRecord::new(new, NOW)
    }

    #[test]
    fn connecting_turns_notifications_on_and_disconnecting_forgets_it_all() {
        let mut record = record();
        let fresh = record.clone();
        record.connect(connection(Some("ann@example.com")));
        assert!(record.as_instance().wants_notifications());

        record.last_history_id = Some(HistoryId::new(7));
        record.report_in(Some(NOW));
        assert_eq!(record.watch_expires_at, Some(NOW));
        record.disconnect();
        assert_eq!(record, fresh);
    }

    #[test]
    fn of_the_watch_holds_what_the_machine_said_last() {
        let mut record = record();
        record.report_in(Some(NOW));
        assert_eq!(record.watch_expires_at, None, "of an account that is gone");

        record.connect(connection(Some("ann@example.com")));
        for said in [Some(NOW), None, Some(NOW)] {
            record.report_in(said);
            assert_eq!(record.watch_expires_at, said);
        }
        record.connect(connection(Some("ann@example.com")));
        assert_eq!(record.watch_expires_at, None, "of the connection before");
    }

    #[test]
    fn a_machine_that_reports_in_runs_unless_it_is_being_removed() {
        let mut record = record();
        for (before, after) in [
            (InstanceStatus::Stopped, InstanceStatus::Running),
            (InstanceStatus::Destroying, InstanceStatus::Destroying),
        ] {
            record.status = before;
            record.report_in(None);
            assert_eq!(record.status, after);
        }
    }

    #[test]
    fn only_a_machine_on_fly_has_to_be_told() {
        let mut record = record();
        record.mark_pending_sync();
        assert_eq!(record.untold, None);
        record.place = MachineLocation::Managed(ManagedMachine {
            app: "bot".to_owned(),
            machine: "m".to_owned(),
        });
        record.mark_pending_sync();
        assert_eq!(record.untold, Some(2), "of the write that is next");
    }

    #[test]
    fn the_place_in_history_outlives_a_reconnection_of_the_same_account_alone() {
        for (again, kept) in [
            (Some("ann@example.com"), true),
            (Some("bob@example.com"), false),
            (None, false),
        ] {
            let mut record = record();
            record.connect(connection(Some("ann@example.com")));
            record.last_history_id = Some(HistoryId::new(7));
            record.connect(connection(again));
            assert_eq!(record.last_history_id.is_some(), kept, "{again:?}");
        }
        let mut unnamed = record();
        unnamed.connect(connection(None));
        unnamed.last_history_id = Some(HistoryId::new(7));
        unnamed.connect(connection(None));
        assert_eq!(unnamed.last_history_id, None, "it may be another one");
    }
}
