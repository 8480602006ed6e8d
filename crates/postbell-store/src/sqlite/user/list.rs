//! Pages of user records.
//!
//! Each statement reads a range of an index, so every page costs the same.

use postbell_core::{Listing, UserId, UserRecord};
use rusqlite::{Connection, Params, params};

use super::Result;
use crate::columns::{self, end_of, record};

const RECORDS: &str = "
    SELECT * FROM user_with_progress WHERE user > ?1 ORDER BY user LIMIT ?2";

const USERS_FROM: &str = "
    SELECT * FROM user_with_progress WHERE user >= ?1 AND user < ?2 AND owner IS NULL
    ORDER BY user LIMIT ?3";

const USERS_AFTER: &str = "
    SELECT * FROM user_with_progress WHERE user > ?1 AND user < ?2 AND owner IS NULL
    ORDER BY user LIMIT ?3";

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

const WATCH_ENDS_FROM: &str = "
    SELECT * FROM user_with_progress WHERE watch_expires_at < ?1
    ORDER BY watch_expires_at, user LIMIT ?2";

const WATCH_ENDS_AFTER: &str = "
    SELECT * FROM user_with_progress
    WHERE watch_expires_at < ?1 AND (watch_expires_at, user) > (?3, ?4)
    ORDER BY watch_expires_at, user LIMIT ?2";

const UNREACHABLE: &str = "
    SELECT * FROM user_with_progress WHERE unreachable_since IS NOT NULL AND user > ?1
    ORDER BY user LIMIT ?2";

const NOT_CONNECTED: &str = "
    SELECT * FROM user_with_progress WHERE connected_at IS NULL AND user > ?1
        AND NOT EXISTS (SELECT 1 FROM user_record a WHERE a.owner = user_with_progress.user)
    ORDER BY user LIMIT ?2";

/// The users who want notifications and get none at `?1`, from the indexes of those who could be.
pub(super) const WITHOUT_MAIL_IDS: &str = "
    SELECT user FROM user_record WHERE problem_code IS NOT NULL AND notifications
    UNION
    SELECT user FROM user_record WHERE watch_expires_at <= ?1 AND notifications";

pub(in crate::sqlite) fn list(
    db: &Connection,
    listing: &Listing,
    limit: usize,
) -> Result<Vec<UserRecord>> {
    let limit = columns::limit(limit);
    match listing {
        Listing::ByRecord { after } => by_user(db, RECORDS, after.as_ref(), limit),
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
        Listing::ByWatchEnd { until, after } => {
            let until = until.as_millis();
            match after {
                Some((end, user)) => {
                    let values = params![until, limit, end.as_millis(), user.as_str()];
                    read(db, WATCH_ENDS_AFTER, values)
                }
                None => read(db, WATCH_ENDS_FROM, params![until, limit]),
            }
        }
        Listing::WithoutMail { now, after } => {
            let after = after.as_ref().map_or("", |user| user.as_str());
            let list = format!(
                "SELECT * FROM user_with_progress WHERE user IN ({WITHOUT_MAIL_IDS}) AND user > ?2
                 ORDER BY user LIMIT ?3"
            );
            read(db, &list, params![now.as_millis(), after, limit])
        }
        Listing::Unreachable { after } => by_user(db, UNREACHABLE, after.as_ref(), limit),
        Listing::NotConnected { after } => by_user(db, NOT_CONNECTED, after.as_ref(), limit),
    }
}

fn by_user(
    db: &Connection,
    statement: &str,
    after: Option<&UserId>,
    limit: i64,
) -> Result<Vec<UserRecord>> {
    let after = after.map_or("", |user| user.as_str());
    read(db, statement, params![after, limit])
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
            (RECORDS, "SEARCH user_record USING PRIMARY KEY (user>?)"),
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
            (
                UNREACHABLE,
                "SEARCH user_record USING INDEX user_record_unreachable (user>?)",
            ),
            (
                NOT_CONNECTED,
                "SEARCH user_record USING INDEX user_record_not_connected (user>?)",
            ),
            (
                WATCH_ENDS_FROM,
                "SEARCH user_record USING INDEX user_record_by_watch_end (watch_expires_at<?)",
            ),
            (
                WATCH_ENDS_AFTER,
                "SEARCH user_record USING INDEX user_record_by_watch_end ((watch_expires_at,user)>(?,?) AND watch_expires_at<?)",
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
            let steps = steps.unwrap().map(|step| step.unwrap());
            // Whether a user has further accounts is one search.
            let further = [
                "CORRELATED SCALAR SUBQUERY 1",
                "SEARCH a USING COVERING INDEX user_record_by_owner (owner=?)",
            ];
            let steps: Vec<_> = steps.filter(|step| !further.contains(&&**step)).collect();
            let progress = "SEARCH progress USING PRIMARY KEY (user=?) LEFT-JOIN";
            assert_eq!(steps, [plan, progress], "{statement}");
        }
    }
}
