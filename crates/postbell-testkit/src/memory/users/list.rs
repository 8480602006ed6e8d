//! Pages of user records.

use std::collections::BTreeMap;

use postbell_core::{EmailAddress, Listing, Timestamp, UserId, UserRecord};

use super::Row;

pub(super) fn list(
    rows: &BTreeMap<UserId, Row>,
    listing: &Listing,
    limit: usize,
) -> Vec<UserRecord> {
    match listing {
        Listing::ByRecord { after } => rows
            .iter()
            .filter(|(user, _)| after.as_ref().is_none_or(|after| *user > after))
            .map(|(_, row)| row.record.clone())
            .take(limit)
            .collect(),
        Listing::ByUser { prefix, after } => rows
            .iter()
            .filter(|(_, row)| row.record.owner.is_none())
            .filter(|(user, _)| user.as_str().starts_with(prefix))
            .filter(|(user, _)| after.as_ref().is_none_or(|after| *user > after))
            .map(|(_, row)| row.record.clone())
            .take(limit)
            .collect(),
        Listing::ByEmail { prefix, after } => by_email(rows, prefix, after.as_ref(), limit),
        Listing::ByProblem { code, after } => {
            let key = |record: &UserRecord| {
                let problem = record.problem?.code;
                Some((problem.as_str(), record.user.clone()))
            };
            let after = after.as_ref();
            let after = after.map(|(code, user)| (code.as_str(), user.clone()));
            let is_wanted = |record: &&UserRecord| {
                let problem = record.problem.map(|problem| problem.code);
                problem.is_some_and(|problem| code.is_none_or(|code| problem == code))
                    && (after.is_none() || key(record) > after)
            };
            let mut found: Vec<_> = rows.values().map(|row| &row.record).collect();
            found.retain(is_wanted);
            found.sort_by_key(|record| key(record));
            found.into_iter().take(limit).cloned().collect()
        }
        Listing::ByWatchEnd { until, after } => {
            let mut found: Vec<_> = rows
                .values()
                .filter_map(|row| {
                    let record = &row.record;
                    Some(((record.watch_expires_at?, record.user.clone()), record))
                })
                .filter(|((end, _), _)| end < until)
                .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
                .collect();
            found.sort_by(|(one, _), (other, _)| one.cmp(other));
            let records = found.into_iter().map(|(_, record)| record.clone());
            records.take(limit).collect()
        }
        Listing::WithoutMail { now, after } => rows
            .values()
            .map(|row| &row.record)
            .filter(|record| gets_no_mail(record, *now))
            .filter(|record| after.as_ref().is_none_or(|after| record.user > *after))
            .take(limit)
            .cloned()
            .collect(),
        Listing::Unreachable { after } => rows
            .values()
            .map(|row| &row.record)
            .filter(|record| record.unreachable_since.is_some())
            .filter(|record| after.as_ref().is_none_or(|after| record.user > *after))
            .take(limit)
            .cloned()
            .collect(),
        Listing::NotConnected { after } => rows
            .values()
            .map(|row| &row.record)
            .filter(|record| record.google.is_none())
            .filter(|record| after.as_ref().is_none_or(|after| record.user > *after))
            .take(limit)
            .cloned()
            .collect(),
    }
}

pub(super) fn gets_no_mail(record: &UserRecord, now: Timestamp) -> bool {
    let has_ended = record.watch_expires_at.is_some_and(|end| end <= now);
    record.notifications_enabled && (record.problem.is_some() || has_ended)
}

/// Those whose address begins so, by address and user.
fn by_email(
    rows: &BTreeMap<UserId, Row>,
    prefix: &str,
    after: Option<&(EmailAddress, UserId)>,
    limit: usize,
) -> Vec<UserRecord> {
    let prefix = prefix.to_lowercase();
    let after = after.map(|(email, user)| (email, user));
    let mut found: Vec<_> = rows
        .values()
        .filter_map(|row| Some(((row.email()?, &row.record.user), &row.record)))
        .filter(|((email, _), _)| email.as_str().starts_with(&prefix))
        .filter(|(key, _)| after.is_none_or(|after| *key > after))
        .collect();
    found.sort_by_key(|(key, _)| *key);
    let records = found.into_iter().map(|(_, record)| record.clone());
    records.take(limit).collect()
}
