//! Summaries: dead letters, and like events of many users.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use postbell_core::{AlertMark, DeadLetter, NewAlert, StoreError, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Monitor, new_alert};
use crate::{AlertEvent, AlertKind, Burst};

/// The subject of the mark: no user id contains a space.
const SUBJECT: &str = "dead letters";

/// How many new dead letters one observation counts, and how many it reads at once.
const MOST: usize = 10_000;
const PAGE: usize = 500;

/// For how many users dead letters are counted at a time.
const MOST_USERS: usize = 1_000;

/// How many of them an alert names.
const MOST_NAMED: usize = 5;

/// How many events of a kind the operator gets one by one in an hour. Further ones are counted.
const SINGLE: u32 = 10;
const WINDOW: Duration = Duration::from_secs(3600);

/// Counts that are not reported yet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Summary {
    /// The greatest number of a dead letter that was counted.
    last: Option<i64>,
    /// Of all users, for the operator.
    all: Burst,
    /// Of each user, for the user.
    users: BTreeMap<String, Burst>,
    /// Further events of many users, for the operator.
    others: BTreeMap<AlertKind, Burst>,
}

/// Limits what the operator gets one by one: a thousand revoked grants are one alert, not a thousand.
#[derive(Debug, Default)]
pub(super) struct OperatorLimit {
    since: Option<Timestamp>,
    reported: HashMap<AlertKind, u32>,
    counted: HashMap<AlertKind, u64>,
}

impl OperatorLimit {
    /// Whether a further event is not to be reported by itself.
    pub(super) fn is_reached(&mut self, kind: AlertKind, now: Timestamp) -> bool {
        if self.since.is_none_or(|since| now - since >= WINDOW) {
            self.since = Some(now);
            self.reported.clear();
        }
        self.reported
            .get(&kind)
            .is_some_and(|reported| *reported >= SINGLE)
    }

    /// Counts an event that is stored: one of many, or reported by itself.
    pub(super) fn count(&mut self, kind: AlertKind, is_one_of_many: bool) {
        if is_one_of_many {
            *self.counted.entry(kind).or_default() += 1;
        } else {
            *self.reported.entry(kind).or_default() += 1;
        }
    }

    /// Forgets events that were counted and are stored in the summary.
    fn forget(&mut self, stored: &HashMap<AlertKind, u64>) {
        for (kind, number) in stored {
            if let Some(counted) = self.counted.get_mut(kind) {
                *counted = counted.saturating_sub(*number);
            }
        }
        self.counted.retain(|_, number| *number > 0);
    }
}

impl Monitor {
    /// Counts new dead letters and further events, and reports what is due.
    pub(super) async fn observe_dead_letters(&self, now: Timestamp) -> Result<(), StoreError> {
        let subject = match self.parts.users {
            Some(_) => SUBJECT.to_owned(),
            None => format!("relay {SUBJECT}"),
        };
        let mark = self.parts.outbox.mark(&subject).await?;
        let mut summary = read(&mark);
        self.count(&mut summary, now).await?;
        let counted = self.limit.lock().counted.clone();
        for (kind, number) in &counted {
            let burst = summary.others.entry(*kind).or_default();
            burst.add(*number, now);
        }
        let alerts = self.due(&mut summary, now).await?;
        let state = serde_json::to_string(&summary).unwrap_or_default();
        if state == mark.state {
            return Ok(());
        }
        let written = AlertMark { state, ..mark };
        // If another process has counted the dead letters, the events are still only known here.
        if self.put(&written, alerts, now).await? {
            self.limit.lock().forget(&counted);
        }
        Ok(())
    }

    async fn count(&self, summary: &mut Summary, now: Timestamp) -> Result<(), StoreError> {
        let Some(log) = &self.parts.log else {
            return Ok(());
        };
        let Some(last) = summary.last else {
            // Earlier ones are no news.
            let newest = log.dead_letters(None, None, 1).await?;
            summary.last = Some(newest.first().map_or(0, |letter| letter.id));
            return Ok(());
        };
        let (mut before, mut read) = (None, 0);
        loop {
            let page = log.dead_letters(None, before, PAGE).await?;
            let new: Vec<_> = page.iter().filter(|letter| letter.id > last).collect();
            for letter in &new {
                summary.add(letter, now);
            }
            read += new.len();
            before = page.last().map(|letter| letter.id);
            if new.len() < PAGE || read >= MOST {
                return Ok(());
            }
        }
    }

