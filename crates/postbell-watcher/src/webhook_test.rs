//! Has a running watcher test its webhook, whose URL and secrets only that process knows.

use std::path::Path;
use std::time::Duration;

use postbell_protocol::watch_state::{StateError, StateFile};
use tokio::time::sleep;

use crate::request_file::{RequestFile, WatcherRequest};

/// How often the state is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The result of a test of the webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TestOutcome {
    /// The webhook accepted the test message.
    Accepted,
    /// It did not, for this reason.
    Refused(String),
    /// No watcher runs for the account.
    NoWatcher,
    /// The watcher did not report a result in time.
    NoAnswer,
}

/// Has the running watcher of `account` post a test message, and waits at most `wait` for the result. `id` tells
/// this request from others.
///
/// # Errors
///
/// [`StateError`] if the request cannot be written, or the state cannot be read.
pub async fn test_webhook(
    folder: &Path,
    account: &str,
    id: &str,
    wait: Duration,
) -> Result<TestOutcome, StateError> {
    let file = RequestFile::new(folder, account);
    let test = id.to_owned();
    let request = WatcherRequest::Test { test };
    let (mut left, mut is_left) = (wait, false);
    loop {
        if !StateFile::is_in_use(folder, account) {
            return Ok(TestOutcome::NoWatcher);
        }
        is_left = is_left || file.leave(&request)?;
        let state = StateFile::peek(folder, account)?;
        let test = state.and_then(|state| state.last_test);
        if let Some(test) = test.filter(|test| test.id == id) {
            return Ok(if test.problem.is_empty() {
                TestOutcome::Accepted
            } else {
                TestOutcome::Refused(test.problem)
            });
        }
        if left.is_zero() {
            // Else it would keep other requests waiting.
            if file.read()?.as_ref() == Some(&request) {
                file.remove()?;
            }
            return Ok(TestOutcome::NoAnswer);
        }
        sleep(LOOK_INTERVAL).await;
        left = left.saturating_sub(LOOK_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "ann@example.com";

    #[tokio::test(start_paused = true)]
    async fn without_a_watcher_or_an_answer_the_outcome_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let test = || test_webhook(folder.path(), ACCOUNT, "1", Duration::from_secs(5));
        assert_eq!(test().await.unwrap(), TestOutcome::NoWatcher);
        let file = StateFile::open(folder.path(), ACCOUNT).unwrap();
        assert_eq!(test().await.unwrap(), TestOutcome::NoAnswer);
        assert_eq!(RequestFile::beside(&file).read().unwrap(), None);
    }
}
