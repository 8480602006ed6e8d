//! Sign-in links and session epochs in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{Changes, LinkDigest, Principal, Sessions, StoreError, Timestamp, UserId};

/// Sign-in links and session epochs in memory: every promise except durability.
#[derive(Default)]
pub struct MemorySessions {
    links: Mutex<BTreeMap<LinkDigest, (Principal, Timestamp)>>,
    epochs: Mutex<BTreeMap<String, i64>>,
    changes: Changes,
}

impl MemorySessions {
    /// Announces every change through `changes`.
    #[must_use]
    pub fn announcing(changes: Changes) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }
}

#[async_trait]
impl Sessions for MemorySessions {
    async fn add_link(
        &self,
        link: LinkDigest,
        principal: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut links = self.links.lock();
        links.retain(|_, (_, expires_at)| now < *expires_at);
        links.insert(link, (principal.clone(), expires_at));
        Ok(())
    }

    async fn redeem_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<Principal>, StoreError> {
        let redeemed = self.links.lock().remove(&link);
        let valid = redeemed.filter(|(_, expires_at)| now < *expires_at);
        Ok(valid.map(|(principal, _)| principal))
    }

    async fn epoch(&self, subject: &str) -> Result<i64, StoreError> {
        Ok(self.epochs.lock().get(subject).copied().unwrap_or(0))
    }

    async fn end_sessions(&self, subject: &str) -> Result<(), StoreError> {
        *self.epochs.lock().entry(subject.to_owned()).or_default() += 1;
        if let Ok(user) = subject.parse() {
            self.changes.announce(&user);
        }
        Ok(())
    }

    async fn revoke_user(&self, user: &UserId) -> Result<(), StoreError> {
        self.links
            .lock()
            .retain(|_, (principal, _)| principal.user.as_ref() != Some(user));
        self.end_sessions(user.as_str()).await
    }

    async fn revoke_operators(&self) -> Result<(), StoreError> {
        self.links
            .lock()
            .retain(|_, (principal, _)| principal.operator.is_none());
        self.end_sessions(Principal::ALL_OPERATORS).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::sessions_conformance!((Box::new(MemorySessions::default()), ()));
}
