//! Where the credentials of a mailbox are stored.

use std::path::{Path, PathBuf};

use postbell_google::{AuthorizedUser, Credentials, OAuthClient};
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::gog_keyring::GogKeyring;
use postbell_protocol::tarball::KEYRING_PASSWORD;
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
        let dirs = GogDirs::from_variables(|name| env.variable(name))?;
        let client = args.client.as_deref();
        let client = client.or_else(|| table?.client.as_deref());
        let client = client.or_else(|| env.variable(CLIENT_VARIABLE));
        let of_keyring = |password: &str| Self::Keyring {
            keyring: dirs.of_account(&address).keyring(),
            address: address.clone(),
            client: client.unwrap_or(DEFAULT_CLIENT).to_owned(),
            password: password.into(),
        };
        if let Some(password) = password {
            return Ok(of_keyring(password));
        }
        // A shell on a bot's machine does not have the variables of the controller.
        let of_controller = of_keyring(KEYRING_PASSWORD);
        if of_controller.read().is_ok() {
            return Ok(of_controller);
        }
        Err(ConfigError::Contradiction {
            key: "google.credentials_file",
            expected: "a file with Google credentials, here or in --credentials; \
                       or GOG_KEYRING_PASSWORD, to use those in gog's keyring",
        }
        .into())
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use postbell_protocol::gog_keyring::GogCredentials;
    use postbell_protocol::tarball;
    use postbell_protocol::watch_state::WatchState;

    use super::*;

    #[test]
    fn the_credentials_of_a_controller_need_no_password() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".config");
        std::fs::create_dir(&config).unwrap();
        let pairs = [(OsStr::new("HOME"), home.path().as_os_str())];
        let env = Env::from_process(None).unwrap();
        let env = env.with_variables(pairs.into_iter());
        let args = AccountArgs {
            account: None,
            credentials: None,
            client: None,
        };
        let found = |address: &str| {
            let stored = StoredCredentials::of(&args, address, &Config::default(), &env);
            stored.is_ok_and(|stored| stored.read().is_ok())
        };
        assert!(!found("ann@example.com"));
        let credentials = GogCredentials {
            client_id: "1-x.apps.googleusercontent.com".to_owned(),
            client_secret: "secret".into(),
            refresh_token: "1//t".into(),
        };
        let state = WatchState {
            account: "ann@example.com".to_owned(),
            ..WatchState::default()
        };
        let packed = tarball::pack(&credentials, &state, &|bytes| bytes.fill(7)).unwrap();
        tarball::unpack(&packed, &config, "gogcli").unwrap();
        assert!(found("ann@example.com") && !found("bob@example.com"));
    }
}
