//! The operator's OAuth client, with which users connect in the browser.

use std::sync::Arc;

use postbell_core::Clock;
use postbell_platform::{OperatorClient, OperatorClientParts, system_random};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_store::Store;
use reqwest::Client;

use crate::config::{Config, ConfigError};

/// Builds the operator's client, if one is configured.
pub(crate) fn operator_client(
    config: &Config,
    store: &Store,
    key: Option<&Arc<PlatformKey>>,
    http: &Client,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<OperatorClient>>, ConfigError> {
    // Config::check requires the key.
    let Some((client, key)) = config.google.client.client()?.zip(key) else {
        return Ok(None);
    };
    Ok(Some(Arc::new(OperatorClient::new(OperatorClientParts {
        client: client.client,
        topic: client.topic,
        push_account: client.push_account,
        scopes: client.scopes,
        http: http.clone(),
        auth_url: config.google.auth_url.clone(),
        token_url: config.google.token_url.clone(),
        gmail_url: config.google.gmail_url.clone(),
        key: Arc::clone(key),
        users: store.users(),
        credentials: store.credentials(),
        revocations: store.revocations(),
        random: system_random(),
        clock: Arc::clone(clock),
    }))))
}
