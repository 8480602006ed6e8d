//! Verifies the ID tokens of Google and of other issuers
//! (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).

use std::sync::Arc;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, decode_header};
use postbell_core::Timestamp;
use quick_cache::sync::Cache;
use serde::Deserialize;

use crate::keys::{KeysUnavailable, SigningKeys};

/// The issuers of Google's tokens: its documentation shows one, its samples accept both.
const GOOGLE: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// The tolerated difference of clocks, in seconds.
const LEEWAY: i64 = 60;

/// The longest token; Google's have some 900 bytes.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The number of cached tokens with a verified signature: about 20 MB.
const TOKENS_REMEMBERED: usize = 16_384;

/// Verifies ID tokens with the keys of their issuer.
///
/// Pub/Sub sends the same token for up to an hour. A token with a valid signature is cached, so the signature
/// is verified once; audience and times are checked every time.
pub struct IdTokenVerifier {
    keys: Arc<SigningKeys>,
    rules: Rules,
    signed: Cache<Box<str>, Arc<Claims>>,
}

/// The subject of a token. The caller decides whether it is the right one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The service account's email.
    pub email: String,

    /// Whether Google has verified the email. Check this before the email.
    pub email_verified: bool,

    /// When the token expires.
    pub expires: Timestamp,

    /// The nonce of a sign-in.
    pub nonce: Option<String>,

    /// The client that the token was issued to (`azp`).
    pub authorized_party: Option<String>,
}

/// Why a token was refused.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenError {
    /// The token is not a valid token of the issuer for this audience. The text says what was expected
    /// and contains nothing of the token.
    #[error("{0}")]
    Rejected(&'static str),

    /// The token cannot be verified now. It may be accepted later.
    #[error(transparent)]
    KeysUnavailable(#[from] KeysUnavailable),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    email: Option<String>,
    email_verified: Option<bool>,
    nonce: Option<String>,
    azp: Option<String>,
}

/// One audience, or several (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Whose tokens are accepted.
enum Rules {
    Google,
    Issuer(String),
}

impl Rules {
    const fn expected_issuer(&self) -> &'static str {
        match self {
            Self::Google => "expected google as the issuer",
            Self::Issuer(_) => "expected the configured issuer as the issuer",
        }
    }

    fn accept_issuer(&self, issuer: &str) -> bool {
        match self {
            Self::Google => GOOGLE.contains(&issuer),
            Self::Issuer(own) => own == issuer,
        }
    }

    /// Google writes one audience; a list is refused. A token of another issuer may be for several, if it was issued to
    /// this one (OpenID Connect Core, section 3.1.3.7).
    fn accept_audience(&self, claims: &Claims, audience: &str) -> bool {
        match (self, &claims.aud) {
            (_, Audience::One(one)) => one == audience,
            (Self::Google, Audience::Several(_)) => false,
            (Self::Issuer(_), Audience::Several(all)) => {
                let is_ours = all.len() == 1 || claims.azp.as_deref() == Some(audience);
                is_ours && all.iter().any(|it| it == audience)
            }
        }
    }
}

impl IdTokenVerifier {
    /// Fails while tokens cannot be verified, since one could not.
    ///
    /// # Errors
    ///
    /// [`IdTokenError::KeysUnavailable`]
    pub async fn check_ready(&self) -> Result<(), IdTokenError> {
        Ok(self.keys.check_ready().await?)
    }

    /// Whether tokens will not be verified, because fetching the keys has failed since the start.
    #[must_use]
    pub fn lacks_keys(&self) -> bool {
        self.keys.is_missing()
    }

    /// Verifies Google's tokens with its `keys`.
    #[must_use]
    pub fn new(keys: Arc<SigningKeys>) -> Self {
        Self {
            keys,
            rules: Rules::Google,
            signed: Cache::new(TOKENS_REMEMBERED),
        }
    }

