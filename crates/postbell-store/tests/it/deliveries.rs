//! SQLite against every promise of the delivery queue and log.

use postbell_store::{Store, StoreOptions};
use postbell_testkit::Deliveries;
use tempfile::TempDir;

/// A new store in a folder that is removed with the test.
fn temporary() -> (Deliveries, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("inbox.db").display());
    let store = Store::open(&url, StoreOptions::service()).unwrap();
    let deliveries = Deliveries {
        queue: store.queue(),
        log: store.log(),
    };
    (deliveries, folder)
}

postbell_testkit::deliveries_conformance!(temporary());
