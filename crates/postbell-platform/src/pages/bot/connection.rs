//! The Google account: connect and disconnect.

use std::borrow::Cow;

use maud::{Markup, html};
use postbell_core::UserId;
use secrecy::{ExposeSecret, SecretString};

use super::accounts;
use super::google::START;
use super::view::View;
use crate::pages::format::relative;
use crate::pages::layout::form_token;
use crate::pages::session::Session;

/// The path of the page with the command that connects an account with a project of its owner.
pub(super) const COMMAND: &str = "/bot/connect";

/// The command that connects a Google account.
pub(super) struct Command {
    pub(super) platform: String,
    /// The relay's URL, if it runs in this process.
    pub(super) relay: Option<String>,
    pub(super) user: UserId,
    pub(super) token: SecretString,
    /// Whether the account is connected beside the user's others.
    pub(super) is_further: bool,
    /// The account that is to be connected again.
    pub(super) again: Option<String>,
}

pub(super) fn connection(view: &View, session: &Session) -> Markup {
    if !view.accounts.is_empty() {
        return accounts::cards(view, session);
    }
    let Some(google) = &view.record.google else {
        if view.has_operator_client {
            return in_the_browser(session);
        }
        return html! {
            h2 { "Google account" }
            p { "Connecting takes one command on your own computer. It signs you in to Google, configures Gmail and \
                sends the encrypted credentials to Postbell." }
            form method="post" action=(COMMAND) {
                (form_token(session))
                button class="primary" { "Show command" }
            }
        };
    };
    html! {
        h2 { "Google account" }
        p {
            @match &google.email {
                Some(email) => strong class="address" { (email.as_str()) },
                None => strong { "Connected" },
            }
            br;
            span class="hint" { "connected " (relative(google.connected_at, view.now)) }
        }
        @if view.has_operator_client {
            form method="post" action=(START) class="again" {
                (form_token(session))
                button class="quiet" { "Connect again" }
            }
        }
        @if !view.is_renewed_here {
            form method="post" action=(COMMAND) class="again" {
                (form_token(session))
                button class="quiet" {
                    @if view.has_operator_client { "Connect again with your own project" } @else { "Connect again" }
                }
            }
        }
        details id="disconnecting" class="confirm" {
            summary { "Disconnect…" }
            form method="post" action="/bot/disconnect" {
                (form_token(session))
                p {
                    "Postbell deletes the credentials and its position in your mailbox, and your bot gets no more notifications. "
                    @if view.is_renewed_here {
                        "Google takes the permission back."
                    } @else {
                        "The permission stays in your Google account until you remove it there."
                    }
                }
                button id="disconnect" class="danger" { "Disconnect this account" }
            }
        }
        (accounts::connect_another(view, session))
    }
}

/// Connecting with the operator's OAuth client, and the way with a project of one's own.
fn in_the_browser(session: &Session) -> Markup {
    html! {
        h2 { "Google account" }
        p { "Google asks for your permission to read the mail that your bot watches, and then leads you back to this page." }
        form method="post" action=(START) {
            (form_token(session))
            button id="connect-google" class="primary" { "Connect Google" }
        }
        details id="own-project" class="choice" {
            summary { "With a Google Cloud project of your own…" }
            form method="post" action=(COMMAND) {
                (form_token(session))
                p { "One command on your own computer configures a project of yours, and sends the encrypted credentials to Postbell." }
                button { "Show command" }
            }
        }
    }
}

impl Command {
    /// The command line, safe to paste into a shell.
    fn line(&self) -> String {
        let Self {
            platform,
            relay,
            user,
            token,
            is_further,
            ..
        } = self;
        let token = quoted(token.expose_secret());
        let relay = relay.as_deref().map(quoted);
        let relay = relay.map(|relay| format!(" --relay={relay}"));
        let relay = relay.unwrap_or_default();
        let further = if *is_further {
            " --further-account"
        } else {
            ""
        };
        let (platform, user) = (quoted(platform), quoted(user.as_str()));
        format!(
            "POSTBELL_USER_TOKEN={token} postbell setup --platform={platform}{relay} --user={user}{further}"
        )
    }
}

/// Where the installation is explained.
const INSTALL: &str = "https://github.com/postbell/postbell#install-and-try";

/// Quotes a word for a POSIX shell if necessary.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

pub(super) fn setup_command(command: &Command) -> Markup {
    let line = command.line();
    html! {
        h2 { "Connect Google" }
        p { "Run this on your own computer. Its token is valid for one hour and only for your account." }
        @match &command.again {
            Some(label) => p { "Name the mailbox " strong class="address" { (label) } " when it asks." },
            None if command.is_further => p { "Name the mailbox of the other account when it asks. Those that are connected stay so." },
            None => {},
        }
        p class="hint" { "It needs the program postbell there: " a href=(INSTALL) { "how to install it" } "." }
        pre class="command" id="command" tabindex="0" { code { (line) } }
        button class="primary" type="button" data-copy="command" hidden { "Copy command" }
        " " a href="/bot" { "Done" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_quotes_its_arguments_for_a_shell() {
        let line = |user: &str, relay: &str| {
            let command = Command {
                platform: "https://bell.example.com".to_owned(),
                relay: Some(relay.to_owned()),
                user: user.parse().unwrap(),
                token: "t".into(),
                is_further: user == "ann",
                again: None,
            };
            command.line()
        };
        let begin = "POSTBELL_USER_TOKEN=t postbell setup --platform=https://bell.example.com";
        for (user, relay, end) in [
            ("--undo", "http://h", " --relay=http://h --user=--undo"),
            (
                "a@b/..",
                "h; rm -rf $HOME",
                " --relay='h; rm -rf $HOME' --user=a@b/..",
            ),
            (
                "ann",
                "it's",
                r" --relay='it'\''s' --user=ann --further-account",
            ),
        ] {
            assert_eq!(line(user, relay), format!("{begin}{end}"));
        }
    }
}
