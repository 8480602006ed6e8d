//! The request: the options of a run of setup, and how they are parsed.

use std::path::PathBuf;

use postbell_core::{EmailAddress, UserId};
use postbell_google::{
    DEFAULT_OPERATOR_NAME, DEFAULT_PULL_SUBSCRIPTION, DEFAULT_PUSH_SUBSCRIPTION, DEFAULT_TOPIC,
    default_id_of_mailbox, default_user_subscription,
};
use postbell_protocol::webhook::SigningKeys;
use secrecy::SecretString;
use url::Url;

use crate::progress::{ResourceNames, SavedDestination};

/// The scopes that setup asks for: reading mail, pulling notifications, administering Google Cloud.
pub(crate) const READ_MAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";
pub(crate) const PULL: &str = "https://www.googleapis.com/auth/pubsub";
pub(crate) const ADMINISTER: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The options of a run. Setup reads missing ones from the progress file, or asks for them.
#[derive(Clone, Debug, Default)]
pub struct SetupRequest {
    /// The OAuth client file for the mailbox.
    pub client_file: Option<PathBuf>,
    /// Another OAuth client file for the administrator's sign-in.
    pub sign_in_client_file: Option<PathBuf>,
    /// An access token for Google Cloud, in place of a sign-in.
    pub access_token: Option<SecretString>,
    /// Project id.
    pub project: Option<String>,
    /// Whether to create a missing project.
    pub create_project: bool,
    /// Mailbox address.
    pub mailbox: Option<EmailAddress>,
    /// Where notifications are delivered.
    pub destination: Option<Destination>,
    /// Resource names that replace the defaults.
    pub names: ResourceNames,
    /// The bot's webhook.
    pub webhook: Option<Webhook>,
    /// The secrets of the webhook, also for one that the user or an earlier run names.
    pub webhook_secrets: WebhookSecrets,
    /// The home folder, in which setup looks for a downloaded OAuth client and OpenClaw's configuration.
    pub home: Option<PathBuf>,
    /// The public URL of the platform's relay, also for a destination from the progress file.
    pub relay: Option<Url>,
    /// The public URL of the platform's pages, of an operator.
    pub pages: Option<Url>,
    /// Whether the relay of the platform is to be asked for: no flag names it.
    pub asks_relay: bool,
    /// Where the user's browser is.
    pub browser: Browser,
    /// Whether to repeat tests that passed before.
    pub repeat_tests: bool,
    /// The credentials file, if the destination does not name one.
    pub credentials: Option<PathBuf>,
    /// The user token for the platform, also for a destination from the progress file.
    pub user_token: Option<SecretString>,
    /// Whether undo deletes a project that setup created, with everything in it.
    pub delete_project: bool,
    /// Whether an operator sets up the project with which the users of a platform connect.
    pub is_for_operator: bool,
    /// The file of the OAuth client of type web application with which they connect.
    pub web_client_file: Option<PathBuf>,
    /// The file to which its secret is written.
    pub secret_file: Option<PathBuf>,
    /// What the configuration of the platform says.
    pub configured: ConfiguredUrls,
}

/// The URLs in the configuration of an operator's platform.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredUrls {
    /// `platform.url`.
    pub pages: Option<Url>,
    /// `relay.audience`.
    pub relay: Option<Url>,
}

impl SetupRequest {
    /// Whether the administrator signs in with something other than the mailbox's OAuth client. That
    /// client is then not needed first.
    pub(crate) fn has_separate_sign_in(&self) -> bool {
        self.access_token.is_some() || self.sign_in_client_file.is_some()
    }

