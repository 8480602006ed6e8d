//! The steps, one file each.

mod account;
mod apis;
mod arrival;
mod client;
mod client_secret;
mod credentials;
mod credentials_file;
mod fetcher;
mod mailbox;
mod project;
mod publisher;
mod sign_in;
mod signer;
mod subscription;
mod topic;
mod watch;
mod web_client;
mod webhook;

pub(crate) use self::client::absolute;
use crate::plan::Step;
use crate::request::SetupRequest;

/// The steps for a request, in the order in which they are applied.
pub(crate) fn for_request(request: &SetupRequest) -> Vec<Box<dyn Step>> {
    let own_client = !request.has_separate_sign_in();
    let pushes = !request.is_pulled();
    let is_local = !request.is_on_platform();
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    // A user who signs in with the mailbox's client needs it first.
    if own_client {
        steps.push(Box::new(client::Client {
            is_for_sign_in: true,
        }));
    }
    steps.push(Box::new(sign_in::SignIn { own_client }));
    steps.push(Box::new(project::Project { own_client }));
    steps.push(Box::new(apis::Apis));
    if !own_client && !request.is_for_operator {
        steps.push(Box::new(client::Client {
            is_for_sign_in: false,
        }));
    }
    steps.push(Box::new(topic::Topic));
    steps.push(Box::new(publisher::Publisher));
    if pushes {
        steps.push(Box::new(account::Account));
        steps.push(Box::new(signer::Signer));
    }
    steps.push(Box::new(subscription::Subscription { pushes }));
    if request.is_for_operator {
        steps.push(Box::new(web_client::WebClient));
        steps.push(Box::new(client_secret::ClientSecret));
        return steps;
    }
    steps.push(Box::new(mailbox::Mailbox));
    if is_local {
        // The grant is stored before anything else is tried with it.
        steps.push(Box::new(credentials::Credentials { is_local }));
        if !pushes {
            steps.push(Box::new(fetcher::Fetcher));
        }
        steps.push(Box::new(watch::Watch));
    } else {
        // The platform's credentials contain the state of the watch.
        steps.push(Box::new(watch::Watch));
        steps.push(Box::new(credentials::Credentials { is_local }));
    }
    if request.webhook.is_some() {
        steps.push(Box::new(webhook::Webhook));
    }
    steps.push(Box::new(arrival::Arrival { pushes }));
    steps
}

/// Every step. Undo needs them all, because earlier runs may have had other requests.
pub(crate) fn all(request: &SetupRequest) -> Vec<Box<dyn Step>> {
    let own_client = !request.has_separate_sign_in();
    let mut steps: Vec<Box<dyn Step>> = vec![
        Box::new(client::Client {
            is_for_sign_in: own_client,
        }),
        Box::new(sign_in::SignIn { own_client }),
        Box::new(project::Project { own_client }),
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
        Box::new(webhook::Webhook),
        Box::new(arrival::Arrival { pushes: true }),
    ];
    if request.is_for_operator {
        steps.push(Box::new(web_client::WebClient));
        steps.push(Box::new(client_secret::ClientSecret));
    }
    steps
}
