//! Sessions, and the extractors that require one.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use postbell_core::{Actor, AuditAction, EmailAddress, Principal, Timestamp, UserRecord};
use serde::{Deserialize, Serialize};

use super::cookies::CookieName;
use super::{PageError, Pages};
use crate::account_sessions::connections_of_others;
use crate::random::random_text;

/// How long a user's session lasts.
const USER_SESSION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a session by an account lasts at most while no account is connected.
const DISCONNECTED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an operator's session lasts: it gives access to every user.
const OPERATOR_SESSION: Duration = Duration::from_secs(12 * 60 * 60);

/// A signed-in session, stored in an encrypted cookie.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Session {
    pub(super) principal: Principal,
    /// The address that gives access to the user, if access depends on one.
    #[serde(default)]
    allowed: Option<EmailAddress>,
    /// Whether that is the address of the account in the user's own record. Who signs in with it may disconnect it, and
    /// connect it again within a day; another account in its place ends the session for good.
    #[serde(default)]
    is_own: bool,
    /// How often other accounts had been connected in the user's own record at the sign-in, if the session is by its account.
    #[serde(default)]
    connections_of_others: i64,
    /// The epoch of the principal. The session ends when the stored epoch is greater.
    epoch: i64,
    started_at: Timestamp,
    /// When the user was added: a later user with the same id has no part in the session.
    #[serde(default)]
    added_at: Option<Timestamp>,
    expires_at: Timestamp,
    /// The CSRF token of each form.
    pub(super) form_token: String,
}

/// The session of a user, and the user's record.
pub(super) struct UserSession {
    pub(super) session: Session,
    pub(super) record: UserRecord,
}

/// The session of an operator who may change something.
pub(super) struct ChangingOperator {
    pub(super) session: Session,
}

/// The session of an operator, also one who may only look.
pub(super) struct OperatorSession {
    pub(super) session: Session,
}

/// The address of a sign-in.
pub(super) struct GivenBy {
    pub(super) address: EmailAddress,
    /// Whether it is that of the account in the user's own record.
    pub(super) is_own: bool,
}

impl Session {
    /// Starts a session and redirects to its first page. Returns `None` if the principal has no page.
    ///
    /// `given` is the address that gives access, if access depends on one. The audit log says in which `way` the principal has
    /// signed in.
    pub(super) async fn start(
        pages: &Pages,
        principal: Principal,
        given: Option<GivenBy>,
        origin: String,
        way: &str,
    ) -> Result<Option<Response>, PageError> {
        let now = pages.now();
        let lifetime = if principal.operator.is_some() {
            OPERATOR_SESSION
        } else {
            USER_SESSION
        };
        let connections_of_others = match (&principal.user, &given) {
            (Some(user), Some(given)) if given.is_own => {
                let sessions = &*pages.parts().links.sessions;
                connections_of_others(sessions, user, &given.address).await?
            }
            _ => 0,
        };
        let session = Self {
            connections_of_others,
            epoch: epoch(pages, &principal).await?,
            is_own: given.as_ref().is_some_and(|given| given.is_own),
            allowed: given.map(|given| given.address),
            started_at: now,
            added_at: match &principal.user {
                Some(user) => {
                    let record = pages.users().fleet.get(user).await?;
                    record.map(|record| record.created_at)
                }
                None => None,
            },
            expires_at: now + lifetime,
            form_token: random_text(&pages.parts().links.random),
            principal,
        };
        let cookie = pages.cookies().set(CookieName::Session, &session, lifetime);
        let first = session.first_page(pages).await?;
        if first.is_some() {
            let by = session.actor(origin, now);
            let user = session.principal.user.as_ref();
            let audit = pages.parts().operator.ports.audit_log();
            audit.append(&by, AuditAction::SignIn, user, way).await?;
        }
        Ok(first.map(|first| (cookie, Redirect::to(first)).into_response()))
    }

    /// The name that the page shows: the user's id, or the operator's address.
    pub(super) fn name(&self) -> String {
        let Principal {
            user,
            operator,
            is_viewer,
        } = &self.principal;
        let role = if *is_viewer { "viewer" } else { "operator" };
        let operator = operator.as_deref().map(|name| {
            // Other names are random, one for each sign-in link.
            Some(name).filter(|name| name.contains('@')).unwrap_or(role)
        });
        match (user, operator) {
            (Some(user), Some(operator)) => format!("{user}, {operator}"),
            (Some(user), None) => user.to_string(),
            (None, operator) => operator.unwrap_or_default().to_owned(),
        }
    }

    /// The session's principal as the audit log names it.
    pub(super) fn actor(&self, origin: String, at: Timestamp) -> Actor {
        let Principal { user, operator, .. } = &self.principal;
        let name = match (operator, user) {
            (Some(operator), _) => format!("{} {operator}", role(self.is_viewer())),
            (None, Some(user)) => format!("user {user}"),
            (None, None) => "nobody".to_owned(),
        };
        Actor { name, origin, at }
    }

