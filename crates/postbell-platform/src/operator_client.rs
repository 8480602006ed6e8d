//! The operator's OAuth client, with which users connect their Google account in the browser.
//!
//! A connection of this kind has the operator's topic and push account. The platform starts Gmail's watch, renews it
//! ([`WatchRenewer`]), and takes the permission back when the user disconnects; the machine gets the same credentials as from
//! `postbell setup`.

mod grants;
mod kept_grants;
mod renewer;

use std::sync::Arc;
use std::time::Duration;

use postbell_core::{
    Clock, Credentials, EmailAddress, GoogleConnection, HistoryId, PendingRevocations, UserId,
    UserRecord, Users,
};
use postbell_google::{
    Api, AuthorizedUser, CloudError, ConsentRequest, ConsentSecrets, Grant, Mailbox, OAuthClient,
    RefusalKind, TokenError, TokenSource, WatchStarted,
};
use postbell_protocol::credential_envelope::{CredentialEnvelope, PlatformKey};
use postbell_protocol::gog_keyring::GogCredentials;
use postbell_protocol::tarball;
use postbell_protocol::watch_state::WatchState;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;
use url::Url;

pub(crate) use self::grants::{MailboxGrant, NewGrant};
pub use self::renewer::WatchRenewer;
use crate::keyed_locks::KeyedLocks;
use crate::random::{Random, fill};
use crate::reconciler::UnusedGrant;
use crate::{CommandQueue, NewConnection};

/// The scope of the watcher.
const READ_MAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";

/// The labels that are watched, as by `postbell setup`.
const LABELS: [&str; 1] = ["INBOX"];

/// The operator's OAuth client of type web application.
pub struct OperatorClient {
    parts: OperatorClientParts,
    /// By the mailbox: a grant is not stored while another one of the mailbox is revoked.
    locks: KeyedLocks<String>,
}

/// The dependencies of an [`OperatorClient`].
pub struct OperatorClientParts {
    /// Id and secret.
    pub client: OAuthClient,
    /// The topic in the client's project to which Gmail publishes, as `projects/P/topics/T`.
    pub topic: String,
    /// The service account that signs the pushes of the one subscription.
    pub push_account: EmailAddress,
    /// Scopes that the bots need beside reading mail.
    pub scopes: Vec<String>,
    /// The HTTP client. Must not follow redirects.
    pub http: Client,
    /// Google's consent page.
    pub auth_url: Url,
    /// Google's token endpoint; that of revocation is next to it.
    pub token_url: Url,
    /// Gmail's API.
    pub gmail_url: Url,
    /// Encrypts and decrypts credentials.
    pub key: Arc<PlatformKey>,
    /// The users' records.
    pub users: Arc<dyn Users>,
    /// Their credentials.
    pub credentials: Arc<dyn Credentials>,
    /// The permissions that Google has not revoked yet.
    pub revocations: Arc<dyn PendingRevocations>,
    /// Generates secrets.
    pub random: Random,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a user's account was not connected. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The user did not grant these scopes.
    #[error("scopes were not granted")]
    ScopesMissing(Vec<String>),

    /// Google sent no refresh token.
    #[error("google sent no refresh token")]
    NoRefreshToken,

    /// Another account than the connected one consented.
    #[error("another account consented")]
    OtherAccount,

    /// The code was used before, or is too old.
    #[error("google does not accept the code")]
    CodeRefused,

