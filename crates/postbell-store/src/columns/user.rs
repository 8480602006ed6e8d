//! The record of a user.

use postbell_core::{
    EmailAddress, FleetCounts, GoogleConnection, LinkDigest, MachineLocation, MailProblem,
    ManagedMachine, Principal, ProblemCode, SignInLink, Timestamp, UserId, UserRecord,
};

use super::{Columns, corrupt, number, parsed, parsed_if_any, text, time, time_if_any};

/// The columns of a record, except its id, its version and its times.
pub(crate) struct UserColumns<'a> {
    /// Of a further account.
    pub(crate) owner: Option<&'a str>,
    pub(crate) sandbox_id: &'a str,
    pub(crate) status: &'static str,
    /// Of a managed machine.
    pub(crate) app: Option<&'a str>,
    pub(crate) machine: Option<&'a str>,
    /// Of any other machine. All three are NULL if none is known.
    pub(crate) url: Option<&'a str>,
    /// NULL, as the two that follow, if no Google account is connected.
    pub(crate) connected_at: Option<i64>,
    pub(crate) email: Option<&'a str>,
    pub(crate) push_account: Option<&'a str>,
    pub(crate) notifications: bool,
    pub(crate) wake_on_mail: bool,
    pub(crate) watch_expires_at: Option<i64>,
    pub(crate) pending_sync: Option<i64>,
    pub(crate) problem_code: Option<&'static str>,
    pub(crate) problem_since: Option<i64>,
    pub(crate) mail_dead_letters: i64,
    pub(crate) unreachable_since: Option<i64>,
    pub(crate) config_fetched_at: Option<i64>,
    pub(crate) never_seen: bool,
    pub(crate) several_accounts: bool,
}

impl<'a> From<&'a UserRecord> for UserColumns<'a> {
    fn from(record: &'a UserRecord) -> Self {
        let (app, machine, url) = match &record.location {
            MachineLocation::Unknown => (None, None, None),
            MachineLocation::Managed(ManagedMachine { app, machine }) => {
                (Some(&**app), Some(&**machine), None)
            }
            MachineLocation::Url(url) => (None, None, Some(url.as_str())),
        };
        let google = record.google.as_ref();
        let address = |of: fn(&GoogleConnection) -> Option<&EmailAddress>| {
            google.and_then(of).map(EmailAddress::as_str)
        };
        Self {
            owner: record.owner.as_ref().map(UserId::as_str),
            sandbox_id: record.sandbox_id.as_str(),
            status: record.status.as_str(),
            app,
            machine,
            url,
            connected_at: google.map(|google| google.connected_at.as_millis()),
            email: address(|google| google.email.as_ref()),
            push_account: address(|google| google.push_account.as_ref()),
            notifications: record.notifications_enabled,
            wake_on_mail: record.wake_on_mail,
            watch_expires_at: record.watch_expires_at.map(Timestamp::as_millis),
            pending_sync: record.pending_sync,
            problem_code: record.problem.map(|problem| problem.code.as_str()),
            problem_since: record.problem.map(|problem| problem.since.as_millis()),
            mail_dead_letters: i64::try_from(record.mail_dead_letters).unwrap_or(i64::MAX),
            unreachable_since: record.unreachable_since.map(Timestamp::as_millis),
            config_fetched_at: record.config_fetched_at.map(Timestamp::as_millis),
            never_seen: record.never_seen,
            several_accounts: record.several_accounts,
        }
    }
}

