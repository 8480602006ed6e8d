//! The headers of every page.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Pages;

/// What a browser may do with a page: use our own files, talk to us, and nothing else. There is no
/// script and no style inside a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

/// For two years, once a browser has come by HTTPS.
const HSTS: &str = "max-age=63072000";

/// Puts the headers on a page.
pub(super) async fn protect(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, pages.0.policy.clone());
    let mut put = |name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::X_FRAME_OPTIONS, "DENY");
    // Not none at all: browsers would hide from us where a form comes from, too.
    put(header::REFERRER_POLICY, "same-origin");
    put(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    put(
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    );
    if pages.is_https() {
        put(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}

/// The policy; a form may lead on to `google`, where people sign in there.
pub(super) fn policy(google: Option<&str>) -> HeaderValue {
    let policy = match google {
        Some(origin) => format!("{POLICY} {origin}"),
        None => POLICY.to_owned(),
    };
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(POLICY))
}
