//! An event in words, for people.

use std::fmt::Write;

use jiff::fmt::strtime;
use postbell_core::Timestamp;

use crate::{AlertEvent, AlertKind};

/// The longest text that is sent: the shortest limit of the services is Discord's 2,000 characters.
const MOST_CHARS: usize = 1_800;

/// An event in words.
pub(crate) struct Message {
    /// One line.
    pub(crate) title: String,
    /// Some lines below the title.
    pub(crate) text: String,
}

impl Message {
    pub(crate) fn of(event: &AlertEvent) -> Self {
        let title = match &event.account {
            Some(account) => format!("Postbell: {}: {account}", title(event.kind)),
            None => format!("Postbell: {}", title(event.kind)),
        };
        let mut text = String::new();
        let is_counted = matches!(
            event.kind,
            AlertKind::MailDeadLettered | AlertKind::DeliveryDeadLettered
        );
        if event.count > 1 || is_counted {
            let _ = writeln!(text, "Number: {}", event.count);
        }
        if !event.detail.is_empty() {
            let _ = writeln!(text, "{}", event.detail);
        }
        let _ = writeln!(text, "{}", advice(event));
        if let Some(user) = &event.user {
            let _ = writeln!(text, "User: {user}");
        }
        let _ = write!(text, "Since {}", readable(event.at));
        Self {
            title: cut(&title),
            text: cut(&text),
        }
    }

    /// Title and text in one.
    pub(crate) fn whole(&self) -> String {
        cut(&format!("{}\n{}", self.title, self.text))
    }
}

/// The kind in a few words.
const fn title(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::GrantRevoked => "Access to Gmail was revoked",
        AlertKind::WatchExpiring => "Gmail's watch ends soon",
        AlertKind::WatchExpired => "Gmail's watch has ended",
        AlertKind::WebhookFailing => "The bot does not accept mail",
        AlertKind::MailStopped => "Mail does not get through",
        AlertKind::MailDeadLettered => "Mail was set aside",
        AlertKind::DeliveryDeadLettered => "Notifications became dead letters",
        AlertKind::MachineUnreachable => "The machine cannot be reached",
        AlertKind::MailboxSilent => "Nothing is heard of the mailbox",
        AlertKind::Recovered => "Mail gets through again",
        AlertKind::Test => "Test alert",
    }
}

/// What a person does next.
pub(crate) fn advice(event: &AlertEvent) -> &'static str {
    if let (Some(problem), false) = (event.problem, event.kind == AlertKind::Recovered) {
        return problem.advice();
    }
    match event.kind {
        AlertKind::GrantRevoked => "Connect the Google account again.",
        AlertKind::WatchExpiring => {
            "The watch was not renewed: check that the watcher runs and that its log shows no refusal by Gmail."
        }
        AlertKind::WatchExpired => {
            "Connect the Google account again, or run `postbell watch start`."
        }
        AlertKind::WebhookFailing => {
            "Check that the bot is running, and its webhook's URL and token."
        }
        AlertKind::MailStopped => "Run `postbell doctor` to find the cause.",
        AlertKind::MailDeadLettered => {
            "The other mail is delivered. List what was set aside with `postbell watch dead-letters list`."
        }
        AlertKind::DeliveryDeadLettered => {
            "List them with `postbell dead-letters list`, and replay them once the cause is gone."
        }
        AlertKind::MachineUnreachable => "Check that the machine is running and reachable.",
        AlertKind::MailboxSilent => "Check that the machine and the watcher are running.",
        AlertKind::Recovered => "Nothing needs to be done: mail that waited is delivered.",
        AlertKind::Test => "Alerts reach you here. Nothing needs to be done.",
    }
}

/// RFC 3339 in UTC.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map_or_else(|_| at.to_string(), |at| at.to_string())
}

fn readable(at: Timestamp) -> String {
    let moment = jiff::Timestamp::from_millisecond(at.as_millis());
    let text = moment.and_then(|moment| strtime::format("%Y-%m-%d %H:%M UTC", moment));
    text.unwrap_or_else(|_| at.to_string())
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use postbell_core::ProblemCode;

    use super::*;

    fn event(kind: AlertKind) -> AlertEvent {
        let at = Timestamp::from_millis(1_790_000_000_000);
        AlertEvent::new(kind, at, Some("ann@example.com".to_owned()), None)
    }

    #[test]
    fn a_message_says_what_happened_what_to_do_and_since_when() {
        let event = event(AlertKind::GrantRevoked).with_problem(Some(ProblemCode::GrantRevoked));
        let message = Message::of(&event.with_detail("Google answered invalid_grant."));
        assert_eq!(
            message.whole(),
            format!(
                "Postbell: Access to Gmail was revoked: ann@example.com\nGoogle answered \
                 invalid_grant.\n{}\nSince 2026-09-21 14:13 UTC",
                ProblemCode::GrantRevoked.advice()
            )
        );
    }

    #[test]
    fn a_burst_is_one_message_with_its_number() {
        let message = Message::of(&event(AlertKind::MailDeadLettered).with_count(100));
        assert!(
            message.text.starts_with("Number: 100\n"),
            "{}",
            message.text
        );
    }

    #[test]
    fn a_recovery_does_not_repeat_the_advice_of_the_problem() {
        let recovered = event(AlertKind::Recovered).with_problem(Some(ProblemCode::WebhookGone));
        assert!(
            Message::of(&recovered)
                .text
                .starts_with("Nothing needs to be done")
        );
    }

    #[test]
    fn every_kind_has_words_and_none_is_too_long() {
        for kind in AlertKind::ALL {
            let long = event(kind).with_detail(&"ü".repeat(10_000));
            assert!(Message::of(&long).whole().chars().count() < 2_000);
            assert!(advice(&long).ends_with('.'));
        }
    }
}
