//! A cache of the keys with which Google, or another issuer, signs ID tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use postbell_core::{BoxError, Clock, wait_for};
use postbell_http::read_response;
use reqwest::Client;
use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use url::Url;

use crate::base64::decode_base64;

/// The default lifetime of keys, and the bounds of the one that Google sends, which is five to
/// seven hours.
const LIFE: Duration = Duration::from_secs(60 * 60);
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time between two fetches because of an unknown key id.
const SHORTEST_BETWEEN_FETCHES: Duration = Duration::from_secs(60);

/// The shortest time between two fetches while there are no keys.
const SHORTEST_BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// The timeout and the largest response. Google's has about 1.5 KiB.
const TIMEOUT: Duration = Duration::from_secs(5);
const SIZE_LIMIT: usize = 256 * 1024;

/// What Google is called in the log.
const GOOGLE: &str = "Google";

/// The shortest modulus of a key, in bytes: 2048 bits (RFC 7518, section 3.3).
const SHORTEST_MODULUS: usize = 256;

/// A cache of an issuer's public keys.
///
/// Keys are cached as `Cache-Control` says, refreshed before they expire, fetched at most once a
/// minute for an unknown key id, and used after their expiry while the issuer cannot be reached.
pub struct SigningKeys {
    /// For the log.
    issuer: String,
    client: Client,
    url: Url,
    clock: Arc<dyn Clock>,
    kept: ArcSwapOption<KeySet>,
    /// Whether a token could not be verified because there were no keys, and none were fetched since.
    is_failing: AtomicBool,
    /// Whether a fetch has failed.
    has_failed: AtomicBool,
    /// When the last fetch began. Locked during a fetch, so that concurrent tokens cause one
    /// request.
    last_fetch: Mutex<Option<Duration>>,
}

struct KeySet {
    keys: HashMap<String, Arc<ParsedPublicKey>>,
    fetched_at: Duration,
    life: Duration,
}

impl KeySet {
    /// Returns the key with an id. A set of one key needs no ids (OpenID Connect Core, section 10.1).
    fn key(&self, id: Option<&str>) -> Option<Arc<ParsedPublicKey>> {
        let named = id.and_then(|id| self.keys.get(id));
        let mut all = self.keys.iter();
        let only = all.next().filter(|_| self.keys.len() == 1);
        let only = only.filter(|(own, _)| id.is_none() || own.is_empty());
        named.or(only.map(|(_, key)| key)).cloned()
    }
}

/// There are no keys because the issuer cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("the keys of {issuer} cannot be fetched")]
pub struct KeysUnavailable {
    issuer: String,
    #[source]
    cause: BoxError,
}

impl SigningKeys {
    /// Google's keys, which are published at `url`. Fetches nothing yet.
    #[must_use]
    pub fn of_google(client: Client, url: Url, clock: Arc<dyn Clock>) -> Self {
        Self::new(GOOGLE.to_owned(), client, url, clock)
    }

