//! One delivery attempt: look up the machine, post the notification, classify the result.
//!
//! An attempt needs no claim and no queue; the [`Dispatcher`](crate::Dispatcher) decides what follows
//! from it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postbell_core::{
    Delivery, DirectoryError, Failure, FailureKind, InstanceStatus, Lookup, Machine, MailProblem,
    Notification, ProblemCode, TraceContext, UserId,
};
use postbell_google::PushBody;
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use crate::DirectoryCache;

/// Delivers notifications to the users' machines, one attempt at a time.
pub struct Deliverer {
    /// Knows each user's machine and its token.
    pub directory: Arc<DirectoryCache>,
    /// Posts to the machines.
    pub machine: Arc<dyn Machine>,
}

/// The result of one delivery attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// The machine accepted the notification.
    Delivered,

    /// The user no longer wants notifications.
    Unwanted,

    /// The notification is of another mailbox than the user's: the account has changed since it was
    /// accepted. Its history id means nothing in this one.
    OtherMailbox,

    /// The machine will never accept it.
    Refused {
        /// The failure.
        failure: Failure,
    },

    /// A later attempt may succeed.
    Failed {
        /// The failure.
        failure: Failure,
        /// The machine's `Retry-After`.
        retry_after: Option<Duration>,
        /// The problem that the machine has reported and that stops deliveries, though it may not be
        /// the reason: the machine was not reached.
        problem: Option<ProblemCode>,
    },

    /// The directory did not answer. A later attempt may succeed as soon as it does.
    Unanswered {
        /// The failure, of the kind [`FailureKind::Directory`].
        failure: Failure,
    },

    /// It failed because of a problem that the machine has reported and that stops deliveries. An
    /// attempt may succeed once the problem is over.
    Blocked {
        /// The failure, of the kind [`FailureKind::Problem`].
        failure: Failure,
    },
}

impl Deliverer {
    /// Tries once. After a failure it requests that the machine be started, if the owner allows that;
    /// the machine's check-in then makes the delivery due.
    ///
    /// Tries the cached machine first, because the push has usually asked the directory just before. After
    /// a failure it asks the directory, and delivers again if the answer differs, as of a machine that has
    /// moved. So an attempt takes up to two time limits of a delivery.
    pub async fn attempt(&self, notification: &Notification, trace: TraceContext) -> Attempt {
        let Notification { user, body, .. } = notification;
        let address = address_of(notification);
        let tried = self.try_cached(user, address.as_deref(), body, trace).await;
        if let Some((_, Delivery::Accepted)) = tried {
            return Attempt::Delivered;
        }
        let (found, token) = match self.look_up(user).await {
            Ok(Some(found)) => found,
            Ok(None) => return Attempt::Unwanted,
            Err(failed) => return failed,
        };
        let instance = &found.instance;
        if address.is_some_and(|address| instance.is_other_mailbox(&address)) {
            return Attempt::OtherMailbox;
        }
        let delivery = match tried {
            Some((cached, delivery)) if is_same_machine(&cached, &found) => delivery,
            _ => {
                let body = body.clone();
                self.machine.deliver(instance, &token, body, trace).await
            }
        };
        let problem = instance.problem.and_then(MailProblem::blocking_code);
        match delivery {
            Delivery::Accepted => Attempt::Delivered,
            Delivery::Refused { status } => match problem {
                Some(problem) => Attempt::Blocked {
                    failure: Failure::status(status).because_of(problem),
                },
                None => Attempt::Refused {
                    failure: Failure::status(status),
                },
            },
            Delivery::Failed {
                failure,
                retry_after,
            } => {
                // The token may be outdated; the next attempt asks for it again.
                self.directory.forget_token(user);
                // The machine may have stopped since the directory was asked.
                let failure = self.start_machine(user, failure).await;
                match problem {
                    Some(problem) => Attempt::Blocked {
                        failure: failure.because_of(problem),
                    },
                    None => failed(failure, retry_after),
                }
            }
        }
    }

    /// Delivers to the machine that the directory has named, if it need not be asked again yet, the
    /// notification is wanted and the machine runs.
    async fn try_cached(
        &self,
        user: &UserId,
        address: Option<&str>,
        body: &Bytes,
        trace: TraceContext,
    ) -> Option<(Arc<Lookup>, Delivery)> {
        let found = self.directory.fresh_user(user)?;
        let instance = &found.instance;
        let is_other = address.is_some_and(|address| instance.is_other_mailbox(address));
        let is_running = instance.status == InstanceStatus::Running;
        if is_other || !is_running || !instance.wants_notifications() {
            return None;
        }
        let asked_alone;
        let token = match &found.token {
            Some(token) => token,
            None => {
                asked_alone = self.directory.gateway_token(user).await.ok()??;
                &asked_alone
            }
        };
        let machine = &self.machine;
        let delivery = machine.deliver(instance, token, body.clone(), trace);
        let delivery = delivery.await;
        Some((found, delivery))
    }

    /// Returns the machine and its token, or `None` if the user does not want notifications.
    async fn look_up(&self, user: &UserId) -> Result<Option<(Arc<Lookup>, SecretString)>, Attempt> {
        let found = self.directory.latest_user(user).await;
        let found = found.map_err(no_answer)?;
        let Some(found) = found.filter(|found| found.instance.wants_notifications()) else {
            return Ok(None);
        };
        let instance = &found.instance;
        if instance.status != InstanceStatus::Running {
            return Err(Attempt::Failed {
                failure: self.start_machine(user, Failure::not_running()).await,
                retry_after: None,
                problem: instance.problem.and_then(MailProblem::blocking_code),
            });
        }
        match self
            .directory
            .gateway_token(user)
            .await
            .map_err(no_answer)?
        {
            Some(token) => Ok(Some((found, token))),
            None => {
                let detail = "the directory has no token for the machine";
                Err(failed(Failure::new(FailureKind::Directory, detail), None))
            }
        }
    }

    /// Requests that the machine be started, and adds to the failure whether it is starting.
    async fn start_machine(&self, user: &UserId, failure: Failure) -> Failure {
        match self.directory.start_machine(user).await {
            Ok(true) => failure.while_starting(),
            Ok(false) => failure,
            Err(error) => {
                debug!(
                    user.id = %user.masked(), error = &error as &dyn std::error::Error,
                    "Could not request a start of the machine of {}", user.masked()
                );
                failure
            }
        }
    }
}

/// Returns the address of a notification's mailbox. One that an earlier version has stored has it in its
/// body alone.
fn address_of(notification: &Notification) -> Option<Cow<'_, str>> {
    if let Some(address) = &notification.address {
        return Some(Cow::Borrowed(address.as_str()));
    }
    let changed = PushBody::read(&notification.body).notification.ok()?;
    Some(Cow::Owned(changed.email_address))
}

/// Returns whether nothing has changed that a delivery depends on.
fn is_same_machine(one: &Lookup, other: &Lookup) -> bool {
    let tokens = one.token.as_ref().zip(other.token.as_ref());
    let has_same_token =
        tokens.is_none_or(|(one, other)| one.expose_secret() == other.expose_secret());
    one.instance == other.instance && has_same_token
}

fn no_answer(error: DirectoryError) -> Attempt {
    debug!(
        error = &error as &dyn std::error::Error,
        "The directory did not answer"
    );
    Attempt::Unanswered {
        failure: Failure::new(FailureKind::Directory, error.to_string()),
    }
}

fn failed(failure: Failure, retry_after: Option<Duration>) -> Attempt {
    Attempt::Failed {
        failure,
        retry_after,
        problem: None,
    }
}
