//! What the person wants: given by flags, remembered, or asked for.

use std::path::PathBuf;

use postbell_core::{EmailAddress, UserId};
use postbell_google::{
    DEFAULT_PULL_SUBSCRIPTION, DEFAULT_PUSH_SUBSCRIPTION, default_user_subscription,
};
use secrecy::SecretString;
use url::Url;

use crate::person::Question;
use crate::platform::Platform;
use crate::progress::{DestinationNote, Names};
use crate::site::Site;
use crate::trouble::{Trouble, Wall};

/// The scope that reads mail, and the ones that more is asked for.
pub(crate) const READ_MAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";
pub(crate) const FETCH: &str = "https://www.googleapis.com/auth/pubsub";
pub(crate) const ADMINISTER: &str = "https://www.googleapis.com/auth/cloud-platform";

/// What the person wants.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The file of the OAuth client whose grant opens the mailbox.
    pub client_file: Option<PathBuf>,
    /// The file of the OAuth client that signs in for the administration, where that is another.
    pub sign_in_client_file: Option<PathBuf>,
    /// A token for the administration, in place of signing in.
    pub access_token: Option<SecretString>,
    /// The project's id.
    pub project: Option<String>,
    /// Whether a project that is missing is made.
    pub create_project: bool,
    /// The mailbox's address.
    pub mailbox: Option<EmailAddress>,
    /// Where notifications go.
    pub destination: Option<Destination>,
    /// Names in Google Cloud, in place of the usual.
    pub names: Names,
    /// The bot's hook.
    pub hook: Option<HookWish>,
    /// How the person gets to a page.
    pub browser: Browser,
    /// Whether what came through before is tried again.
    pub again: bool,
    /// Where the credentials go, where the destination does not say it.
    pub credentials: Option<PathBuf>,
    /// The user's token for the platform, also where the platform is remembered.
    pub user_token: Option<SecretString>,
    /// Whether a project that was made here is deleted when it is taken back, with all that is in it.
    pub delete_project: bool,
}

/// How the person gets to a page, and back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Browser {
    /// It is opened for them, and sent back to this machine.
    #[default]
    Here,
    /// It is elsewhere: they open the page, and paste the address that it sent them to.
    Elsewhere,
}

/// Where notifications go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To a platform's relay, for one of its users.
    Platform {
        /// Base URL of the platform.
        platform: Url,
        /// Public base URL of its relay.
        relay: Url,
        /// The user.
        user: UserId,
        /// The user's token for the platform; asked for where it is missing.
        token: Option<SecretString>,
    },
    /// They are fetched by `postbell watch pull`.
    Pull {
        /// Where the credentials go; where that is not said, it is where they are.
        credentials: Option<PathBuf>,
    },
    /// They are pushed to `postbell watch serve`.
    Serve {
        /// Where the credentials go; where that is not said, it is where they are.
        credentials: Option<PathBuf>,
        /// Its public URL.
        endpoint: Url,
    },
}

/// The bot's hook.
#[derive(Clone, Debug)]
pub struct HookWish {
    /// Its URL.
    pub url: Url,
    /// The bearer token that it expects.
    pub token: Option<SecretString>,
}

impl Destination {
    /// Whether notifications are pushed, to which address.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        match self {
            Self::Pull { .. } => None,
            Self::Serve { endpoint, .. } => Some(endpoint.as_str().to_owned()),
            Self::Platform { relay, user, .. } => {
                let base = relay.as_str().trim_end_matches('/');
                Some(format!("{base}/push/user/{}", user.url_segment()))
            }
        }
    }

    /// The local file of the credentials.
    #[must_use]
    pub fn credentials(&self) -> Option<&PathBuf> {
        match self {
            Self::Platform { .. } => None,
            Self::Pull { credentials } | Self::Serve { credentials, .. } => credentials.as_ref(),
        }
    }

    fn note(&self) -> DestinationNote {
        match self.clone() {
            Self::Platform {
                platform,
                relay,
                user,
                ..
            } => DestinationNote::Platform {
                platform,
                relay,
                user: user.to_string(),
            },
            Self::Pull { credentials } => DestinationNote::Pull {
                credentials: credentials.unwrap_or_default(),
            },
            Self::Serve {
                credentials,
                endpoint,
            } => DestinationNote::Serve {
                credentials: credentials.unwrap_or_default(),
                endpoint,
            },
        }
    }

    pub(crate) fn remembered(note: DestinationNote) -> Option<Self> {
        Some(match note {
            DestinationNote::Platform {
                platform,
                relay,
                user,
            } => Self::Platform {
                platform,
                relay,
                user: user.parse().ok()?,
                token: None,
            },
            DestinationNote::Pull { credentials } => Self::Pull {
                credentials: Some(credentials),
            },
            DestinationNote::Serve {
                credentials,
                endpoint,
            } => Self::Serve {
                credentials: Some(credentials),
                endpoint,
            },
        })
    }
}

