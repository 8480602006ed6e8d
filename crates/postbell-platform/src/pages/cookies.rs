//! Cookies: how they are named, set and read (RFC 6265).

use axum::http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Pages;

/// What a browser keeps for us, under the name of its purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cookie {
    /// Who is signed in.
    Session,
    /// An attempt to sign in with Google.
    Attempt,
    /// What is to be said on the next page.
    Toast,
}

impl Cookie {
    const fn purpose(self) -> &'static str {
        match self {
            Self::Session => "postbell-session",
            Self::Attempt => "postbell-attempt",
            Self::Toast => "postbell-toast",
        }
    }

    /// The cookie's name: with a prefix that browsers let nobody set but this very host, where that
    /// is possible.
    fn name(self, is_https: bool) -> String {
        let prefix = if is_https { "__Host-" } else { "" };
        format!("{prefix}{}", self.purpose())
    }
}

impl Pages {
    /// Has the browser keep a value, for so many seconds.
    pub(super) fn keep(&self, cookie: Cookie, value: &impl Serialize, seconds: i64) -> HeaderValue {
        let sealed = self.parts().seal.seal(cookie.purpose(), value);
        self.set(cookie, &sealed, seconds)
    }

    /// Has the browser forget a value.
    pub(super) fn forget(&self, cookie: Cookie) -> HeaderValue {
        self.set(cookie, "", 0)
    }

    fn set(&self, cookie: Cookie, value: &str, seconds: i64) -> HeaderValue {
        let is_https = self.is_https();
        let name = cookie.name(is_https);
        let secure = if is_https { "; Secure" } else { "" };
        // Lax, and not strict: whoever comes back from Google, or by a link, is to be known.
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        // Of the base64 of URLs, digits and our own words.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }

    /// What the browser has kept, if it is something that we sealed.
    pub(super) fn kept<T: DeserializeOwned>(
        &self,
        cookie: Cookie,
        headers: &HeaderMap,
    ) -> Option<T> {
        let name = cookie.name(self.is_https());
        let lines = headers.get_all(header::COOKIE).into_iter();
        let lines = lines.filter_map(|line| line.to_str().ok());
        let mut pairs = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(given, _)| *given == name)?;
        self.parts().seal.open(cookie.purpose(), value)
    }
}
