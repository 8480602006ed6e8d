//! Forms, protected against cross-site request forgery.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, header};
use postbell_http::{constant_time_eq, read_body};
use url::{Url, form_urlencoded};

use super::session::{ChangingOperator, OperatorSession, Session, UserSession};
use super::{PageError, Pages};

/// The largest form: a few words.
const FORM_LIMIT: usize = 16 * 1024;

/// The field of a form that holds the session's CSRF token.
pub(super) const FORM_TOKEN: &str = "form_token";

/// A form that was sent from one of our pages, without a session.
pub(super) struct SameOriginForm(Fields);

/// A form that was sent from a page of the same session. `S` is the session that the action
/// requires.
pub(super) struct CsrfForm<S = Session> {
    pub(super) session: S,
    fields: Fields,
}

/// An extractor that holds a session.
pub(super) trait HasSession: FromRequestParts<Pages, Rejection = PageError> + Send {
    /// Whether the user's forms are limited.
    const IS_LIMITED: bool = true;

    fn session(&self) -> &Session;
}

impl HasSession for Session {
    /// A session can always be ended, also while another person uses up the limit with another one.
    const IS_LIMITED: bool = false;

    fn session(&self) -> &Session {
        self
    }
}

impl HasSession for UserSession {
    fn session(&self) -> &Session {
        &self.session
    }
}

impl HasSession for OperatorSession {
    fn session(&self) -> &Session {
        &self.session
    }
}

impl SameOriginForm {
    /// Returns the value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }
}

impl HasSession for ChangingOperator {
    fn session(&self) -> &Session {
        &self.session
    }
}

struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let field = fields.find(|(given, _)| given == name);
        field.map(|(_, value)| value.as_str())
    }
}

impl<S> CsrfForm<S> {
    /// Returns the value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// Returns whether a switch is to be turned on.
    pub(super) fn is_on(&self) -> bool {
        self.field("to") == Some("on")
    }
}

impl FromRequest<Pages> for SameOriginForm {
    type Rejection = PageError;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, PageError> {
        if !is_same_origin(request.headers(), pages) {
            return Err(PageError::ForeignForm);
        }
        let body = read_body(request.into_body(), FORM_LIMIT).await;
        let body = body.map_err(|_| PageError::InvalidForm)?;
        let fields = form_urlencoded::parse(&body).into_owned();
        Ok(Self(Fields(fields.collect())))
    }
}

impl<S: HasSession> FromRequest<Pages> for CsrfForm<S> {
    type Rejection = PageError;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let session = S::from_request_parts(&mut parts, pages).await?;
        let request = Request::from_parts(parts, body);
        let SameOriginForm(fields) = SameOriginForm::from_request(request, pages).await?;
        let shown = fields.get(FORM_TOKEN).unwrap_or_default();
        let expected = session.session().form_token.as_bytes();
        if !constant_time_eq(expected, shown) {
            return Err(PageError::ForeignForm);
        }
        if S::IS_LIMITED {
            pages.count_change(&session.session().principal)?;
        }
        Ok(Self { session, fields })
    }
}

/// Returns whether the browser reports one of our pages as the sender: by `Sec-Fetch-Site`, which
/// pages cannot set, or by `Origin` if the browser does not send that (without HTTPS).
fn is_same_origin(headers: &HeaderMap, pages: &Pages) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    let Some(origin) = text(header::ORIGIN).and_then(|origin| Url::parse(origin).ok()) else {
        return false;
    };
    let public = &pages.parts().links.url;
    let host = text(header::HOST)
        .and_then(|host| Url::parse(&format!("{}://{host}", origin.scheme())).ok());
    origin.origin() == public.origin() || host.is_some_and(|host| host.origin() == origin.origin())
}
