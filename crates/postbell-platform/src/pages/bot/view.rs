//! The data of *My bot*.

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
    /// A text that was not added to them.
    pub(super) refused_target: Option<alerts::Refused>,
    /// Whether this platform can start and configure the machine.
    pub(super) is_managed: bool,
    /// Whether accounts can be connected in the browser.
    pub(super) has_operator_client: bool,
    /// Whether the account was connected so: then the platform renews the watch.
    pub(super) is_renewed_here: bool,
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
}

/// When Gmail sent the last notification.
pub(super) enum LastPush {
    At(Timestamp),
    None,
    /// Before the deliveries that are kept.
    Unknown,
}

impl View {
    /// Reads the data.
    pub(super) async fn load(pages: &Pages, record: UserRecord) -> Result<Self, PageError> {
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
                })
            }
        };
        let targets = alerts::load(pages, user).await?;
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
            targets,
            refused_target: None,
            is_managed,
        })
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
        let connected = self.record.google.as_ref()?.connected_at;
        match self.last_push() {
            LastPush::At(at) => Some(self.now - at.max(connected)),
            LastPush::None => Some(self.now - connected),
            LastPush::Unknown => None,
        }
    }
}
