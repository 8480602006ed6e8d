//! PostgreSQL against every promise of users, credentials, orphaned machines, sessions and alerts.

use postbell_core::Changes;
use postbell_store::{Store, StoreOptions};
use postbell_testkit::conformance::changes::{ended_sessions_are_announced, users_are_announced};

use crate::engines::{Engine, alerts, keys, user_store};

/// An empty store, and its database.
fn open() -> (Store, Engine) {
    let engine = Engine::postgres();
    (engine.open(keys("a key of the tests", &[])), engine)
}

mod users {
    postbell_testkit::users_conformance!({
        let (store, engine) = super::open();
        (super::user_store(&store), engine)
    });
}

mod sessions {
    postbell_testkit::sessions_conformance!({
        let (store, engine) = super::open();
        (store.sessions(), engine)
    });
}

mod revocations {
    postbell_testkit::revocations_conformance!({
        let (store, engine) = super::open();
        (store.revocations(), engine)
    });
}

mod alert_ports {
    postbell_testkit::alerts_conformance!({
        let (store, engine) = super::open();
        (super::alerts(&store), engine)
    });
}

#[tokio::test]
async fn every_change_is_announced_once_it_is_committed() {
    let engine = Engine::postgres();
    let changes = Changes::new();
    let options = StoreOptions::service().changes(changes.clone());
    let store = Store::open(&engine.url(), options.keys(keys("k", &[]))).unwrap();
    users_are_announced(&user_store(&store), &changes).await;
    ended_sessions_are_announced(&*store.sessions(), &changes).await;
}
