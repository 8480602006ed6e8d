//! The `[[watch]]` tables: the mailboxes that one `postbell watch serve` or `watch pull` watches.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use postbell_core::EmailAddress;
use postbell_google::Credentials;
use postbell_protocol::watch_state::state_path;
use secrecy::SecretString;
use serde::Deserialize;
use toml::{Table, Value};

use super::overlay::put_secret;
use super::{ConfigError, Mistakes, ReadSecret};

/// The keys of a webhook whose value may be a secret. Each can be set as `key_file` instead.
const SECRETS: [&str; 3] = ["hook_url", "hook_token", "hook_secret"];

/// A mailbox.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// Its address.
    pub account: String,

    /// Name in metrics and of monitoring, which are public. The default is its number.
    pub name: Option<String>,

    /// Google credentials, as `--credentials`.
    pub credentials_file: Option<PathBuf>,

    /// OAuth client whose token is read from gog's keyring.
    pub client: Option<String>,

    /// Subscription that `watch pull` pulls from.
    pub subscription: Option<String>,

    /// Its webhooks. The default is one with the defaults of each flag.
    #[serde(default)]
    pub webhook: Vec<WebhookConfig>,
}

/// A webhook of a mailbox.
#[derive(Clone, Default, Deserialize)]
pub struct WebhookConfig {
    /// Name of a further webhook of the mailbox, with a cursor of its own. The first one has none.
    pub name: Option<String>,

    /// URL. The default is `POSTBELL_WATCH_HOOK_URL`, else the one that is saved in the state. A webhook with a URL of its
    /// own has only its own token and secret: those of the environment are for another one.
    pub hook_url: Option<SecretString>,

    /// Bearer token.
    pub hook_token: Option<SecretString>,

    /// Secret that signs requests.
    pub hook_secret: Option<SecretString>,

    /// The other flags of `watch serve` about what is posted, with `_` in place of `-`.
    #[serde(flatten)]
    pub flags: Table,
}

impl fmt::Debug for WebhookConfig {
    /// Leaves the flags out: alert targets are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl WatchConfig {
    /// The webhooks: one at least.
    #[must_use]
    pub fn webhooks(&self) -> Vec<WebhookConfig> {
        if self.webhook.is_empty() {
            return vec![WebhookConfig::default()];
        }
        self.webhook.clone()
    }

    /// The names of the states of its webhooks: the address, with a slash and the name of a further webhook.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        self.by_state()
            .into_iter()
            .map(|(state, _)| state)
            .collect()
    }

    /// The webhooks by the names of their states.
    #[must_use]
    pub fn by_state(&self) -> Vec<(String, WebhookConfig)> {
        let account = self.account.trim();
        let of = |webhook: WebhookConfig| match &webhook.name {
            Some(name) => (format!("{account}/{name}"), webhook),
            None => (account.to_owned(), webhook),
        };
        self.webhooks().into_iter().map(of).collect()
    }

    /// Reads the file of the credentials, if there is one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it has no credentials.
    pub(super) fn check_credentials(&self) -> Result<(), ConfigError> {
        let Some(file) = &self.credentials_file else {
            return Ok(());
        };
        let read = Credentials::from_file(file, self.account.trim());
        read.map(|_| ()).map_err(|error| ConfigError::Value {
            key: "watch.credentials_file".to_owned(),
            source_name: "configuration".to_owned(),
            problem: format!("{:#}", anyhow::Error::new(error)),
        })
    }

    /// Names the table with its number in an error, which a log may show.
    pub(crate) fn table(&self, number: usize) -> String {
        let address: Result<EmailAddress, _> = self.account.trim().parse();
        let masked = address.map_or_else(|_| "…".to_owned(), |it| it.masked().to_string());
        format!("[[watch]] {number} ({masked})")
    }

    /// Whether this is the table of a mailbox.
    pub(crate) fn is_of(&self, mailbox: &str) -> bool {
        self.account.trim().eq_ignore_ascii_case(mailbox)
    }
}

