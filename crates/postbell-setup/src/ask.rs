//! Questions of several steps.

use postbell_core::UserId;
use postbell_protocol::user_token::user_named_in;
use secrecy::{ExposeSecret, SecretString};

use crate::context::SetupContext;
use crate::error::{Blocker, Result, SetupError};
use crate::ui::{Event, Question, Ui};

/// The form that a URL of the platform must have.
pub(crate) const URL: &str = "a URL, such as https://postbell.example.com";

/// Asks until the answer can be parsed, up to five times, and says what was expected.
pub(crate) async fn ask_parsed<T>(
    ui: &dyn Ui,
    question: &Question,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T> {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let answer = ui.text(question).await?;
        if let Some(parsed) = parse(answer.trim()) {
            return Ok(parsed);
        }
        ui.show(Event::Note(&format!("Expected {expected}.")));
    }
    Err(SetupError::new(Blocker::MissingInput(question.flag)))
}

/// The user token for the platform, from the request or the user.
pub(crate) async fn user_token(ctx: &SetupContext) -> Result<SecretString> {
    if let Some(given) = ctx.request.user_token.clone() {
        return Ok(given);
    }
    let question = Question::new(
        "User token for the platform (the operator gets it from: postbell users token USER)",
        "POSTBELL_USER_TOKEN",
    );
    Ok(ctx.deps.ui.secret(&question).await?)
}

/// Refuses a token that names another user: the platform would take it for a request of that one.
pub(crate) fn require_token_of(user: &UserId, token: &SecretString) -> Result<()> {
    match user_named_in(token.expose_secret()) {
        Some(actual) if actual != *user => Err(SetupError::new(Blocker::OtherUsersToken {
            actual: actual.to_string(),
            wanted: user.to_string(),
        })),
        _ => Ok(()),
    }
}
