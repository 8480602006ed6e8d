//! Reads messages and selects those that the bot gets.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use postbell_core::Timestamp;
use postbell_google::{Gmail, GmailError, Message};
use postbell_mail::{BodyWanted, FetchedParts, MissingPart, extract, named_fields};
use tokio::time::sleep;
use tracing::warn;

use crate::arrival::Arrival;
use crate::extras::ExtrasReader;
use crate::filter::Candidate;
use crate::recently_read::RecentlyRead;
use crate::settings::WatcherSettings;

/// How many messages are read concurrently: Gmail allows about ten requests per user.
const CONCURRENT_READS: usize = 4;

/// How many pages of a search are read. Each has up to 500 messages.
const SEARCH_PAGES: usize = 20;

/// After so many failed servers' answers without a message in between, Gmail itself is failing.
const FAILURES_IN_A_ROW: usize = 4;

/// Reads messages and selects those that the bot gets.
pub(crate) struct MessageReader {
    pub(crate) gmail: Arc<Gmail>,
    pub(crate) settings: Arc<WatcherSettings>,
    pub(crate) extras: ExtrasReader,
    pub(crate) recent: RecentlyRead,
}

/// A message as Gmail gave it.
struct ReadMessage {
    message: Message,
    has_headers_only: bool,
}

/// The result of reading one message.
pub(crate) enum Read {
    /// The bot gets it.
    Message(Box<Candidate>),
    /// The bot gets only the news of it: it was deleted.
    Deletion,
    /// It is not for the bot.
    Unwanted,
    /// Gmail does not have it, or not yet.
    Missing,
    /// Gmail failed for this message; it may give others.
    Failed(GmailError),
}

/// The results of reading some messages, in order.
#[derive(Default)]
pub(crate) struct ReadBatch {
    pub(crate) reads: Vec<Read>,
    /// Gmail gave at least one message.
    pub(crate) has_passed: bool,
    /// Why the last messages were not tried, if Gmail seems to be failing.
    pub(crate) stopped: Option<GmailError>,
}

impl MessageReader {
    /// Reads messages, in order.
    ///
    /// # Errors
    ///
    /// A failure that concerns the mailbox and not a message.
    pub(crate) async fn read(&self, arrivals: &[Arrival]) -> Result<ReadBatch, GmailError> {
        self.recent.forget_old();
        let mut batch = self.read_each(arrivals).await?;
        let is_missing = |read: &Read| matches!(read, Read::Missing);
        if batch.reads.iter().any(is_missing) {
            // Gmail may list a message shortly before it can be read.
            sleep(self.settings.fetch_delay).await;
            let missing = batch.reads.iter_mut().zip(arrivals);
            for (read, arrival) in missing.filter(|(read, _)| is_missing(read)) {
                *read = self.read_one(arrival).await?;
            }
        }
        for read in &mut batch.reads {
            if let Read::Message(candidate) = read
                && self.is_unwanted(candidate)
            {
                *read = Read::Unwanted;
            }
        }
        self.search_for(&mut batch.reads).await?;
        let wanted = batch.reads.iter_mut().filter_map(|read| match read {
            Read::Message(candidate) => Some(&mut **candidate),
            _ => None,
        });
        self.extras.add_to(wanted.collect()).await?;
        Ok(batch)
    }

    async fn read_each(&self, arrivals: &[Arrival]) -> Result<ReadBatch, GmailError> {
        let arrivals = arrivals.to_vec();
        let reads = arrivals
            .into_iter()
            .map(|arrival| async move { self.read_one(&arrival).await });
        let mut reads = stream::iter(reads).buffered(CONCURRENT_READS);
        let mut batch = ReadBatch::default();
        let mut failures = 0;
        while let Some(read) = reads.next().await {
            let read = read?;
            match &read {
                Read::Message(_) => (batch.has_passed, failures) = (true, 0),
                Read::Failed(GmailError::Failed { .. } | GmailError::Unavailable(_)) => {
                    failures += 1;
                }
                _ => {}
            }
            if failures >= FAILURES_IN_A_ROW
                && let Read::Failed(error) = read
            {
                batch.stopped = Some(error);
                break;
            }
            batch.reads.push(read);
        }
        Ok(batch)
    }

    /// Reads one message and keeps only what is delivered: a message can have 25 MB.
    async fn read_one(&self, arrival: &Arrival) -> Result<Read, GmailError> {
        if arrival.is_deletion() {
            return Ok(Read::Deletion);
        }
        let id = &arrival.message.id;
        if let Some(candidate) = self.recent.get(arrival) {
            return Ok(Read::Message(Box::new(candidate)));
        }
        match self.candidate(id).await {
            Ok(candidate) => {
                self.recent.put(arrival, &candidate);
                Ok(Read::Message(Box::new(candidate)))
            }
            Err(GmailError::NotFound) => Ok(Read::Missing),
            Err(error) if is_of_one_message(&error) => Ok(Read::Failed(error)),
            Err(error) => Err(error),
        }
    }

    async fn candidate(&self, id: &str) -> Result<Candidate, GmailError> {
        let read = self.message(id).await?;
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
        let headers = named_fields(&read.message, &self.settings.headers);
        message.headers = headers.values;
        message.headers_truncated = headers.is_cut.then_some(true);
        Ok(Candidate::new(message, &read.message))
    }

    async fn message(&self, id: &str) -> Result<ReadMessage, GmailError> {
        let (message, has_headers_only) = match self.gmail.message(id).await {
            // An unreadable message would block all later ones: deliver its headers instead.
            Err(GmailError::Unreadable) => (self.gmail.message_headers(id).await, true),
            read => (read, false),
        };
        Ok(ReadMessage {
            message: message?,
            has_headers_only,
        })
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

    fn is_unwanted(&self, candidate: &Candidate) -> bool {
        self.settings.excludes(&candidate.message.labels)
            || !self.settings.filter.allows_sender(&candidate.message)
    }

    /// Applies the filter's search.
    async fn search_for(&self, reads: &mut [Read]) -> Result<(), GmailError> {
        let Some(query) = &self.settings.filter.query else {
            return Ok(());
        };
        let candidates = || {
            reads.iter().filter_map(|read| match read {
                Read::Message(candidate) => Some(candidate),
                _ => None,
            })
        };
        let times: Vec<_> = candidates().map(|one| one.received_at).collect();
        if times.is_empty() {
            return Ok(());
        }
        let mut found = self.search(query, &times).await?;
        if !candidates().all(|one| found.contains(&one.message.id)) {
            // Gmail's index can lag behind its history.
            sleep(self.settings.fetch_delay).await;
            found = self.search(query, &times).await?;
        }
        for read in reads {
            if let Read::Message(candidate) = read
                && !found.contains(&candidate.message.id)
            {
                *read = Read::Unwanted;
            }
        }
        Ok(())
    }

    /// Searches the period of some messages, and returns the ids of all messages found.
    async fn search(
        &self,
        query: &str,
        times: &[Timestamp],
    ) -> Result<HashSet<String>, GmailError> {
        let seconds = || times.iter().map(|time| time.as_secs());
        let (first, last) = (seconds().min().unwrap_or(0), seconds().max().unwrap_or(0));
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

/// Whether another message may be readable.
fn is_of_one_message(error: &GmailError) -> bool {
    match error {
        GmailError::Refused { .. } => !error.concerns_account(),
        GmailError::Failed { .. } | GmailError::Unavailable(_) | GmailError::Unreadable => true,
        GmailError::NotFound
        | GmailError::Unauthorized
        | GmailError::Token(_)
        | GmailError::Quota { .. } => false,
    }
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
