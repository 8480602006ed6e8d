//! The `[platform]` table.

mod sign_in;

use std::net::SocketAddr;

use postbell_http::{ListenAddress, is_loopback};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::env_crypto::EnvKey;
use postbell_store::KeyRing;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

pub use self::sign_in::SignInConfig;
use super::controller::{NO_ACCOUNT, name_an_account};
use super::relay::MIN_SECRET;
use super::values::{check_scheme, is_http, is_plain_base, one_per_line, sendable};
use super::{ConfigError, Mistakes, StoreUrl};

/// The `[platform]` table: users, API and web pages.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlatformConfig {
    /// Where to listen.
    pub listen: ListenAddress,

    /// Public base URL of the platform and its pages. The default is `http://` and the address that it
    /// listens on, unless that is unspecified or a unix socket.
    pub url: Option<Url>,

    /// Store of the users: `sqlite:` and a path, which may be that of `relay.inbox`.
    pub store: StoreUrl,

    /// Expected `x-internal-api-key`.
    pub api_key: Option<SecretString>,

    /// Secret from which the tokens of machines and users are derived.
    pub gateway_secret: Option<SecretString>,

    /// Keys that encrypt stored credentials: the first encrypts, all decrypt. The default is the
    /// gateway secret.
    #[serde(deserialize_with = "one_per_line")]
    pub storage_keys: Vec<SecretString>,

    /// RSA key in PEM that decrypts the credentials that users send.
    pub private_key: Option<SecretString>,

    /// Further arguments of `postbell watch serve` on machines that fetch their configuration and have none.
    pub watcher_args: Vec<String>,

    /// Remote relays that are notified of check-ins and changed users.
    pub relay_urls: Vec<Url>,

    /// Fly's Machines API.
    pub fly: FlyConfig,

    /// Sign-in to the pages with Google.
    pub sign_in: SignInConfig,
}