impl Wishes {
    /// Whether the administration is signed in for with something else than the person's own OAuth
    /// client, which then need not come first.
    pub(crate) fn has_other_sign_in(&self) -> bool {
        self.access_token.is_some() || self.sign_in_client_file.is_some()
    }

    /// What is asked of the mailbox's owner.
    pub(crate) fn scopes(&self) -> &'static [&'static str] {
        match self.destination {
            Some(Destination::Pull { .. }) => &[READ_MAIL, FETCH],
            _ => &[READ_MAIL],
        }
    }

    /// The name of the subscription, where none was chosen: one for each user, because each pushes
    /// elsewhere.
    pub(crate) fn usual_subscription(&self) -> String {
        match &self.destination {
            Some(Destination::Platform { user, .. }) => default_user_subscription(user),
            Some(Destination::Serve { .. }) => DEFAULT_PUSH_SUBSCRIPTION.to_owned(),
            Some(Destination::Pull { .. }) | None => DEFAULT_PULL_SUBSCRIPTION.to_owned(),
        }
    }
}

/// What a scope is for, in words.
pub(crate) fn scope_in_words(scope: &str) -> &'static str {
    match scope {
        READ_MAIL => "to read mail (gmail.readonly)",
        FETCH => "to fetch notifications (pubsub)",
        _ => "to set Google Cloud up (cloud-platform)",
    }
}

/// Completes what the person wants with what is remembered and what they answer, and remembers it.
pub(crate) async fn complete(site: &mut Site) -> Result<(), Trouble> {
    if site.wishes.destination.is_none() {
        let note = site.progress.destination.clone();
        site.wishes.destination = note.and_then(Destination::remembered);
    }
    if site.wishes.destination.is_none() {
        site.wishes.destination = Some(ask_destination(site).await?);
    }
    settle_credentials(site)?;
    ask_for_token(site).await?;
    if site.wishes.mailbox.is_none() {
        let remembered = site.progress.mailbox.as_ref();
        site.wishes.mailbox = remembered.and_then(|address| address.parse().ok());
    }
    if site.wishes.mailbox.is_none() {
        site.wishes.mailbox = Some(ask_mailbox(site).await?);
    }
    let wishes = site.wishes.clone();
    site.remember(|progress| {
        progress.destination = wishes.destination.as_ref().map(Destination::note);
        progress.mailbox = wishes.mailbox.map(Into::into);
        let Names {
            topic,
            subscription,
            account,
        } = wishes.names;
        let names = &mut progress.names;
        names.topic = topic.or(names.topic.take());
        names.subscription = subscription.or(names.subscription.take());
        names.account = account.or(names.account.take());
    })
}

/// Where the credentials go: where that was said, or where they are, or here.
fn settle_credentials(site: &mut Site) -> Result<(), Trouble> {
    let given = site.wishes.credentials.clone();
    let remembered = match &site.progress.destination {
        Some(
            DestinationNote::Pull { credentials } | DestinationNote::Serve { credentials, .. },
        ) => Some(credentials.clone()),
        _ => None,
    };
    match &mut site.wishes.destination {
        Some(Destination::Pull { credentials } | Destination::Serve { credentials, .. }) => {
            // The next run may be somewhere else.
            let here = || std::path::absolute("google.json").ok();
            *credentials = given.or(credentials.take()).or(remembered).or_else(here);
            Ok(())
        }
        _ if given.is_some() => Err(Trouble::new(Wall::Unattended(
            "--pull or --serve URL with --credentials FILE",
        ))),
        _ => Ok(()),
    }
}

async fn ask_destination(site: &Site) -> Result<Destination, Trouble> {
    let question = Question::new(
        "Where is the bot's mail watched?",
        "--platform URL, --pull or --serve URL",
    );
    let options = [
        "On a platform's machine",
        "Here: postbell watch pull",
        "Here, at a public address: postbell watch serve",
    ];
    let chosen = site
        .ask_choice(&question, &options.map(str::to_owned))
        .await?;
    match chosen {
        0 => ask_platform(site).await,
        1 => Ok(Destination::Pull { credentials: None }),
        _ => {
            let question = Question::new("Public address of `postbell watch serve`", "--serve URL");
            Ok(Destination::Serve {
                credentials: None,
                endpoint: ask_parsed(site, &question, parse_endpoint).await?,
            })
        }
    }
}

