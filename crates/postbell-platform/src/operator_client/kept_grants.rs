//! Permissions that Google has not revoked yet: kept in the store, so that no restart forgets them.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use postbell_core::{EmailAddress, PendingRevocation, RevocationId, StoreError, Timestamp};
use postbell_google::AuthorizedUser;
use postbell_protocol::api::operator::GooglePermission;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::OperatorClient;
use super::grants::{MailboxGrant, NewGrant};

/// How long a process has for an attempt before another one may ask Google, too.
const ATTEMPT: Duration = Duration::from_secs(60);

/// The wait after a failure: as long as the permission has waited already, within these limits.
const SHORTEST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// How many permissions a poll takes.
const BATCH: usize = 16;

/// A grant in the form in which it is kept, encrypted by the store.
#[derive(Deserialize, Serialize)]
struct KeptGrant {
    /// The mailbox, if it is known.
    email: Option<EmailAddress>,
    client_id: String,
    client_secret: String,
    refresh_token: String,
}

impl NewGrant {
    const fn user(&self) -> &AuthorizedUser {
        match self {
            Self::Unknown(user) => user,
            Self::Of(grant) => &grant.user,
        }
    }

    fn id(&self) -> RevocationId {
        let token = self.user().refresh_token.expose_secret();
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        RevocationId(id)
    }

    fn to_secret(&self) -> SecretString {
        let user = self.user();
        let kept = KeptGrant {
            email: match self {
                Self::Unknown(_) => None,
                Self::Of(grant) => Some(grant.email.clone()),
            },
            client_id: user.client_id.clone(),
            client_secret: user.client_secret.expose_secret().to_owned(),
            refresh_token: user.refresh_token.expose_secret().to_owned(),
        };
        // Texts alone: this cannot fail.
        serde_json::to_string(&kept).unwrap_or_default().into()
    }

    fn from_secret(secret: &SecretString) -> Option<Self> {
        let kept: KeptGrant = serde_json::from_str(secret.expose_secret()).ok()?;
        let user = AuthorizedUser {
            client_id: kept.client_id,
            client_secret: kept.client_secret.into(),
            refresh_token: kept.refresh_token.into(),
        };
        Some(match kept.email {
            Some(email) => Self::Of(MailboxGrant::new(user, email)),
            None => Self::Unknown(user),
        })
    }
}

impl OperatorClient {
    /// Keeps a grant that is about to be revoked.
    pub(crate) async fn keep(&self, grant: &NewGrant) {
        let now = self.parts.clock.now();
        let kept = self.keep_until(grant, now, now + ATTEMPT).await;
        if let Err(error) = kept {
            let error = &error as &dyn std::error::Error;
            let name = grant.log_name();
            warn!(
                error,
                "A restart would forget that the permission of {name} is to be revoked"
            );
        }
    }

    async fn keep_until(
        &self,
        grant: &NewGrant,
        added_at: Timestamp,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        let revocation = PendingRevocation {
            id: grant.id(),
            secret: grant.to_secret(),
            added_at,
        };
        let revocations = &self.parts.revocations;
        revocations.add_revocation(&revocation, due_at).await
    }

    /// Forgets a grant that a user needs.
    pub(crate) async fn forget(&self, grant: &NewGrant) {
        self.settle(grant, Timestamp::default(), GooglePermission::Shared)
            .await;
    }

    /// Ends the attempt to revoke a grant that is kept since then: it is forgotten, or due again.
    pub(super) async fn settle(
        &self,
        grant: &NewGrant,
        since: Timestamp,
        permission: GooglePermission,
    ) {
        let settled = if permission == GooglePermission::NotRevoked {
            let now = self.parts.clock.now();
            let wait = (now - since).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            self.keep_until(grant, since, now + wait).await
        } else {
            let removed = self.parts.revocations.remove_revocation(grant.id());
            removed.await.map(drop)
        };
        if let Err(error) = settled {
            let error = &error as &dyn std::error::Error;
            let name = grant.log_name();
            warn!(
                error,
                "Could not record what became of the permission of {name}"
            );
        }
    }

    /// Takes the grants that are due to be revoked, each with the time since when it waits.
    pub(crate) async fn due_grants(&self) -> Result<Vec<(NewGrant, Timestamp)>, StoreError> {
        let now = self.parts.clock.now();
        let revocations = &self.parts.revocations;
        let due = revocations.claim_revocations(now, now + ATTEMPT, BATCH);
        let grants = due.await?.into_iter().filter_map(|it| {
            let grant = NewGrant::from_secret(&it.secret)?;
            Some((grant, it.added_at))
        });
        Ok(grants.collect())
    }

    /// Counts the permissions that Google has not revoked yet.
    pub(crate) async fn count_kept(&self) -> Result<u64, StoreError> {
        self.parts.revocations.count_revocations().await
    }
}
