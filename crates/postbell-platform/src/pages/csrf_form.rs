//! Forms: that they come from our own pages, and what is in them.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, header};
use postbell_http::{constant_time_eq, read_body};
use url::{Url, form_urlencoded};

use super::session::{OperatorSession, Session, UserSession};
use super::{FORM_LIMIT, PageError, Pages};

/// The name of the field in which a form shows its session's token.
pub(super) const FORM_TOKEN: &str = "form_token";

/// A form that one of our pages sent, whoever sees it: there is no session yet.
pub(super) struct SameOriginForm(Fields);

/// A form that one of our pages sent, for the session that it was made for; by whom, of those who
/// may.
pub(super) struct CsrfForm<W = Session> {
    pub(super) by: W,
    fields: Fields,
}

/// Somebody who is signed in.
pub(super) trait SignedIn: FromRequestParts<Pages, Rejection = PageError> + Send {
    fn session(&self) -> &Session;
}

impl SignedIn for Session {
    fn session(&self) -> &Session {
        self
    }
}

impl SignedIn for UserSession {
    fn session(&self) -> &Session {
        &self.session
    }
}

impl SignedIn for OperatorSession {
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

impl<W> CsrfForm<W> {
    /// What a field holds.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// Whether a switch is to be on.
    pub(super) fn is_on(&self) -> bool {
        self.field("to") == Some("on")
    }
}

impl FromRequest<Pages> for SameOriginForm {
    type Rejection = PageError;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, PageError> {
        if !is_from_here(request.headers(), pages) {
            return Err(PageError::Foreign);
        }
        let body = read_body(request.into_body(), FORM_LIMIT).await;
        let body = body.map_err(|_| PageError::Unreadable)?;
        let fields = form_urlencoded::parse(&body).into_owned();
        Ok(Self(Fields(fields.collect())))
    }
}

impl<W: SignedIn> FromRequest<Pages> for CsrfForm<W> {
    type Rejection = PageError;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let by = W::from_request_parts(&mut parts, pages).await?;
        let request = Request::from_parts(parts, body);
        let SameOriginForm(fields) = SameOriginForm::from_request(request, pages).await?;
        let shown = fields.get(FORM_TOKEN).unwrap_or_default();
        let expected = by.session().form_token.as_bytes();
        if constant_time_eq(expected, shown) {
            Ok(Self { by, fields })
        } else {
            Err(PageError::Foreign)
        }
    }
}

/// Whether a browser says that a form is one of our own: by `Sec-Fetch-Site`, which no page can set,
/// and where a browser does not send that (without HTTPS), by `Origin`.
fn is_from_here(headers: &HeaderMap, pages: &Pages) -> bool {
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
