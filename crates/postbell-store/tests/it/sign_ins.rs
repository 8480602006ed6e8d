//! SQLite against every promise of the sign-ins.

use std::sync::Arc;

use postbell_core::Sessions;
use postbell_store::{KeyRing, open_users};
use tempfile::TempDir;

fn temporary() -> (Arc<dyn Sessions>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("users.db").display());
    let keys = KeyRing::new(&"a key of the tests".into(), &[]);
    (open_users(&url, keys).unwrap().sign_ins, folder)
}

postbell_testkit::sessions_conformance!(temporary());
