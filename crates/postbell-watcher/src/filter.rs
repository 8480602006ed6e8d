//! Which messages the bot gets, of all that came.

use std::collections::HashSet;

use mail_parser::{Address, MessageParser};
use postbell_google::Message;
use tokio::time::sleep;

use crate::look::LookError;
use crate::message::sender;
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

impl Watcher {
    /// Leaves only what the filter lets through.
    pub(crate) async fn filtered(&self, messages: Vec<Message>) -> Result<Vec<Message>, LookError> {
        let filter = &self.settings.filter;
        let mut messages = messages;
        messages.retain(|message| filter.has_sender(sender(message)));
        let Some(query) = filter.query.as_ref().filter(|_| !messages.is_empty()) else {
            return Ok(messages);
        };
        let mut found = self.search(query, &messages).await?;
        if messages.iter().any(|message| !found.contains(&message.id)) {
            // Gmail's index can lag behind its history.
            sleep(self.settings.fetch_delay).await;
            found = self.search(query, &messages).await?;
        }
        messages.retain(|message| found.contains(&message.id));
        Ok(messages)
    }

    /// The ids of all that the search finds in the time of these messages.
    async fn search(
        &self,
        query: &str,
        messages: &[Message],
    ) -> Result<HashSet<String>, LookError> {
        let times = || {
            messages
                .iter()
                .map(|message| message.internal_date.as_secs())
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
