//! Observes a platform's users and a relay's queue, and puts what is worth reporting into the outbox.

mod summary;
mod user_limit;
mod user_mark;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{
    AlertMark, AlertOutbox, AlertRecipient, AlertTargets, Clock, DeliveryLog, NewAlert, Outcome,
    PendingDelivery, StoreError, TargetId, Timestamp, UserId, UserRecord, Users,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::summary::OperatorLimit;
use self::user_limit::UserLimit;
use self::user_mark::UserMark;
use crate::{AlertEvent, AlertKind, AlertRules, Change, MailboxFacts, ObservedSince};

/// How often everything is observed.
const INTERVAL: Duration = Duration::from_secs(15);

/// How many due marks and failing mailboxes one observation reads.
const BATCH: usize = 500;

/// How soon a mailbox whose deliveries fail is observed again.
const AGAIN: Duration = Duration::from_secs(60);

/// The longest time between two check-ins of a machine that checks in regularly: every hour, and some
/// time for retries. Controllers of other makers check in only when they start, so their silence means
/// nothing.
const REGULAR: Duration = Duration::from_secs(2 * 3600);

/// The dependencies of a [`Monitor`].
pub struct MonitorParts {
    /// Where alerts are put.
    pub outbox: Arc<dyn AlertOutbox>,
    /// The platform's users; `None` in a relay without a platform.
    pub users: Option<ObservedUsers>,
    /// The relay's deliveries; `None` in a platform without a relay.
    pub log: Option<Arc<dyn DeliveryLog>>,
    /// The operator's targets.
    pub operator: Vec<TargetId>,
    /// After what times an event follows.
    pub rules: AlertRules,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Wakes the sender.
    pub wake: Arc<Notify>,
}

/// The platform's users.
pub struct ObservedUsers {
    /// Their records.
    pub users: Arc<dyn Users>,
    /// Their targets.
    pub targets: Arc<dyn AlertTargets>,
}

/// Observes mailboxes, and puts alerts into the outbox.
///
/// Each report is stored with its alert, so several monitors of one store report a change once.
pub struct Monitor {
    parts: MonitorParts,
    limit: Mutex<OperatorLimit>,
    user_limit: Mutex<UserLimit>,
    observed_since: Mutex<ObservedSince>,
}

/// Since when the deliveries to each failing mailbox fail.
type Failing = HashMap<UserId, Timestamp>;

impl Monitor {
    /// Creates a monitor.
    #[must_use]
    pub fn new(parts: MonitorParts) -> Self {
        let observed_since = ObservedSince::new(parts.clock.now());
        Self {
            parts,
            limit: Mutex::default(),
            user_limit: Mutex::default(),
            observed_since: Mutex::new(observed_since),
        }
    }