    /// Verifies the tokens of another issuer with its `keys`. They sign people in, each with a token of their own,
    /// so few are remembered.
    #[must_use]
    pub fn of_issuer(keys: Arc<SigningKeys>, issuer: String) -> Self {
        Self {
            keys,
            rules: Rules::Issuer(issuer),
            signed: Cache::new(1),
        }
    }

    /// The keys of the issuer.
    pub(crate) fn keys(&self) -> &SigningKeys {
        &self.keys
    }

    /// Checks signature, issuer, audience and times, in this order.
    ///
    /// Only RS256 is accepted, whatever the token's header says.
    ///
    /// # Errors
    ///
    /// [`IdTokenError`]
    pub async fn verify(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Caller, IdTokenError> {
        let claims = if let Some(remembered) = self.signed.get(token) {
            check(&remembered, &self.rules, audience, now)?;
            remembered
        } else {
            let key = self.key(token).await?;
            let claims = Arc::new(signed_claims(token, &key)?);
            check(&claims, &self.rules, audience, now)?;
            // Only tokens for this audience, so that others do not displace them.
            self.signed.insert(token.into(), Arc::clone(&claims));
            claims
        };
        Ok(Caller {
            email: claims.email.clone().unwrap_or_default(),
            email_verified: claims.email_verified.unwrap_or(false),
            expires: Timestamp::from_millis(claims.exp.saturating_mul(1000)),
            nonce: claims.nonce.clone(),
            authorized_party: claims.azp.clone(),
        })
    }

    async fn key(&self, token: &str) -> Result<Arc<ParsedPublicKey>, IdTokenError> {
        const NO_JWT: IdTokenError = IdTokenError::Rejected("expected a JSON web token");
        if token.len() > LONGEST_TOKEN {
            return Err(NO_JWT);
        }
        let header = decode_header(token).map_err(|_| NO_JWT)?;
        if header.alg != Algorithm::RS256 {
            return Err(IdTokenError::Rejected(
                "expected a token that is signed with RS256",
            ));
        }
        // RFC 7515, section 4.1.11; none is understood.
        if header.crit.is_some() {
            return Err(IdTokenError::Rejected(
                "expected a token without extensions that must be understood (crit)",
            ));
        }
        let key = self.keys.key(header.kid.as_deref()).await?;
        key.ok_or(IdTokenError::Rejected(match header.kid {
            Some(_) => "expected a token that is signed by one of the issuer's keys",
            None => "expected a token that names its key",
        }))
    }
}

/// Verifies the signature (RFC 7515, section 5.2) before it parses the claims.
fn signed_claims(token: &str, key: &ParsedPublicKey) -> Result<Claims, IdTokenError> {
    // The library builds the key for each token, which costs more than the verification.
    let is_good = token.rsplit_once('.').is_some_and(|(signed, signature)| {
        BASE64_URL_SAFE_NO_PAD
            .decode(signature)
            .is_ok_and(|signature| key.verify_sig(signed.as_bytes(), &signature).is_ok())
    });
    if !is_good {
        const EXPECTED: &str = "expected a signature by the key that the token names";
        return Err(IdTokenError::Rejected(EXPECTED));
    }
    insecure_decode_claims(token)
        .map_err(|_| IdTokenError::Rejected("expected the claims iss, aud, exp, iat and email"))
}

fn check(
    claims: &Claims,
    rules: &Rules,
    audience: &str,
    now: Timestamp,
) -> Result<(), IdTokenError> {
    let now = now.as_secs();
    let problem = if !rules.accept_issuer(&claims.iss) {
        rules.expected_issuer()
    } else if !rules.accept_audience(claims, audience) {
        // Of a push the endpoint's URL, of a sign-in the client's id.
        "expected this endpoint's own URL, or the id of this client, as the audience"
    } else if claims.exp.saturating_add(LEEWAY) <= now {
        "expected a token that has not expired"
    } else if claims
        .iat
        .max(claims.nbf.unwrap_or(claims.iat))
        .saturating_sub(LEEWAY)
        > now
    {
        "expected a token that is valid already"
    } else {
        return Ok(());
    };
    Err(IdTokenError::Rejected(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const AUDIENCE: &str = "https://push.example.com/push/user/ann";

    fn claims() -> Claims {
        Claims {
            iss: "https://accounts.google.com".to_owned(),
            aud: Audience::One(AUDIENCE.to_owned()),
            exp: NOW.as_secs() + 3600,
            iat: NOW.as_secs(),
            nbf: None,
            email: Some("push@demo.iam.gserviceaccount.com".to_owned()),
            email_verified: Some(true),
            nonce: None,
            azp: None,
        }
    }

    fn verdict(claims: &Claims) -> String {
        check(claims, &Rules::Google, AUDIENCE, NOW)
            .map_or_else(|error| error.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn both_spellings_of_the_issuer_are_accepted_and_no_other() {
        for (issuer, good) in [
            ("https://accounts.google.com", true),
            ("accounts.google.com", true),
            ("https://accounts.google.com/", false),
            ("http://accounts.google.com", false),
            ("", false),
        ] {
            let claims = Claims {
                iss: issuer.to_owned(),
                ..claims()
            };
            assert_eq!(verdict(&claims) == "ok", good, "{issuer}");
        }
    }

    #[test]
    fn the_audience_is_compared_exactly() {
        for audience in [
            "",
            "https://push.example.com/push/user/bob",
            &AUDIENCE.to_uppercase(),
        ] {
            let claims = Claims {
                aud: Audience::One(audience.to_owned()),
                ..claims()
            };
            assert!(verdict(&claims).contains("audience"), "{audience}");
        }
    }

    #[test]
    fn a_token_for_several_audiences_must_be_issued_to_the_one_that_accepts_it() {
        for (audiences, azp, good) in [
            (&[AUDIENCE, "other"][..], Some(AUDIENCE), true),
            (&["other", AUDIENCE], Some("other"), false),
            (&[AUDIENCE, "other"], None, false),
            (&[AUDIENCE], None, true),
            (&["other"], Some(AUDIENCE), false),
            (&[], Some(AUDIENCE), false),
        ] {
            let claims = Claims {
                aud: Audience::Several(audiences.iter().map(|&it| it.to_owned()).collect()),
                azp: azp.map(str::to_owned),
                ..claims()
            };
            let rules = Rules::Issuer(claims.iss.clone());
            let is_good = check(&claims, &rules, AUDIENCE, NOW).is_ok();
            assert_eq!(is_good, good, "{audiences:?} {azp:?}");
            assert_ne!(
                verdict(&claims),
                "ok",
                "Google's tokens are for one audience"
            );
        }
    }

    #[test]
    fn clocks_may_differ_by_a_minute() {
        let now = NOW.as_secs();
        for (exp, iat, nbf, good) in [
            (now - 59, now - 3600, None, true),
            (now - 60, now - 3600, None, false),
            (now + 3600, now + 60, None, true),
            (now + 3600, now + 61, None, false),
            (now + 3600, now, Some(now + 60), true),
            (now + 3600, now, Some(now + 61), false),
            (i64::MAX, i64::MIN, Some(i64::MIN), true),
            (i64::MIN, i64::MAX, Some(i64::MAX), false),
        ] {
            let claims = Claims {
                exp,
                iat,
                nbf,
                ..claims()
            };
            assert_eq!(verdict(&claims) == "ok", good, "{exp} {iat} {nbf:?}");
        }
    }

    #[test]
    fn another_issuer_signs_only_for_itself() {
        let rules = Rules::Issuer("https://id.example.com".to_owned());
        for (iss, good) in [
            ("https://id.example.com", true),
            ("https://id.example.com/", false),
            ("https://accounts.google.com", false),
        ] {
            let claims = Claims {
                iss: iss.to_owned(),
                ..claims()
            };
            let checked = check(&claims, &rules, AUDIENCE, NOW);
            assert_eq!(checked.is_ok(), good, "{iss}");
            let text = checked.err().map(|error| error.to_string());
            assert!(!text.unwrap_or_default().contains("google"), "{iss}");
        }
    }
}
