//! Entries of the audit log, and tokens.

use postbell_core::{AccessToken, AuditEntry};

use super::{Columns, number, parsed, parsed_if_any, text, time, time_if_any};

/// Reads an entry of the audit log.
pub(crate) fn audit_entry<R: Columns>(row: &R) -> Result<AuditEntry, R::Failure> {
    Ok(AuditEntry {
        number: number(row, "number")?,
        at: time(row, "at")?,
        actor: text(row, "actor")?,
        origin: text(row, "origin")?,
        action: text(row, "action")?,
        user: parsed_if_any(row, R::USER)?,
        detail: text(row, "detail")?,
    })
}

/// Reads a token.
pub(crate) fn access_token<R: Columns>(row: &R) -> Result<AccessToken, R::Failure> {
    Ok(AccessToken {
        id: parsed(row, "id")?,
        name: text(row, "name")?,
        scope: parsed(row, "scope")?,
        user: parsed_if_any(row, R::USER)?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        last_used_at: time_if_any(row, "last_used_at")?,
    })
}
