//! Pending notifications, for the log.

use postbell_core::{PendingDelivery, UserId};
use rusqlite::Connection;

use super::Result;
use crate::columns;

const PENDING: &str = "
    SELECT user, message_id, history_id, accepted_at, due_at, consecutive_failures,
        failing_since, leased_until, parked_for
    FROM pending WHERE user = ?1 AND due_at IS NOT NULL";

/// Reads an index that contains only the failing ones.
const FAILING: &str = "
    SELECT user, message_id, history_id, accepted_at, due_at, consecutive_failures,
        failing_since, leased_until, parked_for
    FROM pending WHERE failing_since IS NOT NULL AND due_at IS NOT NULL
    ORDER BY failing_since, user LIMIT ?1";

pub(in crate::sqlite) fn find(db: &Connection, user: &UserId) -> Result<Option<PendingDelivery>> {
    let mut statement = db.prepare_cached(PENDING)?;
    let mut rows = statement.query([user.as_str()])?;
    rows.next()?.map(columns::pending_delivery).transpose()
}

pub(in crate::sqlite) fn failing(db: &Connection, limit: usize) -> Result<Vec<PendingDelivery>> {
    let mut statement = db.prepare_cached(FAILING)?;
    let mut rows = statement.query([columns::limit(limit)])?;
    let mut failing = Vec::new();
    while let Some(row) = rows.next()? {
        failing.push(columns::pending_delivery(row)?);
    }
    Ok(failing)
}

#[cfg(test)]
mod tests {
    use super::super::DEPTH;
    use super::*;
    use crate::sqlite::schema;

    fn plan(statement: &str) -> Vec<String> {
        let db = schema::in_memory();
        let mut explain = db
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .unwrap();
        let steps = explain.query_map([], |row| row.get("detail")).unwrap();
        steps.map(|step| step.unwrap()).collect()
    }

    #[test]
    fn failing_mailboxes_are_found_by_an_index() {
        let steps = plan(&FAILING.replace("?1", "9"));
        assert_eq!(
            steps,
            ["SEARCH pending USING INDEX pending_failing (failing_since>?)"]
        );
    }

    /// A row contains a body: reading a hundred thousand of them takes a second, and counting them some milliseconds.
    #[test]
    fn the_depth_is_not_counted() {
        let steps = plan(DEPTH);
        let searches: Vec<_> = steps
            .iter()
            .filter(|step| step.contains("pending"))
            .collect();
        // The oldest one is the first of an index.
        assert_eq!(
            searches,
            ["SEARCH pending USING INDEX pending_waiting"],
            "{steps:?}"
        );
        assert!(
            steps.iter().all(|step| !step.contains("dead_letter USING")),
            "{steps:?}"
        );
    }
}
