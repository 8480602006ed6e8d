//! Who is signed in. A handler that takes one of these runs for them alone.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use postbell_core::{EmailAddress, Principal, Timestamp, UserRecord};
use serde::{Deserialize, Serialize};

use super::cookies::Cookie;
use super::{PageError, Pages};
use crate::random::random_text;

/// How long somebody stays signed in: a user for a month, an operator, who sees everybody, for half
/// a day.
const USERS_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const OPERATORS_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Somebody who is signed in. It is in a cookie, encrypted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Session {
    pub(super) visitor: Principal,
    /// The address by which the configuration lets them see that user's bot. `None` where something
    /// else does.
    #[serde(default)]
    allowed: Option<EmailAddress>,
    /// Their epoch: once it has grown, this session is over.
    epoch: i64,
    began_at: Timestamp,
    ends_at: Timestamp,
    /// What each form must show.
    pub(super) form_token: String,
}

/// A user who is signed in, and what is known of them.
pub(super) struct UserSession {
    pub(super) session: Session,
    pub(super) record: UserRecord,
}

/// An operator who is signed in.
pub(super) struct OperatorSession {
    pub(super) session: Session,
}

impl Session {
    /// Whether they may see everybody.
    pub(super) fn is_operator(&self) -> bool {
        self.visitor.operator.is_some()
    }
}

impl Pages {
    /// Begins a session, and leads to its first page; `None` where there is none for them to see.
    ///
    /// `allowed` is the address by which the configuration lets them, where it does.
    pub(super) async fn begin(
        &self,
        visitor: Principal,
        allowed: Option<EmailAddress>,
    ) -> Result<Option<Response>, PageError> {
        let now = self.now();
        let time = if visitor.operator.is_some() {
            OPERATORS_TIME
        } else {
            USERS_TIME
        };
        let session = Session {
            epoch: self.epoch(&visitor).await?,
            allowed,
            began_at: now,
            ends_at: now + time,
            form_token: random_text(&self.parts().links.random),
            visitor,
        };
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let cookie = self.keep(Cookie::Session, &session, seconds);
        let first = self.first_page(&session).await?;
        Ok(first.map(|first| ([(SET_COOKIE, cookie)], Redirect::to(first)).into_response()))
    }

    /// The first page that somebody may see: their bot's, if there is one still.
    pub(super) async fn first_page(
        &self,
        session: &Session,
    ) -> Result<Option<&'static str>, PageError> {
        Ok(match self.user_of(session).await? {
            Some(_) => Some("/bot"),
            None => session.is_operator().then_some("/operator"),
        })
    }

    /// The session of a request, if it has one that is not over.
    pub(super) async fn session(&self, parts: &Parts) -> Result<Option<Session>, PageError> {
        let session: Option<Session> = self.kept(Cookie::Session, &parts.headers);
        match session {
            Some(session) if self.is_good(&session).await? => Ok(Some(session)),
            _ => Ok(None),
        }
    }

    /// Whether a session is not over: nobody has ended it, its time has not come, an operator is one
    /// still, and whom the configuration lets in is let in still.
    pub(super) async fn is_good(&self, session: &Session) -> Result<bool, PageError> {
        let is_operator_still = match &session.visitor.operator {
            Some(name) if name.contains('@') => self.is_operator(name),
            _ => true,
        };
        Ok(self.now() < session.ends_at
            && is_operator_still
            && self.is_allowed_still(session).await?
            && self.epoch(&session.visitor).await? == session.epoch)
    }

    /// Whether an address that the configuration let in is still let in, by it or by being the
    /// connected one. Operators see everybody.
    async fn is_allowed_still(&self, session: &Session) -> Result<bool, PageError> {
        let (Some(address), Some(user)) = (&session.allowed, &session.visitor.user) else {
            return Ok(true);
        };
        let google = self.parts().google.as_ref();
        let allowed = google.and_then(|google| google.allowed.get(address));
        if allowed == Some(user) || session.is_operator() {
            return Ok(true);
        }
        let connected = self.users().instances.user_by_email(address).await?;
        Ok(connected.as_ref() == Some(user))
    }

    /// What the sessions of a visitor are of. It grows when those of the subject are ended, and when
    /// those of all operators are.
    async fn epoch(&self, visitor: &Principal) -> Result<i64, PageError> {
        let sign_ins = &self.parts().links.sign_ins;
        let own = sign_ins.epoch(&visitor.subject()).await?;
        Ok(match visitor.operator {
            Some(_) => own + sign_ins.epoch(Principal::ALL_OPERATORS).await?,
            None => own,
        })
    }

    /// What is known of a session's user; `None` where they have been removed since, even if there is
    /// another one of the same name by now.
    pub(super) async fn user_of(&self, session: &Session) -> Result<Option<UserRecord>, PageError> {
        let Some(user) = &session.visitor.user else {
            return Ok(None);
        };
        let record = self.users().fleet.get(user).await?;
        Ok(record.filter(|record| record.created_at <= session.began_at))
    }
}

impl FromRequestParts<Pages> for Session {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        pages.session(parts).await?.ok_or(PageError::SignedOut)
    }
}

impl FromRequestParts<Pages> for UserSession {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        let session = Session::from_request_parts(parts, pages).await?;
        match pages.user_of(&session).await? {
            Some(record) => Ok(Self { session, record }),
            None if session.is_operator() => Err(PageError::NotYours),
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
            Err(PageError::NotYours)
        }
    }
}
