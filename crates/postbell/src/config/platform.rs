//! The `[platform]` table.

mod sign_in;

use std::net::SocketAddr;

use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::env_crypto::EnvKey;
use postbell_store::KeyRing;
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use url::Url;

pub use self::sign_in::SignInConfig;
use super::ConfigError;
use super::values::{check_scheme, is_http, is_plain_base, sendable};

/// The `[platform]` table: who the users are.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlatformConfig {
    /// Address to listen on.
    pub listen: SocketAddr,

    /// Public base URL of the platform and its pages; `http://` and the address, where none is given
    /// and the address is one.
    pub url: Option<Url>,

    /// Where the users' records are: `sqlite:` and a path, which may be the inbox's.
    pub store: String,

    /// What `x-internal-api-key` must be.
    pub api_key: Option<SecretString>,

    /// What the machines' tokens and the users' are made with.
    pub gateway_secret: Option<SecretString>,

    /// What credentials are encrypted with on disk: the first encrypts, all decrypt. The gateway
    /// secret, where none is given.
    #[serde(deserialize_with = "one_a_line")]
    pub storage_keys: Vec<SecretString>,

    /// What opens credentials that users send: an RSA key in PEM.
    pub private_key: Option<SecretString>,

    /// Relays that run elsewhere: told of check-ins, and of users who have changed.
    pub relay_urls: Vec<Url>,

    /// Fly, where machines may be started and stopped.
    pub fly: FlyConfig,

    /// How people sign in to the pages with Google.
    pub sign_in: SignInConfig,
}

/// Fly's Machines API.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlyConfig {
    /// Base URL of the API.
    pub url: Url,

    /// What opens the machines; without it they are left alone.
    pub token: Option<SecretString>,

    /// What the machines have as `KILOCLAW_ENV_KEY`: credentials in their variables are encrypted
    /// with it.
    pub env_key: Option<SecretString>,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            url: None,
            store: "sqlite:postbell.db".to_owned(),
            api_key: None,
            gateway_secret: None,
            storage_keys: Vec::new(),
            private_key: None,
            relay_urls: Vec::new(),
            fly: FlyConfig::default(),
            sign_in: SignInConfig::default(),
        }
    }
}

impl Default for FlyConfig {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant that a test parses")]
        let url = Url::parse("https://api.machines.dev").expect("a constant URL");
        Self {
            url,
            token: None,
            env_key: None,
        }
    }
}

/// Reads a list, or a text with an item a line, as a file or a variable has it.
fn one_a_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of texts, or a text with one a line")]
    enum Keys {
        List(Vec<SecretString>),
        Lines(SecretString),
    }
    Ok(match Keys::deserialize(deserializer)? {
        Keys::List(keys) => keys,
        Keys::Lines(text) => {
            let lines = text.expose_secret().lines().map(str::trim);
            let keys: Vec<_> = lines
                .filter(|line| !line.is_empty())
                .map(SecretString::from)
                .collect();
            // Whoever names keys does not mean the gateway secret.
            if keys.is_empty() {
                return Err(D::Error::custom("expected a key: there is none in it"));
            }
            keys
        }
    })
}

impl FlyConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if !is_http(&self.url) {
            return Err(ConfigError::contradiction(
                "platform.fly.url",
                "the base URL of an API, such as https://api.machines.dev",
            ));
        }
        match &self.token {
            None => Ok(()),
            Some(token) => sendable(token, "platform.fly.token"),
        }
    }
}

