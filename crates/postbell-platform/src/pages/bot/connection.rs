//! The Google account: how it is connected, and disconnected.

use std::borrow::Cow;

use maud::{Markup, html};
use postbell_core::UserId;
use secrecy::{ExposeSecret, SecretString};

use super::view::View;
use crate::pages::format::ago;
use crate::pages::layout::form_token;
use crate::pages::session::Session;

/// The command that connects a Google account.
pub(super) struct Command {
    pub(super) platform: String,
    /// Where the relay is, as far as that is known.
    pub(super) relay: Option<String>,
    pub(super) user: UserId,
    pub(super) token: SecretString,
}

pub(super) fn connection(view: &View, session: &Session) -> Markup {
    let Some(google) = &view.record.google else {
        return html! {
            h2 { "Google account" }
            p { "Connecting takes one command on your own computer. It signs you in to Google, sets up what Gmail \
                needs, and hands the credentials to Postbell, encrypted." }
            form method="post" action="/bot/connect" {
                (form_token(session))
                button class="primary" { "Show the command" }
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
            span class="hint" { "connected " (ago(google.connected_at, view.now)) }
        }
        form method="post" action="/bot/connect" class="again" {
            (form_token(session))
            button class="quiet" { "Connect again" }
        }
        details id="disconnecting" class="confirm" {
            summary { "Disconnect…" }
            form method="post" action="/bot/disconnect" {
                (form_token(session))
                p { "Postbell forgets the credentials and your place in the mailbox, and your bot hears of no more \
                    mail. Google lists the permission in your account until \
                    you remove it there." }
                button id="disconnect" class="danger" { "Disconnect this account" }
            }
        }
    }
}

impl Command {
    /// As it is pasted, whatever a user's id or a URL may be.
    fn line(&self) -> String {
        let Self {
            platform,
            relay,
            user,
            token,
        } = self;
        let token = quoted(token.expose_secret());
        let relay = relay.as_deref().map(quoted);
        let relay = relay.map(|relay| format!(" --relay={relay}"));
        let relay = relay.unwrap_or_default();
        let (platform, user) = (quoted(platform), quoted(user.as_str()));
        format!(
            "POSTBELL_USER_TOKEN={token} postbell setup --platform={platform}{relay} --user={user}"
        )
    }
}

/// A word for a POSIX shell: as it is where it means nothing to one, else in single quotes.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

pub(super) fn connect_with(command: &Command) -> Markup {
    let line = command.line();
    html! {
        h2 { "Connect Google" }
        p { "Run this on your own computer. The token in it is good for an hour, and for your account alone." }
        pre class="command" id="command" tabindex="0" { code { (line) } }
        button class="primary" type="button" data-copy="command" hidden { "Copy the command" }
        " " a href="/bot" { "Done" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_same_words_for_a_shell_whatever_they_are() {
        let line = |user: &str, relay: &str| {
            let command = Command {
                platform: "https://bell.example.com".to_owned(),
                relay: Some(relay.to_owned()),
                user: user.parse().unwrap(),
                token: "t".into(),
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
            ("ann", "it's", r" --relay='it'\''s' --user=ann"),
        ] {
            assert_eq!(line(user, relay), format!("{begin}{end}"));
        }
    }
}
