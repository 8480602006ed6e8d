//! One write of a lane, and its answer.

use std::sync::Arc;

use postbell_core::Accepted;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::mailboxes::LoadedMailbox;
use super::rising::Push;

/// One write, which is answered after the commit.
pub(super) enum Write {
    Accept {
        push: Push,
        outcome: Option<Accepted>,
        reply: Reply<Accepted>,
    },
    Decide(Box<dyn Decide>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// Decides on what was read.
pub(super) trait Decide: Send {
    /// May run again, on what another transaction has stored since.
    fn decide(&mut self, mailbox: &mut LoadedMailbox);
    fn answer(self: Box<Self>, commit: Result<(), Arc<Failure>>);
}

struct Decision<F, T> {
    decide: F,
    outcome: Option<T>,
    reply: Reply<T>,
}

impl<F, T> Decide for Decision<F, T>
where
    F: Fn(&mut LoadedMailbox) -> T + Send,
    T: Send,
{
    fn decide(&mut self, mailbox: &mut LoadedMailbox) {
        self.outcome = Some((self.decide)(mailbox));
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<Failure>>) {
        answer(self.reply, self.outcome, commit);
    }
}

impl Write {
    pub(super) const fn accept(push: Push, reply: Reply<Accepted>) -> Self {
        Self::Accept {
            push,
            outcome: None,
            reply,
        }
    }

    pub(super) fn of<F, T>(decide: F, reply: Reply<T>) -> Self
    where
        F: Fn(&mut LoadedMailbox) -> T + Send + 'static,
        T: Send + 'static,
    {
        Self::Decide(Box::new(Decision {
            decide,
            outcome: None,
            reply,
        }))
    }

    /// What became of a push.
    pub(super) const fn accepted(&mut self, accepted: Accepted) {
        if let Self::Accept { outcome, .. } = self {
            *outcome = Some(accepted);
        }
    }

    /// The push that it is to accept.
    pub(super) fn push(&self) -> Option<&Push> {
        match self {
            Self::Accept { push, .. } => Some(push),
            Self::Decide(_) => None,
        }
    }

    /// Decides on what was read.
    pub(super) fn decide(&mut self, mailbox: &mut LoadedMailbox) {
        match self {
            Self::Accept { push, outcome, .. } => {
                *outcome = Some(mailbox.accept(&push.notification, push.now));
            }
            Self::Decide(decision) => decision.decide(mailbox),
        }
    }

    /// Answers it with the outcome, or with why the commit failed.
    pub(super) fn answer(self, commit: Result<(), Arc<Failure>>) {
        match self {
            Self::Accept { outcome, reply, .. } => answer(reply, outcome, commit),
            Self::Decide(decision) => decision.answer(commit),
        }
    }
}

fn answer<T>(reply: Reply<T>, outcome: Option<T>, commit: Result<(), Arc<Failure>>) {
    let answer = match (commit, outcome) {
        (Err(failure), _) => Err(Failure::Group(failure)),
        (Ok(()), Some(outcome)) => Ok(outcome),
        (Ok(()), None) => Err(Failure::Overloaded("the write was not run")),
    };
    // The caller may have gone: a push whose sender hung up is accepted as well.
    let _ = reply.send(answer);
}