    /// Google refuses the client or its topic: the operator must act.
    #[error("google refuses what the operator configured")]
    Operator(#[source] CloudError),

    /// Google did not answer, or only with a failure of its own.
    #[error("google is unavailable")]
    Unavailable(#[source] CloudError),

    /// The credentials could not be encrypted.
    #[error("the credentials cannot be encrypted")]
    NotEncrypted,
}

/// Which account a user is to consent with. One that another record of the user has is always connected again.
pub(crate) struct Wanted {
    /// The record whose account is to be connected again; a further one if `None`.
    pub(crate) again: Option<UserRecord>,
    /// The user's own record.
    pub(crate) own: UserRecord,
    /// Those of the user's further accounts.
    pub(crate) further: Vec<UserRecord>,
}

impl Wanted {
    /// The address of the account that is to be connected again.
    pub(crate) fn address(&self) -> Option<&EmailAddress> {
        address(self.again.as_ref()?)
    }

    /// The record that has a mailbox.
    fn with(&self, email: &EmailAddress) -> Option<&UserRecord> {
        let mut records = std::iter::once(&self.own).chain(&self.further);
        records.find(|record| {
            let theirs = address(record);
            theirs.is_some_and(|theirs| theirs.is_same_mailbox(email.as_str()))
        })
    }

    /// The record that a mailbox is to be connected to; `None` if that is for the store to find, as of a further account.
    fn record_for(&self, email: &EmailAddress) -> Result<Option<&UserRecord>, ConnectError> {
        let known = self.with(email).map(|record| &record.user);
        match &self.again {
            Some(again) if known == Some(&again.user) => Ok(Some(again)),
            Some(again) if known.is_none() && address(again).is_none() => Ok(Some(again)),
            Some(_) if known.is_none() => Err(ConnectError::OtherAccount),
            _ => Ok(None),
        }
    }
}

/// The address of the connected account.
pub(crate) fn address(record: &UserRecord) -> Option<&EmailAddress> {
    record.google.as_ref()?.email.as_ref()
}

/// An account to which its owner has consented.
pub(crate) struct Consented {
    /// The record that it is connected to, or that of its owner.
    pub(crate) user: UserId,
    pub(crate) new: NewConnection,
    /// Its grant, until the connection is stored.
    pub(crate) unused: UnusedGrant,
    /// When Google ends the permission, if it does.
    pub(crate) ends_in: Option<Duration>,
}

impl OperatorClient {
    /// Creates a client. Sends nothing.
    #[must_use]
    pub fn new(parts: OperatorClientParts) -> Self {
        let locks = KeyedLocks::default();
        Self { parts, locks }
    }

    /// Google's consent page.
    pub(crate) const fn auth_url(&self) -> &Url {
        &self.parts.auth_url
    }

    /// Whether a connection was made with this client, as far as the record tells.
    pub(crate) fn has_made(&self, google: &GoogleConnection) -> bool {
        google.push_account.as_ref() == Some(&self.parts.push_account)
    }

    /// Creates the secrets of a request for consent.
    pub(crate) fn new_secrets(&self) -> ConsentSecrets {
        ConsentSecrets::new(&|bytes| fill(&self.parts.random, bytes))
    }

    /// A request for the consent of a mailbox's owner, who is redirected to `redirect`.
    pub(crate) fn request(
        &self,
        redirect: Url,
        secrets: ConsentSecrets,
        account: Option<&EmailAddress>,
    ) -> ConsentRequest {
        let account = account.map(|account| account.as_str().to_owned());
        let client = self.parts.client.clone();
        ConsentRequest::new(client, redirect, &self.scopes(), account, secrets)
    }

    fn scopes(&self) -> Vec<String> {
        let more = self.parts.scopes.iter();
        let more = more.filter(|scope| *scope != READ_MAIL).cloned();
        std::iter::once(READ_MAIL.to_owned()).chain(more).collect()
    }

    /// Exchanges a code for a grant of this client.
    pub(crate) async fn exchange(
        &self,
        request: &ConsentRequest,
        code: &SecretString,
    ) -> Result<Grant, TokenError> {
        let parts = &self.parts;
        let now = parts.clock.now();
        let grant = request.exchange(&parts.http, &parts.token_url, code, now);
        grant.await
    }

    /// Redeems a code: checks what was granted and whose mailbox it opens, starts Gmail's watch, and encrypts the credentials.
    ///
    /// To connect an account again, the user must consent with the same one. `queue` revokes a grant that is not used, also if
    /// the caller stops waiting, unless the user is to repeat the consent (ADR 38).
    pub(crate) async fn connect(
        &self,
        request: ConsentRequest,
        code: SecretString,
        wanted: &Wanted,
        queue: &CommandQueue,
    ) -> Result<Consented, ConnectError> {
        let exchanged = queue.exchange(request, code).await;
        let (grant, mut unused) = exchanged.map_err(ConnectError::of_exchange)?;
        match self.new_connection(&grant, wanted, &mut unused).await {
            Ok((user, new)) => Ok(Consented {
                user,
                new,
                unused,
                ends_in: grant.ends_in,
            }),
            Err(error) => {
                if error.asks_to_repeat() {
                    unused.keep();
                } else {
                    unused.give_back().await;
                }
                Err(error)
            }
        }
    }

    async fn new_connection(
        &self,
        grant: &Grant,
        wanted: &Wanted,
        unused: &mut UnusedGrant,
    ) -> Result<(UserId, NewConnection), ConnectError> {
        let parts = &self.parts;
        let scopes = self.scopes();
        let lacking = grant.lacking(&scopes);
        if !lacking.is_empty() {
            let lacking = lacking.into_iter().cloned().collect();
            return Err(ConnectError::ScopesMissing(lacking));
        }
        let user = self.authorized_user(grant);
        let user = user.ok_or(ConnectError::NoRefreshToken)?;
        let tokens = self.tokens(&user);
        let mailbox = self.mailbox(tokens.with_token(grant.access_token.clone(), grant.expires_in));
        let profile = mailbox.profile().await?;
        let named = profile.email_address.parse();
        let email: EmailAddress = named.map_err(CloudError::unavailable)?;
        let opens = MailboxGrant::new(user.clone(), email.clone());
        unused.is_of(opens.clone());
        let record = wanted.record_for(&email)?;
        let watch = self.watch(&mailbox).await?;
        // Mail of the time without a grant is after the last delivery.
        let delivered = wanted
            .with(&email)
            .and_then(|record| record.last_history_id);
        let begins = delivered.map_or(watch.history_id, |it| it.min(watch.history_id));
        let changed = record.unwrap_or(&wanted.own);
        let new = NewConnection {
            envelope: self.encrypt(user, &email, watch, begins)?,
            connection: GoogleConnection {
                email: Some(email),
                push_account: Some(parts.push_account.clone()),
                connected_at: parts.clock.now(),
            },
            watch_expires_at: Some(watch.expiration),
            is_proven: true,
            added: Some(changed.created_at),
            is_further: record.is_none(),
            grant: Some(opens),
        };
        Ok((changed.user.clone(), new))
    }

    /// The credentials of a grant; `None` if it has no refresh token.
    pub(crate) fn authorized_user(&self, grant: &Grant) -> Option<AuthorizedUser> {
        Some(AuthorizedUser {
            client_id: self.parts.client.id.clone(),
            client_secret: self.parts.client.secret.clone(),
            refresh_token: grant.refresh_token.clone()?,
        })
    }

    fn tokens(&self, user: &AuthorizedUser) -> TokenSource {
        let parts = &self.parts;
        let (http, clock) = (parts.http.clone(), Arc::clone(&parts.clock));
        TokenSource::new(http, parts.token_url.clone(), user.clone(), clock)
    }

    fn mailbox(&self, tokens: TokenSource) -> Mailbox {
        let (http, url) = (self.parts.http.clone(), self.parts.gmail_url.clone());
        Mailbox::new(Api::new(http, url, Arc::new(tokens)))
    }

    /// Starts or extends the watch. A watch with another topic of the project is replaced: the configured one is in use.
    async fn watch(&self, mailbox: &Mailbox) -> Result<WatchStarted, CloudError> {
        let topic = &self.parts.topic;
        match mailbox.watch(topic, &LABELS).await {
            Err(error) if error.is(RefusalKind::OtherWatch) => {
                warn!("A mailbox had a watch with another topic of the project: replaced it");
                mailbox.stop().await?;
                mailbox.watch(topic, &LABELS).await
            }
            watch => watch,
        }
    }

    /// Packs the credentials as `postbell setup` does, and encrypts them.
    fn encrypt(
        &self,
        user: AuthorizedUser,
        email: &EmailAddress,
        watch: WatchStarted,
        begins: HistoryId,
    ) -> Result<CredentialEnvelope, ConnectError> {
        let credentials = GogCredentials {
            client_id: user.client_id,
            client_secret: user.client_secret,
            refresh_token: user.refresh_token,
        };
        let expires = watch.expiration.as_millis();
        let state = WatchState {
            account: email.as_str().to_owned(),
            topic: self.parts.topic.clone(),
            labels: LABELS.map(str::to_owned).to_vec(),
            history_id: Some(begins),
            expiration_ms: expires,
            provider_expiration_ms: expires,
            updated_at_ms: self.parts.clock.now().as_millis(),
            ..WatchState::default()
        };
        let random = |bytes: &mut [u8]| fill(&self.parts.random, bytes);
        let packed = tarball::pack(&credentials, &state, &random);
        let packed = packed.map_err(|_| ConnectError::NotEncrypted)?;
        let packed = packed.expose_secret().as_bytes();
        CredentialEnvelope::encrypt(packed, self.parts.key.public_pem(), &random)
            .map_err(|_| ConnectError::NotEncrypted)
    }
}

impl ConnectError {
    /// Whether the user can repeat the consent, so that the grant may stay.
    const fn asks_to_repeat(&self) -> bool {
        match self {
            Self::ScopesMissing(_)
            | Self::NoRefreshToken
            | Self::CodeRefused
            | Self::Unavailable(_) => true,
            Self::OtherAccount | Self::Operator(_) | Self::NotEncrypted => false,
        }
    }

    fn of_exchange(error: TokenError) -> Self {
        match error {
            TokenError::GrantRevoked => Self::CodeRefused,
            error => CloudError::from(error).into(),
        }
    }
}

impl From<CloudError> for ConnectError {
    fn from(error: CloudError) -> Self {
        match error {
            CloudError::Unavailable { .. }
            | CloudError::Unauthorized
            | CloudError::Token(TokenError::Unavailable { .. }) => Self::Unavailable(error),
            CloudError::Token(TokenError::GrantRevoked) => Self::CodeRefused,
            CloudError::Token(_) | CloudError::Refused(_) => Self::Operator(error),
        }
    }
}
