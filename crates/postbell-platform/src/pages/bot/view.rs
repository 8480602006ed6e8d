//! What is known of a bot, read at once.

use std::time::Duration;

use postbell_core::{
    DELIVERIES_KEPT, DeadLetter, DeliveryRecord, HourlyCount, InstanceStatus, MachineLocation,
    Outcome, PendingDelivery, Timestamp, UserRecord,
};

use super::test_message::is_test;
use crate::pages::{PageError, Pages};

/// How many dead letters are shown.
const LETTERS: usize = 10;

/// What is known of a bot.
pub(super) struct View {
    pub(super) record: UserRecord,
    pub(super) now: Timestamp,
    /// `None` where the relay runs elsewhere.
    pub(super) mail: Option<Mail>,
    /// Whether the machine can be started, and told of changes, from here.
    pub(super) is_managed: bool,
}

/// What is known of its mail.
pub(super) struct Mail {
    /// The latest first.
    pub(super) deliveries: Vec<DeliveryRecord>,
    pub(super) hours: Vec<HourlyCount>,
    pub(super) waiting: Option<PendingDelivery>,
    /// What was given up last.
    pub(super) letters: Vec<DeadLetter>,
    /// How many there are.
    pub(super) given_up: u64,
}

/// When Gmail announced mail last.
pub(super) enum Heard {
    At(Timestamp),
    Nothing,
    /// Longer ago than what is kept.
    Unknown,
}

impl View {
    /// Reads it.
    pub(super) async fn of(pages: &Pages, record: UserRecord) -> Result<Self, PageError> {
        let now = pages.now();
        let user = &record.user;
        let mail = match &pages.parts().relay {
            None => None,
            Some(relay) => {
                let inbox = &relay.inbox;
                Some(Mail {
                    deliveries: inbox.deliveries(user).await?,
                    hours: inbox.hours(user, now).await?,
                    waiting: inbox.waiting(user).await?,
                    letters: inbox.dead_letters(Some(user), None, LETTERS).await?,
                    given_up: inbox.count_dead_letters(user).await?,
                })
            }
        };
        let is_managed = pages.users().fleet.managed_machine(&record).is_some();
        Ok(Self {
            record,
            now,
            mail,
            is_managed,
        })
    }

    /// Whether the machine is known to take nothing.
    pub(super) fn is_off(&self) -> bool {
        matches!(
            self.record.status,
            InstanceStatus::Stopped | InstanceStatus::Provisioned
        )
    }

    /// Whether anybody has said where the machine is.
    pub(super) fn has_machine(&self) -> bool {
        self.record.place != MachineLocation::Unknown
    }

    /// When Gmail announced mail last.
    pub(super) fn last_heard(&self) -> Heard {
        let Some(mail) = &self.mail else {
            return Heard::Unknown;
        };
        let waiting = mail.waiting.iter();
        let waiting = waiting.map(|waiting| (&waiting.message_id, waiting.accepted_at));
        let deliveries = mail.deliveries.iter();
        let delivered = deliveries.map(|delivery| (&delivery.message_id, delivery.accepted_at));
        let of_mail = delivered.chain(waiting).filter(|(id, _)| !is_test(id));
        match of_mail.map(|(_, at)| at).max() {
            Some(at) => Heard::At(at),
            None if mail.deliveries.len() >= DELIVERIES_KEPT => Heard::Unknown,
            None => Heard::Nothing,
        }
    }

    /// The last mail that the machine was told of.
    pub(super) fn last_delivered(&self) -> Option<&DeliveryRecord> {
        self.taken().find(|delivery| !is_test(&delivery.message_id))
    }

    /// The last test that the machine took, if it has taken nothing since.
    pub(super) fn last_test(&self) -> Option<&DeliveryRecord> {
        let last = self.taken().next();
        last.filter(|delivery| is_test(&delivery.message_id))
    }

    /// What the machine took, the latest first.
    fn taken(&self) -> impl Iterator<Item = &DeliveryRecord> {
        let deliveries = self.mail.iter().flat_map(|mail| &mail.deliveries);
        deliveries.filter(|delivery| delivery.outcome == Outcome::Delivered)
    }

    /// For how long nothing was heard although it could have been.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        let connected = self.record.google.as_ref()?.connected_at;
        match self.last_heard() {
            Heard::At(heard) => Some(self.now - heard.max(connected)),
            Heard::Nothing => Some(self.now - connected),
            Heard::Unknown => None,
        }
    }
}
