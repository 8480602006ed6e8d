//! The API, and what operators do through it and the pages.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::Clock;
use postbell_platform::{
    ApiKeys, MailboxUsers, OperatedQueue, Operator, OperatorClient, Platform, PlatformParts,
    Relays, Tarballs, UserService, UserTokens, system_random,
};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_store::Store;

use super::InProcessRelay;
use super::machines::MachineParts;
use crate::config::{Config, PlatformConfig};

/// How long relays may remember an answer: if `platform.relay_urls` names them, they are notified of a change,
/// and this is the bound for a relay that could not be notified.
const LOOKUPS_REVOKED: Duration = Duration::from_secs(60);

/// The same if no relay is named.
const LOOKUPS_UNREVOKED: Duration = Duration::from_secs(1);

/// What the API uses beside the configuration.
pub(super) struct ApiPorts<'a> {
    pub(super) store: &'a Store,
    pub(super) users: &'a Arc<UserService>,
    pub(super) mailboxes: &'a Arc<MailboxUsers>,
    pub(super) tarballs: Tarballs,
    pub(super) platform_key: Option<Arc<PlatformKey>>,
    pub(super) operator: &'a Arc<Operator>,
}

/// The queue of the relay in this process, as operators use it.
pub(super) fn operated_queue(
    config: &Config,
    relay: Option<&InProcessRelay>,
) -> Option<OperatedQueue> {
    relay.map(|relay| OperatedQueue {
        ports: Arc::new(relay.store.clone()),
        arrivals: Some(Arc::clone(&relay.arrivals)),
        has_own_log: config.relay.inbox != config.platform.store,
    })
}

/// Builds what does the operations of operators.
pub(super) fn build(
    settings: &PlatformConfig,
    store: &Store,
    queue: Option<OperatedQueue>,
    client: Option<Arc<OperatorClient>>,
    relays: &Arc<dyn Relays>,
    machines: &MachineParts,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<Operator>> {
    Ok(Arc::new(Operator {
        ports: Arc::new(store.clone()),
        queue,
        client,
        relays: Some(Arc::clone(relays)),
        controllers: Some(Arc::clone(&machines.controllers)),
        url: Some(settings.url()?),
        user_tokens: Some(UserTokens::new(settings.gateway_secret()?)),
        gateway_tokens: Some(GatewayTokens::new(settings.gateway_secret()?)),
        random: system_random(),
        clock: Arc::clone(clock),
    }))
}

/// Builds the JSON API.
pub(super) fn api(config: &Config, ports: ApiPorts<'_>) -> anyhow::Result<Platform> {
    let settings = &config.platform;
    let secret = settings.gateway_secret()?;
    Ok(Platform::new(PlatformParts {
        users: Arc::clone(ports.users),
        mailboxes: Arc::clone(ports.mailboxes),
        tarballs: ports.tarballs,
        watcher_arguments: settings.watcher_args.clone(),
        platform_key: ports.platform_key,
        relay_url: config.relay.audience().ok().map(str::to_owned),
        api_key: settings.api_key()?.clone(),
        gateway_tokens: GatewayTokens::new(secret),
        lookups_fresh_for: lookups_fresh_for(settings),
        user_tokens: UserTokens::new(secret),
        api_keys: ApiKeys {
            tokens: ports.store.tokens(),
            random: system_random(),
        },
        operator: Arc::clone(ports.operator),
    }))
}

fn lookups_fresh_for(settings: &PlatformConfig) -> Duration {
    if settings.relay_urls.is_empty() {
        LOOKUPS_UNREVOKED
    } else {
        LOOKUPS_REVOKED
    }
}
