//! Secrets that a request shows.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use axum_extra::headers::HeaderMapExt;
use axum_extra::headers::authorization::{Authorization, Bearer};
use secrecy::SecretString;

/// Returns the bearer token of the `authorization` header (RFC 6750, section 2.1).
///
/// The scheme's case does not matter (RFC 9110, section 11.1), nor do spaces around the token.
#[must_use]
pub fn bearer_token(headers: &HeaderMap) -> Option<Authorization<Bearer>> {
    headers.typed_get()
}

/// Returns the tokens that a request shows: its bearer token, and the value of the header `name`.
#[must_use]
pub fn shown_tokens(headers: &HeaderMap, name: &str) -> Vec<SecretString> {
    let bearer = bearer_token(headers);
    let bearer = bearer.map(|bearer| SecretString::from(bearer.token()));
    let header = headers.get(name).and_then(|value| value.to_str().ok());
    let header = header.map(SecretString::from);
    bearer.into_iter().chain(header).collect()
}

/// Returns whether `shown` equals `secret`. Compares digests, so that the time taken depends neither
/// on the content of the secret nor on its length.
#[must_use]
pub fn constant_time_eq(secret: impl AsRef<[u8]>, shown: impl AsRef<[u8]>) -> bool {
    let secret = digest(&SHA256, secret.as_ref());
    let shown = digest(&SHA256, shown.as_ref());
    verify_slices_are_equal(secret.as_ref(), shown.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn the_scheme_has_any_case_and_spaces_around_the_token_do_not_count() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc", Some("abc")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            let found = bearer_token(&headers);
            let found = found.as_ref().map(|bearer| bearer.token());
            assert_eq!(found, token, "{header:?}");
        }
        assert!(bearer_token(&HeaderMap::new()).is_none());
    }

    #[test]
    fn only_equal_secrets_are_equal() {
        assert!(constant_time_eq("secret", "secret"));
        for shown in ["", "secre", "secret ", "Secret"] {
            assert!(!constant_time_eq("secret", shown), "{shown:?}");
        }
    }
}
