//! Selects the messages that the bot gets.

use postbell_core::Timestamp;
use postbell_google::Message;
use postbell_mail::{FieldMailbox, mailboxes};
use postbell_protocol::webhook::{AuthenticationResult, WebhookMessage};
use tracing::info;

/// Selects the messages that the bot gets; by default, all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Allowed senders, addresses or domains in lower case: `ann@example.com`, `example.com`.
    pub senders: Vec<String>,
    /// Whether an allowed sender must be proven.
    pub sender_proof: SenderProof,
    /// A query in Gmail's search syntax that a message must match.
    pub query: Option<String>,
}

/// The proof that an allowed sender needs. Every sender can write any address into `From`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SenderProof {
    /// Gmail verified that the domain in `From` sent the message (DMARC).
    #[default]
    Verified,
    /// The address in `From` is enough.
    Unverified,
}

impl Filter {
    /// Returns whether a message is from an allowed sender.
    pub(crate) fn allows_sender(&self, message: &WebhookMessage) -> bool {
        if self.senders.is_empty() {
            return true;
        }
        if !self.has_sender(&message.from) {
            return false;
        }
        let dmarc = message.authentication.and_then(|found| found.dmarc);
        let is_proven = dmarc == Some(AuthenticationResult::Pass);
        if !is_proven && self.sender_proof == SenderProof::Verified {
            let id = &message.id;
            info!(message.id = %id, "Message {id} claims an allowed sender that Gmail did not verify");
            return false;
        }
        true
    }

    /// Returns whether all addresses of a `From` field are allowed. A field without an address is
    /// not.
    fn has_sender(&self, from: &str) -> bool {
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
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) message: WebhookMessage,
    pub(crate) received_at: Timestamp,
    /// About how many bytes its source has.
    pub(crate) size_estimate: u64,
}

impl Candidate {
    pub(crate) fn new(message: WebhookMessage, read: &Message) -> Self {
        Self {
            received_at: read.internal_date,
            size_estimate: read.size_estimate,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use postbell_protocol::webhook::MailAuthentication;

    use super::*;

    #[test]
    fn a_sender_is_an_address_or_a_domain_but_never_a_display_name() {
        let filter = Filter {
            senders: ["ann@example.com", "boss.example"]
                .map(str::to_owned)
                .to_vec(),
            ..Filter::default()
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
        assert!(Filter::default().allows_sender(&WebhookMessage::default()));
    }

    #[test]
    fn an_allowed_sender_counts_only_if_gmail_verified_it() {
        let verified = Filter {
            senders: vec!["ann@example.com".to_owned()],
            ..Filter::default()
        };
        let unverified = Filter {
            sender_proof: SenderProof::Unverified,
            ..verified.clone()
        };
        let from = |from: &str, dmarc| WebhookMessage {
            from: from.to_owned(),
            authentication: Some(MailAuthentication {
                dmarc,
                ..MailAuthentication::default()
            }),
            ..WebhookMessage::default()
        };
        let pass = Some(AuthenticationResult::Pass);
        let fail = Some(AuthenticationResult::Fail);
        for (message, by_verified, by_unverified) in [
            (from("ann@example.com", pass), true, true),
            (from("ann@example.com", fail), false, true),
            (from("ann@example.com", None), false, true),
            (from("eve@evil.org", pass), false, false),
        ] {
            assert_eq!(verified.allows_sender(&message), by_verified);
            assert_eq!(unverified.allows_sender(&message), by_unverified);
        }
    }
}
