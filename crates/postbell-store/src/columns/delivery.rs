//! The records of the queue and of its log.

use bytes::Bytes;
use postbell_core::{
    DeadLetter, DeliveryRecord, HourlyCount, MessageIds, Notification, PendingDelivery,
    ProblemCode, QueueCursor,
};

use super::{Columns, corrupt, number, parsed, parsed_if_any, text, time, time_if_any};

/// Reads a count.
pub(crate) fn count<R: Columns>(row: &R, column: &'static str) -> Result<u32, R::Failure> {
    let count = u32::try_from(number(row, column)?);
    Ok(count.map_err(|error| corrupt(column, error))?)
}

/// Reads a notification; `None` if its message could not be parsed.
pub(crate) fn notification<R: Columns>(row: &R) -> Result<Option<Notification>, R::Failure> {
    let Some(history_id) = parsed_if_any(row, "history_id")? else {
        return Ok(None);
    };
    Ok(Some(Notification {
        user: parsed(row, R::USER)?,
        address: parsed_if_any(row, "address")?,
        message_id: parsed(row, "message_id")?,
        published_at: time_if_any(row, "published_at")?,
        history_id,
        trace: parsed_if_any(row, "trace")?,
        body: Bytes::from(row.bytes("body")?),
    }))
}

/// Reads the cursor of a mailbox.
pub(crate) fn cursor<R: Columns>(row: &R) -> Result<QueueCursor, R::Failure> {
    Ok(QueueCursor {
        history_id: parsed(row, "history_id")?,
        message_ids: parsed::<MessageIds, _>(row, "message_ids")?,
        settled_at: time(row, "settled_at")?,
        published_at: time_if_any(row, "published_at")?,
    })
}

pub(crate) fn pending_delivery<R: Columns>(row: &R) -> Result<PendingDelivery, R::Failure> {
    Ok(PendingDelivery {
        user: parsed(row, R::USER)?,
        message_id: parsed(row, "message_id")?,
        history_id: parsed(row, "history_id")?,
        accepted_at: time(row, "accepted_at")?,
        due_at: time(row, "due_at")?,
        consecutive_failures: count(row, "consecutive_failures")?,
        failing_since: time_if_any(row, "failing_since")?,
        in_progress: number(row, "leased_until")? > 0,
        parked_for: row.text("parked_for")?.map(ProblemCode::from),
    })
}

pub(crate) fn delivery_record<R: Columns>(row: &R) -> Result<DeliveryRecord, R::Failure> {
    Ok(DeliveryRecord {
        message_id: parsed(row, "message_id")?,
        history_id: parsed(row, "history_id")?,
        outcome: parsed(row, "outcome")?,
        cause: row.text("cause")?.map(str::to_owned),
        failure_kind: parsed_if_any(row, "failure_kind")?,
        attempt: count(row, "attempt")?,
        accepted_at: time(row, "accepted_at")?,
        claimed_at: time(row, "claimed_at")?,
        settled_at: time(row, "settled_at")?,
        trace_id: parsed_if_any(row, "trace_id")?,
    })
}

pub(crate) fn hourly_count<R: Columns>(row: &R) -> Result<HourlyCount, R::Failure> {
    Ok(HourlyCount {
        delivered: count(row, "delivered")?,
        failed: count(row, "failed")?,
        ..HourlyCount::of_hour(number(row, "hour")?)
    })
}

pub(crate) fn dead_letter<R: Columns>(row: &R) -> Result<DeadLetter, R::Failure> {
    Ok(DeadLetter {
        id: number(row, "id")?,
        user: parsed(row, R::USER)?,
        message_id: parsed(row, "message_id")?,
        history_id: parsed_if_any(row, "history_id")?,
        reason: parsed(row, "reason")?,
        cause: text(row, "cause")?,
        failure_kind: parsed_if_any(row, "failure_kind")?,
        dead_lettered_at: time(row, "dead_lettered_at")?,
    })
}
