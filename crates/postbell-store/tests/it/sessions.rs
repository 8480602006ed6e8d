//! SQLite against every promise of sessions.

use std::sync::Arc;

use postbell_core::Sessions;
use postbell_store::{Store, StoreOptions};
use tempfile::TempDir;

fn temporary() -> (Arc<dyn Sessions>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("users.db").display());
    let store = Store::open(&url, StoreOptions::service()).unwrap();
    (store.sessions(), folder)
}

postbell_testkit::sessions_conformance!(temporary());
