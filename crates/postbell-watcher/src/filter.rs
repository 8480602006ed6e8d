//! Selects the messages that the bot gets.

use postbell_core::Timestamp;
use postbell_google::Message;
use postbell_mail::{FieldMailbox, mailboxes};
use postbell_protocol::webhook::WebhookMessage;

/// Selects the messages that the bot gets; by default, all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Allowed senders, addresses or domains in lower case: `ann@example.com`, `example.com`.
    pub senders: Vec<String>,
    /// A query in Gmail's search syntax that a message must match.
    pub query: Option<String>,
}

impl Filter {
    /// Returns whether all addresses of a `From` field are allowed. A field without an address is
    /// not.
    pub(crate) fn has_sender(&self, from: &str) -> bool {
        if self.senders.is_empty() {
            return true;
        }
        let from = mailboxes(from);
        // The name of a group may look like an address.
        let is_sender = |one: &FieldMailbox| !one.is_in_group && self.is_sender(&one.address);
        !from.is_empty() && from.iter().all(is_sender)
    }

    fn is_sender(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        let domain = address.rsplit_once('@').map(|(_, domain)| domain);
        self.senders
            .iter()
            .any(|sender| *sender == address || Some(sender.trim_start_matches('@')) == domain)
    }
}

/// A message before the filter.
pub(crate) struct Candidate {
    pub(crate) message: WebhookMessage,
    /// The `From` field.
    pub(crate) from: String,
    pub(crate) received_at: Timestamp,
}

impl Candidate {
    pub(crate) fn new(message: WebhookMessage, read: &Message) -> Self {
        Self {
            from: message.from.clone(),
            received_at: read.internal_date,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_an_address_or_a_domain_but_never_a_display_name() {
        let filter = Filter {
            senders: ["ann@example.com", "boss.example"]
                .map(str::to_owned)
                .to_vec(),
            query: None,
        };
        for (from, expected) in [
            ("ann@example.com", true),
            ("Ann <ANN@Example.com>", true),
            ("x@boss.example", true),
            ("bob@example.com", false),
            ("x@evilboss.example", false),
            ("x@boss.example.evil.org", false),
            ("\"ann@example.com\" <eve@evil.org>", false),
            ("\"<ann@example.com>\" <eve@evil.org>", false),
            ("ann@example.com, eve@evil.org", false),
            ("eve@evil.org\r\nFrom: ann@example.com", false),
            ("", false),
        ] {
            assert_eq!(filter.has_sender(from), expected, "{from}");
        }
        assert!(Filter::default().has_sender(""));
    }
}
