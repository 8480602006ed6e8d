//! SQLite against every promise of the inbox.

use std::sync::Arc;

use postbell_core::Inbox;
use postbell_store::{Store, StoreOptions};
use tempfile::TempDir;

/// An inbox in a folder of its own, which goes when the test does.
pub(crate) fn temporary() -> (Arc<dyn Inbox>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("inbox.db").display());
    let store = Store::open(&url, StoreOptions::relay()).unwrap();
    (store.inbox(), folder)
}

postbell_testkit::inbox_conformance!(temporary());