    /// The keys of an issuer that are published at `url` as a JWK set (RFC 7517). Fetches nothing yet.
    #[must_use]
    pub fn new(issuer: String, client: Client, url: Url, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer,
            client,
            url,
            clock,
            kept: ArcSwapOption::empty(),
            is_failing: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            last_fetch: Mutex::new(None),
        }
    }

    /// Where the keys are published.
    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the key with this id, or `None` if the issuer has no such key.
    ///
    /// # Errors
    ///
    /// [`KeysUnavailable`] if no keys were ever fetched.
    pub(crate) async fn key(
        &self,
        id: Option<&str>,
    ) -> Result<Option<Arc<ParsedPublicKey>>, KeysUnavailable> {
        let find = || self.kept.load().as_ref().and_then(|kept| kept.key(id));
        if let Some(key) = find() {
            return Ok(Some(key));
        }
        let fetched = self.fetch_for_unknown_key().await;
        self.is_failing.store(fetched.is_err(), Ordering::Relaxed);
        fetched?;
        Ok(find())
    }

    /// Fails if a token could not be verified because there were no keys, and there are none now either.
    ///
    /// # Errors
    ///
    /// [`KeysUnavailable`]
    pub(crate) async fn check_ready(&self) -> Result<(), KeysUnavailable> {
        if !self.is_failing.load(Ordering::Relaxed) || self.kept.load().is_some() {
            return Ok(());
        }
        self.fetch_for_unknown_key().await
    }

    /// Whether a fetch has failed, and none succeeded yet.
    pub(crate) fn is_missing(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) && self.kept.load().is_none()
    }

    /// Fetches, unless that was done recently: strangers can send any key id.
    async fn fetch_for_unknown_key(&self) -> Result<(), KeysUnavailable> {
        let mut last_fetch = self.last_fetch.lock().await;
        let has_keys = self.kept.load().is_some();
        let pause = if has_keys {
            SHORTEST_BETWEEN_FETCHES
        } else {
            SHORTEST_BETWEEN_ATTEMPTS
        };
        let now = self.clock.elapsed();
        if last_fetch.is_some_and(|last| now.saturating_sub(last) < pause) {
            return if has_keys {
                Ok(())
            } else {
                Err(self.unavailable("not yet again".into()))
            };
        }
        *last_fetch = Some(now);
        match self.fetch().await {
            Ok(()) => Ok(()),
            Err(error) if has_keys => {
                let error = &*error as &dyn std::error::Error;
                let issuer = &self.issuer;
                warn!(
                    error,
                    "Could not fetch the keys of {issuer}; using those at hand"
                );
                Ok(())
            }
            Err(error) => Err(self.unavailable(error)),
        }
    }

    fn unavailable(&self, cause: BoxError) -> KeysUnavailable {
        let issuer = self.issuer.clone();
        KeysUnavailable { issuer, cause }
    }

    /// Fetches the keys again, so that those that were withdrawn are used no longer. Without an answer, those at hand stay.
    pub(crate) async fn renew(&self) {
        if let Err(error) = self.refresh().await {
            let (issuer, error) = (&self.issuer, &*error as &dyn std::error::Error);
            warn!(error, "Could not fetch the keys of {issuer} again");
        }
    }

    /// Refreshes the keys before they expire, until `stop` is cancelled.
    pub async fn refresh_ahead(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let pause = match self.refresh().await {
                Ok(()) => self.time_to_refresh(),
                Err(error) => {
                    let (issuer, error) = (&self.issuer, &*error as &dyn std::error::Error);
                    warn!(
                        error,
                        "Could not fetch the keys of {issuer}; trying again in a minute"
                    );
                    SHORTEST_BETWEEN_FETCHES
                }
            };
            let waited = stop.run_until_cancelled(wait_for(&*self.clock, pause));
            if waited.await.is_none() {
                return;
            }
        }
    }

    async fn refresh(&self) -> Result<(), BoxError> {
        let mut last_fetch = self.last_fetch.lock().await;
        *last_fetch = Some(self.clock.elapsed());
        self.fetch().await
    }

    /// Four fifths of the keys' remaining lifetime.
    fn time_to_refresh(&self) -> Duration {
        let kept = self.kept.load();
        let left = kept.as_ref().map_or(SHORTEST_LIFE, |kept| {
            (kept.fetched_at + kept.life).saturating_sub(self.clock.elapsed())
        });
        (left * 4 / 5).max(SHORTEST_LIFE / 2)
    }

    async fn fetch(&self) -> Result<(), BoxError> {
        let fetched = self.try_fetch().await;
        self.has_failed.store(fetched.is_err(), Ordering::Relaxed);
        fetched
    }

    async fn try_fetch(&self) -> Result<(), BoxError> {
        let request = self.client.get(self.url.clone()).timeout(TIMEOUT);
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let answer = answer
            .error_for_status()
            .map_err(reqwest::Error::without_url)?;
        let life = life(answer.headers());
        let body = read_response(answer, SIZE_LIMIT).await?;
        let keys = parse(&body)?;
        debug!(
            keys = keys.len(),
            ?life,
            "Fetched the keys of {}",
            self.issuer
        );
        let fetched_at = self.clock.elapsed();
        self.kept.store(Some(Arc::new(KeySet {
            keys,
            fetched_at,
            life,
        })));
        Ok(())
    }
}

/// The used members of a key (RFC 7517, section 4; RFC 7518, section 6.3). Other kinds of keys have other members.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: String,
    n: String,
    e: String,
    r#use: Option<String>,
}

/// Reads the RSA keys of a set that sign. Others are left out: a set may have keys of any kind. An empty set must
/// not replace the present keys.
fn parse(body: &[u8]) -> Result<HashMap<String, Arc<ParsedPublicKey>>, BoxError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(body)?;
    let keys: HashMap<_, _> = set.keys.into_iter().filter_map(signing_key).collect();
    if keys.is_empty() {
        Err("the key set has no RSA key that signs: ID tokens must be signed with RS256".into())
    } else {
        Ok(keys)
    }
}

