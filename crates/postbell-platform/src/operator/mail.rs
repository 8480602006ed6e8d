//! Deliveries, dead letters and the audit log.

use async_trait::async_trait;
use postbell_core::{Actor, AuditEntry, DeliveryLog, Replayed, UserId};
use postbell_protocol::api::operator::{
    AuditList, AuditRecord, DeadLetterList, DeadLetterOutcome, DeadLetterSelection, DeliveryList,
    DropDeadLetters, ListAudit, ListDeadLetters, ListDeliveries, ReplayDeadLetters,
};

use super::{LONGEST_PAGE, Operator, OperatorError, Perform, page_size};

#[async_trait]
impl Perform<ListDeliveries> for Operator {
    async fn perform(
        &self,
        request: ListDeliveries,
        by: &Actor,
    ) -> Result<DeliveryList, OperatorError> {
        let log = self.queue()?.ports.delivery_log(by);
        let deliveries = log.deliveries(&request.user_id).await?;
        if deliveries.is_empty() {
            self.record(&request.user_id, by).await?;
        }
        Ok(DeliveryList { deliveries })
    }
}

#[async_trait]
impl Perform<ListDeadLetters> for Operator {
    async fn perform(
        &self,
        request: ListDeadLetters,
        by: &Actor,
    ) -> Result<DeadLetterList, OperatorError> {
        let log = self.queue()?.ports.delivery_log(by);
        let (user, limit) = (request.user_id.as_ref(), page_size(request.limit)?);
        let dead_letters = log.dead_letters(user, request.before, limit).await?;
        Ok(DeadLetterList { dead_letters })
    }
}

#[async_trait]
impl Perform<ReplayDeadLetters> for Operator {
    async fn perform(
        &self,
        request: ReplayDeadLetters,
        by: &Actor,
    ) -> Result<DeadLetterOutcome, OperatorError> {
        let queue = self.queue()?;
        let log = queue.ports.delivery_log(by);
        let mut outcome = DeadLetterOutcome::default();
        for number in selected(&*log, &request.which).await? {
            match log.replay(number, self.clock.now()).await? {
                Replayed::Queued => outcome.done.push(number),
                Replayed::Unparseable => outcome.malformed.push(number),
                Replayed::Missing => outcome.missing.push(number),
            }
        }
        if let Some(arrivals) = &queue.arrivals {
            arrivals.notify_one();
        }
        Ok(outcome)
    }
}

#[async_trait]
impl Perform<DropDeadLetters> for Operator {
    async fn perform(
        &self,
        request: DropDeadLetters,
        by: &Actor,
    ) -> Result<DeadLetterOutcome, OperatorError> {
        let log = self.queue()?.ports.delivery_log(by);
        let mut outcome = DeadLetterOutcome::default();
        for number in selected(&*log, &request.which).await? {
            if log.drop_dead_letter(number).await? {
                outcome.done.push(number);
            } else {
                outcome.missing.push(number);
            }
        }
        Ok(outcome)
    }
}

/// Returns the numbers of the selected dead letters, oldest first.
async fn selected(
    log: &dyn DeliveryLog,
    which: &DeadLetterSelection,
) -> Result<Vec<i64>, OperatorError> {
    let ways = [
        !which.numbers.is_empty(),
        which.user_id.is_some(),
        which.all,
    ];
    if ways.iter().filter(|is_used| **is_used).count() != 1 {
        let text = "expected one of numbers, userId and all";
        return Err(OperatorError::Invalid(text.to_owned()));
    }
    let mut numbers = which.numbers.clone();
    if numbers.is_empty() {
        numbers = all(log, which.user_id.as_ref()).await?;
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

async fn all(log: &dyn DeliveryLog, user: Option<&UserId>) -> Result<Vec<i64>, OperatorError> {
    let mut numbers = Vec::new();
    loop {
        let before = numbers.last().copied();
        let page = log.dead_letters(user, before, LONGEST_PAGE).await?;
        numbers.extend(page.iter().map(|dead_letter| dead_letter.id));
        if page.len() < LONGEST_PAGE {
            return Ok(numbers);
        }
    }
}

#[async_trait]
impl Perform<ListAudit> for Operator {
    async fn perform(&self, request: ListAudit, _: &Actor) -> Result<AuditList, OperatorError> {
        let log = if request.relay {
            self.queue()?.ports.audit_log()
        } else {
            self.ports.audit_log()
        };
        let (user, limit) = (request.user_id.as_ref(), page_size(request.limit)?);
        let entries = log.entries(user, request.before, limit).await?;
        Ok(AuditList {
            entries: entries.into_iter().map(audit_record).collect(),
        })
    }
}

fn audit_record(entry: AuditEntry) -> AuditRecord {
    AuditRecord {
        number: entry.number,
        at: entry.at.as_millis(),
        actor: entry.actor,
        origin: entry.origin,
        action: entry.action,
        user_id: entry.user.map(|user| user.to_string()),
        detail: entry.detail,
    }
}