impl PlatformConfig {
    /// Whether anybody has said what a platform needs.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.api_key.is_some() || self.gateway_secret.is_some()
    }

    /// Finds what each value alone does not show.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a key that a platform needs and has not, or that is none.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.api_key()?;
        self.gateway_secret()?;
        self.platform_key()?;
        self.env_key()?;
        self.url()?;
        self.sign_in.check()?;
        check_scheme("platform.store", &self.store)?;
        self.fly.check()?;
        if !self.relay_urls.iter().all(is_http) {
            return Err(ConfigError::contradiction(
                "platform.relay_urls",
                "base URLs of relays, such as https://push.example.com",
            ));
        }
        let key = self.storage_keys.iter();
        if key.clone().any(|key| key.expose_secret().is_empty()) {
            return Err(ConfigError::contradiction(
                "platform.storage_keys",
                "no empty key: `openssl rand -hex 32` prints one",
            ));
        }
        Ok(())
    }

    /// The public base URL of the pages.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where it is none that pages can be at.
    pub fn url(&self) -> Result<Url, ConfigError> {
        const WRONG: ConfigError = ConfigError::Contradiction {
            key: "platform.url",
            expected: "the public base URL of the pages without a path, such as https://bell.example.com",
        };
        let Some(url) = &self.url else {
            // An address for all of a machine's is none that anybody could open.
            if self.listen.ip().is_unspecified() {
                return Err(WRONG);
            }
            let url = format!("http://{}", self.listen).parse();
            return url.map_err(|_| WRONG);
        };
        let is_base = is_plain_base(url) && url.path() == "/";
        if is_base { Ok(url.clone()) } else { Err(WRONG) }
    }

    /// Whether links and cookies are for this machine alone, because nobody has said where the pages
    /// are for others.
    #[must_use]
    pub fn is_for_this_machine_alone(&self) -> bool {
        self.url.is_none() && self.listen.ip().is_loopback()
    }

    /// The keys whose secrets are so short that they can be guessed. They are taken all the same:
    /// those of machines that exist already cannot be changed at will.
    #[must_use]
    pub fn short_secrets(&self) -> Vec<&'static str> {
        let secrets = [
            ("platform.api_key", &self.api_key),
            ("platform.gateway_secret", &self.gateway_secret),
        ];
        let is_short =
            |secret: &SecretString| secret.expose_secret().len() < super::relay::SHORTEST_SECRET;
        secrets
            .into_iter()
            .filter(|(_, secret)| secret.as_ref().is_some_and(is_short))
            .map(|(key, _)| key)
            .collect()
    }

    /// What `x-internal-api-key` must be.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where it is missing.
    pub fn api_key(&self) -> Result<&SecretString, ConfigError> {
        given(
            self.api_key.as_ref(),
            "platform.api_key",
            "what relays show in x-internal-api-key, such as `openssl rand -hex 32` prints",
        )
    }

    /// What tokens are made with.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where it is missing.
    pub fn gateway_secret(&self) -> Result<&SecretString, ConfigError> {
        given(
            self.gateway_secret.as_ref(),
            "platform.gateway_secret",
            "the secret behind the machines' tokens, such as `openssl rand -hex 32` prints",
        )
    }

    /// What credentials are encrypted with on disk. The gateway secret opens what it has encrypted
    /// before there were storage keys.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where there is neither a storage key nor a gateway secret.
    pub fn key_ring(&self) -> Result<KeyRing, ConfigError> {
        let Some((first, older)) = self.storage_keys.split_first() else {
            return Ok(KeyRing::new(self.gateway_secret()?, &[]));
        };
        let mut older = older.to_vec();
        older.extend(self.gateway_secret.clone());
        Ok(KeyRing::new(first, &older))
    }

    /// What opens credentials, where there is something.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where it is no key.
    pub fn platform_key(&self) -> Result<Option<PlatformKey>, ConfigError> {
        let key = self.private_key.as_ref().map(PlatformKey::from_pem);
        key.transpose().map_err(|_| {
            ConfigError::contradiction(
                "platform.private_key",
                "an RSA key in PEM, such as `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072` prints",
            )
        })
    }

    /// What the machines' variables are encrypted with, where there is something.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where it is no key.
    pub fn env_key(&self) -> Result<Option<EnvKey>, ConfigError> {
        let key = self.fly.env_key.as_ref().map(EnvKey::from_base64);
        key.transpose().map_err(|_| {
            ConfigError::contradiction(
                "platform.fly.env_key",
                "base64 of 32 bytes, such as `openssl rand -base64 32` prints",
            )
        })
    }
}

fn given<'a>(
    secret: Option<&'a SecretString>,
    key: &'static str,
    expected: &'static str,
) -> Result<&'a SecretString, ConfigError> {
    let secret = secret.filter(|secret| !secret.expose_secret().is_empty());
    let secret = secret.ok_or(ConfigError::contradiction(key, expected))?;
    sendable(secret, key)?;
    Ok(secret)
}
