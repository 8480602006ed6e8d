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

/// The stored state of a user. Nothing in it is secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserRecord {
    /// The user's id. Never changes.
    pub user: UserId,

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
            pending_sync: None,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// Gives the user another machine, which is configured by the next sync; the one before is cleared.
    pub fn move_to(&mut self, location: MachineLocation) {
        if self.location != location {
            self.location = location;
            self.unreachable_since = None;
            self.config_fetched_at = None;
            self.never_seen = true;
            self.mark_pending_sync();
        }
    }

    /// Gives the user's machine another sandbox id, and so another token: the former one gives no access.
    pub fn rename_machine(&mut self, sandbox_id: SandboxId) {
        if self.sandbox_id != sandbox_id {
            self.sandbox_id = sandbox_id;
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
        self.never_seen = false;
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
        self.never_seen = false;
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
    /// location is not known cannot be reached.
    pub fn mark_pending_sync(&mut self) {
        let is_known = self.location != MachineLocation::Unknown;
        self.pending_sync = is_known.then_some(self.version + 1);
    }

    /// Names what differs from `before`, for the audit log.
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
        changes.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Returns the part that the relay asks for.
    #[must_use]
    pub fn as_instance(&self) -> Instance {
        Instance {
            sandbox_id: self.sandbox_id.to_string(),
            status: self.status,
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

    fn report(watch_expires_at: Option<Timestamp>) -> MachineReport {
        let problem = MailProblem {
            code: ProblemCode::WebhookFailing,
            since: NOW,
        };
        MachineReport {
            watch_expires_at,
            problem: Some(problem),
            dead_letters: 2,
        }
    }

    fn record() -> UserRecord {
        let user: UserId = "ann".parse().unwrap();
        let new = NewUser {
            sandbox_id: SandboxId::from(&user),
            user,
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        UserRecord::new(new, NOW)
    }

    #[test]
    fn connecting_enables_notifications_and_disconnecting_removes_everything() {
        let mut record = record();
        let fresh = record.clone();
        record.connect(connection(Some("ann@example.com")));
        assert!(record.as_instance().wants_notifications());

        record.last_history_id = Some(HistoryId::new(7));
        record.check_in(report(Some(NOW)), NOW);
        assert_eq!(record.watch_expires_at, Some(NOW));
        assert!(record.as_instance().problem.is_some());
        record.disconnect();
        let seen = UserRecord {
            never_seen: false,
            ..fresh
        };
        assert_eq!(record, seen);
    }

    #[test]
    fn the_watch_and_the_problem_are_those_of_the_last_check_in() {
        let stored = |record: &UserRecord| MachineReport {
            watch_expires_at: record.watch_expires_at,
            problem: record.problem,
            dead_letters: record.mail_dead_letters,
        };
        let nothing = MachineReport::default();
        let mut record = record();
        record.check_in(report(Some(NOW)), NOW);
        assert_eq!(stored(&record), nothing, "no account is connected");

        record.connect(connection(Some("ann@example.com")));
        for reported in [report(Some(NOW)), nothing, report(None)] {
            record.check_in(reported, NOW);
            assert_eq!(stored(&record), reported);
        }
        record.connect(connection(Some("ann@example.com")));
        assert_eq!(
            stored(&record),
            nothing,
            "they were the former connection's"
        );
    }

    #[test]
    fn a_machine_that_was_off_does_not_shorten_a_watch_that_the_platform_has_renewed() {
        let mut record = record();
        record.connect(connection(Some("ann@example.com")));
        let (early, late) = (NOW, NOW + Duration::from_secs(60));
        record.watch_renewed(Err(ProblemCode::GrantRevoked), NOW);
        assert_eq!(
            record.problem.map(|it| it.code),
            Some(ProblemCode::GrantRevoked)
        );
        record.watch_renewed(Ok(late), NOW);
        assert_eq!(
            (record.watch_expires_at, record.problem),
            (Some(late), None)
        );
        record.check_in(report(Some(early)), NOW);
        assert_eq!(record.watch_expires_at, Some(late));
        // Another problem than the grant's is the machine's own.
        record.watch_renewed(Ok(late), NOW);
        assert!(record.problem.is_some());
        record.check_in(report(None), NOW);
        assert_eq!(record.watch_expires_at, None, "the machine has no watch");
    }

    #[test]
    fn a_watch_that_ends_later_than_gmail_permits_is_not_believed() {
        let mut record = record();
        record.connect(connection(Some("ann@example.com")));
        let year_2100 = Timestamp::from_millis(4_102_444_800_000);
        record.check_in(report(Some(year_2100)), NOW);
        assert_eq!(record.watch_expires_at, None);
        record.watch_expires_at = Some(year_2100);
        record.check_in(report(Some(NOW)), NOW);
        assert_eq!(record.watch_expires_at, Some(NOW));
    }

    #[test]
    fn a_machine_that_checks_in_is_running_unless_it_is_being_removed() {
        let mut record = record();
        for (before, after) in [
            (InstanceStatus::Stopped, InstanceStatus::Running),
            (InstanceStatus::Destroying, InstanceStatus::Destroying),
        ] {
            record.status = before;
            record.check_in(MachineReport::default(), NOW);
            assert_eq!((record.status, record.never_seen), (after, false));
        }
    }

    #[test]
    fn only_a_machine_whose_location_is_known_is_synced() {
        let mut record = record();
        record.mark_pending_sync();
        assert_eq!(record.pending_sync, None);
        record.location = MachineLocation::Managed(ManagedMachine {
            app: "bot".to_owned(),
            machine: "m".to_owned(),
        });
        record.mark_pending_sync();
        assert_eq!(
            record.pending_sync,
            Some(2),
            "the version of the next write"
        );
    }

    #[test]
    fn another_machine_is_not_known_to_be_unreachable_or_to_fetch() {
        let mut record = record();
        record.unreachable_since = Some(NOW);
        record.fetch_config(NOW);
        assert!(!record.never_seen);
        let url = |url: &str| MachineLocation::Url(url.parse().unwrap());
        record.move_to(url("https://bot.example.com"));
        assert_eq!(
            (record.unreachable_since, record.config_fetched_at),
            (None, None)
        );
        assert!(record.never_seen);
        record.unreachable_since = Some(NOW);
        record.move_to(url("https://bot.example.com"));
        assert_eq!(record.unreachable_since, Some(NOW), "it is the same");
    }

    #[test]
    fn the_history_id_survives_only_a_reconnection_of_the_same_account() {
        for (again, kept) in [
            (Some("a.nn@gmail.com"), true),
            (Some("Ann@googlemail.com"), true),
            (Some("bob@gmail.com"), false),
            (None, false),
        ] {
            let mut record = record();
            record.connect(connection(Some("ann@gmail.com")));
            record.last_history_id = Some(HistoryId::new(7));
            record.connect(connection(again));
            assert_eq!(record.last_history_id.is_some(), kept, "{again:?}");
        }
        let mut unnamed = record();
        unnamed.connect(connection(None));
        unnamed.last_history_id = Some(HistoryId::new(7));
        unnamed.connect(connection(None));
        assert_eq!(unnamed.last_history_id, None, "it may be another account");
    }
}
