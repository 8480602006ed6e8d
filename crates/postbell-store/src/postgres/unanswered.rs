//! Writes that the server has not answered in time.

use std::task::{Context, Waker};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::connection::Connection;
use super::failure::Failure;

/// Connections whose last write is not answered. The server keeps the session of a commit that waits for a standby,
/// even if its connection is closed: each further one would take another of its sessions.
pub(super) struct Unanswered {
    answers: Vec<BoxFuture<'static, ()>>,
    most: usize,
}

impl Unanswered {
    /// None yet, and soon at most this many.
    pub(super) const fn at_most(most: usize) -> Self {
        Self {
            answers: Vec::new(),
            most,
        }
    }

    /// Fails while no further connection may be opened for a write.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let mut context = Context::from_waker(Waker::noop());
        self.answers
            .retain_mut(|answer| answer.poll_unpin(&mut context).is_pending());
        if self.answers.len() < self.most {
            return Ok(());
        }
        Err(Failure::TimedOut(
            "the server has not answered earlier writes",
        ))
    }

    /// Keeps a connection until the server answers. An uncommitted transaction is rolled back.
    pub(super) fn keep(&mut self, connection: Connection) {
        self.wait_for(connection.roll_back().boxed());
    }

    fn wait_for(&mut self, answer: BoxFuture<'static, ()>) {
        self.answers.push(answer);
        // The first time it hands the request over, the second time it sends it.
        let _ = self.check();
        let _ = self.check();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn no_more_writes_wait_for_an_answer_than_may() {
        let mut unanswered = Unanswered::at_most(2);
        let (first, answer) = oneshot::channel::<()>();
        unanswered.wait_for(answer.map(drop).boxed());
        assert!(unanswered.check().is_ok());
        unanswered.wait_for(std::future::pending().boxed());
        assert!(unanswered.check().is_err());
        drop(first);
        assert!(unanswered.check().is_ok(), "one was answered");
    }
}
