//! Alerts, the marks of their subjects, and encrypted values.

use postbell_core::{
    AlertClaim, AlertMark, AlertRecipient, StoreError, StoredTarget, TargetId, Timestamp, UserId,
};

use super::{Columns, corrupt, number, parsed, text, time, time_if_any};
use crate::at_rest::{Sealed, Secrets};

/// A target as it is stored.
#[derive(Clone)]
pub(crate) struct SealedTarget {
    pub(crate) id: TargetId,
    pub(crate) text: Sealed,
    pub(crate) added_at: Timestamp,
}

impl SealedTarget {
    /// Decrypts the text.
    pub(crate) fn open(self, secrets: &Secrets, user: &UserId) -> Result<StoredTarget, StoreError> {
        Ok(StoredTarget {
            text: secrets.open(user, &self.text)?.into(),
            id: self.id,
            added_at: self.added_at,
        })
    }
}

/// The user column of an alert: empty for a target of the operator.
pub(crate) fn recipient_column(recipient: &AlertRecipient) -> &str {
    recipient.user.as_ref().map_or("", UserId::as_str)
}

/// Reads an alert with the number of the lease that it has.
pub(crate) fn claimed<R: Columns>(row: &R) -> Result<AlertClaim, R::Failure> {
    let is_operators = row.text(R::USER)?.is_some_and(str::is_empty);
    let user = if is_operators {
        None
    } else {
        Some(parsed(row, R::USER)?)
    };
    let attempt = u32::try_from(number(row, "attempt")?);
    Ok(AlertClaim {
        id: parsed(row, "id")?,
        recipient: AlertRecipient {
            user,
            target: parsed(row, "target")?,
        },
        event: text(row, "event")?,
        added_at: time(row, "added_at")?,
        attempt: attempt.map_err(|error| corrupt("attempt", error))?,
        lease: number(row, "lease")?,
    })
}

/// Reads the mark of a subject.
pub(crate) fn mark<R: Columns>(row: &R) -> Result<AlertMark, R::Failure> {
    Ok(AlertMark {
        subject: text(row, "subject")?,
        state: text(row, "state")?,
        due_at: time_if_any(row, "due_at")?,
        version: number(row, "version")?,
    })
}

/// Returns the mark of a subject of which nothing is stored.
pub(crate) fn no_mark(subject: &str) -> AlertMark {
    AlertMark {
        subject: subject.to_owned(),
        state: String::new(),
        due_at: None,
        version: 0,
    }
}

/// Reads a user's target.
pub(crate) fn sealed_target<R: Columns>(row: &R) -> Result<SealedTarget, R::Failure> {
    Ok(SealedTarget {
        id: parsed(row, "id")?,
        text: sealed(row)?,
        added_at: time(row, "added_at")?,
    })
}

/// Reads an encrypted value.
pub(crate) fn sealed<R: Columns>(row: &R) -> Result<Sealed, R::Failure> {
    Ok(Sealed {
        with: text(row, "key_id")?,
        bytes: row.bytes("ciphertext")?,
    })
}
