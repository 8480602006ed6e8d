//! The webhooks of `[[watch]]` tables: their keys are flags of `watch serve` and `watch pull`.

use clap::Parser;
use secrecy::{ExposeSecret, SecretString};

use super::watch::{DeliveryArgs, webhook as webhook_url};
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
    let text = |secret: &SecretString| secret.expose_secret().to_owned();
    if let Some(url) = &webhook.hook_url {
        let url =
            webhook_url(url.expose_secret()).map_err(|problem| wrong("hook_url", &problem))?;
        delivery.hook.hook_url = Some(url);
    }
    delivery.hook.hook_token = webhook.hook_token.as_ref().map(text);
    delivery.hook_secret = webhook.hook_secret.as_ref().map(text);
    Ok(delivery)
}

/// Checks the flags of all webhooks.
pub(crate) fn check_webhooks(watches: &[WatchConfig]) -> Result<(), ConfigError> {
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
