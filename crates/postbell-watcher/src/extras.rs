//! What the operator wants beyond a message itself: the mails before it, its source, its files.
//!
//! None of it stops a mail: what Gmail or the disk does not give is left out with a reason. Failures of the whole mailbox,
//! such as a used-up quota, are errors as everywhere.
//!
//! Files are read after the messages of a batch, and each message with files begins a request of its own: those before
//! it do not wait for its files. Those behind it do, since mail keeps its order, but for files that Gmail does not give
//! they wait two minutes in all.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_core::{Clock, Timestamp};
use postbell_google::{Gmail, GmailError, Message, Thread};
use postbell_mail::{BodyWanted, FetchedParts, attached_contents, extract};
use postbell_protocol::webhook::{Attachment, Skipped, WebhookMessage};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::attachment_folder::AttachmentFolder;
use crate::attachment_name::safe_names;
use crate::filter::Candidate;
use crate::settings::WatcherSettings;

/// The longest text of a mail before a message, in bytes.
const THREAD_BODY: usize = 5_000;

/// The most bytes of one message's files. Gmail accepts mails of 50 MB
/// (<https://support.google.com/mail/answer/6584>); the files of attached mails count twice.
const FILES_OF_A_MAIL: u64 = 50_000_000;

/// How long the files of a batch may take besides the time that they need at `BYTES_PER_SECOND`.
const FILES_TIME: Duration = Duration::from_secs(120);

/// The slowest connection that reads all files.
const BYTES_PER_SECOND: u64 = 1_000_000;

/// After so many files that Gmail does not give, the others of the message are not tried.
const MAX_FAILURES: usize = 2;

/// About how many bytes of messages are in memory at once.
const BYTES_AT_ONCE: usize = 32 * 1024 * 1024;

/// Mails that are not part of a conversation: the owner has not sent them, or does not want them.
const NOT_IN_THREAD: [&str; 3] = ["DRAFT", "SPAM", "TRASH"];

/// What the bot gets beyond a message itself.
#[derive(Clone, Default)]
pub struct Extras {
    /// The largest number of mails of the same thread before a message.
    pub thread: usize,
    /// The largest source that is included, in bytes; `None` if none is.
    pub raw: Option<usize>,
    /// Where attachments are written.
    pub attachments: Option<Arc<AttachmentFolder>>,
}

impl Extras {
    /// How many messages are in one request at most, so that their memory is bounded.
    pub(crate) fn messages_at_once(&self) -> usize {
        let raw = self
            .raw
            .map_or(0, |bytes| bytes.div_ceil(3).saturating_mul(4));
        let bytes = raw.saturating_add(self.thread * THREAD_BODY);
        (BYTES_AT_ONCE / bytes.max(1)).max(1)
    }
}