fn signing_key(jwk: Value) -> Option<(String, Arc<ParsedPublicKey>)> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    if jwk.kty != "RSA" || jwk.r#use.is_some_and(|it| it != "sig") {
        return None;
    }
    let (n, e) = (decode_base64(&jwk.n)?, decode_base64(&jwk.e)?);
    if n.len() < SHORTEST_MODULUS {
        return None;
    }
    let key = PublicKeyComponents { n, e };
    let key = key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
    Some((jwk.kid, Arc::new(key.ok()?)))
}

/// The lifetime of a response: `max-age` minus `Age`.
fn life(headers: &HeaderMap) -> Duration {
    let cache_control = headers
        .get(CACHE_CONTROL)
        .and_then(|value| value.to_str().ok());
    let max_age = cache_control.and_then(|directives| {
        let mut directives = directives.split(',').map(str::trim);
        directives.find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok())
    });
    let age = headers
        .get(AGE)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let life = max_age.map_or(LIFE, Duration::from_secs);
    let life = life.saturating_sub(Duration::from_secs(age.unwrap_or(0)));
    life.clamp(SHORTEST_LIFE, LONGEST_LIFE)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn keys_live_as_long_as_their_headers_say_within_bounds() {
        let life_of = |headers: &[(HeaderName, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().unwrap()));
            life(&headers.collect()).as_secs()
        };
        assert_eq!(
            life_of(&[(CACHE_CONTROL, "public, max-age=21155, must-revalidate")]),
            21_155
        );
        assert_eq!(
            life_of(&[(CACHE_CONTROL, "max-age=21155"), (AGE, "155")]),
            21_000
        );
        assert_eq!(
            life_of(&[(CACHE_CONTROL, "max-age=0")]),
            SHORTEST_LIFE.as_secs()
        );
        assert_eq!(
            life_of(&[(CACHE_CONTROL, "max-age=9999999999")]),
            LONGEST_LIFE.as_secs()
        );
        assert_eq!(life_of(&[(CACHE_CONTROL, "no-cache")]), LIFE.as_secs());
        assert_eq!(life_of(&[(CACHE_CONTROL, "max-age=5"), (AGE, "99999")]), 60);
    }

    #[test]
    fn keys_of_other_kinds_are_left_out_and_do_not_spoil_the_set() {
        let n = format!("{}w", "u".repeat(341));
        let set = serde_json::json!({"keys": [
            {"kty": "RSA", "kid": "signs", "use": "sig", "alg": "RS256", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "any", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "encrypts", "use": "enc", "alg": "RSA-OAEP", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "short", "n": "uuuu", "e": "AQAB"},
            {"kty": "RSA", "kid": "odd", "n": "*", "e": "AQAB"},
            {"kty": "EC", "kid": "curve", "crv": "secp256k1", "x": "AA", "y": "AA"},
            {"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AA"},
            7,
        ]});
        let keys = parse(set.to_string().as_bytes()).unwrap();
        let mut ids: Vec<_> = keys.keys().map(String::as_str).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["any", "signs"]);
    }

    #[test]
    fn only_a_set_of_one_key_needs_no_ids() {
        let n = format!("{}w", "u".repeat(341));
        let found = |ids: &[Option<&str>], id| {
            let keys = ids.iter().map(|id| {
                let mut key = serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB"});
                if let Some(id) = id {
                    key["kid"] = (*id).into();
                }
                key
            });
            let set = serde_json::json!({ "keys": keys.collect::<Vec<_>>() });
            let set = KeySet {
                keys: parse(set.to_string().as_bytes()).unwrap(),
                fetched_at: Duration::ZERO,
                life: LIFE,
            };
            set.key(id).is_some()
        };
        assert!(found(&[None], None) && found(&[None], Some("new")));
        assert!(found(&[Some("a")], None) && found(&[Some("a")], Some("a")));
        assert!(!found(&[Some("a")], Some("b")));
        let both = [Some("a"), Some("b")];
        assert!(found(&both, Some("b")) && !found(&both, None) && !found(&both, Some("c")));
    }

    #[test]
    fn a_set_without_rsa_keys_is_refused() {
        for body in [
            "",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"keys":[{"kty":"oct","k":"AA","kid":"1"}]}"#,
        ] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
