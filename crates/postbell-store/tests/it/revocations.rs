//! SQLite against every promise of permissions that are to be revoked.

use std::sync::Arc;

use postbell_core::PendingRevocations;

use crate::engines::{Engine, keys};

fn temporary() -> (Arc<dyn PendingRevocations>, Engine) {
    let engine = Engine::sqlite();
    let store = engine.open(keys("a key of the tests", &[]));
    (store.revocations(), engine)
}

postbell_testkit::revocations_conformance!(temporary());
