//! The users of a mailbox, for pushes to the shared route.

use std::sync::Arc;

use postbell_core::Clock;
use postbell_http::HttpClient;
use postbell_platform::{MailboxUsers, MailboxUsersParts};
use postbell_store::Store;
use reqwest::Client;

use crate::config::Config;

/// Connects what finds the users of a mailbox.
pub(super) fn mailbox_users(
    config: &Config,
    store: &Store,
    client: &Client,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<MailboxUsers>> {
    Ok(Arc::new(MailboxUsers::new(MailboxUsersParts {
        store: store.users(),
        credentials: store.credentials(),
        key: config.platform.platform_key()?.map(Arc::new),
        client: client.clone(),
        gmail_client: HttpClient::from_env(),
        token_url: config.google.token_url.clone(),
        gmail_url: config.google.gmail_url.clone(),
        clock: Arc::clone(clock),
    })))
}