/// Adds the extras to messages that the bot gets.
pub(crate) struct ExtrasReader {
    pub(crate) gmail: Arc<Gmail>,
    pub(crate) settings: Arc<WatcherSettings>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ExtrasReader {
    /// Adds threads and sources to messages.
    ///
    /// # Errors
    ///
    /// A failure that concerns the mailbox and not a message.
    pub(crate) async fn add_to(
        &self,
        mut candidates: Vec<&mut Candidate>,
    ) -> Result<(), GmailError> {
        // Those of one thread together, so that it is read once.
        candidates.sort_by(|one, other| one.message.thread_id.cmp(&other.message.thread_id));
        let mut last = LastThread::default();
        for candidate in candidates {
            self.add_thread(candidate, &mut last).await?;
            self.add_raw(candidate).await?;
        }
        Ok(())
    }

    /// Whether files of this message are written.
    pub(crate) fn has_files(&self, message: &WebhookMessage) -> bool {
        self.settings.extras.attachments.is_some() && !message.attachments.is_empty()
    }

    /// Removes files that were delivered long ago.
    pub(crate) async fn remove_old_files(&self) {
        let Some(folder) = self.settings.extras.attachments.clone() else {
            return;
        };
        let now = self.clock.now();
        let removed = spawn_blocking(move || folder.remove_old(now)).await;
        if let Ok(Err(error)) = removed {
            warn!(%error, "Could not remove old attachments");
        }
    }

    async fn add_thread(
        &self,
        candidate: &mut Candidate,
        last: &mut LastThread,
    ) -> Result<(), GmailError> {
        let message = &mut candidate.message;
        // A thread has the id of its first message.
        if self.settings.extras.thread == 0 || message.thread_id == message.id {
            return Ok(());
        }
        if last.id != message.thread_id {
            last.id.clone_from(&message.thread_id);
            last.read = match self.thread(&message.thread_id).await {
                Ok(thread) => Ok(thread),
                Err(error) => Err(skipped(&message.id, "thread", error)?),
            };
        }
        match &last.read {
            Ok((thread, has_bodies)) => {
                message.thread = self.before(thread, &message.id, candidate.received_at);
                let wants_bodies = self.settings.body != BodyWanted::No;
                for earlier in &mut message.thread {
                    if wants_bodies && !*has_bodies {
                        earlier.body_truncated = Some(true);
                    }
                }
            }
            Err(reason) => message.thread_skipped = Some(*reason),
        }
        Ok(())
    }

    /// A thread, and whether the texts of its messages came with it.
    async fn thread(&self, id: &str) -> Result<(Thread, bool), GmailError> {
        match self.gmail.thread(id).await {
            // One of its messages is nested too deeply, or together they are too large.
            Err(GmailError::Unreadable) => Ok((self.gmail.thread_headers(id).await?, false)),
            read => Ok((read?, true)),
        }
    }

    /// The mails of a thread before a message, the oldest first. The filter's senders apply to them, too: every
    /// sender can write into a thread.
    fn before(&self, thread: &Thread, id: &str, received_at: Timestamp) -> Vec<WebhookMessage> {
        let position = thread.messages.iter().position(|one| one.id == id);
        let place = (received_at, position.unwrap_or(0));
        let messages = thread.messages.iter().enumerate();
        let mut before: Vec<_> = messages
            .filter(|(index, one)| (one.internal_date, *index) < place && self.is_in_thread(one))
            .map(|(_, one)| one)
            .collect();
        before.sort_by_key(|one| one.internal_date);
        let wanted = match self.settings.body {
            BodyWanted::No => BodyWanted::No,
            BodyWanted::UpTo { bytes, format } => BodyWanted::UpTo {
                bytes: bytes.min(THREAD_BODY),
                format,
            },
        };
        let mut found = Vec::new();
        for one in before.into_iter().rev() {
            if found.len() >= self.settings.extras.thread {
                break;
            }
            let message = extract(one, wanted, &FetchedParts::new()).message;
            let is_own = one.label_ids.iter().any(|label| label == "SENT");
            if is_own || self.settings.filter.allows_sender(&message) {
                found.push(message);
            }
        }
        found.reverse();
        found
    }

    fn is_in_thread(&self, message: &Message) -> bool {
        let is_excluded = |label: &String| {
            label != "SENT" && self.settings.exclude_labels.contains(label)
                || NOT_IN_THREAD.contains(&label.as_str())
        };
        !message.label_ids.iter().any(is_excluded)
    }

    async fn add_raw(&self, candidate: &mut Candidate) -> Result<(), GmailError> {
        let Some(limit) = self.settings.extras.raw else {
            return Ok(());
        };
        let message = &mut candidate.message;
        if candidate.size_estimate / 2 > u64::try_from(limit).unwrap_or(u64::MAX) {
            message.raw_skipped = Some(Skipped::TooLarge);
            return Ok(());
        }
        match self.gmail.raw(&message.id).await {
            Ok(raw) if raw.len() > limit => message.raw_skipped = Some(Skipped::TooLarge),
            Ok(raw) => message.raw = Some(BASE64_STANDARD.encode(raw)),
            Err(error) => message.raw_skipped = Some(skipped(&message.id, "source", error)?),
        }
        Ok(())
    }

    /// Writes the files of a message. One message at a time: each can have 50 MB.
    ///
    /// # Errors
    ///
    /// A failure that concerns the mailbox and not a message.
    pub(crate) async fn add_files(
        &self,
        message: &mut WebhookMessage,
        time: &mut FilesTime,
    ) -> Result<(), GmailError> {
        let Some(folder) = &self.settings.extras.attachments else {
            return Ok(());
        };
        if message.attachments.is_empty() {
            return Ok(());
        }
        let names = safe_names(&message.attachments);
        let existing = {
            let (folder, id, names) = (Arc::clone(folder), message.id.clone(), names.clone());
            let now = self.clock.now();
            spawn_blocking(move || folder.existing(&id, &names, now)).await
        };
        let existing = existing.unwrap_or_else(|_| vec![None; names.len()]);
        let mut saver = FileSaver {
            reader: self,
            folder,
            message: message.id.clone(),
            inline: None,
            bytes_left: FILES_OF_A_MAIL,
            failures: 0,
            time,
        };
        let files = message.attachments.iter_mut().enumerate().zip(names);
        for (((index, attachment), name), existing) in files.zip(existing) {
            let saved = match existing {
                Some(path) => Ok(path),
                None => saver.save(index, attachment, &name).await?,
            };
            match saved {
                Ok(path) => attachment.path = Some(path),
                Err(reason) => attachment.skipped = Some(reason),
            }
        }
        Ok(())
    }
}

/// The thread that was read last.
struct LastThread {
    id: String,
    /// The thread, and whether the texts of its messages came with it.
    read: Result<(Thread, bool), Skipped>,
}

impl Default for LastThread {
    fn default() -> Self {
        Self {
            id: String::new(),
            read: Err(Skipped::Gmail),
        }
    }
}

/// The time that is left for the files of a batch.
pub(crate) struct FilesTime {
    left: Duration,
}

impl Default for FilesTime {
    fn default() -> Self {
        Self { left: FILES_TIME }
    }
}

impl FilesTime {
    /// Waits for what reads a file of this size, which costs no time, and for the file. `None` if that took too long.
    async fn wait<R, F: Future>(
        &mut self,
        size: u64,
        reader: impl Future<Output = R>,
        file: impl FnOnce(R) -> F,
    ) -> Option<F::Output> {
        if self.left.is_zero() {
            return None;
        }
        let file = file(reader.await);
        let needed = Duration::from_secs(size / BYTES_PER_SECOND);
        let started_at = Instant::now();
        let read = timeout(self.left + needed, file).await.ok();
        let late = started_at.elapsed().saturating_sub(needed);
        self.left = self.left.saturating_sub(late);
        read
    }
}

/// Saves the files of one message.
struct FileSaver<'a> {
    reader: &'a ExtrasReader,
    folder: &'a Arc<AttachmentFolder>,
    message: String,
    /// The contents that Gmail gives with the message itself, once they were read.
    inline: Option<Vec<Option<Vec<u8>>>>,
    bytes_left: u64,
    failures: usize,
    time: &'a mut FilesTime,
}