impl WebhookConfig {
    /// Returns the flags as a command line, without the secrets.
    ///
    /// # Errors
    ///
    /// The key whose value is no value of a flag, and what was expected.
    pub fn arguments(&self) -> Result<Vec<String>, (String, &'static str)> {
        let mut arguments = Vec::new();
        for (key, value) in &self.flags {
            let flag = format!("--{}", key.replace('_', "-"));
            let with = |text: &dyn fmt::Display| format!("{flag}={text}");
            let word = |value: &Value| match value {
                Value::String(text) => Some(with(text)),
                Value::Integer(number) => Some(with(number)),
                _ => None,
            };
            let expected = "expected a text, a number, true, false or a list of texts";
            match value {
                Value::Boolean(true) => arguments.push(flag),
                Value::Boolean(false) => {}
                Value::Array(values) => {
                    for value in values {
                        arguments.push(word(value).ok_or((key.clone(), expected))?);
                    }
                }
                value => arguments.push(word(value).ok_or((key.clone(), expected))?),
            }
        }
        Ok(arguments)
    }
}

/// Returns what is missing in some tables and not in others, as sentences without a full stop.
pub(super) fn warnings(watches: &[WatchConfig]) -> Vec<String> {
    let lacks_subscription = |watch: &WatchConfig| watch.subscription.is_none();
    let lacks_url = |watch: &WatchConfig| {
        let webhooks = watch.webhooks();
        webhooks.iter().any(|webhook| webhook.hook_url.is_none())
    };
    let warned = |lacks: &dyn Fn(&WatchConfig) -> bool, sentence: &str| -> Vec<String> {
        if watches.iter().all(lacks) {
            return Vec::new();
        }
        let lacking = (1_usize..).zip(watches).filter(|(_, watch)| lacks(watch));
        let warning =
            |(number, watch): (usize, &WatchConfig)| format!("{} {sentence}", watch.table(number));
        lacking.map(warning).collect()
    };
    let subscription = "has no subscription, which `postbell watch pull` needs";
    let url = "has a webhook without hook_url, which is then that of POSTBELL_WATCH_HOOK_URL";
    let of_subscription = warned(&lacks_subscription, subscription);
    [of_subscription, warned(&lacks_url, url)].concat()
}

