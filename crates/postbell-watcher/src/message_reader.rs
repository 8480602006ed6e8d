//! Reads messages and selects those that the bot gets.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use postbell_google::{Gmail, GmailError, Message};
use postbell_mail::{BodyWanted, FetchedParts, MissingPart, extract};
use postbell_protocol::webhook::WebhookMessage;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::arrival::Arrival;
use crate::filter::Candidate;
use crate::settings::WatcherSettings;

/// How many messages are read concurrently: Gmail allows about ten requests per user.
const CONCURRENT_READS: usize = 4;

/// How many pages of a search are read. Each has up to 500 messages.
const SEARCH_PAGES: usize = 20;

/// Reads messages and selects those that the bot gets.
pub(crate) struct MessageReader {
    pub(crate) gmail: Arc<Gmail>,
    pub(crate) settings: Arc<WatcherSettings>,
}

impl MessageReader {
    /// Reads the messages of a batch, in order, without those that no longer exist and those that
    /// are not for the bot.
    pub(crate) async fn read(&self, batch: &[Arrival]) -> Result<Vec<WebhookMessage>, GmailError> {
        let ids = batch.iter().filter(|arrival| !arrival.is_deletion());
        let ids: Vec<_> = ids.map(|arrival| arrival.message.id.clone()).collect();
        let mut read = self.read_each(ids.clone()).await?;
        if read.iter().any(Option::is_none) {
            // Gmail may list a message shortly before it can be read.
            sleep(self.settings.fetch_delay).await;
            let missing = read.iter_mut().zip(&ids);
            for (missing, id) in missing.filter(|(read, _)| read.is_none()) {
                *missing = self.read_one(id).await?;
            }
        }
        let mut candidates: Vec<_> = read.into_iter().flatten().collect();
        candidates.retain(|candidate| !self.settings.excludes(&candidate.message.labels));
        self.filtered(candidates).await
    }

    async fn read_each(&self, ids: Vec<String>) -> Result<Vec<Option<Candidate>>, GmailError> {
        let reads = ids
            .into_iter()
            .map(|id| async move { self.read_one(&id).await });
        stream::iter(reads)
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await
    }

    /// Reads one message and keeps only what is delivered: a message can have 25 MB.
    async fn read_one(&self, id: &str) -> Result<Option<Candidate>, GmailError> {
        let Some(read) = self.message(id).await? else {
            return Ok(None);
        };
        let extract = |fetched: &FetchedParts| extract(&read.message, self.settings.body, fetched);
        let mut extraction = extract(&FetchedParts::new());
        if !extraction.missing.is_empty() {
            let fetched = self.fetch(id, &extraction.missing).await?;
            extraction = extract(&fetched);
        }
        let mut message = extraction.message;
        if read.has_headers_only && self.settings.body != BodyWanted::No {
            message.body_truncated = Some(true);
        }
        Ok(Some(Candidate::new(message, &read.message)))
    }

    async fn message(&self, id: &str) -> Result<Option<ReadMessage>, GmailError> {
        let (message, has_headers_only) = match self.gmail.message(id).await {
            // An unreadable message would block all later ones: deliver its headers instead.
            Err(GmailError::Unreadable) => (self.gmail.message_headers(id).await, true),
            read => (read, false),
        };
        match message {
            Ok(message) => Ok(Some(ReadMessage {
                message,
                has_headers_only,
            })),
            Err(GmailError::NotFound) => {
                debug!(message.id = id, "Message {id} no longer exists");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches parts of a message. One that Gmail does not give is left out, and the body is marked as
    /// cut.
    async fn fetch(&self, id: &str, missing: &[MissingPart]) -> Result<FetchedParts, GmailError> {
        let mut fetched = FetchedParts::new();
        for part in missing {
            match self.gmail.attachment(id, &part.attachment_id).await {
                Ok(body) => {
                    fetched.insert(part.attachment_id.clone(), body);
                }
                Err(error) if is_about_the_part(&error) => {
                    warn!(message.id = id, %error, "Could not read a part of message {id}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fetched)
    }

    /// Applies the filter.
    async fn filtered(
        &self,
        mut candidates: Vec<Candidate>,
    ) -> Result<Vec<WebhookMessage>, GmailError> {
        let filter = &self.settings.filter;
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

    /// Searches the period of the candidates, and returns the ids of all messages found.
    async fn search(
        &self,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<HashSet<String>, GmailError> {
        let times = || {
            candidates
                .iter()
                .map(|candidate| candidate.received_at.as_secs())
        };
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let search = format!("({query}) after:{} before:{}", first - 1, last + 2);
        let mut found = HashSet::new();
        let mut page = self.gmail.messages(&search, None).await?;
        for _ in 0..SEARCH_PAGES {
            found.extend(page.messages.into_iter().map(|message| message.id));
            match page.next_page_token {
                Some(next) => page = self.gmail.messages(&search, Some(&next)).await?,
                None => break,
            }
        }
        Ok(found)
    }
}

/// A message as Gmail gave it.
struct ReadMessage {
    message: Message,
    has_headers_only: bool,
}

/// Whether a repeat would most likely fail in the same way, while other calls succeed.
fn is_about_the_part(error: &GmailError) -> bool {
    match error {
        GmailError::NotFound | GmailError::Failed { .. } | GmailError::Unreadable => true,
        GmailError::Refused { .. } => !error.concerns_account(),
        GmailError::Unauthorized
        | GmailError::Token(_)
        | GmailError::Quota { .. }
        | GmailError::Unavailable(_) => false,
    }
}