    /// Observes until `stop` is cancelled.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.observe().await {
                let error = &error as &dyn std::error::Error;
                warn!(error, "Could not observe the mailboxes for alerts");
            }
            let pause = tokio::time::sleep(INTERVAL);
            stop.run_until_cancelled(pause).await;
        }
    }

    /// Observes what is due, what fails, and new dead letters, once. An error of one user is logged.
    ///
    /// # Errors
    ///
    /// Fails if a store cannot be read or written; nothing is lost then.
    pub async fn observe(&self) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        self.observed_since.lock().observe(now);
        let failing = self.failing().await?;
        let mut subjects = BTreeSet::new();
        for mark in self.parts.outbox.due_marks(now, BATCH).await? {
            subjects.extend(self.user_of(&mark.subject));
        }
        let after = self.parts.rules.unreachable_after;
        let long = failing.iter().filter(|(_, since)| **since + after <= now);
        subjects.extend(long.map(|(user, _)| user.clone()));
        for user in subjects {
            self.observe_or_log(&user, None).await;
        }
        self.observe_dead_letters(now).await
    }

    /// Records that a user's machine has checked in, and observes the user.
    pub async fn checked_in(&self, user: &UserId) {
        let now = self.parts.clock.now();
        self.observe_or_log(user, Some(now)).await;
    }

    async fn observe_or_log(&self, user: &UserId, checked_in: Option<Timestamp>) {
        if let Err(error) = self.observe_user(user, checked_in).await {
            let error = &error as &dyn std::error::Error;
            warn!(
                user.id = %user.masked(), error,
                "Could not observe {} for alerts", user.masked()
            );
        }
    }

    /// Observes a user until the mark is written: another process may observe at the same time.
    async fn observe_user(
        &self,
        user: &UserId,
        checked_in: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        while !self.observe_once(user, checked_in).await? {}
        Ok(())
    }

    /// Observes a user. Returns false if the mark was written in between.
    ///
    /// The mark is read first: what is read after it is at least as new, so a mark that is written
    /// does not follow from facts that are older than the mark before.
    async fn observe_once(
        &self,
        user: &UserId,
        checked_in: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mark = self.parts.outbox.mark(&self.subject(user)).await?;
        let record = match &self.parts.users {
            Some(users) => match record(&*users.users, user).await? {
                Some(record) => Some(record),
                None => return Ok(true),
            },
            None => None,
        };
        let record = record.as_ref();
        let now = self.parts.clock.now();
        let mut stored = UserMark::read(&mark);
        if let Some(at) = checked_in {
            stored.check_in(at, REGULAR);
        }
        let facts = self.facts(user, record, &stored).await?;
        let Some(facts) = facts else {
            return self.forget(mark).await.map(|()| true);
        };
        let observed = stored.state.observe(&facts, &self.parts.rules, now);
        let mut changes: Vec<_> = observed.change.into_iter().map(|it| (it, 1)).collect();
        stored.count_dead_letters(record.map_or(0, |it| it.mail_dead_letters), now);
        if let Some((number, since)) = stored.new_dead_letters.take_due(now) {
            changes.push((set_aside(since), number));
        }
        // No one reports a delivery to the monitor.
        let is_watched = facts.unreachable_since.is_some()
            || stored.state.is_unreachable(&facts)
            || (record.is_none() && stored.state.has_reported());
        let again = [
            observed.again_at,
            stored.new_dead_letters.due_at(),
            is_watched.then_some(now + AGAIN),
        ];
        let written = AlertMark {
            state: stored.write(),
            due_at: again.into_iter().flatten().min(),
            ..mark.clone()
        };
        if changes.is_empty() && is_covered(&mark, &written, now) {
            return Ok(true);
        }
        let (mut alerts, mut kinds) = (Vec::new(), Vec::new());
        for (change, count) in changes {
            let is_limited = self.limit.lock().is_reached(change.kind, now);
            let alert = self.alert(user, record, change, count, is_limited);
            alerts.push(alert.await?);
            kinds.push((change.kind, is_limited));
        }
        let is_written = self.put(&written, alerts, now).await?;
        if is_written {
            // All accounts of a bot report to the same targets.
            self.count_queued(record.map_or(user, UserRecord::bot), kinds);
        }
        Ok(is_written)
    }

    fn count_queued(&self, user: &UserId, kinds: Vec<(AlertKind, bool)>) {
        for (kind, is_limited) in kinds {
            self.limit.lock().count(kind, is_limited);
            self.user_limit.lock().count(user);
            info!(
                user.id = %user.masked(), %kind,
                "Queued the alert {kind} of {}", user.masked()
            );
        }
    }

    /// The facts of a user. `None` if the user wants no notifications: nothing is reported then.
    async fn facts(
        &self,
        user: &UserId,
        record: Option<&UserRecord>,
        stored: &UserMark,
    ) -> Result<Option<MailboxFacts>, StoreError> {
        let unreachable_since = match &self.parts.log {
            Some(log) => log.pending(user).await?.as_ref().and_then(failing_since),
            None => None,
        };
        let mut facts = MailboxFacts {
            unreachable_since,
            reached_at: stored.checked_in_at,
            ..MailboxFacts::default()
        };
        if stored.state.is_unreachable(&facts) {
            facts.reached_at = facts.reached_at.max(self.delivered_at(user).await?);
        }
        let Some(record) = record else {
            return Ok(Some(facts));
        };
        if !record.as_instance().wants_notifications() {
            return Ok(None);
        }
        Ok(Some(MailboxFacts {
            problem: record.problem,
            // A problem that is known explains why nothing is delivered.
            unreachable_since: unreachable_since.filter(|_| record.problem.is_none()),
            watch_expires_at: record.watch_expires_at,
            // The silence of a machine is news about its user, once.
            last_heard_at: match record.owner {
                Some(_) => None,
                None => self.last_heard_at(record, stored).await?,
            },
            observed_since: Some(self.observed_since.lock().since()),
            ..facts
        }))
    }

    /// The last delivery, among those that are kept.
    async fn delivered_at(&self, user: &UserId) -> Result<Option<Timestamp>, StoreError> {
        let Some(log) = &self.parts.log else {
            return Ok(None);
        };
        let deliveries = log.deliveries(user).await?.into_iter();
        Ok(deliveries
            .filter(|delivery| delivery.outcome == Outcome::Delivered)
            .map(|delivery| delivery.settled_at)
            .max())
    }

    /// The last check-in or, if that is long ago, the last delivery.
    async fn last_heard_at(
        &self,
        record: &UserRecord,
        stored: &UserMark,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(heard) = stored.last_heard_at(record.status) else {
            return Ok(None);
        };
        let is_long_ago = heard + self.parts.rules.silent_after <= self.parts.clock.now();
        if !is_long_ago {
            return Ok(Some(heard));
        }
        Ok(self.delivered_at(&record.user).await?.max(Some(heard)))
    }

    /// Since when deliveries to machines fail.
    async fn failing(&self) -> Result<Failing, StoreError> {
        let Some(log) = &self.parts.log else {
            return Ok(Failing::new());
        };
        let failing = log.failing(BATCH).await?.into_iter();
        Ok(failing
            .filter_map(|pending| Some((pending.user.clone(), failing_since(&pending)?)))
            .collect())
    }

    /// Clears the reports of a user who wants no notifications, without reporting anything.
    async fn forget(&self, mark: AlertMark) -> Result<(), StoreError> {
        if mark.version == 0 || (mark.state.is_empty() && mark.due_at.is_none()) {
            return Ok(());
        }
        let empty = AlertMark {
            state: String::new(),
            due_at: None,
            ..mark
        };
        // A writer in between observes the user itself.
        self.put(&empty, Vec::new(), self.parts.clock.now())
            .await
            .map(drop)
    }

    async fn alert(
        &self,
        user: &UserId,
        record: Option<&UserRecord>,
        change: Change,
        count: u64,
        is_limited: bool,
    ) -> Result<NewAlert, StoreError> {
        let google = record.and_then(|record| record.google.as_ref());
        let account = google.and_then(|google| google.email.as_ref());
        let account = account.map(|email| email.as_str().to_owned());
        let bot = record.map_or(user, UserRecord::bot);
        let event = AlertEvent::new(change.kind, change.at, account, Some(bot.to_string()))
            .with_problem(change.problem)
            .with_count(count);
        if self
            .user_limit
            .lock()
            .is_reached(bot, self.parts.clock.now())
        {
            warn!(
                user.id = %user.masked(), kind = %change.kind,
                "Dropped an alert of {}, who has too many in an hour", user.masked()
            );
            return Ok(new_alert(&event, Vec::new()));
        }
        let mut recipients = self.recipients_of(bot).await?;
        if !is_limited {
            recipients.extend(self.operator());
        }
        Ok(new_alert(&event, recipients))
    }

    /// Stores a mark with its alerts, and wakes the sender.
    async fn put(
        &self,
        mark: &AlertMark,
        alerts: Vec<NewAlert>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let is_written = self.parts.outbox.observe(mark, &alerts, now).await?;
        if is_written && !alerts.is_empty() {
            self.parts.wake.notify_one();
        }
        Ok(is_written)
    }

    async fn recipients_of(&self, user: &UserId) -> Result<Vec<AlertRecipient>, StoreError> {
        let Some(users) = &self.parts.users else {
            return Ok(Vec::new());
        };
        let targets = match users.targets.targets(user).await {
            Ok(targets) => targets,
            // It stays unreadable; the operator gets the alert nevertheless.
            Err(error @ StoreError::Corrupt { .. }) => {
                let error = &error as &dyn std::error::Error;
                warn!(
                    user.id = %user.masked(), error,
                    "Skipped the alert targets of {}, because one cannot be read", user.masked()
                );
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        Ok(targets
            .into_iter()
            .map(|target| AlertRecipient {
                user: Some(user.clone()),
                target: target.id,
            })
            .collect())
    }

    fn operator(&self) -> Vec<AlertRecipient> {
        let targets = self.parts.operator.iter().cloned();
        targets
            .map(|target| AlertRecipient { user: None, target })
            .collect()
    }

    /// The subject of a user's mark. A relay without a platform may share a file with one, and observes
    /// other facts.
    fn subject(&self, user: &UserId) -> String {
        match self.parts.users {
            Some(_) => user.to_string(),
            None => format!("relay {user}"),
        }
    }

    fn user_of(&self, subject: &str) -> Option<UserId> {
        match self.parts.users {
            Some(_) => subject.parse().ok(),
            None => subject.strip_prefix("relay ")?.parse().ok(),
        }
    }
}

/// Returns the record of a user, or of a further account with the machine of its owner.
async fn record(users: &dyn Users, user: &UserId) -> Result<Option<UserRecord>, StoreError> {
    let Some(record) = users.get(user).await? else {
        return Ok(None);
    };
    let Some(owner) = &record.owner else {
        return Ok(Some(record));
    };
    let owner = users.get(owner).await?;
    Ok(owner.map(|owner| record.with_machine_of(&owner)))
}

/// Since when a pending delivery fails. A parked one has a problem, which is reported as such.
fn failing_since(pending: &PendingDelivery) -> Option<Timestamp> {
    let since = pending.failing_since?;
    pending.parked_for.is_none().then_some(since)
}

/// The watcher has set mails aside.
const fn set_aside(since: Timestamp) -> Change {
    Change {
        kind: AlertKind::MailDeadLettered,
        problem: None,
        at: since,
    }
}

/// Whether a stored mark says the same and is observed again in time.
fn is_covered(stored: &AlertMark, wanted: &AlertMark, now: Timestamp) -> bool {
    let is_in_time = match (stored.due_at, wanted.due_at) {
        (None, None) => true,
        (Some(stored), None) => stored > now,
        (Some(stored), Some(wanted)) => stored > now && stored <= wanted,
        (None, Some(_)) => false,
    };
    is_in_time && stored.state == wanted.state
}

fn new_alert(event: &AlertEvent, recipients: Vec<AlertRecipient>) -> NewAlert {
    #[expect(clippy::expect_used, reason = "texts and numbers only")]
    let text = serde_json::to_string(event).expect("an event is JSON");
    NewAlert {
        id: event.id.clone(),
        event: text,
        recipients,
    }
}
