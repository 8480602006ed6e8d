//! The webhooks of `[[watch]]` tables: their keys are flags of `watch serve` and `watch pull`.

use clap::Parser;
use secrecy::{ExposeSecret, SecretString};

use super::watch::{DeliveryArgs, subscription, webhook as webhook_url};
use crate::config::{ConfigError, WatchConfig, WebhookConfig};

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

/// Returns the arguments of a webhook.
///
/// # Errors
///
/// [`ConfigError`] names the key, and contains no secret.
pub(crate) fn delivery(webhook: &WebhookConfig) -> Result<DeliveryArgs, ConfigError> {
    let wrong = |key: &str, problem: &str| ConfigError::Value {
        key: format!("watch.webhook.{key}"),
        source_name: "configuration".to_owned(),
        problem: problem.to_owned(),
    };
    let arguments = webhook.arguments();
    let arguments = arguments.map_err(|(key, expected)| wrong(&key, expected))?;
    let mut delivery = parse(arguments).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        let line = line.trim_start_matches("error: ");
        wrong(
            "*",
            &format!(
                "{line}; the keys are the flags of `postbell watch serve`, with _ in place of -"
            ),
        )
    })?;
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

/// Checks what the command line knows of the tables: the subscriptions, and the flags of all webhooks.
pub(crate) fn check_webhooks(watches: &[WatchConfig]) -> Result<(), ConfigError> {
    let subscriptions = watches.iter().filter_map(|it| it.subscription.as_deref());
    for named in subscriptions {
        subscription(named).map_err(|problem| ConfigError::Value {
            key: "watch.subscription".to_owned(),
            source_name: "configuration".to_owned(),
            problem,
        })?;
    }
    let webhooks = watches.iter().flat_map(WatchConfig::webhooks);
    for webhook in webhooks {
        delivery(&webhook)?;
    }
    Ok(())
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
