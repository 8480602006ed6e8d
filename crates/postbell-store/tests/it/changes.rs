//! The writer announces every change of its process.

use postbell_core::Changes;
use postbell_store::{Store, StoreOptions};
use postbell_testkit::conformance::changes::{
    deliveries_are_announced, ended_sessions_are_announced, users_are_announced,
};
use postbell_testkit::{Deliveries, UserStore};

#[tokio::test]
async fn every_change_is_announced_once_it_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("postbell.db").display());
    let changes = Changes::new();
    let store = Store::open(&url, StoreOptions::service().changes(changes.clone())).unwrap();
    let deliveries = Deliveries {
        queue: store.queue(),
        log: store.log(),
    };
    deliveries_are_announced(&deliveries, &changes).await;
    let users = UserStore {
        users: store.users(),
        credentials: store.credentials(),
        orphaned_machines: store.orphaned_machines(),
    };
    users_are_announced(&users, &changes).await;
    ended_sessions_are_announced(&*store.sessions(), &changes).await;
}
