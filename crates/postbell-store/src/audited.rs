//! What an entry of the audit log says of each change, the same for every engine.

use postbell_core::{AccessToken, Principal, Timestamp, lifetime_text};

/// The detail of an issued sign-in link.
pub(crate) fn link_detail(principal: &Principal, expires_at: Timestamp, now: Timestamp) -> String {
    let role = match (&principal.operator, principal.is_viewer) {
        (None, _) => "",
        (Some(_), false) => "operator, ",
        (Some(_), true) => "viewer, ",
    };
    format!("{role}for {}", lifetime_text(expires_at - now))
}

/// The detail of an issued token.
pub(crate) fn token_detail(token: &AccessToken) -> String {
    let AccessToken {
        id, name, scope, ..
    } = token;
    let lifetime = lifetime_text(token.expires_at - token.created_at);
    format!("{id} {name}, {}, for {lifetime}", scope.as_str())
}
