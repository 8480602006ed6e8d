//! Grants of the operator's client: which users have one, and the end of those that nobody needs.

use std::time::Duration;

use postbell_core::{
    BoxError, EmailAddress, GoogleConnection, ProblemCode, StoreError, StoredCredentials,
    Timestamp, UserId, UserRecord, UsersError, update_user,
};
use postbell_google::{AuthorizedUser, CloudError, TokenError, revoke_grant};
use postbell_protocol::api::operator::GooglePermission;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use tracing::{info, warn};

use super::OperatorClient;
use crate::stored_credentials::decrypt_credentials;

/// How long the end of the watch and of the permission may take: a person waits for it.
const RELEASE_LIMIT: Duration = Duration::from_secs(15);

/// How long Google may take to say whether a new grant is valid still.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// A grant of the operator's client, and the mailbox that it opens.
#[derive(Clone)]
pub(crate) struct MailboxGrant {
    pub(super) user: AuthorizedUser,
    pub(super) email: EmailAddress,
}

/// A grant that is stored for no user yet.
pub(crate) enum NewGrant {
    /// One whose mailbox is not known yet.
    Unknown(AuthorizedUser),
    Of(MailboxGrant),
}

impl NewGrant {
    /// Whose it is, for a log.
    pub(crate) fn log_name(&self) -> String {
        match self {
            Self::Unknown(_) => "an account".to_owned(),
            Self::Of(grant) => grant.email.masked().to_string(),
        }
    }
}

/// What a grant opens.
enum Opened {
    Own,
    /// Another mailbox than the one that its user names.
    Other,
    /// Google refuses it.
    Nothing,
}

impl MailboxGrant {
    pub(crate) const fn new(user: AuthorizedUser, email: EmailAddress) -> Self {
        Self { user, email }
    }
}

impl OperatorClient {
    /// The credentials of a connection that was made with this client.
    pub(super) async fn open(
        &self,
        user: &UserId,
        google: &GoogleConnection,
    ) -> Result<Option<AuthorizedUser>, StoreError> {
        let stored = self.parts.credentials.credentials(user).await?;
        let (Some(stored), Some(email)) = (stored, &google.email) else {
            return Ok(None);
        };
        Ok(self.decrypt(&stored, email).await)
    }

    async fn decrypt(
        &self,
        stored: &StoredCredentials,
        email: &EmailAddress,
    ) -> Option<AuthorizedUser> {
        let user = decrypt_credentials(&self.parts.key, stored, email).await?;
        Some(user).filter(|user| user.client_id == self.parts.client.id)
    }

    /// Returns the grant of a user, if it was given to this client and can be read.
    pub(crate) async fn grant_of(
        &self,
        record: &UserRecord,
    ) -> Result<Option<MailboxGrant>, StoreError> {
        let Some(google) = &record.google else {
            return Ok(None);
        };
        match self.open(&record.user, google).await {
            Ok(user) => Ok(user
                .zip(google.email.clone())
                .map(|(user, email)| MailboxGrant { user, email })),
            Err(StoreError::Unavailable(error)) => Err(StoreError::Unavailable(error)),
            Err(error) => {
                let (user, error) = (record.user.masked(), &error as &dyn std::error::Error);
                warn!(user.id = %user, error, "Cannot read the credentials of {user}");
                Ok(None)
            }
        }
    }

    /// Returns the same grant if the user's credentials are about to be deleted: it is kept before, because nothing else
    /// would know of it after a crash. While the user has it, no attempt to revoke it does so.
    pub(crate) async fn keep_grant_of(
        &self,
        record: &UserRecord,
    ) -> Result<Option<MailboxGrant>, StoreError> {
        let grant = self.grant_of(record).await?;
        if let Some(grant) = &grant {
            self.keep(&NewGrant::Of(grant.clone())).await;
        }
        Ok(grant)
    }

