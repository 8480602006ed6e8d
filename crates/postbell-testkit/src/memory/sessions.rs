//! Sign-in links and session epochs in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{
    AuditAction, Changes, LinkDigest, Principal, Sessions, SignInLink, StoreError, Timestamp,
    UserId, lifetime_text,
};

use super::audit::Recorder;

/// Sign-in links and session epochs in memory: every promise except durability. Clones share them.
#[derive(Clone, Default)]
pub struct MemorySessions {
    links: Arc<Mutex<BTreeMap<LinkDigest, (Principal, Timestamp)>>>,
    epochs: Arc<Mutex<BTreeMap<String, i64>>>,
    changes: Changes,
    recorder: Recorder,
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

    pub(super) fn recording(&self, recorder: Recorder) -> Self {
        Self {
            recorder,
            ..self.clone()
        }
    }
}

fn sign_in_link(link: (&LinkDigest, &(Principal, Timestamp))) -> SignInLink {
    let (digest, (principal, expires_at)) = link;
    SignInLink {
        digest: *digest,
        principal: principal.clone(),
        expires_at: *expires_at,
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
        let role = match (&principal.operator, principal.is_viewer) {
            (None, _) => "",
            (Some(_), false) => "operator, ",
            (Some(_), true) => "viewer, ",
        };
        let detail = format!("{role}for {}", lifetime_text(expires_at - now));
        let action = AuditAction::IssueLink;
        self.recorder
            .record(action, principal.user.as_ref(), &detail);
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

    async fn find_link(
        &self,
        link: LinkDigest,
        now: Timestamp,
    ) -> Result<Option<SignInLink>, StoreError> {
        let links = self.links.lock();
        let found = links.get_key_value(&link).map(sign_in_link);
        Ok(found.filter(|link| now < link.expires_at))
    }

    async fn links(
        &self,
        after: Option<LinkDigest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<SignInLink>, StoreError> {
        let links = self.links.lock();
        let links = links.iter().map(sign_in_link);
        let links = links.filter(|link| now < link.expires_at);
        let links = links.filter(|link| after.is_none_or(|after| link.digest > after));
        Ok(links.take(limit).collect())
    }

    async fn revoke_link(&self, link: LinkDigest) -> Result<bool, StoreError> {
        let removed = self.links.lock().remove(&link);
        if let Some((principal, _)) = &removed {
            let action = AuditAction::RevokeLink;
            self.recorder.record(action, principal.user.as_ref(), "");
        }
        Ok(removed.is_some())
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
        self.end_sessions(user.as_str()).await?;
        self.recorder.record(AuditAction::SignOut, Some(user), "");
        Ok(())
    }

    async fn revoke_operators(&self) -> Result<(), StoreError> {
        self.links
            .lock()
            .retain(|_, (principal, _)| principal.operator.is_none());
        self.end_sessions(Principal::ALL_OPERATORS).await?;
        let whose = Principal::ALL_OPERATORS;
        self.recorder.record(AuditAction::SignOut, None, whose);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::sessions_conformance!((Box::new(MemorySessions::default()), ()));
}
