//! The webhooks of `[[watch]]` tables: their keys are flags of `watch serve` and `watch pull`.

use clap::Parser;
use clap::error::ErrorKind;
use secrecy::{ExposeSecret, SecretString};

use super::watch::{DeliveryArgs, subscription, webhook as webhook_url};
use crate::config::{ConfigError, Mistakes, WatchConfig, WebhookConfig};

#[derive(Parser)]
#[command(no_binary_name = true)]
struct WebhookFlags {
    #[command(flatten)]
    delivery: DeliveryArgs,
}

/// Returns the arguments of a webhook that no flag sets.
pub(crate) fn default_delivery() -> DeliveryArgs {
    parse(Vec::new()).unwrap_or_else(|error| error.exit())
}

/// Keys of a mailbox. In a table of a webhook, they are a usual mistake.
const OF_MAILBOX: [&str; 4] = ["account", "client", "credentials_file", "subscription"];

/// Returns the arguments of a webhook.
///
/// # Errors
///
/// [`ConfigError`] names each wrong key, and contains no secret.
pub(crate) fn delivery(webhook: &WebhookConfig) -> Result<DeliveryArgs, ConfigError> {
    let arguments = webhook.arguments();
    let arguments = arguments.map_err(|(key, expected)| wrong(&key, expected))?;
    let mut delivery = parse(arguments).map_err(|error| wrong_flags(webhook, &error))?;
    // The token and the secret of the environment are of the webhook whose URL is there.
    let of_other = webhook.hook_url.as_ref().map(|_| String::new());
    let text = |secret: &Option<SecretString>| {
        let own = secret
            .as_ref()
            .map(|secret| secret.expose_secret().to_owned());
        own.or_else(|| of_other.clone())
    };
    if let Some(url) = &webhook.hook_url {
        let url =
            webhook_url(url.expose_secret()).map_err(|problem| wrong("hook_url", &problem))?;
        delivery.hook.hook_url = Some(url);
    }
    delivery.hook.hook_token = text(&webhook.hook_token);
    delivery.hook_secret = text(&webhook.hook_secret);
    Ok(delivery)
}

fn wrong(key: &str, problem: &str) -> ConfigError {
    ConfigError::Value {
        key: format!("watch.webhook.{key}"),
        source_name: "configuration".to_owned(),
        problem: problem.to_owned(),
    }
}

/// Names each key that is wrong by itself, else what is wrong with all of them.
fn wrong_flags(webhook: &WebhookConfig, error: &clap::Error) -> ConfigError {
    let mut mistakes = Mistakes::default();
    for (key, value) in &webhook.flags {
        if OF_MAILBOX.contains(&key.as_str()) {
            let first = "a key of [[watch]]: put it before the first [[watch.webhook]]";
            mistakes.push(wrong(key, first));
            continue;
        }
        let alone = WebhookConfig {
            flags: [(key.clone(), value.clone())].into_iter().collect(),
            ..WebhookConfig::default()
        };
        let of_key = alone.arguments().ok().and_then(|it| parse(it).err());
        // A flag that needs another one is not wrong by itself.
        let of_key =
            of_key.filter(|error| !matches!(error.kind(), ErrorKind::MissingRequiredArgument));
        if let Some(error) = of_key {
            mistakes.push(wrong(key, &sentence(&error)));
        }
    }
    match mistakes.into_result() {
        Ok(()) => wrong("*", &sentence(error)),
        Err(each) => each,
    }
}

fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.trim_start_matches("error: ");
    format!("{line}; the keys are the flags of `postbell watch serve`, with _ in place of -")
}