impl FileSaver<'_> {
    /// Saves a file, and returns its path, or why it is left out.
    async fn save(
        &mut self,
        index: usize,
        attachment: &Attachment,
        name: &str,
    ) -> Result<Result<String, Skipped>, GmailError> {
        if attachment.size > self.bytes_left {
            return Ok(Err(Skipped::TooLarge));
        }
        self.bytes_left -= attachment.size;
        if self.failures >= MAX_FAILURES {
            return Ok(Err(Skipped::Gmail));
        }
        let (size, now) = (attachment.size, self.reader.clock.now());
        let has_room = self.on_disk(move |folder| folder.make_room(size, now));
        if has_room.await != Some(true) {
            return Ok(Err(Skipped::Disk));
        }
        let content = match self.content(index, attachment).await {
            Some(Ok(Some(content))) => content,
            Some(Err(error)) => {
                self.failures += 1;
                return skipped(&self.message, "attachment", error).map(Err);
            }
            Some(Ok(None)) => return Ok(Err(Skipped::Gmail)),
            None => {
                self.failures = MAX_FAILURES;
                let id = &self.message;
                warn!(
                    message.id = id,
                    "Gmail gives the files of message {id} too slowly"
                );
                return Ok(Err(Skipped::Gmail));
            }
        };
        let (message, name) = (self.message.clone(), name.to_owned());
        let written = self.on_disk(move |folder| folder.write(&message, &name, &content, now));
        Ok(written.await.ok_or(Skipped::Disk))
    }

    /// The content of a file. `None` if it took too long; `Some(Ok(None))` if the message says neither the content nor
    /// an id for it.
    async fn content(
        &mut self,
        index: usize,
        attachment: &Attachment,
    ) -> Option<Result<Option<Vec<u8>>, GmailError>> {
        let (message, size) = (&self.message, attachment.size);
        let gmail = &self.reader.gmail;
        if let Some(id) = &attachment.id {
            let read = self.time.wait(size, gmail.prepay_read(), |read| {
                read.attachment(message, id)
            });
            return Some(read.await?.map(|body| body.first_bytes(usize::MAX)));
        }
        if self.inline.is_none() {
            let read = self
                .time
                .wait(size, gmail.prepay_read(), |read| read.message(message));
            match read.await? {
                Ok(read) => self.inline = Some(attached_contents(&read)),
                Err(error) => return Some(Err(error)),
            }
        }
        let content = self.inline.as_mut().and_then(|all| all.get_mut(index));
        let is_empty = size == 0;
        Some(Ok(content
            .and_then(Option::take)
            .or(is_empty.then(Vec::new))))
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AttachmentFolder) -> std::io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let folder = Arc::clone(self.folder);
        match spawn_blocking(move || work(&folder)).await.ok()? {
            Ok(done) => Some(done),
            Err(error) => {
                let id = &self.message;
                warn!(message.id = id, %error, "Could not write an attachment of message {id}");
                None
            }
        }
    }
}

