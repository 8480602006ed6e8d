//! Where alerts go: one URL text each.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use percent_encoding::percent_decode_str;
use postbell_core::TargetId;
use postbell_protocol::webhook::SigningKeys;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::mail::{MailTarget, is_address};

/// The longest text of a target, in bytes.
const MOST_BYTES: usize = 2048;

/// Where alerts go. Its text is a secret, because it contains tokens and passwords.
///
/// `Debug` and `Display` name the service and its host only.
#[derive(Clone)]
pub struct AlertTarget {
    text: SecretString,
    pub(crate) service: Service,
}

/// The service, and what it needs.
#[derive(Clone)]
pub(crate) enum Service {
    /// Any URL that takes JSON.
    Webhook {
        url: Url,
        signing: Option<Box<SigningKeys>>,
    },
    /// A topic of an ntfy server. The URL is the server's root.
    Ntfy {
        url: Url,
        topic: String,
        auth: Option<NtfyAuth>,
    },
    /// An incoming webhook of Slack, or of a service that is compatible.
    Slack { url: Url, name: &'static str },
    /// A webhook of Discord.
    Discord { url: Url },
    /// A chat of a Telegram bot. The URL is that of `sendMessage`.
    Telegram { url: Url, chat: String },
    /// Mail.
    Mail(Box<MailTarget>),
}

/// How an ntfy server knows who publishes (<https://docs.ntfy.sh/publish/#authentication>).
#[derive(Clone)]
pub(crate) enum NtfyAuth {
    /// User and password.
    Basic(String, SecretString),
    /// An access token.
    Token(SecretString),
}

/// A text that is not a target. The error omits the text, which may contain a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected {expected}")]
pub struct InvalidTarget {
    /// The form of a target.
    pub expected: &'static str,
}

const ANY: InvalidTarget = InvalidTarget {
    expected: "the URL of an alert target: https, ntfy, slack, mattermost, discord, telegram, smtps or smtp; or a mail address",
};
const SIGNING: InvalidTarget = InvalidTarget {
    expected: "a signing secret after the #: whsec_ and 24 to 64 bytes in base64, or two of these and a comma between them",
};
const NTFY: InvalidTarget = InvalidTarget {
    expected: "an ntfy topic: ntfy://HOST/TOPIC, with :TOKEN@ or USER:PASSWORD@ before the host if it is protected",
};
const TELEGRAM: InvalidTarget = InvalidTarget {
    expected: "a Telegram chat: telegram://BOT_TOKEN@api.telegram.org/CHAT_ID",
};

impl FromStr for AlertTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let text = completed(text.trim());
        if text.len() > MOST_BYTES {
            return Err(ANY);
        }
        Ok(Self {
            service: Service::parse(&text)?,
            text: text.into_owned().into(),
        })
    }
}

/// Adds the scheme to what people type: a mail address, or the URL of a service that is recognized by its host.
fn completed(text: &str) -> Cow<'_, str> {
    if text.contains("://") || after_mailto(text).is_some() {
        return text.into();
    }
    if is_address(text) {
        return format!("mailto:{text}").into();
    }
    let url = format!("https://{text}");
    match Service::parse(&url) {
        Err(_) | Ok(Service::Webhook { .. }) => text.into(),
        Ok(_) => url.into(),
    }
}

/// What follows `mailto:` (RFC 6068).
fn after_mailto(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case("mailto").then_some(rest)
}

impl AlertTarget {
    /// Whether it is a mail address alone, for which the client must have a mail server.
    #[must_use]
    pub fn needs_mail_server(&self) -> bool {
        matches!(&self.service, Service::Mail(mail) if mail.is_address_alone())
    }

    /// The text that it was parsed from, with a scheme, to be stored.
    #[must_use]
    pub fn text(&self) -> &SecretString {
        &self.text
    }

    /// The id, which reveals nothing of the text. It stays when signing secrets change, so that waiting
    /// alerts are still sent.
    #[must_use]
    pub fn id(&self) -> TargetId {
        let text = self.text.expose_secret();
        let text = match &self.service {
            Service::Webhook { .. } => text.split('#').next().unwrap_or(text),
            _ => text,
        };
        let hash = digest(&SHA256, text.as_bytes());
        let id = format!("tgt_{}", hex::encode(&hash.as_ref()[..8]));
        #[expect(clippy::expect_used, reason = "the form of an id")]
        id.parse().expect("16 hex digits")
    }
}

impl Service {
    fn parse(text: &str) -> Result<Self, InvalidTarget> {
        if let Some(address) = after_mailto(text) {
            return MailTarget::address_alone(address).map(|mail| Self::Mail(Box::new(mail)));
        }
        let (scheme, rest) = text.split_once("://").ok_or(ANY)?;
        let scheme = scheme.to_ascii_lowercase();
        if matches!(&*scheme, "smtp" | "smtps") {
            return MailTarget::parse(&scheme, rest).map(|mail| Self::Mail(Box::new(mail)));
        }
        // Parsed as http, for which hosts are normalized: `0x7f.1` is an address, too.
        let (service, transport) = match scheme.split_once('+') {
            Some((service, transport @ ("https" | "http"))) => (service, transport),
            Some(_) => return Err(ANY),
            None if scheme == "http" => ("", "http"),
            None if scheme == "https" => ("", "https"),
            None => (&*scheme, "https"),
        };
        let url = Url::parse(&format!("{transport}://{rest}")).map_err(|_| ANY)?;
        match service {
            "" => by_host(url),
            "ntfy" | "ntfys" => ntfy(url),
            "slack" => Ok(slack(url, "Slack")),
            "mattermost" => Ok(slack(url, "Mattermost")),
            "discord" => Ok(Self::Discord { url }),
            "telegram" => telegram(&url),
            _ => Err(ANY),
        }
    }

