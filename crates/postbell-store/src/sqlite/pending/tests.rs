//! What the statements of a push and of its delivery cost.

use rusqlite::StatementStatus;

use super::*;
use crate::sqlite::{connection, delivery, schema};

/// Returns the steps of a statement (<https://www.sqlite.org/opcode.html>).
fn steps(statement: &str) -> Vec<String> {
    let db = schema::in_memory();
    let mut explain = db.prepare(&format!("EXPLAIN {statement}")).unwrap();
    let steps = explain.raw_query().mapped(|row| row.get("opcode"));
    steps.map(std::result::Result::unwrap).collect()
}

#[test]
fn neither_a_push_nor_its_delivery_builds_a_table_or_sorts() {
    for statement in [
        mailboxes::FIND.as_str(),
        cursor::OF_USER.as_str(),
        mailboxes::ADD,
        mailboxes::REPLACE,
        mailboxes::MERGE,
        LONGEST_DUE.as_str(),
        LATEST_DUE.as_str(),
        LEASE,
        NEXT_DUE,
        delivery::RECORD,
        mailboxes::DELETE,
    ] {
        for step in steps(statement) {
            let is_costly = step.contains("Ephemeral") || step.contains("Sorter");
            assert!(!is_costly, "{step}: {statement}");
        }
    }
}

#[test]
fn a_push_to_a_mailbox_that_is_due_writes_one_row_and_no_index() {
    let steps = steps(mailboxes::REPLACE);
    let written = steps.iter().filter(|step| step.ends_with("Insert"));
    assert_eq!(written.count(), 1, "{steps:?}");
}

#[test]
fn no_query_is_prepared_again_for_other_parameters() {
    let db = schema::in_memory();
    connection::keep_statements(&db).unwrap();
    for query in [
        mailboxes::FIND.as_str(),
        cursor::OF_USER.as_str(),
        LONGEST_DUE.as_str(),
        LATEST_DUE.as_str(),
        mailboxes::DELETE,
    ] {
        let mut statement = db.prepare(query).unwrap();
        for value in 0..3 {
            for parameter in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(parameter, value).unwrap();
            }
            let mut rows = statement.raw_query();
            while rows.next().unwrap().is_some() {}
        }
        assert_eq!(
            statement.get_status(StatementStatus::RePrepare),
            0,
            "{query}"
        );
    }
}
