//! Pages of user records.
//!
//! Each statement reads a range of an index, so every page costs the same.

use postbell_core::{Listing, UserRecord};
use rusqlite::{Connection, Params, params};

use super::Result;
use crate::columns::{self, end_of, record};

const USERS_FROM: &str = "
    SELECT * FROM user_with_progress WHERE user >= ?1 AND user < ?2 ORDER BY user LIMIT ?3";

const USERS_AFTER: &str = "
    SELECT * FROM user_with_progress WHERE user > ?1 AND user < ?2 ORDER BY user LIMIT ?3";

const EMAILS_FROM: &str = "
    SELECT * FROM user_with_progress WHERE email >= ?1 AND email < ?2 ORDER BY email, user LIMIT ?3";

const EMAILS_AFTER: &str = "
    SELECT * FROM user_with_progress WHERE (email, user) > (?1, ?4) AND email < ?2
    ORDER BY email, user LIMIT ?3";

const PROBLEMS: &str = "
    SELECT * FROM user_with_progress
    WHERE problem_code IS NOT NULL AND (problem_code, user) > (?1, ?2)
    ORDER BY problem_code, user LIMIT ?3";

const ONE_PROBLEM: &str = "
    SELECT * FROM user_with_progress WHERE problem_code = ?1 AND user > ?2 ORDER BY user LIMIT ?3";

pub(in crate::sqlite) fn list(
    db: &Connection,
    listing: &Listing,
    limit: usize,
) -> Result<Vec<UserRecord>> {
    let limit = columns::limit(limit);
    match listing {
        Listing::ByUser { prefix, after } => {
            let end = end_of(prefix);
            match after.as_ref().filter(|after| *after.as_str() >= **prefix) {
                Some(after) => read(db, USERS_AFTER, params![after.as_str(), end, limit]),
                None => read(db, USERS_FROM, params![prefix, end, limit]),
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
                    let values = params![email.as_str(), end, limit, user.as_str()];
                    read(db, EMAILS_AFTER, values)
                }
                None => read(db, EMAILS_FROM, params![prefix, end, limit]),
            }
        }
        Listing::ByProblem { code, after } => {
            let after = after.as_ref();
            let user = after.map_or("", |(_, user)| user.as_str());
            match code {
                Some(code) => read(db, ONE_PROBLEM, params![code.as_str(), user, limit]),
                None => {
                    let code = after.map_or("", |(code, _)| code.as_str());
                    read(db, PROBLEMS, params![code, user, limit])
                }
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
    fn a_page_is_read_from_an_index_without_sorting() {
        let db = schema::in_memory();
        for (statement, plan) in [
            (
                USERS_FROM,
                "SEARCH user_record USING PRIMARY KEY (user>? AND user<?)",
            ),
            (
                USERS_AFTER,
                "SEARCH user_record USING PRIMARY KEY (user>? AND user<?)",
            ),
            (
                EMAILS_FROM,
                "SEARCH user_record USING INDEX user_record_by_email (email>? AND email<?)",
            ),
            (
                EMAILS_AFTER,
                "SEARCH user_record USING INDEX user_record_by_email ((email,user)>(?,?) AND email<?)",
            ),
            (
                PROBLEMS,
                "SEARCH user_record USING INDEX user_record_by_problem ((problem_code,user)>(?,?))",
            ),
            (
                ONE_PROBLEM,
                "SEARCH user_record USING INDEX user_record_by_problem (problem_code=? AND user>?)",
            ),
        ] {
            let mut explain = db
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .unwrap();
            // The values do not matter, their number does.
            let values = vec!["1"; explain.parameter_count()];
            let steps = explain.query_map(rusqlite::params_from_iter(values), |row| {
                row.get::<_, String>("detail")
            });
            let steps: Vec<_> = steps.unwrap().map(|step| step.unwrap()).collect();
            let progress = "SEARCH progress USING PRIMARY KEY (user=?) LEFT-JOIN";
            assert_eq!(steps, [plan, progress], "{statement}");
        }
    }
}