/// Fly's Machines API.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlyConfig {
    /// Base URL of the API.
    pub url: Url,

    /// API token. Without it, machines are not managed.
    pub token: Option<SecretString>,

    /// Key that machines have in `KILOCLAW_ENV_KEY`. Encrypts credentials in their variables.
    pub env_key: Option<SecretString>,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)).into(),
            url: None,
            store: "sqlite:postbell.db".to_owned().into(),
            api_key: None,
            gateway_secret: None,
            storage_keys: Vec::new(),
            private_key: None,
            watcher_args: Vec::new(),
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
    /// Whether a platform is configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.api_key.is_some() || self.gateway_secret.is_some()
    }

    /// Checks required keys and combinations of values.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a required key is missing, or a value is invalid.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut mistakes = Mistakes::default();
        mistakes.check(self.api_key());
        mistakes.check(self.gateway_secret());
        mistakes.check(self.platform_key());
        mistakes.check(self.env_key());
        mistakes.check(self.url());
        mistakes.check(self.sign_in.check());
        mistakes.check(check_scheme("platform.store", &self.store));
        mistakes.check(self.fly.check());
        mistakes.refuse_if(
            !self.relay_urls.iter().all(is_plain_base),
            "platform.relay_urls",
            "base URLs of relays without a path, such as https://push.example.com",
        );
        mistakes.refuse_if(
            name_an_account(&self.watcher_args),
            "platform.watcher_args",
            NO_ACCOUNT,
        );
        let mut keys = self.storage_keys.iter();
        mistakes.refuse_if(
            keys.any(|key| key.expose_secret().is_empty()),
            "platform.storage_keys",
            "keys that are not empty, for example the output of `openssl rand -hex 32`",
        );
        mistakes.into_result()
    }

    /// Returns the public base URL of the pages.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not a base URL.
    pub fn url(&self) -> Result<Url, ConfigError> {
        const KEY: &str = "platform.url";
        const WRONG: &str =
            "the public base URL of the pages without a path, such as https://bell.example.com";
        const MISSING: &str = "a value, because a browser cannot open the address in platform.listen: the \
            public base URL of the pages, such as https://bell.example.com";
        let Some(url) = &self.url else {
            let address = self.listen.tcp();
            let address = address.filter(|address| !address.ip().is_unspecified());
            let url = address.and_then(|address| format!("http://{address}").parse().ok());
            return url.ok_or(ConfigError::contradiction(KEY, MISSING));
        };
        let url = Some(url).filter(|url| is_plain_base(url));
        url.cloned().ok_or(ConfigError::contradiction(KEY, WRONG))
    }

    /// Whether links and cookies work only on this machine, because `platform.url` is not set.
    #[must_use]
    pub fn is_local_only(&self) -> bool {
        self.url.is_none() && self.listen.tcp().is_some_and(|it| it.ip().is_loopback())
    }

    /// Returns what is accepted and should be changed. Short secrets are accepted, because those of existing
    /// machines cannot be changed easily.
    pub(super) fn warnings(&self) -> Vec<String> {
        let storage_keys = self.storage_keys.iter();
        let secrets = self.api_key.iter().map(|key| ("platform.api_key", key));
        let secrets = secrets
            .chain(
                self.gateway_secret
                    .iter()
                    .map(|key| ("platform.gateway_secret", key)),
            )
            .chain(storage_keys.map(|key| ("platform.storage_keys", key)));
        let short = secrets.filter(|(_, secret)| secret.expose_secret().len() < MIN_SECRET);
        let mut warnings: Vec<_> = short
            .map(|(key, _)| {
                format!("{key} is too short to be secure: use the output of `openssl rand -hex 32`")
            })
            .collect();
        if self.is_configured() && self.is_local_only() {
            let local = "platform.url is not set: links to the pages work only on this machine";
            warnings.push(local.to_owned());
        }
        let url = self.url.as_ref();
        if url.is_some_and(|url| url.scheme() != "https" && !is_loopback(url)) {
            let plain = "platform.url is not https: browsers and Google's sign-in need it";
            warnings.push(plain.to_owned());
        }
        warnings
    }

    /// Returns the expected `x-internal-api-key`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is missing.
    pub fn api_key(&self) -> Result<&SecretString, ConfigError> {
        given(
            self.api_key.as_ref(),
            "platform.api_key",
            "the API key that relays send in x-internal-api-key; `postbell config init` writes one",
        )
    }

    /// Returns the secret from which tokens are derived.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is missing.
    pub fn gateway_secret(&self) -> Result<&SecretString, ConfigError> {
        given(
            self.gateway_secret.as_ref(),
            "platform.gateway_secret",
            "the secret from which the machines' tokens are derived; `postbell config init` writes one",
        )
    }

    /// Returns the keys that encrypt stored credentials. The gateway secret is included, because it
    /// encrypted credentials before storage keys were configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if neither a storage key nor the gateway secret is set.
    pub fn key_ring(&self) -> Result<KeyRing, ConfigError> {
        let Some((first, older)) = self.storage_keys.split_first() else {
            return Ok(KeyRing::new(self.gateway_secret()?, &[]));
        };
        let mut older = older.to_vec();
        older.extend(self.gateway_secret.clone());
        Ok(KeyRing::new(first, &older))
    }

    /// Returns the key that decrypts credentials, if one is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not an RSA key.
    pub fn platform_key(&self) -> Result<Option<PlatformKey>, ConfigError> {
        let key = self.private_key.as_ref().map(PlatformKey::from_pem);
        key.transpose().map_err(|_| {
            ConfigError::contradiction(
                "platform.private_key",
                "an RSA key of 2048 to 8192 bits in PEM; `postbell config init` writes one",
            )
        })
    }

    /// Returns the key that encrypts the machines' variables, if one is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not a key.
    pub fn env_key(&self) -> Result<Option<EnvKey>, ConfigError> {
        let key = self.fly.env_key.as_ref().map(EnvKey::from_base64);
        key.transpose().map_err(|_| {
            ConfigError::contradiction(
                "platform.fly.env_key",
                "32 bytes in base64, for example the output of `openssl rand -base64 32`",
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
