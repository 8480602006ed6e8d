//! What a holder of a user token can read in it (section 2).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use postbell_core::UserId;
use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Returns the user that a token names, without verifying it. `None` if it names none, as tokens of another platform
/// may.
#[must_use]
pub fn user_named_in(token: &str) -> Option<UserId> {
    let claims = token.trim().split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    claims.sub.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_part_of_a_token_names_its_user() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"ann","exp":1}"#);
        let token = format!("postbell3.{claims}.00");
        assert_eq!(user_named_in(&token), Some("ann".parse().unwrap()));
        let nameless = BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp":1}"#);
        for other in ["", "secret", "a.b.c", &format!("a.{nameless}.c")] {
            assert_eq!(user_named_in(other), None, "{other}");
        }
    }
}
