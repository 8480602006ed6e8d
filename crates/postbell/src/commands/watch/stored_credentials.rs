//! Where the credentials of a mailbox are stored.

use std::path::{Path, PathBuf};

use postbell_google::{AuthorizedUser, Credentials, OAuthClient};
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::gog_keyring::GogKeyring;
use secrecy::{ExposeSecret, SecretString};

use super::known;
use crate::cli::AccountArgs;
use crate::config::{BadSetting, Config, ConfigError, Env};

/// Variable with the name of gog's OAuth client, and its default.
const CLIENT_VARIABLE: &str = "GOG_CLIENT";
const DEFAULT_CLIENT: &str = "default";

/// Variable with the password of gog's keyring.
const KEYRING_PASSWORD_VARIABLE: &str = "GOG_KEYRING_PASSWORD";

/// Where the credentials of a mailbox are stored.
pub(in crate::commands) enum StoredCredentials {
    File {
        file: PathBuf,
        address: String,
    },
    /// Those of gog.
    Keyring {
        keyring: GogKeyring,
        address: String,
        client: String,
        password: SecretString,
    },
}

impl StoredCredentials {
    /// Finds those of a mailbox: a file, which the arguments, the mailbox's `[[watch]]` table or the configuration name,
    /// else gog's keyring.
    pub(in crate::commands) fn of(
        args: &AccountArgs,
        address: &str,
        config: &Config,
        env: &Env,
    ) -> anyhow::Result<Self> {
        let table = config.watch.iter().find(|watch| watch.is_of(address));
        let of_table = table.and_then(|watch| watch.credentials_file.as_deref());
        let named = args.credentials.as_deref().or(of_table);
        let file: Option<&Path> = named.or(config.google.credentials_file.as_deref());
        let password = env.variable(KEYRING_PASSWORD_VARIABLE);
        let file = match (file, password) {
            (Some(file), _) => Some(file.to_owned()),
            (None, Some(_)) => None,
            (None, None) => known::saved_credentials(address, env),
        };
        let address = address.to_owned();
        if let Some(file) = file {
            return Ok(Self::File { file, address });
        }
        let Some(password) = password else {
            return Err(ConfigError::Contradiction {
                key: "google.credentials_file",
                expected: "a file with Google credentials, here or in --credentials; \
                           or GOG_KEYRING_PASSWORD, to use those in gog's keyring",
            }
            .into());
        };
        let dirs = GogDirs::from_variables(|name| env.variable(name))?;
        let client = args.client.as_deref();
        let client = client.or_else(|| table?.client.as_deref());
        let client = client.or_else(|| env.variable(CLIENT_VARIABLE));
        Ok(Self::Keyring {
            keyring: dirs.of_account(&address).keyring(),
            address,
            client: client.unwrap_or(DEFAULT_CLIENT).to_owned(),
            password: password.into(),
        })
    }

    /// Reads them. Blocks on the disk.
    pub(in crate::commands) fn read(&self) -> Result<Credentials, BadSetting> {
        match self {
            Self::File { file, address } => credentials_in(file, address),
            Self::Keyring {
                keyring,
                address,
                client,
                password,
            } => {
                let credentials = keyring.credentials(address, client, password.expose_secret());
                let credentials = credentials.map_err(BadSetting::from_error)?;
                Ok(AuthorizedUser::from(credentials).into())
            }
        }
    }
}

fn credentials_in(file: &Path, address: &str) -> Result<Credentials, BadSetting> {
    Credentials::from_file(file, address).map_err(|error| {
        if OAuthClient::from_file(file).is_ok() {
            let file = file.display();
            return BadSetting::new(format!(
                "{file} is an OAuth client, and not the credentials of a mailbox: `postbell setup --client {file}` makes \
                 them"
            ));
        }
        BadSetting::from_error(error)
    })
}
