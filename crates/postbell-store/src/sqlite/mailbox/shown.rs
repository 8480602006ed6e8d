//! What waits, for people to look at.

use postbell_core::{PendingDelivery, Timestamp, UserId};
use rusqlite::{Connection, Row};

use super::Result;
use crate::sqlite::columns::{limit, parsed, time};

const WAITING: &str = "
    SELECT user, message_id, history_id, accepted_at, due_at, failed, failing_since, leased_until
    FROM mailbox WHERE user = ?1 AND due_at IS NOT NULL";

/// A walk along an index that holds those alone.
const FAILING: &str = "
    SELECT user, message_id, history_id, accepted_at, due_at, failed, failing_since, leased_until
    FROM mailbox WHERE failing_since IS NOT NULL AND due_at IS NOT NULL
    ORDER BY failing_since, user LIMIT ?1";

pub(in crate::sqlite) fn waiting(
    db: &Connection,
    user: &UserId,
) -> Result<Option<PendingDelivery>> {
    let mut statement = db.prepare_cached(WAITING)?;
    let mut rows = statement.query([user.as_str()])?;
    rows.next()?.map(read).transpose()
}

pub(in crate::sqlite) fn failing(db: &Connection, most: usize) -> Result<Vec<PendingDelivery>> {
    let mut statement = db.prepare_cached(FAILING)?;
    let mut rows = statement.query([limit(most)])?;
    let mut failing = Vec::new();
    while let Some(row) = rows.next()? {
        failing.push(read(row)?);
    }
    Ok(failing)
}

fn read(row: &Row<'_>) -> Result<PendingDelivery> {
    let failing_since: Option<i64> = row.get("failing_since")?;
    Ok(PendingDelivery {
        user: parsed(row, "user")?,
        message_id: parsed(row, "message_id")?,
        history_id: parsed(row, "history_id")?,
        accepted_at: time(row, "accepted_at")?,
        due_at: time(row, "due_at")?,
        failures: row.get("failed")?,
        failing_since: failing_since.map(Timestamp::from_millis),
        under_way: row.get::<_, i64>("leased_until")? > 0,
    })
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
    fn those_that_fail_are_found_without_a_look_at_the_rest() {
        let steps = plan(&FAILING.replace("?1", "9"));
        assert_eq!(
            steps,
            ["SEARCH mailbox USING INDEX mailbox_failing (failing_since>?)"]
        );
    }

    /// A row has a body in it: to visit a hundred thousand of them takes a second.
    #[test]
    fn what_waits_is_counted_without_a_look_at_the_rows() {
        let steps = plan(DEPTH);
        let counts = steps.iter().filter(|step| step.contains("COVERING INDEX"));
        assert_eq!(counts.count(), 3, "{steps:?}");
        // The oldest one is at the beginning of an index, and one row is looked at.
        let oldest = "SEARCH mailbox USING INDEX mailbox_waiting";
        assert!(steps.iter().any(|step| step == oldest), "{steps:?}");
    }
}
