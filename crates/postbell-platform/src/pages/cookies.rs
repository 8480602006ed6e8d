//! The cookies of the pages: encrypted values under fixed names.

use std::time::Duration;

use axum::http::HeaderMap;
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CookieCipher;

/// A cookie's purpose, which its name and its encryption are bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CookieName {
    /// The signed-in session.
    Session,
    /// A sign-in with Google that has begun.
    SignInAttempt,
    /// The bots among which a person who has signed in with Google chooses.
    BotChoice,
    /// A Google account that is being connected.
    ConnectAttempt,
    /// The message that the next page shows.
    Toast,
}

impl CookieName {
    const fn purpose(self) -> &'static str {
        match self {
            Self::Session => "postbell-session",
            Self::SignInAttempt => "postbell-attempt",
            Self::BotChoice => "postbell-choice",
            Self::ConnectAttempt => "postbell-connect",
            Self::Toast => "postbell-toast",
        }
    }
}

/// Sets and reads cookies.
pub(super) struct Cookies<'a> {
    pub(super) cipher: &'a CookieCipher,
    /// Whether the pages are served by HTTPS only.
    pub(super) is_https: bool,
}

impl Cookies<'_> {
    /// Sets a cookie to an encrypted value.
    pub(super) fn set(
        &self,
        name: CookieName,
        value: &impl Serialize,
        max_age: Duration,
    ) -> CookieJar {
        let encrypted = self.cipher.encrypt(name.purpose(), value);
        self.response(name, encrypted, max_age)
    }

    /// Removes a cookie.
    pub(super) fn remove(&self, name: CookieName) -> CookieJar {
        self.response(name, String::new(), Duration::ZERO)
    }

    /// Returns a cookie's value, or `None` if it is missing or was not encrypted by us for this name.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        name: CookieName,
        headers: &HeaderMap,
    ) -> Option<T> {
        let text = self.text(name, headers)?;
        self.cipher.decrypt(name.purpose(), &text)
    }

    /// Returns a cookie's text, which anyone may have made.
    pub(super) fn text(&self, name: CookieName, headers: &HeaderMap) -> Option<String> {
        let jar = CookieJar::from_headers(headers);
        let cookie = jar.get(&self.full_name(name))?;
        Some(cookie.value().to_owned())
    }

    fn response(&self, name: CookieName, value: String, max_age: Duration) -> CookieJar {
        let cookie = Cookie::build((self.full_name(name), value))
            .path("/")
            .max_age(max_age.try_into().unwrap_or_default())
            .http_only(true)
            // Strict would hide the session after a sign-in at Google and after a followed link.
            .same_site(SameSite::Lax)
            .secure(self.is_https);
        CookieJar::new().add(cookie)
    }

    /// The name that the browser sees. Over HTTPS its prefix lets no other host set the cookie
    /// (RFC 6265bis, section 4.1.3).
    fn full_name(&self, name: CookieName) -> String {
        let prefix = if self.is_https { "__Host-" } else { "" };
        format!("{prefix}{}", name.purpose())
    }
}
