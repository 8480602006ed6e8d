//! The commands that start the watcher after setup.

use std::path::Path;

use crate::context::SetupContext;
use crate::report::{Report, StepId, StepState};
use crate::request::Destination;

const HOOK_TOKEN: &str = "export POSTBELL_WATCH_HOOK_TOKEN=…  # the webhook's bearer token";

/// The commands to run next; none while Gmail's watch is missing, and none for a platform.
pub(crate) fn next_commands(ctx: &SetupContext, report: &Report) -> Vec<String> {
    if !report.state(StepId::Watch).is_some_and(StepState::is_done) {
        return Vec::new();
    }
    match &ctx.request.destination {
        Some(Destination::Pull {
            credentials: Some(credentials),
        }) => {
            let subscription = ctx.subscription().unwrap_or_default();
            let common = common_options(ctx, credentials);
            vec![
                HOOK_TOKEN.to_owned(),
                format!("postbell watch pull \\\n  --subscription {subscription} \\\n  {common}"),
            ]
        }
        Some(Destination::Serve {
            credentials: Some(credentials),
            endpoint,
        }) => {
            let common = common_options(ctx, credentials);
            vec![
                HOOK_TOKEN.to_owned(),
                format!(
                    "postbell watch serve --path {} --verify-oidc \\\n  --oidc-email {} \\\n  \
                     --oidc-audience {} \\\n  {common}",
                    shell_quoted(endpoint.path()),
                    ctx.push_account_email().unwrap_or_default(),
                    shell_quoted(endpoint.as_str()),
                ),
            ]
        }
        _ => Vec::new(),
    }
}

fn common_options(ctx: &SetupContext, credentials: &Path) -> String {
    let mailbox = ctx.progress.mailbox.as_deref().unwrap_or("ADDRESS");
    let requested = ctx.request.webhook.as_ref().map(|webhook| &webhook.url);
    let webhook = requested.or(ctx.progress.hook.as_ref());
    let webhook = webhook.map_or("URL", |url| url.as_str());
    format!(
        "--account {} \\\n  --credentials {} \\\n  --hook-url {} --include-body",
        shell_quoted(mailbox),
        shell_quoted(&credentials.display().to_string()),
        shell_quoted(webhook)
    )
}

/// Quotes a word for a shell if it needs quotes.
fn shell_quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,~".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) && !word.starts_with('~') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (word, quoted) in [
            ("/home/ann/google.json", "/home/ann/google.json"),
            ("/my files/a.json", "'/my files/a.json'"),
            ("https://b/?a=1&b=2", "'https://b/?a=1&b=2'"),
            ("it's", r"'it'\''s'"),
            ("~/x", "'~/x'"),
        ] {
            assert_eq!(shell_quoted(word), quoted);
        }
    }
}