/// Reads a record with the history id of its progress.
pub(crate) fn record<R: Columns>(row: &R) -> Result<UserRecord, R::Failure> {
    Ok(UserRecord {
        user: parsed(row, R::USER)?,
        owner: parsed_if_any(row, "owner")?,
        sandbox_id: parsed(row, "sandbox_id")?,
        status: parsed(row, "status")?,
        location: location(row)?,
        google: google(row)?,
        notifications_enabled: row.flag("notifications")?,
        last_history_id: parsed_if_any(row, "history_id")?,
        watch_expires_at: time_if_any(row, "watch_expires_at")?,
        problem: problem(row)?,
        mail_dead_letters: number(row, "mail_dead_letters")?.unsigned_abs(),
        wake_on_mail: row.flag("wake_on_mail")?,
        unreachable_since: time_if_any(row, "unreachable_since")?,
        config_fetched_at: time_if_any(row, "config_fetched_at")?,
        never_seen: row.flag("never_seen")?,
        several_accounts: row.flag("several_accounts")?,
        pending_sync: row.integer("pending_sync")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        version: number(row, "version")?,
    })
}

/// Reads the principal of a sign-in link.
pub(crate) fn principal<R: Columns>(row: &R) -> Result<Principal, R::Failure> {
    Ok(Principal {
        user: parsed_if_any(row, R::USER)?,
        operator: row.text("operator")?.map(str::to_owned),
        is_viewer: row.flag("viewer")?,
    })
}

/// Reads a sign-in link.
pub(crate) fn sign_in_link<R: Columns>(row: &R) -> Result<SignInLink, R::Failure> {
    let digest = row.bytes("digest")?;
    let digest = digest
        .try_into()
        .map_err(|_| corrupt("digest", "it has not 32 bytes"))?;
    Ok(SignInLink {
        digest: LinkDigest(digest),
        principal: principal(row)?,
        expires_at: time(row, "expires_at")?,
    })
}

/// Reads how many users need an operator.
pub(crate) fn fleet_counts<R: Columns>(row: &R) -> Result<FleetCounts, R::Failure> {
    Ok(FleetCounts {
        without_mail: number(row, "without_mail")?.unsigned_abs(),
        watch_ends: number(row, "watch_ends")?.unsigned_abs(),
        unreachable: number(row, "unreachable")?.unsigned_abs(),
        not_connected: number(row, "not_connected")?.unsigned_abs(),
    })
}

/// Reads how many users have a problem.
pub(crate) fn problem_count<R: Columns>(row: &R) -> Result<(ProblemCode, u64), R::Failure> {
    let code = text(row, "problem_code")?;
    let users = number(row, "users")?.unsigned_abs();
    Ok((ProblemCode::from(&*code), users))
}

/// Reads where a machine is.
fn location<R: Columns>(row: &R) -> Result<MachineLocation, R::Failure> {
    if let Some(url) = row.text("url")? {
        let url = url.parse().map_err(|error| corrupt("url", error))?;
        return Ok(MachineLocation::Url(url));
    }
    let managed = row.text("app")?.zip(row.text("machine")?);
    Ok(managed.map_or(MachineLocation::Unknown, |(app, machine)| {
        MachineLocation::Managed(ManagedMachine {
            app: app.to_owned(),
            machine: machine.to_owned(),
        })
    }))
}

/// Reads a managed machine.
pub(crate) fn machine<R: Columns>(row: &R) -> Result<ManagedMachine, R::Failure> {
    Ok(ManagedMachine {
        app: text(row, "app")?,
        machine: text(row, "machine")?,
    })
}

fn google<R: Columns>(row: &R) -> Result<Option<GoogleConnection>, R::Failure> {
    let Some(connected_at) = time_if_any(row, "connected_at")? else {
        return Ok(None);
    };
    Ok(Some(GoogleConnection {
        email: parsed_if_any(row, "email")?,
        push_account: parsed_if_any(row, "push_account")?,
        connected_at,
    }))
}

fn problem<R: Columns>(row: &R) -> Result<Option<MailProblem>, R::Failure> {
    let problem = row
        .text("problem_code")?
        .zip(time_if_any(row, "problem_since")?);
    Ok(problem.map(|(code, since)| MailProblem {
        code: ProblemCode::from(code),
        since,
    }))
}
