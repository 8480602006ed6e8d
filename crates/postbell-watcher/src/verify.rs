//! Asks Gmail and Pub/Sub whether mail can get through at this moment.

use std::time::Duration;

use postbell_core::{ProblemCode, Timestamp};
use postbell_google::{CloudError, Gmail, GmailError, PubSubAdmin, TokenError};
use postbell_protocol::watch_state::WatchState;

use crate::health::FoundProblem;
use crate::mailbox_identity::{IdentityError, MailboxIdentity};

/// How old a cursor must be to be compared: Gmail's profile can lag behind its history.
const CURSOR_AGE: Duration = Duration::from_secs(60);

/// What asking has shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// What keeps mail from getting through.
    pub problem: Option<FoundProblem>,
    /// The questions without an answer, as clauses. They are no problem by themselves.
    pub unanswered: Vec<String>,
}

/// Asks Gmail for the mailbox's profile and, if the watcher pulls, Pub/Sub for its subscription.
pub async fn verify(
    gmail: &Gmail,
    pubsub: &PubSubAdmin,
    state: &WatchState,
    identity: &MailboxIdentity,
    now: Timestamp,
) -> Verified {
    let (mailbox, subscription) = tokio::join!(
        verify_mailbox(gmail, state, identity, now),
        verify_subscription(pubsub, state, now),
    );
    let mut verified = Verified::default();
    for asked in [mailbox, subscription] {
        match asked {
            Ok(problem) => verified.problem = verified.problem.or(problem),
            Err(reason) => verified.unanswered.push(reason),
        }
    }
    verified
}

async fn verify_mailbox(
    gmail: &Gmail,
    state: &WatchState,
    identity: &MailboxIdentity,
    now: Timestamp,
) -> Result<Option<FoundProblem>, String> {
    let found = |code, detail: String| {
        Ok(Some(FoundProblem {
            code,
            since: now,
            detail,
        }))
    };
    match identity.confirm(gmail).await {
        Ok(_) => (),
        Err(IdentityError::WrongAccount(wrong)) => {
            return found(ProblemCode::WrongAccount, wrong.to_string());
        }
        Err(IdentityError::Gmail(error)) => return gmail_problem(&error, now),
    }
    let profile = match gmail.profile().await {
        Ok(profile) => profile,
        Err(error) => return gmail_problem(&error, now),
    };
    let is_settled = Timestamp::from_millis(state.updated_at_ms) + CURSOR_AGE < now;
    match state.history_id {
        Some(cursor) if is_settled && cursor > profile.history_id => found(
            ProblemCode::CursorAhead,
            format!(
                "the stored history id {cursor} is ahead of the mailbox's, {}",
                profile.history_id
            ),
        ),
        _ => Ok(None),
    }
}

fn gmail_problem(error: &GmailError, now: Timestamp) -> Result<Option<FoundProblem>, String> {
    let code = match error {
        GmailError::Unavailable(_)
        | GmailError::Failed { .. }
        | GmailError::Token(TokenError::Unavailable { .. }) => {
            return Err("Gmail does not answer".to_owned());
        }
        GmailError::Quota { .. } => return Err("Gmail's quota is used up".to_owned()),
        GmailError::Token(TokenError::GrantRevoked) | GmailError::Unauthorized => {
            ProblemCode::GrantRevoked
        }
        _ => ProblemCode::GmailRefusing,
    };
    Ok(Some(FoundProblem {
        code,
        since: now,
        detail: error.to_string(),
    }))
}

/// Asks Pub/Sub about the subscription that the state names.
pub(crate) async fn verify_subscription(
    pubsub: &PubSubAdmin,
    state: &WatchState,
    now: Timestamp,
) -> Result<Option<FoundProblem>, String> {
    let name = &state.subscription;
    if name.is_empty() {
        return Ok(None);
    }
    let found = |code, detail: String| {
        Ok(Some(FoundProblem {
            code,
            since: now,
            detail,
        }))
    };
    let missing = ProblemCode::SubscriptionMissing;
    match pubsub.subscription(name).await {
        Ok(None) => found(missing, format!("{name} does not exist")),
        Ok(Some(subscription)) if subscription.has_lost_its_topic() => found(
            missing,
            format!("the topic of {name} was deleted: it receives nothing"),
        ),
        Ok(Some(subscription)) if subscription.topic() != state.topic => found(
            missing,
            format!(
                "{name} belongs to {}, but Gmail publishes to {}",
                subscription.topic(),
                state.topic
            ),
        ),
        Ok(Some(subscription)) if !subscription.endpoint().is_empty() => found(
            ProblemCode::PullFailing,
            format!("{name} pushes, and cannot be pulled from"),
        ),
        Ok(Some(_)) => Ok(None),
        // Pulling needs fewer rights than reading the settings.
        Err(CloudError::Refused(_)) => match pubsub.may_pull(name).await {
            Ok(true) => Ok(None),
            Ok(false) => found(
                ProblemCode::PullFailing,
                format!("{name} does not exist, or the credentials may not pull from it"),
            ),
            Err(_) => Err("Pub/Sub does not answer".to_owned()),
        },
        Err(_) => Err("Pub/Sub does not answer".to_owned()),
    }
}
