//! The data of *My bot*.

use std::cmp::Reverse;
use std::time::Duration;

use postbell_core::{
    DELIVERIES_KEPT, DeadLetter, DeliveryRecord, HourlyCount, InstanceStatus, MachineLocation,
    Outcome, PendingDelivery, Timestamp, UserRecord,
};

use super::alerts::{self, ShownTarget};
use super::test_message::is_test;
use crate::pages::{PageError, Pages};

/// How many dead letters are shown.
const DEAD_LETTERS: usize = 10;

/// The data that the page shows.
pub(super) struct View {
    pub(super) record: UserRecord,
    pub(super) now: Timestamp,
    /// `None` if the relay runs in another process.
    pub(super) mail: Option<Mail>,
    /// The user's alert targets.
    pub(super) targets: Vec<ShownTarget>,
    /// The target that was refused.
    pub(super) refused_target: Option<alerts::Refused>,
    /// Whether an address alone can be added to them.
    pub(super) has_mail_server: bool,
    /// Whether this platform can start and configure the machine.
    pub(super) is_managed: bool,
    /// Whether accounts can be connected in the browser.
    pub(super) has_operator_client: bool,
    /// Whether the account was connected so: then the platform renews the watch.
    pub(super) is_renewed_here: bool,
    /// The connected accounts, each as if it were the only one, if the user has several: the record's own, if it is connected,
    /// and the further ones. `mail` is then that of all.
    pub(super) accounts: Vec<Self>,
}

/// The user's notifications and deliveries.
pub(super) struct Mail {
    /// Latest first.
    pub(super) deliveries: Vec<DeliveryRecord>,
    pub(super) hours: Vec<HourlyCount>,
    pub(super) pending: Option<PendingDelivery>,
    /// The latest ones.
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) dead_letter_count: u64,
    /// Of which account each delivery is, if the user has several.
    pub(super) labels: Vec<String>,
}

/// When Gmail sent the last notification.
pub(super) enum LastPush {
    At(Timestamp),
    None,
    /// Before the deliveries that are kept.
    Unknown,
}

impl Mail {
    /// That of all accounts in one, the deliveries labelled. Takes nothing from the accounts but copies.
    fn of_all(all: &[View]) -> Option<Self> {
        let mut deliveries = Vec::new();
        let mut merged = Self {
            deliveries: Vec::new(),
            hours: Vec::new(),
            pending: None,
            dead_letters: Vec::new(),
            dead_letter_count: 0,
            labels: Vec::new(),
        };
        for view in all {
            let label = view.label();
            let mail = view.mail.as_ref()?;
            let own = mail.deliveries.iter().cloned();
            deliveries.extend(own.map(|delivery| (delivery, label.clone())));
            for hour in &mail.hours {
                let mut known = merged.hours.iter_mut();
                match known.find(|it| it.begins_at == hour.begins_at) {
                    Some(known) => {
                        known.delivered += hour.delivered;
                        known.failed += hour.failed;
                    }
                    None => merged.hours.push(*hour),
                }
            }
            let pending = merged
                .pending
                .take()
                .into_iter()
                .chain(mail.pending.clone());
            merged.pending = pending.min_by_key(|pending| (!pending.in_progress, pending.due_at));
            merged
                .dead_letters
                .extend(mail.dead_letters.iter().cloned());
            merged.dead_letter_count += mail.dead_letter_count;
        }
        deliveries.sort_by_key(|(delivery, _)| Reverse(delivery.settled_at));
        deliveries.truncate(DELIVERIES_KEPT);
        (merged.deliveries, merged.labels) = deliveries.into_iter().unzip();
        merged.hours.sort_by_key(|hour| hour.begins_at);
        merged.dead_letters.sort_by_key(|letter| Reverse(letter.id));
        merged.dead_letters.truncate(DEAD_LETTERS);
        Some(merged)
    }
}

impl View {
    /// Reads the data of a user.
    pub(super) async fn load(pages: &Pages, record: UserRecord) -> Result<Self, PageError> {
        let further = pages.users().fleet.accounts_of(&record).await?;
        let targets = alerts::load(pages, &record.user).await?;
        let mut view = Self::of_record(pages, record).await?;
        view.targets = targets;
        if further.is_empty() {
            return Ok(view);
        }
        let mut all = vec![Self::of_record(pages, view.record.clone()).await?];
        for account in further {
            all.push(Self::of_record(pages, account).await?);
        }
        view.mail = Mail::of_all(&all);
        all.retain(|account| account.record.google.is_some());
        view.accounts = all;
        Ok(view)
    }