    /// The host that is connected to.
    pub(crate) fn url(&self) -> Option<&Url> {
        match self {
            Self::Webhook { url, .. }
            | Self::Ntfy { url, .. }
            | Self::Slack { url, .. }
            | Self::Discord { url }
            | Self::Telegram { url, .. } => Some(url),
            Self::Mail(_) => None,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Webhook { signing: None, .. } => "webhook",
            Self::Webhook { .. } => "signed webhook",
            Self::Ntfy { .. } => "ntfy",
            Self::Slack { name, .. } => name,
            Self::Discord { .. } => "Discord",
            Self::Telegram { .. } => "Telegram",
            Self::Mail(_) => "e-mail",
        }
    }
}

/// Recognizes the URLs that services hand out, so that they can be pasted as they are.
fn by_host(url: Url) -> Result<Service, InvalidTarget> {
    let host = url.host_str().ok_or(ANY)?;
    let is =
        |name: &str| host == name || host.strip_suffix(name).is_some_and(|it| it.ends_with('.'));
    if is("hooks.slack.com") || is("hooks.slack-gov.com") {
        return Ok(slack(url, "Slack"));
    }
    if (is("discord.com") || is("discordapp.com")) && url.path().starts_with("/api/") {
        return Ok(Service::Discord { url });
    }
    if host == "ntfy.sh" {
        return ntfy(url);
    }
    webhook(url)
}

fn webhook(mut url: Url) -> Result<Service, InvalidTarget> {
    let fragment = url.fragment().map(str::to_owned);
    url.set_fragment(None);
    let signing = match fragment {
        Some(secret) => Some(Box::new(secret.parse().map_err(|_| SIGNING)?)),
        None => None,
    };
    Ok(Service::Webhook { url, signing })
}

fn slack(url: Url, name: &'static str) -> Service {
    Service::Slack { url, name }
}

/// A topic is part of a path and a password at once (<https://docs.ntfy.sh/publish/#picking-a-topic>).
fn ntfy(mut url: Url) -> Result<Service, InvalidTarget> {
    let topic = url.path().trim_matches('/').to_owned();
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(1..=64).contains(&topic.len()) || !topic.bytes().all(is_allowed) || url.query().is_some() {
        return Err(NTFY);
    }
    let user = decoded(url.username()).ok_or(NTFY)?;
    let password = match url.password() {
        Some(password) => Some(decoded(password).ok_or(NTFY)?),
        None => None,
    };
    let auth = match (user.is_empty(), password) {
        (true, None) => None,
        (true, Some(token)) => Some(NtfyAuth::Token(token.into())),
        (false, None) if user.starts_with("tk_") => Some(NtfyAuth::Token(user.into())),
        (false, Some(password)) => Some(NtfyAuth::Basic(user, password.into())),
        (false, None) => return Err(NTFY),
    };
    url.set_username("").map_err(|()| NTFY)?;
    url.set_password(None).map_err(|()| NTFY)?;
    url.set_fragment(None);
    url.set_path("/");
    Ok(Service::Ntfy { url, topic, auth })
}

/// <https://core.telegram.org/bots/api#making-requests>. The token has a colon, as user and password
/// have in a URL.
fn telegram(url: &Url) -> Result<Service, InvalidTarget> {
    let (bot, key) = (url.username(), url.password().ok_or(TELEGRAM)?);
    let chat = decoded(url.path().trim_matches('/')).ok_or(TELEGRAM)?;
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let is_name = chat.strip_prefix('@').is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_')
    });
    let is_chat = is_name || is_number(chat.strip_prefix('-').unwrap_or(&chat));
    if !is_number(bot) || key.is_empty() || !key.bytes().all(is_key) || !is_chat {
        return Err(TELEGRAM);
    }
    let mut method = url.clone();
    method.set_username("").map_err(|()| TELEGRAM)?;
    method.set_password(None).map_err(|()| TELEGRAM)?;
    method.set_query(None);
    method.set_fragment(None);
    method.set_path(&format!("/bot{bot}:{key}/sendMessage"));
    Ok(Service::Telegram { url: method, chat })
}

/// Percent-decodes a part of a URL. `None` if it is not UTF-8.
pub(crate) fn decoded(part: &str) -> Option<String> {
    let text = percent_decode_str(part).decode_utf8().ok()?;
    Some(text.into_owned())
}

impl fmt::Display for AlertTarget {
    /// Writes the service and its host, which may be shown to the owner.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.service.name();
        match &self.service {
            Service::Mail(mail) => write!(f, "{name} to {}", mail.shown()),
            service => {
                let host = service.url().and_then(Url::host_str);
                write!(f, "{name} at {}", host.unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for AlertTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlertTarget({})", self.service.name())
    }
}

#[cfg(test)]
mod tests;
