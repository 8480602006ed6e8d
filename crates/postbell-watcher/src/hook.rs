//! The bot's hook.

mod signature;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{HistoryId, Timestamp};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

pub use self::signature::{InvalidSigningKey, SigningKey};
use crate::message::HookMessage;

/// How long the bot may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The same on every repeat of a hook, so that the bot can tell one.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// Where the bot takes mail.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Reaches the bot; must not follow redirects, for they would carry mail elsewhere.
    pub client: Client,
    /// The hook's URL.
    pub url: Url,
    /// The bearer token that the bot expects, if it expects one.
    pub token: Option<SecretString>,
    /// Signs each hook, where the bot checks that.
    pub signing: Option<SigningKey>,
}

/// What the bot gets (contract, section 5).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payload<'a> {
    pub(crate) source: &'static str,
    pub(crate) account: &'a str,
    /// How far the mailbox has come with these messages.
    pub(crate) history_id: HistoryId,
    pub(crate) messages: &'a [HookMessage],
    /// Messages that were deleted for good, where that was asked for.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) deleted_message_ids: &'a [&'a str],
    /// Set where the place in history was lost: some of these may have been delivered before.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) resync: bool,
    /// A mail is a stranger's text: an agent must not take it for an instruction.
    pub(crate) untrusted: bool,
}

/// Why the bot does not have it.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The bot answered something else than 2xx.
    #[error("the hook answered {status}")]
    Refused {
        /// Its status.
        status: u16,
    },

    /// The bot answered 410: it wants no more hooks, ever.
    #[error("the hook answered 410: the bot takes no more mail there")]
    Gone,

    /// The bot did not answer.
    #[error("the hook cannot be reached")]
    Unreachable(#[source] postbell_core::BoxError),
}

impl Hook {
    /// Posts once, under a key; only a 2xx counts.
    pub(crate) async fn post(
        &self,
        payload: &Payload<'_>,
        key: &str,
        now: Timestamp,
    ) -> Result<(), HookError> {
        let body =
            serde_json::to_vec(payload).map_err(|error| HookError::Unreachable(error.into()))?;
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_HEADER, key);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(signing) = &self.signing {
            for (name, value) in signing.headers(key, now, &body) {
                request = request.header(name, value);
            }
        }
        let answer = request.body(body).send().await;
        let answer = answer.map_err(|error| HookError::Unreachable(error.without_url().into()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(HookError::Gone),
            status => Err(HookError::Refused {
                status: status.as_u16(),
            }),
        }
    }
}

/// The key of a batch. It is made of what is delivered alone: whichever process repeats it, and
/// whatever the history id is by then, the key is the same.
pub(crate) fn idempotency_key<'a>(account: &str, ids: impl Iterator<Item = &'a str>) -> String {
    let mut text = account.to_lowercase();
    for id in ids {
        text.push('\n');
        text.push_str(id);
    }
    hex::encode(digest(&SHA256, text.as_bytes()))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: &str, ids: &[&str]) -> String {
        idempotency_key(account, ids.iter().copied())
    }

    #[test]
    fn a_repeat_has_the_same_key_and_nothing_else_has() {
        assert_eq!(key("a@b", &["1", "2"]), key("A@B", &["1", "2"]));
        let others = [
            key("a@b", &["1"]),
            key("a@b", &["12"]),
            key("c@b", &["1", "2"]),
        ];
        assert!(!others.contains(&key("a@b", &["1", "2"])));
    }
}
