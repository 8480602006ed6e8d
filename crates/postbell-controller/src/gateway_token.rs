//! The token that callers must show, and that the watcher is shown.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderValue;

/// The token that callers must show, and that the watcher is shown. Cheap to clone.
#[derive(Clone)]
pub struct GatewayToken(Arc<str>);

/// A text that cannot be sent in a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected visible ASCII characters, one at least")]
pub struct InvalidToken;

impl GatewayToken {
    /// The token, for a child that must know it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the token. Digests are compared, so that neither content nor length shows in
    /// the time it takes.
    pub(crate) fn is(&self, shown: &str) -> bool {
        let [shown, expected] = [shown, &self.0].map(|text| digest(&SHA256, text.as_bytes()));
        verify_slices_are_equal(shown.as_ref(), expected.as_ref()).is_ok()
    }

    /// The token as a header that is not logged.
    #[expect(clippy::expect_used, reason = "visible ASCII characters are a header")]
    pub(crate) fn header(&self) -> HeaderValue {
        let mut header = HeaderValue::from_str(&self.0).expect("visible ASCII characters");
        header.set_sensitive(true);
        header
    }
}

impl TryFrom<&str> for GatewayToken {
    type Error = InvalidToken;

    fn try_from(text: &str) -> Result<Self, InvalidToken> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_visible && !text.is_empty() {
            Ok(Self(text.into()))
        } else {
            Err(InvalidToken)
        }
    }
}

impl fmt::Debug for GatewayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayToken")
    }
}