/// The reason for which something that Gmail did not give is left out, unless the mailbox is concerned.
fn skipped(id: &str, what: &str, error: GmailError) -> Result<Skipped, GmailError> {
    let concerns_mailbox = match &error {
        GmailError::Unauthorized | GmailError::Token(_) | GmailError::Quota { .. } => true,
        GmailError::Refused { .. } => error.concerns_account(),
        GmailError::NotFound
        | GmailError::Failed { .. }
        | GmailError::Unavailable(_)
        | GmailError::Unreadable => false,
    };
    if concerns_mailbox {
        return Err(error);
    }
    warn!(message.id = id, %error, "Could not read the {what} of message {id}");
    Ok(Skipped::Gmail)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_that_gmail_does_not_give_take_two_minutes_in_all() {
        let mut time = FilesTime::default();
        // A large file at more than a megabyte a second costs nothing.
        let large = |()| sleep(Duration::from_secs(39));
        let read = time.wait(40_000_000, ready(()), large).await;
        assert!(read.is_some() && time.left == FILES_TIME);
        // Nor does the wait for Gmail's quota.
        let quota = sleep(2 * FILES_TIME);
        let read = time.wait(10, quota, |()| ready(())).await;
        assert!(read.is_some() && time.left == FILES_TIME);
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(
                time.wait(10, ready(()), |()| sleep(Duration::from_secs(50)))
                    .await
                    .is_none()
                    || !time.left.is_zero()
            );
        }
        assert_eq!(begun.elapsed(), FILES_TIME);
    }

    #[test]
    fn large_extras_make_the_requests_shorter() {
        let extras = |thread, raw| Extras {
            thread,
            raw,
            attachments: None,
        };
        assert!(extras(0, None).messages_at_once() > 1_000_000);
        assert!(extras(10, Some(100_000)).messages_at_once() > 100);
        assert_eq!(extras(0, Some(25_000_000)).messages_at_once(), 1);
        assert_eq!(extras(0, Some(usize::MAX)).messages_at_once(), 1);
    }
}
