//! Links and epochs in memory, for tests.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use postbell_core::{LinkDigest, Principal, Sessions, SessionsError, Timestamp, UserId};

/// Links and epochs in memory, for tests: keeps every promise but that of surviving the process.
#[derive(Default)]
pub struct MemorySessions {
    links: Mutex<BTreeMap<LinkDigest, (Principal, Timestamp)>>,
    epochs: Mutex<BTreeMap<String, i64>>,
}

#[async_trait]
impl Sessions for MemorySessions {
    async fn add_link(
        &self,
        link: LinkDigest,
        visitor: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SessionsError> {
        let mut links = self.links.lock();
        links.retain(|_, (_, end)| now < *end);
        links.insert(link, (visitor.clone(), expires_at));
        Ok(())
    }

    async fn take_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Principal>, SessionsError> {
        let taken = self.links.lock().remove(&link);
        let taken = taken.filter(|(_, end)| now < *end);
        Ok(taken.map(|(visitor, _)| visitor))
    }

    async fn epoch(&self, subject: &str) -> Result<i64, SessionsError> {
        Ok(self.epochs.lock().get(subject).copied().unwrap_or(0))
    }

    async fn end_sessions(&self, subject: &str) -> Result<(), SessionsError> {
        *self.epochs.lock().entry(subject.to_owned()).or_default() += 1;
        Ok(())
    }

    async fn forget_user(&self, user: &UserId) -> Result<(), SessionsError> {
        let is_theirs = |visitor: &Principal| visitor.user.as_ref() == Some(user);
        self.links
            .lock()
            .retain(|_, (visitor, _)| !is_theirs(visitor));
        self.end_sessions(user.as_str()).await
    }

    async fn forget_operators(&self) -> Result<(), SessionsError> {
        self.links
            .lock()
            .retain(|_, (visitor, _)| visitor.operator.is_none());
        self.end_sessions(Principal::ALL_OPERATORS).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::sessions_conformance!((Box::new(MemorySessions::default()), ()));
}
