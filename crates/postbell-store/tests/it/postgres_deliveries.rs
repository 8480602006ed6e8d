//! PostgreSQL against every promise of the delivery queue and log.

use postbell_core::Changes;
use postbell_store::{Store, StoreOptions};
use postbell_testkit::conformance::changes::deliveries_are_announced;
use postbell_testkit::{Deliveries, PostgresDatabase};

use crate::engines::deliveries;

/// A new store in a database that is dropped with the test.
fn temporary() -> (Deliveries, PostgresDatabase) {
    let database = PostgresDatabase::create();
    let store = Store::open(&database.url(), StoreOptions::service()).unwrap();
    (deliveries(&store), database)
}

postbell_testkit::deliveries_conformance!(temporary());

#[tokio::test]
async fn every_change_is_announced_once_it_is_committed() {
    let database = PostgresDatabase::create();
    let changes = Changes::new();
    let options = StoreOptions::service().changes(changes.clone());
    let store = Store::open(&database.url(), options).unwrap();
    deliveries_are_announced(&deliveries(&store), &changes).await;
}