    /// Reads the data of one record.
    async fn of_record(pages: &Pages, record: UserRecord) -> Result<Self, PageError> {
        let now = pages.now();
        let user = &record.user;
        let mail = match &pages.parts().relay {
            None => None,
            Some(relay) => {
                let log = &relay.log;
                Some(Mail {
                    deliveries: log.deliveries(user).await?,
                    hours: log.hourly_counts(user, now).await?,
                    pending: log.pending(user).await?,
                    dead_letters: log.dead_letters(Some(user), None, DEAD_LETTERS).await?,
                    dead_letter_count: log.count_dead_letters(user).await?,
                    labels: Vec::new(),
                })
            }
        };
        let is_managed = pages.users().fleet.managed_machine(&record).is_some();
        let client = pages.users().operator_client.as_deref();
        let google = record.google.as_ref();
        let made = client
            .zip(google)
            .map(|(client, google)| client.has_made(google));
        Ok(Self {
            has_operator_client: client.is_some(),
            is_renewed_here: made.unwrap_or_default(),
            record,
            now,
            mail,
            targets: Vec::new(),
            refused_target: None,
            has_mail_server: pages.parts().alerts.client.has_mail_server(),
            is_managed,
            accounts: Vec::new(),
        })
    }

    /// Whether an account is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.record.google.is_some() || !self.accounts.is_empty()
    }

    /// Whether notifications of an account are on.
    pub(super) fn wants_notifications(&self) -> bool {
        let mut records =
            std::iter::once(&self.record).chain(self.accounts.iter().map(|it| &it.record));
        records.any(|record| record.as_instance().wants_notifications())
    }

    /// How many mails the watchers have set aside.
    pub(super) fn mail_dead_letters(&self) -> u64 {
        match &*self.accounts {
            [] => self.record.mail_dead_letters,
            all => all.iter().map(|it| it.record.mail_dead_letters).sum(),
        }
    }

    /// What the page calls the account.
    pub(super) fn label(&self) -> String {
        label(&self.record)
    }

    /// Returns whether the machine can be started.
    pub(super) fn is_off(&self) -> bool {
        matches!(
            self.record.status,
            InstanceStatus::Stopped | InstanceStatus::Provisioned
        )
    }

    /// Returns whether the machine's location is known.
    pub(super) fn has_machine(&self) -> bool {
        self.record.location != MachineLocation::Unknown
    }

    /// Returns when Gmail sent the last notification.
    pub(super) fn last_push(&self) -> LastPush {
        let Some(mail) = &self.mail else {
            return LastPush::Unknown;
        };
        let pending = mail.pending.iter();
        let pending = pending.map(|pending| (&pending.message_id, pending.accepted_at));
        let deliveries = mail.deliveries.iter();
        let delivered = deliveries.map(|delivery| (&delivery.message_id, delivery.accepted_at));
        let pushes = delivered.chain(pending).filter(|(id, _)| !is_test(id));
        match pushes.map(|(_, at)| at).max() {
            Some(at) => LastPush::At(at),
            None if mail.deliveries.len() >= DELIVERIES_KEPT => LastPush::Unknown,
            None => LastPush::None,
        }
    }

    /// Returns the last delivery of a notification from Gmail.
    pub(super) fn last_delivered(&self) -> Option<&DeliveryRecord> {
        self.delivered()
            .find(|delivery| !is_test(&delivery.message_id))
    }

    /// Returns the last delivery if it was a test.
    pub(super) fn last_test(&self) -> Option<&DeliveryRecord> {
        let last = self.delivered().next();
        last.filter(|delivery| is_test(&delivery.message_id))
    }

    /// The successful deliveries, latest first.
    fn delivered(&self) -> impl Iterator<Item = &DeliveryRecord> {
        let deliveries = self.mail.iter().flat_map(|mail| &mail.deliveries);
        deliveries.filter(|delivery| delivery.outcome == Outcome::Delivered)
    }

    /// Returns how long Gmail has sent nothing since the account was connected.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        let records =
            std::iter::once(&self.record).chain(self.accounts.iter().map(|it| &it.record));
        let connected = records.filter_map(|record| Some(record.google.as_ref()?.connected_at));
        let connected = connected.max()?;
        match self.last_push() {
            LastPush::At(at) => Some(self.now - at.max(connected)),
            LastPush::None => Some(self.now - connected),
            LastPush::Unknown => None,
        }
    }
}

/// What the page calls the account of a record.
pub(super) fn label(record: &UserRecord) -> String {
    let google = record.google.as_ref();
    let email = google.and_then(|google| google.email.as_ref());
    email.map_or_else(
        || "first account".to_owned(),
        |email| email.as_str().to_owned(),
    )
}
