//! The steps, a file for each.

mod account;
mod apis;
mod arrival;
mod client;
mod credentials;
mod fetcher;
mod hook;
mod mailbox;
mod project;
mod publisher;
mod sign_in;
mod signer;
mod subscription;
mod topic;
mod watch;

use std::sync::Arc;

use postbell_google::TokenSource;
use url::Url;

use crate::person::Event;
use crate::site::Site;
use crate::step::{Look, Report, Step, StepId};
use crate::trouble::{Trouble, Wall};
use crate::wishes::{Browser, Destination, Wishes};

/// What a watch is for.
pub(crate) const LABELS: [&str; 1] = ["INBOX"];

/// The steps for what a person wants, in the order in which they are done.
pub(crate) fn for_wishes(wishes: &Wishes) -> Vec<Box<dyn Step>> {
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    let own = !wishes.has_other_sign_in();
    // Whoever signs in with a client of their own has to have it first.
    if own {
        steps.push(Box::new(client::Client { is_first: true }));
    }
    steps.push(Box::new(sign_in::SignIn { own }));
    steps.push(Box::new(project::Project { own }));
    steps.push(Box::new(apis::Apis));
    if !own {
        steps.push(Box::new(client::Client { is_first: false }));
    }
    steps.push(Box::new(topic::Topic));
    steps.push(Box::new(publisher::Publisher));
    let pushes = !matches!(wishes.destination, Some(Destination::Pull { .. }));
    if pushes {
        steps.push(Box::new(account::Account));
        steps.push(Box::new(signer::Signer));
    }
    steps.push(Box::new(subscription::Subscription { pushes }));
    steps.push(Box::new(mailbox::Mailbox));
    let is_local = !matches!(wishes.destination, Some(Destination::Platform { .. }));
    if is_local {
        // What was granted is kept before anything else is tried with it.
        steps.push(Box::new(credentials::Credentials { is_local }));
        if !pushes {
            steps.push(Box::new(fetcher::Fetcher));
        }
        steps.push(Box::new(watch::Watch));
    } else {
        // What is sealed for the platform says where the watch stands.
        steps.push(Box::new(watch::Watch));
        steps.push(Box::new(credentials::Credentials { is_local }));
    }
    if wishes.hook.is_some() {
        steps.push(Box::new(hook::Hook));
    }
    steps.push(Box::new(arrival::Arrival { pushes }));
    steps
}

/// All steps, whatever the person wants by now: what was made for other wishes is taken back, too.
pub(crate) fn all(wishes: &Wishes) -> Vec<Box<dyn Step>> {
    let own = !wishes.has_other_sign_in();
    vec![
        Box::new(client::Client { is_first: own }),
        Box::new(sign_in::SignIn { own }),
        Box::new(project::Project { own }),
        Box::new(apis::Apis),
        Box::new(topic::Topic),
        Box::new(publisher::Publisher),
        Box::new(account::Account),
        Box::new(signer::Signer),
        Box::new(subscription::Subscription { pushes: true }),
        Box::new(mailbox::Mailbox),
        Box::new(fetcher::Fetcher),
        Box::new(watch::Watch),
        Box::new(credentials::Credentials { is_local: false }),
        Box::new(hook::Hook),
        Box::new(arrival::Arrival { pushes: true }),
    ]
}

/// Shows a page of the console, and opens it where the person's browser is.
fn lead_to(site: &Site, page: &str) {
    if let Ok(page) = Url::parse(page) {
        site.show(Event::Page(&page));
        if site.wishes.browser == Browser::Here {
            site.tools.person.open(&page);
        }
    }
}

/// Signs in for the administration of Google Cloud, with the given access token or in a browser, and
/// returns the access tokens.
///
/// # Errors
///
/// [`Trouble`] if the sign-in does not succeed.
pub async fn sign_in(site: &mut Site) -> Result<Arc<TokenSource>, Trouble> {
    let own = !site.wishes.has_other_sign_in();
    if own && let Look::ToDo(_) = (client::Client { is_first: true }).look(site).await? {
        return Err(Trouble::new(Wall::Unattended("--client FILE")));
    }
    let step = sign_in::SignIn { own };
    if let Look::ToDo(_) = step.look(site).await? {
        step.apply(site).await?;
    }
    site.admin()
}

/// What to do once everything is done.
pub(crate) fn what_then(site: &Site, report: &Report) -> Vec<String> {
    let watched = report.state(StepId::Watch);
    if !watched.is_some_and(crate::step::State::is_done) {
        return Vec::new();
    }
    let mailbox = site.progress.mailbox.as_deref().unwrap_or("ADDRESS");
    let wished = site.wishes.hook.as_ref().map(|hook| &hook.url);
    let hook = wished.or(site.progress.hook.as_ref());
    let hook = hook.map_or("URL", |url| url.as_str());
    let common = |credentials: &std::path::Path| {
        format!(
            "--account {} \\\n  --credentials {} \\\n  --hook-url {} --include-body",
            quoted(mailbox),
            quoted(&credentials.display().to_string()),
            quoted(hook)
        )
    };
    match &site.wishes.destination {
        Some(Destination::Pull {
            credentials: Some(credentials),
        }) => {
            let subscription = site.subscription().unwrap_or_default();
            vec![
                "export POSTBELL_WATCH_HOOK_TOKEN=…  # what the bot's hook expects".to_owned(),
                format!(
                    "postbell watch pull \\\n  --subscription {subscription} \\\n  {}",
                    common(credentials)
                ),
            ]
        }
        Some(Destination::Serve {
            credentials: Some(credentials),
            endpoint,
        }) => vec![
            "export POSTBELL_WATCH_HOOK_TOKEN=…  # what the bot's hook expects".to_owned(),
            format!(
                "postbell watch serve --path {} --verify-oidc \\\n  --oidc-email {} \\\n  \
                 --oidc-audience {} \\\n  {}",
                quoted(endpoint.path()),
                site.account_email().unwrap_or_default(),
                quoted(endpoint.as_str()),
                common(credentials)
            ),
        ],
        _ => Vec::new(),
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
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
    fn a_shell_reads_what_was_meant() {
        assert_eq!(quoted("/home/ann/google.json"), "/home/ann/google.json");
        assert_eq!(quoted("/my files/a.json"), "'/my files/a.json'");
        assert_eq!(quoted("https://b/?a=1&b=2"), "'https://b/?a=1&b=2'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("~/x"), "'~/x'");
    }
}