/// Checks the tables, except the flags of the webhooks, which the command line knows.
///
/// # Errors
///
/// [`ConfigError`] if two webhooks would have the same state, or a name could not be shown.
pub(super) fn check(watches: &[WatchConfig]) -> Result<(), ConfigError> {
    let mut mistakes = Mistakes::default();
    let mut states = BTreeSet::new();
    for watch in watches {
        let account = watch.account.trim();
        mistakes.refuse_if(
            !account.contains('@') || account.starts_with('-') || account.contains('/'),
            "watch.account",
            "the address of a mailbox",
        );
        for (number, (state, webhook)) in watch.by_state().into_iter().enumerate() {
            let name = webhook.name;
            mistakes.refuse_if(
                name.is_none() != (number == 0),
                "watch.webhook.name",
                "no name for the first webhook of a mailbox, and one for each other",
            );
            mistakes.refuse_if(
                !name.as_deref().is_none_or(is_name),
                "watch.webhook.name",
                "at most 32 of a-z, 0-9 and -",
            );
            mistakes.refuse_if(
                !states.insert(state_path(Path::new(""), &state)),
                "watch",
                "each mailbox once, each name of a webhook once for a mailbox, and no two with the same state file, as \
                 ann@example.com/uk and ann@example.com.uk",
            );
        }
        mistakes.refuse_if(
            !watch.name.as_deref().is_none_or(is_name),
            "watch.name",
            "at most 32 of a-z, 0-9 and -",
        );
    }
    mistakes.into_result()
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Reads the secrets' files, and makes the paths of files relative to the folder of the configuration file.
pub(super) fn prepare(
    table: &mut Table,
    file: &Path,
    read_secret: &ReadSecret<'_>,
    mistakes: &mut Mistakes,
) {
    let base = file.parent().unwrap_or(Path::new(""));
    let Some(Value::Array(watches)) = table.get_mut("watch") else {
        return;
    };
    for watch in watches.iter_mut().filter_map(Value::as_table_mut) {
        resolve(watch, "credentials_file", base);
        let Some(Value::Array(webhooks)) = watch.get_mut("webhook") else {
            continue;
        };
        for webhook in webhooks.iter_mut().filter_map(Value::as_table_mut) {
            for key in SECRETS {
                resolve(webhook, &format!("{key}_file"), base);
                let path = format!("watch.webhook.{key}");
                mistakes.check(put_secret(webhook, &path, key, read_secret));
            }
        }
    }
}

fn resolve(table: &mut Table, key: &str, base: &Path) {
    if let Some(Value::String(named)) = table.get_mut(key)
        && let Some(resolved) = base.join(PathBuf::from(&*named)).to_str()
    {
        *named = resolved.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let read = |file: &Path| match file.to_str() {
            Some("/etc/token") => Ok("hunter2\n".to_owned()),
            _ => Err("no such file".to_owned()),
        };
        let config = Config::parse(text, Path::new("/etc/postbell.toml"), &[], &read)?;
        check(&config.watch).map(|()| config)
    }

    #[test]
    fn a_mailbox_has_webhooks_with_flags_and_secrets_of_their_own() {
        let config = parse(
            r#"
            [[watch]]
            account = "ann@example.com"
            credentials_file = "ann.json"
            [[watch.webhook]]
            hook_url = "http://127.0.0.1:9000/hunter2"
            hook_token_file = "token"
            [[watch.webhook]]
            name = "audit"
            from = ["bob@example.com", "example.org"]
            per_message = true
            include_body = false
            max_bytes = 7

            [[watch]]
            account = "bob@example.com"
            "#,
        );
        let config = config.unwrap();
        let [ann, bob] = &config.watch[..] else {
            panic!("{:?}", config.watch);
        };
        assert_eq!(
            ann.credentials_file.as_deref(),
            Some(Path::new("/etc/ann.json"))
        );
        let [first, audit] = &ann.webhooks()[..] else {
            panic!("{ann:?}");
        };
        let token = first.hook_token.as_ref().unwrap();
        assert_eq!(token.expose_secret(), "hunter2");
        assert!(first.arguments().unwrap().is_empty());
        let expected = [
            "--from=bob@example.com",
            "--from=example.org",
            "--max-bytes=7",
            "--per-message",
        ];
        assert_eq!(audit.arguments().unwrap(), expected);
        assert_eq!(bob.webhooks().len(), 1);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn what_only_some_tables_lack_is_a_warning_that_names_them() {
        let config = parse(
            r#"
            [[watch]]
            account = "ann@example.com"
            subscription = "projects/p-1/subscriptions/ann"
            [[watch]]
            account = "bob@example.com"
            "#,
        );
        let warnings = warnings(&config.unwrap().watch);
        assert_eq!(
            warnings,
            ["[[watch]] 2 (b…@example.com) has no subscription, which `postbell watch pull` needs"]
        );
    }

    #[test]
    fn two_webhooks_never_share_a_state() {
        let ann = "[[watch]]\naccount = \"ann@example.com\"\n";
        let hook = "[[watch.webhook]]\n";
        let named = "[[watch.webhook]]\nname = \"audit\"\n";
        for (text, is_right) in [
            (format!("{ann}{hook}{named}"), true),
            (format!("{ann}{hook}{hook}"), false),
            (format!("{ann}{named}"), false),
            (format!("{ann}{hook}{named}{named}"), false),
            (format!("{ann}{}", ann.replace("ann", "Ann")), false),
            (ann.replace("ann@example.com", "ann"), false),
            (
                format!("{ann}{hook}{named}{}", ann.replace(".com", ".com.audit")),
                false,
            ),
            (
                ann.replace("ann@example.com", "ann@example.com/audit"),
                false,
            ),
            (
                format!("{ann}{hook}{}", named.replace("audit", "a/b")),
                false,
            ),
        ] {
            assert_eq!(parse(&text).is_ok(), is_right, "{text}");
        }
    }
}
