//! Pages of records.
//!
//! Each statement walks an index from one place on, so a page costs the same wherever it begins.

use postbell_core::{Listing, UserRecord};
use rusqlite::{Connection, Params, params};

use super::{Result, record};
use crate::sqlite::columns::limit;

const USERS_FROM: &str = "
    SELECT * FROM instance WHERE user >= ?1 AND user < ?2 ORDER BY user LIMIT ?3";

const USERS_AFTER: &str = "
    SELECT * FROM instance WHERE user > ?1 AND user < ?2 ORDER BY user LIMIT ?3";

const EMAILS_FROM: &str = "
    SELECT * FROM instance WHERE email >= ?1 AND email < ?2 ORDER BY email, user LIMIT ?3";

const EMAILS_AFTER: &str = "
    SELECT * FROM instance WHERE (email, user) > (?1, ?4) AND email < ?2
    ORDER BY email, user LIMIT ?3";

/// Comes after every text that begins with `prefix`, and before all that come later: the last of
/// all characters.
fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

pub(in crate::sqlite) fn list(
    db: &Connection,
    listing: &Listing,
    most: usize,
) -> Result<Vec<UserRecord>> {
    let most = limit(most);
    match listing {
        Listing::ByUser { prefix, after } => {
            let end = end_of(prefix);
            match after.as_ref().filter(|after| *after.as_str() >= **prefix) {
                Some(after) => read(db, USERS_AFTER, params![after.as_str(), end, most]),
                None => read(db, USERS_FROM, params![prefix, end, most]),
            }
        }
        Listing::ByEmail { prefix, after } => {
            let prefix = prefix.to_lowercase();
            let end = end_of(&prefix);
            match after
                .as_ref()
                .filter(|(email, _)| *email.as_str() >= *prefix)
            {
                Some((email, user)) => {
                    let values = params![email.as_str(), end, most, user.as_str()];
                    read(db, EMAILS_AFTER, values)
                }
                None => read(db, EMAILS_FROM, params![prefix, end, most]),
            }
        }
    }
}

fn read(db: &Connection, statement: &str, values: impl Params) -> Result<Vec<UserRecord>> {
    let mut statement = db.prepare_cached(statement)?;
    let mut rows = statement.query(values)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row)?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    #[test]
    fn a_page_is_a_walk_along_an_index_and_sorts_nothing() {
        let db = schema::in_memory();
        for (statement, plan) in [
            (
                USERS_FROM,
                "SEARCH instance USING PRIMARY KEY (user>? AND user<?)",
            ),
            (
                USERS_AFTER,
                "SEARCH instance USING PRIMARY KEY (user>? AND user<?)",
            ),
            (
                EMAILS_FROM,
                "SEARCH instance USING INDEX instance_by_email (email>? AND email<?)",
            ),
            (
                EMAILS_AFTER,
                "SEARCH instance USING INDEX instance_by_email ((email,user)>(?,?) AND email<?)",
            ),
        ] {
            let mut explain = db
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .unwrap();
            // What is bound does not matter, but how much is.
            let values = vec!["1"; explain.parameter_count()];
            let steps = explain.query_map(rusqlite::params_from_iter(values), |row| {
                row.get::<_, String>("detail")
            });
            let steps: Vec<_> = steps.unwrap().map(|step| step.unwrap()).collect();
            assert_eq!(steps, [plan], "{statement}");
        }
    }
}
