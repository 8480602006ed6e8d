//! API keys and users' tokens in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use postbell_core::{
    AccessToken, AccessTokens, AuditAction, StoreError, TOKEN_USE_INTERVAL, Timestamp, TokenDigest,
    TokenId, UserId, lifetime_text,
};

use super::audit::Recorder;

/// API keys and users' tokens in memory: every promise except durability. Clones share the tokens.
#[derive(Clone, Default)]
pub struct MemoryTokens {
    tokens: Arc<Mutex<BTreeMap<TokenId, (TokenDigest, AccessToken)>>>,
    recorder: Recorder,
}

impl MemoryTokens {
    pub(super) fn recording(&self, recorder: Recorder) -> Self {
        Self {
            recorder,
            ..self.clone()
        }
    }

    pub(super) fn remove_of_user(&self, user: &UserId) -> u64 {
        let mut tokens = self.tokens.lock();
        let before = tokens.len();
        tokens.retain(|_, (_, token)| token.user.as_ref() != Some(user));
        (before - tokens.len()) as u64
    }
}

#[async_trait]
impl AccessTokens for MemoryTokens {
    async fn add(&self, token: &AccessToken, digest: TokenDigest) -> Result<(), StoreError> {
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, (_, other)| other.expires_at > token.created_at);
        tokens.insert(token.id.clone(), (digest, token.clone()));
        let lifetime = lifetime_text(token.expires_at - token.created_at);
        let (id, name, scope) = (&token.id, &token.name, token.scope.as_str());
        let detail = format!("{id} {name}, {scope}, for {lifetime}");
        let action = AuditAction::IssueToken;
        self.recorder.record(action, token.user.as_ref(), &detail);
        Ok(())
    }

    async fn find(
        &self,
        digest: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        let mut tokens = self.tokens.lock();
        let mut tokens = tokens.values_mut();
        let found = tokens.find(|(its, token)| *its == digest && token.expires_at > now);
        let is_recent = |at: Timestamp| at + TOKEN_USE_INTERVAL > now && at <= now;
        Ok(found.map(|(_, token)| {
            let before = token.clone();
            if !token.last_used_at.is_some_and(is_recent) {
                token.last_used_at = Some(now);
            }
            before
        }))
    }

    async fn list(
        &self,
        user: Option<&UserId>,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Vec<AccessToken>, StoreError> {
        let tokens = self.tokens.lock();
        let wanted = tokens.values().map(|(_, token)| token).filter(|token| {
            after.is_none_or(|after| token.id > *after)
                && (user.is_none() || token.user.as_ref() == user)
        });
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn revoke(&self, id: &TokenId) -> Result<bool, StoreError> {
        let removed = self.tokens.lock().remove(id);
        if let Some((_, token)) = &removed {
            let detail = format!("{id} {}", token.name);
            let action = AuditAction::RevokeToken;
            self.recorder.record(action, token.user.as_ref(), &detail);
        }
        Ok(removed.is_some())
    }

    async fn revoke_user(&self, user: &UserId) -> Result<u64, StoreError> {
        let revoked = self.remove_of_user(user);
        if revoked > 0 {
            let detail = format!("{revoked} tokens");
            let action = AuditAction::RevokeToken;
            self.recorder.record(action, Some(user), &detail);
        }
        Ok(revoked)
    }
}
