//! The commands that start the watcher after setup.

use unicode_width::UnicodeWidthStr;

use crate::context::SetupContext;
use crate::report::{Report, StepId, StepState};
use crate::request::Destination;

/// The longest line of a command: in 80 columns, without its indent and the backslash at its end.
const LONGEST_LINE: usize = 74;

const HOOK_SECRET: &str =
    "export POSTBELL_WATCH_HOOK_SECRET_FILE=…  # the webhook's signing secret";
const HOOK_TOKEN: &str = "export POSTBELL_WATCH_HOOK_TOKEN=…  # the webhook's bearer token";

/// The commands to run next; none while Gmail's watch is missing, and none for a platform.
pub(crate) fn next_commands(ctx: &SetupContext, report: &Report) -> Vec<String> {
    let lines = watcher(ctx, report);
    if lines.is_empty() {
        return Vec::new();
    }
    let lines: Vec<_> = lines.iter().map(|line| quoted(line)).collect();
    let command = format!("postbell watch {}", lines.join(" \\\n  "));
    let webhook = ctx.request.webhook.as_ref();
    let is_signed = webhook.is_some_and(|webhook| webhook.signing.is_some());
    let has_token = webhook.is_some_and(|webhook| webhook.token.is_some());
    // Those that are set already must not be replaced by a placeholder.
    let set = &ctx.request.webhook_secrets;
    let token = (has_token || !is_signed) && set.token.is_none();
    let token = token.then_some(HOOK_TOKEN);
    let secret = (is_signed && set.signing.is_none()).then_some(HOOK_SECRET);
    let secrets = token.into_iter().chain(secret).map(str::to_owned);
    secrets.chain([command]).collect()
}

/// The arguments of `postbell watch` that start the watcher, line by line; none while Gmail's watch is
/// missing, and none for a platform.
fn watcher(ctx: &SetupContext, report: &Report) -> Vec<Vec<String>> {
    if !report.state(StepId::Watch).is_some_and(StepState::is_done) {
        return Vec::new();
    }
    let (mut lines, credentials) = match &ctx.request.destination {
        Some(Destination::Pull {
            credentials: Some(credentials),
        }) => {
            let subscription = ctx.subscription().unwrap_or_default();
            let lines = vec![words(["pull"]), words(["--subscription", &subscription])];
            (lines, credentials)
        }
        Some(Destination::Serve {
            credentials: Some(credentials),
            endpoint,
        }) => {
            let email = ctx.push_account_email().unwrap_or_default();
            let lines = vec![
                words(["serve", "--path", endpoint.path(), "--verify-oidc"]),
                words(["--oidc-email", &email]),
                words(["--oidc-audience", endpoint.as_str()]),
            ];
            (lines, credentials)
        }
        _ => return Vec::new(),
    };
    let mailbox = ctx.progress.mailbox.as_deref().unwrap_or("ADDRESS");
    let requested = ctx.request.webhook.as_ref().map(|webhook| &webhook.url);
    let webhook = requested.or(ctx.progress.hook.as_ref());
    let webhook = webhook.map_or("URL", |url| url.as_str());
    lines.extend([
        words(["--account", mailbox]),
        words(["--credentials", &credentials.display().to_string()]),
        words(["--hook-url", webhook, "--include-body"]),
    ]);
    lines
}

/// The same arguments for a service; none while the webhook or the mailbox is unknown, whose places a
/// person fills in.
pub(crate) fn service(ctx: &SetupContext, report: &Report) -> Vec<String> {
    let progress = &ctx.progress;
    let has_webhook = ctx.request.webhook.is_some() || progress.hook.is_some();
    if has_webhook && progress.mailbox.is_some() {
        watcher(ctx, report).concat()
    } else {
        Vec::new()
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Quotes a line of a command, and continues it on another one if a terminal would wrap it.
fn quoted(line: &[String]) -> String {
    let words: Vec<_> = line.iter().map(|word| shell_quoted(word)).collect();
    let joined = words.join(" ");
    if joined.width() > LONGEST_LINE {
        words.join(" \\\n    ")
    } else {
        joined
    }
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
    fn a_line_that_does_not_fit_is_continued() {
        let short = words(["--account", "ann@example.com"]);
        assert_eq!(quoted(&short), "--account ann@example.com");
        let subscription = format!("projects/p/subscriptions/{}", "s".repeat(40));
        let long = words(["--subscription", &subscription]);
        assert_eq!(
            quoted(&long),
            format!("--subscription \\\n    {subscription}")
        );
    }

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
