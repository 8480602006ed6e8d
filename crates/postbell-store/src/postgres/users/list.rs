//! Pages of user records.
//!
//! Each statement reads a range of an index, so every page costs the same.

use postbell_core::{Listing, UserId, UserRecord};

use crate::columns::{self, end_of, record};
use crate::postgres::failure::Failure;
use crate::postgres::parameter::Parameter;
use crate::postgres::session::Session;

const RECORDS: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.user_id > $1 ORDER BY u.user_id LIMIT $2";

const USERS_FROM: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.user_id >= $1 AND u.user_id < $2 AND u.owner IS NULL ORDER BY u.user_id LIMIT $3";

const USERS_AFTER: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.user_id > $1 AND u.user_id < $2 AND u.owner IS NULL ORDER BY u.user_id LIMIT $3";

const EMAILS_FROM: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.email >= $1 AND u.email < $2 ORDER BY u.email, u.user_id LIMIT $3";

const EMAILS_AFTER: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE (u.email, u.user_id) > ($1, $4) AND u.email < $2 ORDER BY u.email, u.user_id LIMIT $3";

const PROBLEMS: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.problem_code IS NOT NULL AND (u.problem_code, u.user_id) > ($1, $2)
    ORDER BY u.problem_code, u.user_id LIMIT $3";

const ONE_PROBLEM: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.problem_code = $1 AND u.user_id > $2 ORDER BY u.user_id LIMIT $3";

const WATCH_ENDS_FROM: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.watch_expires_at < $1 ORDER BY u.watch_expires_at, u.user_id LIMIT $2";

const WATCH_ENDS_AFTER: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.watch_expires_at < $1 AND (u.watch_expires_at, u.user_id) > ($3, $4)
    ORDER BY u.watch_expires_at, u.user_id LIMIT $2";

const UNREACHABLE: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.unreachable_since IS NOT NULL AND u.user_id > $1 ORDER BY u.user_id LIMIT $2";

const NOT_CONNECTED: &str = "
    SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
    WHERE u.connected_at IS NULL AND u.user_id > $1
        AND NOT EXISTS (SELECT FROM user_record a WHERE a.owner = u.user_id)
    ORDER BY u.user_id LIMIT $2";

/// The users who want notifications and get none at `$1`, from the indexes of those who could be.
pub(super) const WITHOUT_MAIL_IDS: &str = "
    SELECT user_id FROM user_record WHERE problem_code IS NOT NULL AND notifications
    UNION
    SELECT user_id FROM user_record WHERE watch_expires_at <= $1 AND notifications";

fn without_mail() -> String {
    format!(
        "SELECT u.*, p.history_id FROM user_record u LEFT JOIN progress p USING (user_id)
         WHERE u.user_id IN ({WITHOUT_MAIL_IDS}) AND u.user_id > $2
         ORDER BY u.user_id LIMIT $3"
    )
}

pub(super) async fn list(
    db: &Session,
    listing: &Listing,
    limit: usize,
) -> Result<Vec<UserRecord>, Failure> {
    let limit = columns::limit(limit);
    match listing {
        Listing::ByRecord { after } => by_user(db, RECORDS, after.as_ref(), limit).await,
        // No stored text contains a zero byte, and PostgreSQL accepts none.
        Listing::ByUser { prefix, .. } | Listing::ByEmail { prefix, .. }
            if prefix.contains('\0') =>
        {
            Ok(Vec::new())
        }
        Listing::ByUser { prefix, after } => {
            let end = end_of(prefix);
            match after.as_ref().filter(|after| *after.as_str() >= **prefix) {
                Some(after) => read(db, USERS_AFTER, &[&after.as_str(), &end, &limit]).await,
                None => read(db, USERS_FROM, &[&&**prefix, &end, &limit]).await,
            }
        }
        Listing::ByEmail { prefix, after } => {
            let prefix = prefix.to_lowercase();
            let end = end_of(&prefix);
            let after = after
                .as_ref()
                .filter(|(email, _)| *email.as_str() >= *prefix);
            match after {
                Some((email, user)) => {
                    let (email, user) = (email.as_str(), user.as_str());
                    read(db, EMAILS_AFTER, &[&email, &end, &limit, &user]).await
                }
                None => read(db, EMAILS_FROM, &[&prefix, &end, &limit]).await,
            }
        }
        Listing::ByProblem { code, after } => {
            let after = after.as_ref();
            let user = after.map_or("", |(_, user)| user.as_str());
            match code {
                Some(code) => read(db, ONE_PROBLEM, &[&code.as_str(), &user, &limit]).await,
                None => {
                    let code = after.map_or("", |(code, _)| code.as_str());
                    read(db, PROBLEMS, &[&code, &user, &limit]).await
                }
            }
        }
        Listing::ByWatchEnd { until, after } => {
            let until = until.as_millis();
            match after {
                Some((end, user)) => {
                    let (end, user) = (end.as_millis(), user.as_str());
                    read(db, WATCH_ENDS_AFTER, &[&until, &limit, &end, &user]).await
                }
                None => read(db, WATCH_ENDS_FROM, &[&until, &limit]).await,
            }
        }
        Listing::WithoutMail { now, after } => {
            let after = after.as_ref().map_or("", |user| user.as_str());
            read(db, &without_mail(), &[&now.as_millis(), &after, &limit]).await
        }
        Listing::Unreachable { after } => by_user(db, UNREACHABLE, after.as_ref(), limit).await,
        Listing::NotConnected { after } => by_user(db, NOT_CONNECTED, after.as_ref(), limit).await,
    }
}

async fn by_user(
    db: &Session,
    statement: &str,
    after: Option<&UserId>,
    limit: i64,
) -> Result<Vec<UserRecord>, Failure> {
    let after = after.map_or("", |user| user.as_str());
    read(db, statement, &[&after, &limit]).await
}

async fn read(
    db: &Session,
    statement: &str,
    values: &[&dyn Parameter],
) -> Result<Vec<UserRecord>, Failure> {
    let rows = db.query(statement, values).await?;
    rows.iter().map(record).collect()
}
