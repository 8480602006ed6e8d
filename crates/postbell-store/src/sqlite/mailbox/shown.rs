//! What waits, for people to look at.

use postbell_core::UserId;
use postbell_core::inbox::Waiting;
use rusqlite::{Connection, Row, params};

use super::Result;
use crate::sqlite::columns::{limit, parsed, time};

const WAITING: &str = "
    SELECT user, history_id, accepted_at, due_at, failures, leased_until FROM mailbox
    WHERE user = ?1 AND due_at IS NOT NULL";

/// A walk along an index that holds those alone.
const FAILING: &str = "
    SELECT user, history_id, accepted_at, due_at, failures, leased_until FROM mailbox
    WHERE failures > 0 AND user > ?1 ORDER BY user LIMIT ?2";

pub(in crate::sqlite) fn waiting(db: &Connection, user: &UserId) -> Result<Option<Waiting>> {
    let mut statement = db.prepare_cached(WAITING)?;
    let mut rows = statement.query([user.as_str()])?;
    rows.next()?.map(read).transpose()
}

pub(in crate::sqlite) fn failing(
    db: &Connection,
    after: Option<&UserId>,
    most: usize,
) -> Result<Vec<Waiting>> {
    let after = after.map_or("", UserId::as_str);
    let mut statement = db.prepare_cached(FAILING)?;
    let mut rows = statement.query(params![after, limit(most)])?;
    let mut failing = Vec::new();
    while let Some(row) = rows.next()? {
        failing.push(read(row)?);
    }
    Ok(failing)
}

fn read(row: &Row<'_>) -> Result<Waiting> {
    Ok(Waiting {
        user: parsed(row, "user")?,
        history_id: parsed(row, "history_id")?,
        accepted_at: time(row, "accepted_at")?,
        due_at: time(row, "due_at")?,
        failures: row.get("failures")?,
        under_way: row.get::<_, i64>("leased_until")? > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    #[test]
    fn those_that_fail_are_found_without_a_look_at_the_rest() {
        let db = schema::in_memory();
        let mut explain = db
            .prepare(&format!("EXPLAIN QUERY PLAN {FAILING}"))
            .unwrap();
        let steps = explain.query_map(params!["ann", 9], |row| row.get::<_, String>("detail"));
        let steps: Vec<_> = steps.unwrap().map(|step| step.unwrap()).collect();
        let expected = "SEARCH mailbox USING INDEX mailbox_failing (user>?)";
        assert_eq!(steps, [expected]);
    }
}
