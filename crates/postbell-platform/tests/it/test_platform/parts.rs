//! The parts of a platform under test.

use std::sync::Arc;

use postbell_core::{Clock, MachineLocation};
use postbell_http::HttpClient;
use postbell_platform::{
    ApiKeys, Fleet, HttpControllers, MailboxUsers, MailboxUsersParts, OperatedQueue,
    Operator as Operations, OperatorClient, ReconcilerParts, Relays, Tarballs, UserTokens,
    system_random,
};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_testkit::{MemoryDeliveries, MemorySessions, MemoryStore, MemoryUsers};
use url::Url;

use super::{GATEWAY_SECRET, RecordingRelays};

pub(super) fn mailboxes(
    store: &Arc<MemoryUsers>,
    key: Option<Arc<PlatformKey>>,
    google: &Url,
    clock: Arc<dyn Clock>,
) -> MailboxUsers {
    MailboxUsers::new(MailboxUsersParts {
        store: Arc::clone(store) as _,
        credentials: Arc::clone(store) as _,
        key,
        client: reqwest::Client::new(),
        gmail_client: HttpClient::from_env(),
        token_url: google.join("/token").unwrap(),
        gmail_url: google.clone(),
        clock,
    })
}

pub(super) fn operated_by(
    store: &MemoryStore,
    client: Option<Arc<OperatorClient>>,
    relays: &Arc<RecordingRelays>,
    clock: Arc<dyn Clock>,
) -> Operations {
    let ports = Arc::new(store.clone());
    Operations {
        ports: Arc::clone(&ports) as _,
        queue: Some(OperatedQueue {
            ports,
            arrivals: None,
            has_own_log: false,
        }),
        client,
        relays: Some(Arc::clone(relays) as Arc<dyn Relays>),
        controllers: Some(Arc::new(controllers())),
        url: Some("https://bell.example.com".parse().unwrap()),
        user_tokens: Some(UserTokens::new(&GATEWAY_SECRET.into())),
        gateway_tokens: Some(GatewayTokens::new(&GATEWAY_SECRET.into())),
        random: system_random(),
        clock,
    }
}

/// The stores of a platform on these users.
pub(super) fn operated(users: &MemoryUsers) -> MemoryStore {
    MemoryStore {
        users: users.clone(),
        sessions: MemorySessions::announcing(users.changes.clone()),
        deliveries: MemoryDeliveries::announcing(users.changes.clone()),
        ..MemoryStore::default()
    }
}

pub(super) fn api_keys(store: &MemoryStore) -> ApiKeys {
    ApiKeys {
        tokens: Arc::new(store.tokens.clone()),
        random: system_random(),
    }
}

fn controllers() -> HttpControllers {
    HttpControllers::new(
        reqwest::Client::new(),
        Box::new(|location| match location {
            MachineLocation::Url(url) => Ok(url.clone()),
            _ => Err("the test has no machine on Fly"),
        }),
        GatewayTokens::new(&GATEWAY_SECRET.into()),
    )
}

pub(super) fn reconciler_parts(
    store: &MemoryStore,
    tarballs: &Tarballs,
    fleet: &Arc<Fleet>,
    relays: &Arc<RecordingRelays>,
    operator_client: Option<&Arc<OperatorClient>>,
    clock: &Arc<dyn Clock>,
) -> ReconcilerParts {
    ReconcilerParts {
        store: Arc::new(store.users.clone()),
        ports: Arc::new(store.clone()),
        tarballs: tarballs.clone(),
        controllers: Arc::new(controllers()),
        orphaned_machines: Arc::new(store.users.clone()),
        fleet: Arc::clone(fleet),
        queue: Some(Arc::new(store.clone())),
        random: system_random(),
        relays: Arc::clone(relays) as _,
        operator_client: operator_client.cloned(),
        sessions: Arc::new(store.sessions.clone()),
        clock: Arc::clone(clock),
    }
}