    /// Takes what is due, as alerts.
    async fn due(
        &self,
        summary: &mut Summary,
        now: Timestamp,
    ) -> Result<Vec<NewAlert>, StoreError> {
        let mut alerts = Vec::new();
        let dead = AlertKind::DeliveryDeadLettered;
        let of_users = summary.of_users();
        if let Some((number, since)) = summary.all.take_due(now) {
            info!(number, "Queued the alert of dead letters for the operator");
            let event = AlertEvent::new(dead, since, None, None).with_count(number);
            let event = event.with_detail(&of_users);
            alerts.push(new_alert(&event, self.operator()));
        }
        for (kind, burst) in &mut summary.others {
            if let Some((number, since)) = burst.take_due(now) {
                let detail = "Further users have the same problem.";
                let event = AlertEvent::new(*kind, since, None, None)
                    .with_count(number)
                    .with_detail(detail);
                alerts.push(new_alert(&event, self.operator()));
            }
        }
        for (name, burst) in &mut summary.users {
            let (Some((number, since)), Ok(user)) = (burst.take_due(now), name.parse::<UserId>())
            else {
                continue;
            };
            let recipients = self.recipients_of(&user).await?;
            let event = AlertEvent::new(dead, since, None, Some(name.clone()));
            alerts.push(new_alert(&event.with_count(number), recipients));
        }
        summary.users.retain(|_, burst| !burst.is_idle(now));
        Ok(alerts)
    }
}

impl Summary {
    /// Says whose dead letters wait to be reported; of many users, whose some are.
    fn of_users(&self) -> String {
        let waiting = self.users.iter().filter(|(_, burst)| burst.is_waiting());
        let names: Vec<_> = waiting.map(|(name, _)| name.as_str()).collect();
        match &names[..] {
            [] => String::new(),
            names if names.len() <= MOST_NAMED => format!("Of {}.", names.join(", ")),
            names => format!(
                "Of {}, and {} more users.",
                names[..MOST_NAMED].join(", "),
                names.len() - MOST_NAMED
            ),
        }
    }

    fn add(&mut self, letter: &DeadLetter, now: Timestamp) {
        self.last = self.last.max(Some(letter.id));
        self.all.add(1, now);
        let name = letter.user.as_str();
        if let Some(burst) = self.users.get_mut(name) {
            burst.add(1, now);
        } else if self.users.len() < MOST_USERS {
            self.users.entry(name.to_owned()).or_default().add(1, now);
        }
    }
}

fn read(mark: &AlertMark) -> Summary {
    if mark.state.is_empty() {
        return Summary::default();
    }
    serde_json::from_str(&mark.state).unwrap_or_else(|error| {
        warn!(%error, "Ignored the count of dead letters, because it cannot be read");
        Summary::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_gets_ten_events_of_a_kind_one_by_one_in_an_hour() {
        let mut limit = OperatorLimit::default();
        let start = Timestamp::from_millis(1_000_000);
        let mut taken = |kind, now| {
            let mut is_single = |()| {
                let is_reached = limit.is_reached(kind, now);
                limit.count(kind, is_reached);
                !is_reached
            };
            (0..100).filter(|_| is_single(())).count()
        };
        assert_eq!(taken(AlertKind::GrantRevoked, start), 10);
        assert_eq!(taken(AlertKind::MailboxSilent, start), 10);
        assert_eq!(taken(AlertKind::GrantRevoked, start + WINDOW), 10);
        assert_eq!(limit.counted[&AlertKind::GrantRevoked], 180);
        let stored = limit.counted.clone();
        limit.count(AlertKind::GrantRevoked, true);
        limit.forget(&stored);
        assert_eq!(limit.counted, [(AlertKind::GrantRevoked, 1)].into());
    }
}