    /// Whether the operator may only look.
    pub(super) const fn is_viewer(&self) -> bool {
        self.principal.is_viewer
    }

    pub(super) fn is_operator(&self) -> bool {
        self.principal.operator.is_some()
    }

    /// Returns the first page that the session may see: *My bot* if the user exists.
    pub(super) async fn first_page(
        &self,
        pages: &Pages,
    ) -> Result<Option<&'static str>, PageError> {
        Ok(match self.user(pages).await? {
            Some(_) => Some("/bot"),
            None => self.is_operator().then_some("/operator"),
        })
    }

    /// Returns whether the session is valid: not expired, not ended by an epoch, and its access not
    /// withdrawn by the configuration.
    pub(super) async fn is_valid(&self, pages: &Pages) -> Result<bool, PageError> {
        let is_operator_still = match &self.principal.operator {
            Some(name) if name.contains('@') => pages.is_operator(name, self.is_viewer()),
            _ => true,
        };
        Ok(pages.now() < self.expires_at
            && is_operator_still
            && self.is_allowed_still(pages).await?
            && epoch(pages, &self.principal).await? == self.epoch)
    }

    /// Returns whether the address that gave access is still in the configuration or is that of a connected mailbox.
    /// Operators have access to every user.
    async fn is_allowed_still(&self, pages: &Pages) -> Result<bool, PageError> {
        let (Some(address), Some(user)) = (&self.allowed, &self.principal.user) else {
            return Ok(true);
        };
        let allowed = pages.parts().access.allowed.get(address);
        if allowed == Some(user) || (self.is_operator() && !self.is_viewer()) {
            return Ok(true);
        }
        let mailboxes = &pages.parts().mailboxes;
        if mailboxes.is_proven_of_bot(user, address).await? {
            return Ok(true);
        }
        let record = pages.users().fleet.get(user).await?;
        let is_here = match record.and_then(|record| record.google) {
            Some(google) => google
                .email
                .is_some_and(|email| email.is_same_mailbox(address.as_str())),
            // Between a disconnect and the next connection.
            None => {
                let sessions = &*pages.parts().links.sessions;
                let others = connections_of_others(sessions, user, address).await?;
                others == self.connections_of_others && pages.now() < self.started_at + DISCONNECTED
            }
        };
        Ok(self.is_own && is_here)
    }

    /// Returns the record of the session's user. `None` if the user was removed since the session
    /// started, even if a new user has the same id.
    pub(super) async fn user(&self, pages: &Pages) -> Result<Option<UserRecord>, PageError> {
        let Some(user) = &self.principal.user else {
            return Ok(None);
        };
        let record = pages.users().fleet.get(user).await?;
        let is_theirs = |record: &UserRecord| {
            let is_same = match self.added_at {
                Some(added_at) => record.created_at == added_at,
                // A session of an earlier version.
                None => record.created_at <= self.started_at,
            };
            is_same && record.owner.is_none()
        };
        Ok(record.filter(is_theirs))
    }
}

fn role(is_viewer: bool) -> &'static str {
    if is_viewer { "viewer" } else { "operator" }
}

/// Returns the stored epoch of a principal. It grows when the principal's sessions are ended, and
/// for operators also when the sessions of all operators are.
pub(super) async fn epoch(pages: &Pages, principal: &Principal) -> Result<i64, PageError> {
    let sessions = &pages.parts().links.sessions;
    let own = sessions.epoch(&principal.subject()).await?;
    Ok(match principal.operator {
        Some(_) => own + sessions.epoch(Principal::ALL_OPERATORS).await?,
        None => own,
    })
}

impl FromRequestParts<Pages> for Session {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let cookie: Option<Self> = pages.cookies().read(CookieName::Session, &parts.headers);
        match cookie {
            Some(session) if session.is_valid(pages).await? => Ok(session),
            _ => Err(PageError::SignedOut),
        }
    }
}

impl FromRequestParts<Pages> for UserSession {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let session = Session::from_request_parts(parts, pages).await?;
        match session.user(pages).await? {
            Some(record) => Ok(Self { session, record }),
            None if session.is_operator() => Err(PageError::Forbidden),
            None => Err(PageError::SignedOut),
        }
    }
}

impl FromRequestParts<Pages> for OperatorSession {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let session = Session::from_request_parts(parts, pages).await?;
        if session.is_operator() {
            Ok(Self { session })
        } else {
            Err(PageError::Forbidden)
        }
    }
}

impl FromRequestParts<Pages> for ChangingOperator {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let OperatorSession { session } = OperatorSession::from_request_parts(parts, pages).await?;
        if session.is_viewer() {
            Err(PageError::OnlyLooking)
        } else {
            Ok(Self { session })
        }
    }
}
