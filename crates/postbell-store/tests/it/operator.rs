//! Both engines against every promise of the audited ports, and what only a database can promise.

use std::sync::Arc;

use postbell_core::{Actor, AuditAction, AuditedPorts, Clock, SystemClock};
use postbell_testkit::Operated;

use crate::engines::{Engine, keys, on_each_engine};

on_each_engine! {
    an_entry_of_the_audit_log_can_be_neither_changed_nor_deleted
}

fn operated(engine: Engine) -> (Operated, Engine) {
    let store = engine.open(keys("a key of the tests", &[]));
    let queue = store.queue();
    let ports = Arc::new(store) as Arc<dyn AuditedPorts>;
    (Operated { ports, queue }, engine)
}

mod sqlite_ports {
    postbell_testkit::operator_conformance!(super::operated(super::Engine::sqlite()));
}

mod postgres_ports {
    postbell_testkit::operator_conformance!(super::operated(super::Engine::postgres()));
}

async fn an_entry_of_the_audit_log_can_be_neither_changed_nor_deleted(engine: &Engine) {
    let store = engine.open(keys("k", &[]));
    let actor = Actor {
        name: "olga".to_owned(),
        origin: "command line".to_owned(),
        at: SystemClock::new().now(),
    };
    let log = store.audit_log();
    let appended = log.append(&actor, AuditAction::SignIn, None, "");
    appended.await.unwrap();
    for statement in [
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit",
        "INSERT INTO audit SELECT * FROM audit",
    ] {
        assert!(engine.refuses(statement), "{statement}");
    }
    // An entry of the far future does not make the others old.
    let mut later = actor;
    later.at = postbell_core::Timestamp::from_millis(99_999_999_999_999);
    log.append(&later, AuditAction::SignIn, None, "")
        .await
        .unwrap();
    assert!(engine.refuses("DELETE FROM audit"));
    assert_eq!(log.entries(None, None, 9).await.unwrap().len(), 2);
}
