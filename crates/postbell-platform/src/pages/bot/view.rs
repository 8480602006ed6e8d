//! What is known of a bot, read at once.

use std::time::Duration;

use postbell_core::inbox::{DeliveryRecord, HourCount, Outcome, Waiting};
use postbell_core::{DeadLetter, InstanceRecord, InstanceStatus, Place, Timestamp};

use crate::pages::{PageRefusal, Pages};

/// How many dead letters are shown.
const LETTERS: usize = 10;

/// What is known of a bot.
pub(super) struct View {
    pub(super) record: InstanceRecord,
    pub(super) now: Timestamp,
    /// `None` where the relay runs elsewhere.
    pub(super) mail: Option<Mail>,
    /// Whether the machine can be started, and told of changes, from here.
    pub(super) is_ours_to_start: bool,
}

/// What is known of its mail.
pub(super) struct Mail {
    /// The latest first.
    pub(super) deliveries: Vec<DeliveryRecord>,
    pub(super) hours: Vec<HourCount>,
    pub(super) waiting: Option<Waiting>,
    pub(super) letters: Vec<DeadLetter>,
}

impl View {
    /// Reads it.
    pub(super) async fn of(pages: &Pages, record: InstanceRecord) -> Result<Self, PageRefusal> {
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
                })
            }
        };
        let is_ours_to_start = pages.users().fleet.hands_on(&record).is_some();
        Ok(Self {
            record,
            now,
            mail,
            is_ours_to_start,
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
        self.record.place != Place::Unknown
    }

    /// When something was heard from Gmail last.
    pub(super) fn last_heard(&self) -> Option<Timestamp> {
        let mail = self.mail.as_ref()?;
        let waiting = mail.waiting.as_ref().map(|waiting| waiting.accepted_at);
        let delivered = mail.deliveries.iter().map(|delivery| delivery.accepted_at);
        delivered.chain(waiting).max()
    }

    /// The last delivery that the machine took.
    pub(super) fn last_delivered(&self) -> Option<&DeliveryRecord> {
        let mut deliveries = self.mail.as_ref()?.deliveries.iter();
        deliveries.find(|delivery| delivery.outcome == Outcome::Delivered)
    }

    /// Since when nothing was heard although it could have been.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        let connected = self.record.google.as_ref()?.connected_at;
        self.mail.as_ref()?;
        let since = self
            .last_heard()
            .map_or(connected, |heard| heard.max(connected));
        Some(self.now - since)
    }
}