/// Checks what the command line knows of the tables: the subscriptions, and the flags of all webhooks.
///
/// # Errors
///
/// [`ConfigError`] names each wrong key with its table.
pub(crate) fn check_webhooks(watches: &[WatchConfig]) -> Result<(), ConfigError> {
    let mut mistakes = Mistakes::default();
    for (number, watch) in (1_usize..).zip(watches) {
        let table = watch.table(number);
        if let Some(named) = watch.subscription.as_deref()
            && let Err(problem) = subscription(named)
        {
            mistakes.push(ConfigError::Value {
                key: format!("{table} subscription"),
                source_name: "configuration".to_owned(),
                problem,
            });
        }
        for webhook in watch.webhooks() {
            let Err(error) = delivery(&webhook) else {
                continue;
            };
            let name = webhook.name.as_deref();
            let name = name.map_or("first webhook".to_owned(), |name| format!("webhook {name}"));
            for error in error.each() {
                mistakes.push(error.in_table(&format!("{table} {name}")));
            }
        }
    }
    mistakes.into_result()
}

fn parse(arguments: Vec<String>) -> Result<DeliveryArgs, clap::Error> {
    WebhookFlags::try_parse_from(arguments).map(|flags| flags.delivery)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<DeliveryArgs, String> {
        let webhook = toml::from_str(text).unwrap();
        delivery(&webhook).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_of_a_webhook_are_flags() {
        let webhook = parsed(
            "from = [\"ann@example.com\"]\nbody = \"markdown\"\nthread = 3\nhook_token = \"t\"",
        );
        let webhook = webhook.unwrap();
        assert_eq!(webhook.senders, ["ann@example.com"]);
        assert!(webhook.hook.body.is_some());
        assert_eq!(webhook.extras.thread, Some(3));
        assert_eq!(webhook.hook.hook_token.as_deref(), Some("t"));
        let default = format!("{:?}", default_delivery());
        assert_eq!(format!("{:?}", parsed("").unwrap()), default);
    }

    #[test]
    fn a_wrong_subscription_is_found_before_a_start() {
        for (subscription, is_right) in [("projects/p-1/subscriptions/ann", true), ("ann", false)] {
            let text = format!("account = \"ann@example.com\"\nsubscription = \"{subscription}\"");
            let checked = check_webhooks(&[toml::from_str(&text).unwrap()]);
            assert_eq!(checked.is_ok(), is_right, "{checked:?}");
        }
    }

    #[test]
    fn a_webhook_with_its_own_url_gets_no_secret_of_another() {
        let own = parsed("hook_url = \"https://example.com/a\"").unwrap();
        assert_eq!(own.hook.hook_token.as_deref(), Some(""));
        assert_eq!(own.hook_secret.as_deref(), Some(""));
        let default = parsed("").unwrap();
        assert!(default.hook.hook_token.is_none() && default.hook_secret.is_none());
    }

    #[test]
    fn each_wrong_key_is_named_with_its_table_and_webhook() {
        let table = r#"
            account = "bob@example.com"
            [[webhook]]
            body = "rich"
            per_messages = true
            [[webhook]]
            name = "invoices"
            credentials_file = "bob.json"
            from_unverified = true
        "#;
        let ann = toml::from_str("account = \"ann@example.com\"").unwrap();
        let error = check_webhooks(&[ann, toml::from_str(table).unwrap()]).unwrap_err();
        let shown: Vec<_> = error.each().iter().map(ToString::to_string).collect();
        let expected = [
            "[[watch]] 2 (b…@example.com) first webhook: watch.webhook.body",
            "[[watch]] 2 (b…@example.com) first webhook: watch.webhook.per_messages",
            "[[watch]] 2 (b…@example.com) webhook invoices: watch.webhook.credentials_file",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.starts_with(expected), "{shown}");
        }
        assert!(shown[2].contains("put it before the first"), "{shown:?}");
    }

    #[test]
    fn a_wrong_key_is_named_and_a_secret_is_not_shown() {
        for (text, expected) in [
            ("frm = \"ann@example.com\"", "'--frm'"),
            ("thread = 99", "--thread"),
            ("thread = 1.5", "watch.webhook.thread"),
            ("hook_url = \"hunter2\"", "watch.webhook.hook_url"),
            ("from = [\"ann\"]", "--from"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