    /// The scopes to request from the mailbox's owner.
    pub(crate) fn scopes(&self) -> &'static [&'static str] {
        if self.is_pulled() {
            &[READ_MAIL, PULL]
        } else {
            &[READ_MAIL]
        }
    }

    /// Whether a watcher on this machine pulls notifications.
    pub(crate) fn is_pulled(&self) -> bool {
        matches!(self.destination, Some(Destination::Pull { .. }))
    }

    /// Whether the watcher runs on a platform's machine.
    pub(crate) fn is_on_platform(&self) -> bool {
        matches!(self.destination, Some(Destination::Platform { .. }))
    }

    /// Whether the account is connected at a platform beside the user's others.
    pub(crate) fn is_further(&self) -> bool {
        let destination = self.destination.as_ref();
        matches!(destination, Some(Destination::Platform { is_further, .. }) if *is_further)
    }

    /// The address that Pub/Sub pushes to, unless notifications are pulled.
    pub(crate) fn endpoint(&self) -> Option<String> {
        self.destination.as_ref().and_then(Destination::endpoint)
    }

    /// The local credentials file.
    pub(crate) fn credentials_file(&self) -> Option<&PathBuf> {
        let destination = self.destination.as_ref();
        destination.and_then(Destination::credentials)
    }

    /// Names another local credentials file.
    pub(crate) fn set_credentials_file(&mut self, file: PathBuf) {
        if let Some(Destination::Pull { credentials } | Destination::Serve { credentials, .. }) =
            &mut self.destination
        {
            *credentials = Some(file);
        }
    }

    /// The mailbox address, or an empty text.
    pub(crate) fn mailbox_address(&self) -> &str {
        let mailbox = self.mailbox.as_ref();
        mailbox.map(EmailAddress::as_str).unwrap_or_default()
    }

    /// The default name of the topic.
    pub(crate) fn default_topic(&self) -> String {
        self.of_mailbox(DEFAULT_TOPIC)
    }

    /// The default name of the subscription: one per mailbox or user.
    pub(crate) fn default_subscription(&self) -> String {
        match (&self.destination, self.older_subscription()) {
            (
                Some(Destination::Platform {
                    user, is_further, ..
                }),
                _,
            ) => match (is_further, &self.mailbox) {
                (true, Some(mailbox)) => {
                    default_id_of_mailbox(&default_user_subscription(user), mailbox)
                }
                _ => default_user_subscription(user),
            },
            (_, Some(name)) => self.of_mailbox(name),
            (_, None) => self.of_mailbox(DEFAULT_PULL_SUBSCRIPTION),
        }
    }

    /// The default name of the subscription in earlier versions, which was the same for all mailboxes of
    /// a project.
    pub(crate) fn older_subscription(&self) -> Option<&'static str> {
        match &self.destination {
            Some(Destination::Platform { .. } | Destination::Operator { .. }) => None,
            Some(Destination::Serve { .. }) => Some(DEFAULT_PUSH_SUBSCRIPTION),
            Some(Destination::Pull { .. }) | None => Some(DEFAULT_PULL_SUBSCRIPTION),
        }
    }

    fn of_mailbox(&self, base: &str) -> String {
        match &self.mailbox {
            _ if self.is_for_operator => DEFAULT_OPERATOR_NAME.to_owned(),
            Some(mailbox) => default_id_of_mailbox(base, mailbox),
            None => base.to_owned(),
        }
    }
}

/// Where the user's browser is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Browser {
    /// On this machine: setup opens it, and Google redirects it to a loopback port.
    #[default]
    Local,
    /// On another machine: the user opens the page and pastes the address of the redirect.
    Remote,
}

/// Where notifications are delivered.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A platform's relay, for one of its users.
    Platform {
        /// Base URL of the platform.
        platform: Url,
        /// Public base URL of its relay.
        relay: Url,
        /// The user.
        user: UserId,
        /// The user token for the platform.
        token: Option<SecretString>,
        /// Whether the account is connected beside the user's others.
        is_further: bool,
    },
    /// A platform's relay, for all users who connect in the browser.
    Operator {
        /// Public base URL of the platform's pages.
        pages: Url,
        /// Public base URL of its relay.
        relay: Url,
    },
    /// `postbell watch pull`.
    Pull {
        /// Credentials file.
        credentials: Option<PathBuf>,
    },
    /// `postbell watch serve`.
    Serve {
        /// Credentials file.
        credentials: Option<PathBuf>,
        /// Its public URL.
        endpoint: Url,
    },
}

impl Destination {
    /// The address that Pub/Sub pushes to, unless notifications are pulled.
    pub(crate) fn endpoint(&self) -> Option<String> {
        match self {
            Self::Pull { .. } => None,
            // The relay finds the record of a further account by its address.
            Self::Operator { relay, .. }
            | Self::Platform {
                relay,
                is_further: true,
                ..
            } => {
                let base = relay.as_str().trim_end_matches('/');
                Some(format!("{base}/push/gmail"))
            }
            Self::Serve { endpoint, .. } => Some(endpoint.as_str().to_owned()),
            Self::Platform { relay, user, .. } => {
                let base = relay.as_str().trim_end_matches('/');
                Some(format!("{base}/push/user/{}", user.url_segment()))
            }
        }
    }

    fn credentials(&self) -> Option<&PathBuf> {
        match self {
            Self::Platform { .. } | Self::Operator { .. } => None,
            Self::Pull { credentials } | Self::Serve { credentials, .. } => credentials.as_ref(),
        }
    }

