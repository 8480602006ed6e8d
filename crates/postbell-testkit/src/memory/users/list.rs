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
        Listing::ByRecord { after } => those(rows, after.as_ref(), limit, |_| true),
        Listing::ByUser { prefix, after } => those(rows, after.as_ref(), limit, |record| {
            record.owner.is_none() && record.user.as_str().starts_with(prefix)
        }),
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
        Listing::WithoutMail { now, after } => those(rows, after.as_ref(), limit, |record| {
            gets_no_mail(record, *now)
        }),
        Listing::Unreachable { after } => those(rows, after.as_ref(), limit, |record| {
            record.unreachable_since.is_some()
        }),
        Listing::NotConnected { after } => those(rows, after.as_ref(), limit, |record| {
            is_not_connected(rows, record)
        }),
    }
}

/// The records after `after` that are wanted, by their id.
fn those(
    rows: &BTreeMap<UserId, Row>,
    after: Option<&UserId>,
    limit: usize,
    is_wanted: impl Fn(&UserRecord) -> bool,
) -> Vec<UserRecord> {
    let records = rows.values().map(|row| &row.record);
    let records = records.filter(|record| after.is_none_or(|after| record.user > *after));
    let records = records.filter(|record| is_wanted(record));
    records.take(limit).cloned().collect()
}

pub(super) fn is_not_connected(rows: &BTreeMap<UserId, Row>, record: &UserRecord) -> bool {
    let mut accounts = rows.values().map(|row| row.record.owner.as_ref());
    record.google.is_none() && accounts.all(|owner| owner != Some(&record.user))
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