async fn ask_platform(site: &Site) -> Result<Destination, Trouble> {
    let platform = Question::new("Address of the platform", "--platform URL");
    let platform = ask_url(site, &platform).await?;
    let relay = Question::new("Public address of its relay", "--relay URL").or(platform.as_str());
    let relay = ask_url(site, &relay).await?;
    let user = Question::new("Your user id there", "--user USER");
    let user = ask_parsed(site, &user, |text| text.parse().ok()).await?;
    Ok(Destination::Platform {
        platform,
        relay,
        user,
        token: None,
    })
}

async fn ask_for_token(site: &mut Site) -> Result<(), Trouble> {
    let missing = matches!(
        site.wishes.destination,
        Some(Destination::Platform { token: None, .. })
    );
    if missing {
        let given = user_token(site).await?;
        if let Some(Destination::Platform { token, .. }) = &mut site.wishes.destination {
            *token = Some(given);
        }
    }
    Ok(())
}

/// The user's token for the platform: given, or asked for.
pub(crate) async fn user_token(site: &Site) -> Result<SecretString, Trouble> {
    if let Some(given) = site.wishes.user_token.clone() {
        return Ok(given);
    }
    let question = Question::new(
        "Your token for the platform (the operator has it: postbell users token USER)",
        "POSTBELL_USER_TOKEN",
    );
    site.ask_secret(&question).await
}

async fn ask_mailbox(site: &Site) -> Result<EmailAddress, Trouble> {
    let question = Question::new(
        "Address of the mailbox that is watched",
        "--mailbox ADDRESS",
    );
    ask_parsed(site, &question, |text| text.parse().ok()).await
}

async fn ask_url(site: &Site, question: &Question) -> Result<Url, Trouble> {
    ask_parsed(site, question, parse_url).await
}

fn parse_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// Reads where `postbell watch serve` is reached. Pushes are signed: a token in the address would be
/// shown, remembered and in the process list, and is refused.
#[must_use]
pub fn parse_endpoint(text: &str) -> Option<Url> {
    let is_plain = |url: &Url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        url.query().is_none() && url.fragment().is_none() && !has_user
    };
    parse_url(text).filter(is_plain)
}

/// Asks until the answer can be read, but not for ever.
async fn ask_parsed<T>(
    site: &Site,
    question: &Question,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, Trouble> {
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        let answer = site.ask_text(question).await?;
        if let Some(parsed) = parse(answer.trim()) {
            return Ok(parsed);
        }
        site.note("That cannot be right; please try again.");
    }
    Err(Trouble::new(Wall::Unattended(question.flag)))
}

/// The platform that notifications go to, if they go to one.
pub(crate) fn platform(site: &Site) -> Option<Platform> {
    let Some(Destination::Platform {
        platform, token, ..
    }) = &site.wishes.destination
    else {
        return None;
    };
    Some(Platform::new(
        site.tools.client.clone(),
        platform.clone(),
        token.clone().unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_an_endpoint_and_a_subscription_of_their_own() {
        let destination = Destination::Platform {
            platform: Url::parse("https://platform.example.com").unwrap(),
            relay: Url::parse("https://push.example.com/").unwrap(),
            user: "oauth/google:a.B@x".parse().unwrap(),
            token: None,
        };
        let endpoint = destination.endpoint().unwrap();
        assert_eq!(
            endpoint,
            "https://push.example.com/push/user/oauth%2Fgoogle%3Aa.B%40x"
        );
        let wishes = Wishes {
            destination: Some(destination),
            ..Wishes::default()
        };
        let subscription = wishes.usual_subscription();
        assert!(
            subscription.starts_with("postbell-oauth-google-a-b-x-"),
            "{subscription}"
        );
        assert_eq!(wishes.scopes(), [READ_MAIL]);
    }

    #[test]
    fn an_endpoint_holds_no_secret() {
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
    fn whoever_fetches_is_asked_for_one_scope_more() {
        let wishes = Wishes {
            destination: Some(Destination::Pull {
                credentials: Some("google.json".into()),
            }),
            ..Wishes::default()
        };
        assert_eq!(wishes.scopes(), [READ_MAIL, FETCH]);
    }
}
