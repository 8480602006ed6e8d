//! Which event follows from what is known of a mailbox.

use std::time::Duration;

use postbell_core::{MailProblem, ProblemCode, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{AlertKind, ObservedSince};

/// How long a problem that may pass by itself lasts before it is reported, and how long it is over before
/// the recovery is reported: what comes and goes quickly is no news.
const DAMPING: Duration = Duration::from_secs(5 * 60);

/// How long before the end of Gmail's watch it is reported. A watch lasts seven days and is renewed daily,
/// so the renewal has failed for days by then
/// (<https://developers.google.com/workspace/gmail/api/guides/push#renewing_mailbox_watch>).
const EXPIRING: Duration = Duration::from_secs(24 * 3600);

/// How long after a gap in the observations a mailbox may be silent: longer than the time between two polls.
const AFTER_GAP: Duration = Duration::from_secs(15 * 60);

/// How often an observer that waits for a sign of a mailbox stores that it does.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// The last report of a mailbox. Stored by its observer, so that a restart repeats nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AlertState {
    /// The problem that was reported, until its recovery was.
    #[serde(rename = "told")]
    reported: Option<Reported>,
    /// When it was reported.
    reported_at: Option<Timestamp>,
    /// Since when it is over.
    cleared_at: Option<Timestamp>,
    /// While a mailbox that is silent for too long has some time to be heard of: since when it is observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited: Option<ObservedSince>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Reported {
    kind: AlertKind,
    problem: Option<ProblemCode>,
}

/// The facts of a mailbox.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MailboxFacts {
    /// What keeps mail from the bot.
    pub problem: Option<MailProblem>,
    /// Since when deliveries to the machine fail.
    pub unreachable_since: Option<Timestamp>,
    /// The last delivery to the machine or check-in. Only this ends
    /// [`AlertKind::MachineUnreachable`]: a notification that becomes a dead letter no longer fails.
    pub reached_at: Option<Timestamp>,
    /// When Gmail's watch ends.
    pub watch_expires_at: Option<Timestamp>,
    /// The last mail, successful poll or check-in. `None` if silence is no news, for example because
    /// notifications are off.
    pub last_heard_at: Option<Timestamp>,
    /// Since when the observer observes without a gap. What it has not heard while its machine slept is no news until the
    /// mailbox had some time to be heard of. `None` if there was no gap.
    pub observed_since: Option<Timestamp>,
}

/// After what times an event follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AlertRules {
    /// How long a mailbox may be silent.
    pub silent_after: Duration,
    /// How long deliveries to a machine may fail.
    pub unreachable_after: Duration,
}

impl Default for AlertRules {
    fn default() -> Self {
        Self {
            silent_after: Duration::from_secs(24 * 3600),
            unreachable_after: Duration::from_secs(15 * 60),
        }
    }
}

/// The result of an observation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Observation {
    /// What to report now.
    pub change: Option<Change>,
    /// When the same facts can lead to another result. `None`: not before the facts change.
    pub again_at: Option<Timestamp>,
}

/// A change to report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    /// The kind of event.
    pub kind: AlertKind,
    /// The problem that began or, for `recovered`, is over.
    pub problem: Option<ProblemCode>,
    /// When it began or ended.
    pub at: Timestamp,
}

/// A condition that is worth an event from `report_at` on.
#[derive(Clone, Copy)]
struct Condition {
    reported: Reported,
    since: Timestamp,
    report_at: Timestamp,
}

impl AlertState {
    /// Decides what to report, and remembers it. The caller stores the event and this state together.
    ///
    /// A problem is reported once, when it has lasted for its damping time; another problem that takes its
    /// place is reported, too. `recovered` is reported once after any.
    pub fn observe(
        &mut self,
        facts: &MailboxFacts,
        rules: &AlertRules,
        now: Timestamp,
    ) -> Observation {
        let facts = &self.with_earlier_observers(*facts, rules, now);
        let conditions = conditions(facts, rules, self.has_reported_silence());
        let present = conditions.iter().flatten().find(|it| it.report_at <= now);
        let next = conditions.iter().flatten().map(|it| it.report_at);
        let checkpoint = self.waited.map(|_| now + CHECKPOINT * 2);
        let mut again_at = next.filter(|at| *at > now).chain(checkpoint).min();
        let change = match (present, self.reported) {
            (Some(condition), reported) => {
                self.cleared_at = None;
                (reported != Some(condition.reported)).then(|| {
                    self.reported = Some(condition.reported);
                    self.reported_at = Some(now);
                    Change {
                        kind: condition.reported.kind,
                        problem: condition.reported.problem,
                        at: condition.since,
                    }
                })
            }
            // A problem is known, which may not have lasted long enough to be reported.
            (None, Some(_)) if facts.problem.is_some() || self.is_unreachable(facts) => {
                self.cleared_at = None;
                None
            }
            (None, Some(reported)) => {
                let cleared_at = *self.cleared_at.get_or_insert(now);
                let report_at = cleared_at + recovery_damping(reported);
                if report_at <= now {
                    *self = Self::default();
                    Some(Change {
                        kind: AlertKind::Recovered,
                        problem: reported.problem,
                        at: cleared_at,
                    })
                } else {
                    again_at = Some(again_at.map_or(report_at, |at| at.min(report_at)));
                    None
                }
            }
            (None, None) => None,
        };
        Observation { change, again_at }
    }

