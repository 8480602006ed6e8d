//! Links and epochs in memory, for tests.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use postbell_core::{LinkDigest, SignIns, SignInsError, Timestamp, UserId, Visitor};

/// Links and epochs in memory, for tests: keeps every promise but that of surviving the process.
#[derive(Default)]
pub struct MemorySignIns {
    links: Mutex<BTreeMap<LinkDigest, (Visitor, Timestamp)>>,
    epochs: Mutex<BTreeMap<String, i64>>,
}

#[async_trait]
impl SignIns for MemorySignIns {
    async fn add_link(
        &self,
        link: LinkDigest,
        visitor: &Visitor,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SignInsError> {
        let mut links = self.links.lock();
        links.retain(|_, (_, end)| now < *end);
        links.insert(link, (visitor.clone(), expires_at));
        Ok(())
    }

    async fn take_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Visitor>, SignInsError> {
        let taken = self.links.lock().remove(&link);
        let taken = taken.filter(|(_, end)| now < *end);
        Ok(taken.map(|(visitor, _)| visitor))
    }

    async fn epoch(&self, subject: &str) -> Result<i64, SignInsError> {
        Ok(self.epochs.lock().get(subject).copied().unwrap_or(0))
    }

    async fn end_sessions(&self, subject: &str) -> Result<(), SignInsError> {
        *self.epochs.lock().entry(subject.to_owned()).or_default() += 1;
        Ok(())
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), SignInsError> {
        let is_theirs = |visitor: &Visitor| visitor.user.as_ref() == Some(user);
        self.links
            .lock()
            .retain(|_, (visitor, _)| !is_theirs(visitor));
        self.end_sessions(user.as_str()).await
    }

    async fn forget_operators(&self) -> Result<(), SignInsError> {
        self.links
            .lock()
            .retain(|_, (visitor, _)| visitor.operator.is_none());
        self.end_sessions(Visitor::ALL_OPERATORS).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::sign_ins_conformance!((Box::new(MemorySignIns::default()), ()));
}
