//! Which messages the bot gets, of all that came.

use std::collections::HashSet;

use mail_parser::{Address, MessageParser};
use postbell_core::Timestamp;
use postbell_google::Message;
use tokio::time::sleep;

use crate::look::LookError;
use crate::message::{BodyWanted, HookMessage, sender};
use crate::watcher::Watcher;

/// How many pages of a search are read: each has 500 messages.
const PAGES: usize = 20;

/// Which messages the bot gets; all of them, where nothing is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Addresses, or domains: `ann@example.com`, `example.com`. In lower case.
    pub senders: Vec<String>,
    /// What Gmail's search must find, in its syntax.
    pub query: Option<String>,
}

impl Filter {
    /// Whether everyone whom a `From` field names is among the senders. One that names nobody is
    /// by nobody.
    fn has_sender(&self, from: &str) -> bool {
        if self.senders.is_empty() {
            return true;
        }
        let field = format!("From: {}\r\n\r\n", from.replace(['\r', '\n'], " "));
        let parsed = MessageParser::default().parse_headers(field.as_bytes());
        // A group, whose name may look like an address, is no sender.
        let Some(Address::List(from)) = parsed.as_ref().and_then(|message| message.from()) else {
            return false;
        };
        let is_sender = |address: &str| self.is_sender(address);
        !from.is_empty() && from.iter().all(|one| one.address().is_some_and(is_sender))
    }

    fn is_sender(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        let domain = address.rsplit_once('@').map(|(_, domain)| domain);
        self.senders
            .iter()
            .any(|sender| *sender == address || Some(sender.trim_start_matches('@')) == domain)
    }
}

/// A message that the bot gets if it passes the filter.
pub(crate) struct Candidate {
    pub(crate) message: HookMessage,
    /// The `From` field as it stands.
    from: String,
    came_at: Timestamp,
}

impl Candidate {
    pub(crate) fn of(message: Message, body: BodyWanted) -> Self {
        Self {
            from: sender(&message).to_owned(),
            came_at: message.internal_date,
            message: HookMessage::of(message, body),
        }
    }
}

impl Watcher {
    /// Returns what the filter lets through.
    pub(crate) async fn filtered(
        &self,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<HookMessage>, LookError> {
        let filter = &self.settings.filter;
        let mut candidates = candidates;
        candidates.retain(|candidate| filter.has_sender(&candidate.from));
        if let Some(query) = filter.query.as_ref().filter(|_| !candidates.is_empty()) {
            let mut found = self.search(query, &candidates).await?;
            let is_found = |candidate: &Candidate| found.contains(&candidate.message.id);
            if !candidates.iter().all(is_found) {
                // Gmail's index can lag behind its history.
                sleep(self.settings.fetch_delay).await;
                found = self.search(query, &candidates).await?;
            }
            candidates.retain(|candidate| found.contains(&candidate.message.id));
        }
        let passed = candidates.into_iter();
        Ok(passed.map(|candidate| candidate.message).collect())
    }

    /// The ids of all that the search finds in the time of these messages.
    async fn search(
        &self,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<HashSet<String>, LookError> {
        let times = || {
            candidates
                .iter()
                .map(|candidate| candidate.came_at.as_secs())
        };
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let search = format!("({query}) after:{} before:{}", first - 1, last + 2);
        let mut found = HashSet::new();
        let mut page = self.gmail.messages(&search, None).await?;
        for _ in 0..PAGES {
            found.extend(page.messages.into_iter().map(|message| message.id));
            match page.next_page_token {
                Some(next) => page = self.gmail.messages(&search, Some(&next)).await?,
                None => break,
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_an_address_or_a_domain_and_what_a_name_pretends_does_not_count() {
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