    /// Ends the permission of a user who will be removed; `None` if no account is connected. Also returns the grant if it
    /// is not revoked: it is to be kept again after the removal, because another process that tried meanwhile found that
    /// the user had it.
    pub(crate) async fn release_before_removal(
        &self,
        record: &UserRecord,
    ) -> Result<(Option<GooglePermission>, Option<NewGrant>), StoreError> {
        let Some(google) = &record.google else {
            return Ok((None, None));
        };
        Ok(match self.grant_of(record).await? {
            Some(grant) => {
                let grant = NewGrant::Of(grant);
                let permission = self.release(&grant, Some(&record.user)).await;
                let is_revoked = permission != GooglePermission::NotRevoked;
                (Some(permission), Some(grant).filter(|_| !is_revoked))
            }
            None if self.has_made(google) => (Some(GooglePermission::NotRevoked), None),
            None => (Some(GooglePermission::OwnProject), None),
        })
    }

    /// Returns whether a user's account is connected with this client to the mailbox of a grant.
    pub(crate) fn keeps(&self, grant: &MailboxGrant, record: &UserRecord) -> bool {
        let google = record.google.as_ref().filter(|it| self.has_made(it));
        let email = google.and_then(|google| google.email.as_ref());
        email.is_some_and(|email| email.is_same_mailbox(grant.email.as_str()))
    }

    /// Waits until no other task stores or revokes a grant for the same mailbox.
    async fn lock(&self, grant: &MailboxGrant) -> Result<OwnedMutexGuard<()>, BoxError> {
        let key = grant.email.mailbox_key().into_owned();
        let lock = self.locks.lock(key).await;
        lock.ok_or_else(|| "too many changes of one mailbox wait".into())
    }

    /// Returns a lock under which a new grant may be stored. `None` if it has been revoked, with an older one of the
    /// same account.
    pub(crate) async fn reserve(
        &self,
        grant: &MailboxGrant,
    ) -> Result<Option<OwnedMutexGuard<()>>, StoreError> {
        let lock = self.lock(grant).await.map_err(StoreError::Unavailable)?;
        let opened = timeout(CHECK_LIMIT, self.open_mailbox(grant)).await;
        // While Google does not answer, it counts as valid: it was just now.
        let is_valid = !matches!(opened, Ok(Ok(Opened::Other | Opened::Nothing)));
        Ok(is_valid.then_some(lock))
    }

