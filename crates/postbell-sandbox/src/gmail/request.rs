//! What Gmail's routes read of a request: the mailbox, after authorization, and the parameters.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::response::Response;
use reqwest::Url;

use crate::Sandbox;
use crate::errors::{not_found, permission_denied};
use crate::oauth::Account;

/// The mailbox of a request, which is always the caller's own.
pub(super) struct Owner {
    pub(super) email: String,
    /// Project number of the OAuth client.
    pub(super) consumer: String,
}

/// The scopes that allow reading a mailbox.
const SCOPES: [&str; 4] = [
    "https://mail.google.com/",
    "https://www.googleapis.com/auth/gmail.modify",
    "https://www.googleapis.com/auth/gmail.readonly",
    "https://www.googleapis.com/auth/gmail.metadata",
];

impl FromRequestParts<Sandbox> for Owner {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        let account = Account::from_request_parts(parts, sandbox).await?;
        account.require_any_scope(&SCOPES)?;
        let Account {
            email, consumer, ..
        } = account;
        sandbox.cloud().admit(&consumer, "gmail.googleapis.com")?;
        sandbox.gmail().quota.lock().spend(&email, parts)?;
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, sandbox).await;
        let Path(path) = path.map_err(|_| not_found())?;
        let user = path
            .into_iter()
            .find_map(|(name, value)| (name == "user").then_some(value));
        match user.as_deref() {
            Some("me") => Ok(Self { email, consumer }),
            Some(user) if user.eq_ignore_ascii_case(&email) => Ok(Self { email, consumer }),
            _ => Err(permission_denied(&format!("Delegation denied for {email}"))),
        }
    }
}

/// Like [`Owner`], with a token that may change labels.
pub(super) struct Editor {
    pub(super) email: String,
}

impl FromRequestParts<Sandbox> for Editor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        let account = Account::from_request_parts(parts, sandbox).await?;
        account.require_any_scope(&SCOPES[..2])?;
        let Owner { email, .. } = Owner::from_request_parts(parts, sandbox).await?;
        Ok(Self { email })
    }
}

/// Like [`Owner`], with a token that may delete mail for good.
pub(super) struct Deleter {
    pub(super) email: String,
}

impl FromRequestParts<Sandbox> for Deleter {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Self, Response> {
        let account = Account::from_request_parts(parts, sandbox).await?;
        account.require_any_scope(&SCOPES[..1])?;
        let Owner { email, .. } = Owner::from_request_parts(parts, sandbox).await?;
        Ok(Self { email })
    }
}

/// Query parameters, which may repeat. Unknown ones are ignored.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(query: Option<String>) -> Self {
        let query = query.unwrap_or_default();
        let url = Url::parse(&format!("http://query/?{query}"));
        let pairs = url.map(|url| url.query_pairs().into_owned().collect());
        Self(pairs.unwrap_or_default())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(named, _)| named == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let named = self.0.iter().filter(|(named, _)| named == name);
        named.map(|(_, value)| value.clone()).collect()
    }

    /// The requested page size.
    pub(super) fn page(&self, usual: usize, largest: usize) -> usize {
        let asked = self.get("maxResults").and_then(|asked| asked.parse().ok());
        asked.unwrap_or(usual).clamp(1, largest)
    }
}