    pub(crate) fn to_saved(&self) -> SavedDestination {
        match self.clone() {
            Self::Platform {
                platform,
                relay,
                user,
                is_further,
                ..
            } => SavedDestination::Platform {
                platform,
                relay,
                user: user.to_string(),
                is_further,
            },
            Self::Operator { pages, relay } => SavedDestination::Operator { pages, relay },
            Self::Pull { credentials } => SavedDestination::Pull {
                credentials: credentials.unwrap_or_default(),
            },
            Self::Serve {
                credentials,
                endpoint,
            } => SavedDestination::Serve {
                credentials: credentials.unwrap_or_default(),
                endpoint,
            },
        }
    }

    /// Reads a destination from the progress file, without the token, which is never saved.
    pub(crate) fn from_saved(saved: SavedDestination) -> Option<Self> {
        Some(match saved {
            SavedDestination::Platform {
                platform,
                relay,
                user,
                is_further,
            } => Self::Platform {
                platform,
                relay,
                user: user.parse().ok()?,
                token: None,
                is_further,
            },
            SavedDestination::Operator { pages, relay } => Self::Operator { pages, relay },
            SavedDestination::Pull { credentials } => Self::Pull {
                credentials: Some(credentials),
            },
            SavedDestination::Serve {
                credentials,
                endpoint,
            } => Self::Serve {
                credentials: Some(credentials),
                endpoint,
            },
        })
    }
}

/// The bot's webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// URL.
    pub url: Url,
    /// Bearer token.
    pub token: Option<SecretString>,
    /// Signs requests.
    pub signing: Option<SigningKeys>,
}

/// What proves to a webhook who posts.
#[derive(Clone, Debug, Default)]
pub struct WebhookSecrets {
    /// Bearer token.
    pub token: Option<SecretString>,
    /// Signs requests.
    pub signing: Option<SigningKeys>,
}

/// Describes a scope for users.
pub(crate) fn describe_scope(scope: &str) -> &'static str {
    match scope {
        READ_MAIL => "read mail (gmail.readonly)",
        PULL => "pull notifications (pubsub)",
        _ => "administer Google Cloud (cloud-platform)",
    }
}

/// Parses an HTTP URL.
pub(crate) fn parse_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// Parses the public address of `postbell watch serve`. Refuses tokens in the address: pushes are
/// signed, and an address is shown, saved and visible in process lists.
#[must_use]
pub fn parse_endpoint(text: &str) -> Option<Url> {
    let is_plain = |url: &Url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        url.query().is_none() && url.fragment().is_none() && !has_user
    };
    parse_url(text).filter(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_its_own_endpoint_and_subscription() {
        let mut destination = Destination::Platform {
            platform: Url::parse("https://platform.example.com").unwrap(),
            relay: Url::parse("https://push.example.com/").unwrap(),
            user: "oauth/google:a.B@x".parse().unwrap(),
            token: None,
            is_further: false,
        };
        let endpoint = destination.endpoint().unwrap();
        assert_eq!(
            endpoint,
            "https://push.example.com/push/user/oauth%2Fgoogle%3Aa.B%40x"
        );
        let mut request = SetupRequest {
            destination: Some(destination.clone()),
            mailbox: Some("team@example.com".parse().unwrap()),
            ..SetupRequest::default()
        };
        let subscription = request.default_subscription();
        assert!(
            subscription.starts_with("postbell-oauth-google-a-b-x-"),
            "{subscription}"
        );
        assert_eq!(request.scopes(), [READ_MAIL]);
        // A further account has another one, for the relay to find the record.
        if let Destination::Platform { is_further, .. } = &mut destination {
            *is_further = true;
        }
        let endpoint = destination.endpoint().unwrap();
        assert_eq!(endpoint, "https://push.example.com/push/gmail");
        request.destination = Some(destination);
        let of_further = request.default_subscription();
        assert!(
            of_further.starts_with(&format!("{subscription}-")),
            "{of_further}"
        );
    }

    #[test]
    fn an_endpoint_with_a_secret_is_refused() {
        assert!(parse_endpoint("https://bot.example.com/gmail-pubsub").is_some());
        for secret in [
            "https://bot.example.com/?token=x",
            "https://x@bot.example.com/",
            "https://bot.example.com/#x",
            "ftp://bot.example.com/",
        ] {
            assert!(parse_endpoint(secret).is_none(), "{secret}");
        }
    }

    #[test]
    fn pulling_needs_one_more_scope() {
        let request = SetupRequest {
            destination: Some(Destination::Pull {
                credentials: Some("google.json".into()),
            }),
            ..SetupRequest::default()
        };
        assert_eq!(request.scopes(), [READ_MAIL, PULL]);
    }
}