    /// A restart is no gap: a mailbox that is silent for too long is also observed since an earlier process has begun to, if
    /// that observed it minutes ago. Otherwise a process that is restarted again and again would report no silence.
    fn with_earlier_observers(
        &mut self,
        facts: MailboxFacts,
        rules: &AlertRules,
        now: Timestamp,
    ) -> MailboxFacts {
        let kept = self.waited.take();
        let is_silent = facts
            .last_heard_at
            .is_some_and(|at| at + rules.silent_after <= now);
        let Some(since) = facts
            .observed_since
            .filter(|_| is_silent && self.reported.is_none())
        else {
            return facts;
        };
        let kept = kept.and_then(|kept| Some((kept, kept.pause_until(now)?)));
        let since = kept.map_or(since, |(kept, _)| kept.since().min(since));
        if since + AFTER_GAP > now {
            self.waited = match kept {
                Some((kept, pause)) if pause < CHECKPOINT => Some(kept),
                _ => Some(ObservedSince::until(now, since)),
            };
        }
        MailboxFacts {
            observed_since: Some(since),
            ..facts
        }
    }

    /// Whether the machine was reported as unreachable and has not been reached since.
    #[must_use]
    pub fn is_unreachable(&self, facts: &MailboxFacts) -> bool {
        let is_reported = self
            .reported
            .is_some_and(|it| it.kind == AlertKind::MachineUnreachable);
        is_reported && facts.reached_at <= self.reported_at
    }

    fn has_reported_silence(&self) -> bool {
        self.reported
            .is_some_and(|it| it.kind == AlertKind::MailboxSilent)
    }

    /// Whether a problem was reported and its recovery was not.
    #[must_use]
    pub fn has_reported(&self) -> bool {
        self.reported.is_some()
    }
}

/// The conditions, the gravest first: only the first one that is due is reported.
fn conditions(
    facts: &MailboxFacts,
    rules: &AlertRules,
    has_reported_silence: bool,
) -> [Option<Condition>; 5] {
    let of = |kind, since, wait| Condition {
        reported: Reported {
            kind,
            problem: None,
        },
        since,
        report_at: since + wait,
    };
    let problem = facts.problem.map(|MailProblem { code, since }| Condition {
        reported: Reported {
            kind: AlertKind::of(code),
            problem: Some(code),
        },
        since,
        report_at: since + damping(code),
    });
    // The machine may be off, so that nothing reports the end.
    let expired = facts.watch_expires_at.map(|at| Condition {
        reported: Reported {
            kind: AlertKind::WatchExpired,
            problem: Some(ProblemCode::WatchExpired),
        },
        since: at,
        report_at: at,
    });
    let expiring = facts.watch_expires_at.map(|at| {
        let millis = i64::try_from(EXPIRING.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp::from_millis(at.as_millis().saturating_sub(millis));
        of(AlertKind::WatchExpiring, since, Duration::ZERO)
    });
    let unreachable = facts.unreachable_since.map(|since| {
        of(
            AlertKind::MachineUnreachable,
            since,
            rules.unreachable_after,
        )
    });
    let silent = facts.last_heard_at.map(|since| {
        let mut silent = of(AlertKind::MailboxSilent, since, rules.silent_after);
        // It is not over because of a gap either.
        let gap_ended = facts.observed_since.filter(|_| !has_reported_silence);
        let heard_by = gap_ended.map_or(silent.report_at, |at| at + AFTER_GAP);
        silent.report_at = silent.report_at.max(heard_by);
        silent
    });
    [problem, expired, unreachable, expiring, silent]
}

/// How long a problem must last before it is reported. What does not pass by itself is reported at once.
const fn damping(problem: ProblemCode) -> Duration {
    match problem {
        ProblemCode::GrantRevoked
        | ProblemCode::WatchExpired
        | ProblemCode::WatchMissing
        | ProblemCode::WebhookGone
        | ProblemCode::CursorAhead
        | ProblemCode::SubscriptionMissing
        | ProblemCode::WrongAccount
        | ProblemCode::CredentialsUnreadable
        | ProblemCode::AccountsUnsupported => Duration::ZERO,
        ProblemCode::WebhookFailing
        | ProblemCode::GmailRefusing
        | ProblemCode::PullFailing
        | ProblemCode::StateUnwritable
        | ProblemCode::Unknown => DAMPING,
    }
}

/// What needed a person is over for good; what passes by itself may come back.
const fn recovery_damping(reported: Reported) -> Duration {
    match reported.problem {
        Some(problem) => damping(problem),
        None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