    async fn open_mailbox(&self, grant: &MailboxGrant) -> Result<Opened, CloudError> {
        let mailbox = self.mailbox(self.tokens(&grant.user));
        match mailbox.profile().await {
            Ok(profile) if grant.email.is_same_mailbox(&profile.email_address) => Ok(Opened::Own),
            Ok(_) => Ok(Opened::Other),
            Err(
                CloudError::Token(TokenError::GrantRevoked)
                | CloudError::Unauthorized
                | CloudError::Refused(_),
            ) => Ok(Opened::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Ends a permission that is not used. It is kept until Google has revoked it, or a user needs it.
    ///
    /// The grant of a user who is `leaving` does not count.
    pub(crate) async fn release(
        &self,
        grant: &NewGrant,
        leaving: Option<&UserId>,
    ) -> GooglePermission {
        self.keep(grant).await;
        self.release_kept(grant, leaving, self.parts.clock.now())
            .await
    }

    /// The same for one that is kept since then.
    pub(crate) async fn release_kept(
        &self,
        grant: &NewGrant,
        leaving: Option<&UserId>,
        since: Timestamp,
    ) -> GooglePermission {
        let permission = match grant {
            NewGrant::Of(grant) => self.end(grant, leaving).await,
            NewGrant::Unknown(user) => self.end_unknown(user).await,
        };
        self.settle(grant, since, permission).await;
        permission
    }

    /// Ends Gmail's watch and the permission of an account, unless a user has a grant of this client that opens its mailbox.
    /// Who only names the address does not count.
    ///
    /// Google revokes everything that the account has granted to the client's project, and ends its only watch. The
    /// grant of a user who is `leaving` does not count.
    async fn end(&self, grant: &MailboxGrant, leaving: Option<&UserId>) -> GooglePermission {
        let email = grant.email.masked();
        let released = timeout(RELEASE_LIMIT, self.try_release(grant, leaving)).await;
        let error: BoxError = match released {
            Ok(Ok(permission)) => {
                info!(?permission, "Released the permission of {email}");
                return permission;
            }
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        let error = &*error as &dyn std::error::Error;
        warn!(error, "Could not revoke the permission of {email}");
        GooglePermission::NotRevoked
    }

    /// The same for a grant whose mailbox must be found out first.
    async fn end_unknown(&self, user: &AuthorizedUser) -> GooglePermission {
        let mailbox = self.mailbox(self.tokens(user));
        let error: BoxError = match timeout(CHECK_LIMIT, mailbox.profile()).await {
            Ok(Ok(profile)) => match profile.email_address.parse() {
                Ok(email) => {
                    let grant = MailboxGrant::new(user.clone(), email);
                    return self.end(&grant, None).await;
                }
                Err(error) => Box::new(error),
            },
            Ok(Err(CloudError::Token(TokenError::GrantRevoked))) => {
                return GooglePermission::Revoked;
            }
            Ok(Err(error)) => error.into(),
            Err(elapsed) => elapsed.into(),
        };
        let error = &*error as &dyn std::error::Error;
        warn!(error, "Could not find out whose permission is unused");
        GooglePermission::NotRevoked
    }

    async fn try_release(
        &self,
        grant: &MailboxGrant,
        leaving: Option<&UserId>,
    ) -> Result<GooglePermission, BoxError> {
        let _lock = self.lock(grant).await?;
        let mut unknown = None;
        for (record, other) in self.grants(&grant.email).await? {
            if Some(&record.user) == leaving {
                continue;
            }
            match self.open_mailbox(&other).await {
                Ok(Opened::Own) => return Ok(GooglePermission::Shared),
                Ok(Opened::Other | Opened::Nothing) => (),
                Err(error) => unknown = Some(error),
            }
        }
        if let Some(error) = unknown {
            return Err(error.into());
        }
        self.revoke(&grant.user).await?;
        if let Err(error) = self.report_revoked(&grant.email, leaving).await {
            let error = &error as &dyn std::error::Error;
            warn!(
                error,
                "Could not find out whose grants were revoked with another one"
            );
        }
        Ok(GooglePermission::Revoked)
    }

    /// The users with a grant of this client for a mailbox.
    async fn grants(
        &self,
        email: &EmailAddress,
    ) -> Result<Vec<(UserRecord, MailboxGrant)>, StoreError> {
        let mut grants = Vec::new();
        for user in self.parts.users.users_by_email(email).await? {
            if let Some(record) = self.parts.users.get(&user).await?
                && let Some(grant) = self.grant_of(&record).await?
            {
                grants.push((record, grant));
            }
        }
        Ok(grants)
    }

    /// Another process may have connected the account: then its grant was revoked, too, and its user must know.
    async fn report_revoked(
        &self,
        email: &EmailAddress,
        leaving: Option<&UserId>,
    ) -> Result<(), UsersError> {
        let now = self.parts.clock.now();
        for (found, grant) in self.grants(email).await? {
            let is_leaving = Some(&found.user) == leaving;
            if is_leaving || !matches!(self.open_mailbox(&grant).await, Ok(Opened::Nothing)) {
                continue;
            }
            let revoked = |record: &mut UserRecord| {
                if record.google == found.google {
                    record.watch_renewed(Err(ProblemCode::GrantRevoked), now);
                }
                Ok::<_, UsersError>(())
            };
            let (users, clock) = (&*self.parts.users, &*self.parts.clock);
            update_user(users, &found.user, None, clock, revoked).await?;
            let user = found.user.masked();
            warn!(user.id = %user, "The grant of {user} was revoked with another one of the account");
        }
        Ok(())
    }

    async fn revoke(&self, user: &AuthorizedUser) -> Result<(), TokenError> {
        // A watch ends by itself, too, once the permission is gone.
        let _ = self.mailbox(self.tokens(user)).stop().await;
        let mut url = self.parts.token_url.clone();
        if let Ok(revocation) = url.join("revoke") {
            url = revocation;
        }
        revoke_grant(&self.parts.http, &url, &user.refresh_token).await
    }
}
