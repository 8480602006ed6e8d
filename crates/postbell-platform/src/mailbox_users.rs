//! Finds the users of a mailbox, for notifications of the operator's one subscription, which name only the mailbox.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use postbell_core::{
    Actor, Clock, Credentials, EmailAddress, GoogleConnection, StoreError, StoredCredentials,
    UserId, UserRecord, Users, UsersError, update_user,
};
use postbell_google::{Gmail, GmailError, Patience, TokenError, TokenSource};
use postbell_http::HttpClient;
use postbell_protocol::credential_envelope::PlatformKey;
use quick_cache::sync::Cache;
use reqwest::Client;
use tokio::time::timeout;
use tracing::{debug, warn};
use url::Url;

use crate::stored_credentials::{decrypt_credentials, is_proven, with_proof};
use crate::{ChangeError, Changed, NewConnection, UserService};

/// How long Gmail may take to name a mailbox. A relay waits for the answer.
const LIMIT: Duration = Duration::from_secs(3);

/// How long a proof counts, and how long its absence.
const PROVEN: Duration = Duration::from_secs(60 * 60);
const UNPROVEN: Duration = Duration::from_secs(10 * 60);
const UNKNOWN: Duration = Duration::from_secs(10);

/// How long the users of a mailbox wait for those of whom Google says nothing, at most once in [`PROVEN`]: credentials for which
/// Google never answers must not keep a mailbox from its owner.
const HOLD_UP: Duration = Duration::from_secs(60);

/// How many proofs are remembered.
const CAPACITY: usize = 4_096;

/// Finds the users of a mailbox.
///
/// Nothing that setup sends proves that a user's address is their own. If only one user names an address, they get its
/// notifications. If several do, each whose credentials open the mailbox gets them (`users.getProfile`): so naming an address
/// gives no user another's notifications, nor does it end those of a user whose credentials can be read and open the mailbox.
pub struct MailboxUsers {
    parts: MailboxUsersParts,
    /// By the user and the time of the connection: other credentials come with another time.
    proofs: Cache<(UserId, i64), Proof>,
    /// Since when the others of a mailbox wait for one, by the mailbox.
    held_up: Cache<String, Duration>,
}

/// The dependencies of [`MailboxUsers`].
pub struct MailboxUsersParts {
    /// The users' records.
    pub store: Arc<dyn Users>,
    /// Their credentials.
    pub credentials: Arc<dyn Credentials>,
    /// Decrypts the credentials. Without it, the first user who has connected an address gets its notifications.
    pub key: Option<Arc<PlatformKey>>,
    /// The HTTP client of the token endpoint.
    pub client: Client,
    /// The HTTP client of Gmail's API.
    pub gmail_client: HttpClient,
    /// Google's token endpoint.
    pub token_url: Url,
    /// Gmail's API.
    pub gmail_url: Url,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why the users cannot be found now.
#[derive(Debug, thiserror::Error)]
pub enum MailboxUsersError {
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// Google could not be asked for some of several users. The same call may succeed later.
    #[error("the users of the mailbox cannot be proven while Google does not answer")]
    Google,
}

#[derive(Clone)]
struct Proof {
    outcome: Outcome,
    expires_at: Duration,
}

/// Which mailbox a user's credentials open.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Outcome {
    Opens(EmailAddress),
    /// They open none.
    Nothing,
    /// Google did not answer, or only with a failure of its own.
    Unknown,
}

impl Outcome {
    fn proves(&self, email: &EmailAddress) -> bool {
        match self {
            Self::Opens(mailbox) => mailbox.is_same_mailbox(email.as_str()),
            Self::Nothing | Self::Unknown => false,
        }
    }
}

impl MailboxUsers {
    /// Finds users in the store of `parts`.
    #[must_use]
    pub fn new(parts: MailboxUsersParts) -> Self {
        Self {
            parts,
            proofs: Cache::new(CAPACITY),
            held_up: Cache::new(CAPACITY),
        }
    }

    /// Returns the users to notify of mail in the mailbox with this address.
    ///
    /// # Errors
    ///
    /// [`MailboxUsersError`]
    pub async fn find(&self, email: &EmailAddress) -> Result<Vec<UserId>, MailboxUsersError> {
        let mut users = self.parts.store.users_by_email(email).await?;
        let Some(key) = &self.parts.key else {
            users.truncate(1);
            return Ok(users);
        };
        if users.len() < 2 {
            return Ok(users);
        }
        let outcomes = self.outcomes(key, &users).await?;
        let is_held_up = outcomes.contains(&Outcome::Unknown) && self.holds_up(email);
        let claims = users.into_iter().zip(&outcomes);
        let proven = claims.filter(|(user, outcome)| {
            let is_proven = outcome.proves(email);
            if !is_proven {
                let user = user.masked();
                debug!(user.id = %user, ?outcome, "Did not prove the mailbox of {user}");
            }
            is_proven
        });
        let proven: Vec<_> = proven.map(|(user, _)| user).collect();
        // The users who are proven get the notification with the repeat, and once.
        if is_held_up || proven.is_empty() && outcomes.contains(&Outcome::Unknown) {
            return Err(MailboxUsersError::Google);
        }
        if proven.is_empty() {
            warn!(
                users = outcomes.len(),
                "Several users have an address, and the credentials of none open its mailbox"
            );
        }
        Ok(proven)
    }

    /// Returns the users whose bot a person may open who has signed in as this address: those whose credentials open its mailbox,
    /// or have opened it and open none now. A revoked grant does not keep its owner from the page that renews it, and a user
    /// who only names the address gets no visitor.
    ///
    /// # Errors
    ///
    /// [`StoreError`]
    pub(crate) async fn of_person(&self, email: &EmailAddress) -> Result<Vec<UserId>, StoreError> {
        let mut users = self.parts.store.users_by_email(email).await?;
        if let Some(key) = &self.parts.key {
            // Stores the proofs of those who have it.
            self.outcomes(key, &users).await?;
        }
        let proven = join_all(users.iter().map(|user| self.is_proven(user, email))).await;
        let proven: Vec<bool> = proven.into_iter().collect::<Result<_, _>>()?;
        let mut proven = proven.into_iter();
        users.retain(|_| proven.next() == Some(true));
        let mut bots = Vec::new();
        for user in users {
            let record = self.parts.store.get(&user).await?;
            let bot = record.map(|record| record.bot().clone());
            bots.extend(bot.filter(|bot| !bots.contains(bot)));
        }
        Ok(bots)
    }

    /// Returns whether the credentials of one of a user's accounts have ever opened the mailbox with this address, as far as is
    /// stored.
    pub(crate) async fn is_proven_of_bot(
        &self,
        user: &UserId,
        email: &EmailAddress,
    ) -> Result<bool, StoreError> {
        if self.is_proven(user, email).await? {
            return Ok(true);
        }
        for account in self
            .parts
            .store
            .accounts_of(std::slice::from_ref(user))
            .await?
        {
            if self.is_proven(&account.user, email).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether the credentials of a record have ever opened the mailbox with this address, as far as is stored.
    pub(crate) async fn is_proven(
        &self,
        user: &UserId,
        email: &EmailAddress,
    ) -> Result<bool, StoreError> {
        let stored = self.parts.credentials.credentials(user).await?;
        Ok(stored.is_some_and(|stored| is_proven(&stored, email)))
    }

    /// Stores that the credentials of this connection have opened its mailbox.
    async fn store_proof(
        &self,
        user: &UserId,
        google: &GoogleConnection,
        stored: &StoredCredentials,
    ) -> Result<(), StoreError> {
        let email = google.email.as_ref();
        let Some(proven) = email.and_then(|email| with_proof(stored, email)) else {
            return Ok(());
        };
        let is_same = |record: &mut UserRecord| match &record.google {
            Some(now) if now == google => Ok(()),
            _ => Err(UsersError::Changed { user: user.clone() }),
        };
        let store = &*self.parts.store;
        match update_user(store, user, Some(&proven), &*self.parts.clock, is_same).await {
            Err(UsersError::Store(error)) => Err(error),
            // It was connected anew, which is proven by itself.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Connects a Google account, also if as many users have its address as may, but one of them with credentials that do not
    /// open its mailbox, unlike the new ones. That user is disconnected.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing of `user` is changed then.
    pub async fn connect(
        &self,
        users: &UserService,
        user: &UserId,
        mut new: NewConnection,
        by: &Actor,
    ) -> Result<Changed, ChangeError> {
        if !new.is_proven {
            new.is_proven = self.proves(&new).await?;
        }
        match users.connect(user, new.clone(), by).await {
            Err(ChangeError::AddressTaken) => (),
            connected => return connected,
        }
        let unproven = self.unproven_beside(&new).await?;
        let unproven = unproven.ok_or(ChangeError::AddressTaken)?;
        users.disconnect(&unproven, by).await?;
        let unproven = unproven.masked();
        warn!(
            user.id = %unproven,
            "Disconnected {unproven}, whose credentials do not open the mailbox that they name: a user whose do needed the place"
        );
        users.connect(user, new, by).await
    }

    /// Returns whether Gmail says that new credentials open the mailbox that they name.
    async fn proves(&self, new: &NewConnection) -> Result<bool, ChangeError> {
        let (Some(key), Some(email)) = (&self.parts.key, &new.connection.email) else {
            return Ok(false);
        };
        let offered = new.stored_credentials()?;
        let asked = timeout(LIMIT, self.ask(key, &offered, email)).await;
        Ok(asked.is_ok_and(|outcome| outcome.proves(email)))
    }

    /// Returns a user who names the same address and does not prove it, if the new credentials do.
    async fn unproven_beside(&self, new: &NewConnection) -> Result<Option<UserId>, ChangeError> {
        let (Some(key), Some(email)) = (&self.parts.key, &new.connection.email) else {
            return Ok(None);
        };
        if !new.is_proven {
            return Ok(None);
        }
        let users = self.parts.store.users_by_email(email).await?;
        let outcomes = self.outcomes(key, &users).await?;
        let mut claims = users.into_iter().zip(outcomes);
        let unproven =
            claims.find(|(_, outcome)| *outcome != Outcome::Unknown && !outcome.proves(email));
        Ok(unproven.map(|(user, _)| user))
    }

    /// Whether the users of a mailbox wait for those of whom Google says nothing now.
    fn holds_up(&self, email: &EmailAddress) -> bool {
        let now = self.parts.clock.elapsed();
        let mailbox = email.mailbox_key();
        let waited = self
            .held_up
            .get(&*mailbox)
            .map(|since| now.saturating_sub(since));
        match waited {
            Some(waited) if waited < PROVEN => waited < HOLD_UP,
            _ => {
                self.held_up.insert(mailbox.into_owned(), now);
                true
            }
        }
    }

    async fn outcomes(
        &self,
        key: &PlatformKey,
        users: &[UserId],
    ) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = users.iter().map(|user| self.outcome(key, user));
        join_all(outcomes).await.into_iter().collect()
    }

    /// Which mailbox a user's credentials open, from the last proof if it still counts or Google does not answer.
    async fn outcome(&self, key: &PlatformKey, user: &UserId) -> Result<Outcome, StoreError> {
        let record = self.parts.store.get(user).await?;
        let Some(google) = record.and_then(|record| record.google) else {
            return Ok(Outcome::Nothing);
        };
        let Some(email) = &google.email else {
            return Ok(Outcome::Nothing);
        };
        let connection = (user.clone(), google.connected_at.as_millis());
        let now = self.parts.clock.elapsed();
        let last = self.proofs.get(&connection);
        if let Some(proof) = &last
            && now < proof.expires_at
        {
            return Ok(proof.outcome.clone());
        }
        let answer = match self.parts.credentials.credentials(user).await? {
            Some(stored) => {
                let asked = timeout(LIMIT, self.ask(key, &stored, email)).await;
                let answer = asked.unwrap_or(Outcome::Unknown);
                if answer.proves(email) {
                    self.store_proof(user, &google, &stored).await?;
                }
                answer
            }
            None => Outcome::Nothing,
        };
        let lifetime = match answer {
            Outcome::Opens(_) => PROVEN,
            Outcome::Nothing => UNPROVEN,
            Outcome::Unknown => UNKNOWN,
        };
        let outcome = match (answer, last.map(|proof| proof.outcome)) {
            // The mailbox of the same credentials does not change.
            (Outcome::Unknown, Some(opens @ Outcome::Opens(_))) => opens,
            (answer, _) => answer,
        };
        let proof = Proof {
            outcome: outcome.clone(),
            expires_at: now + lifetime,
        };
        self.proofs.insert(connection, proof);
        Ok(outcome)
    }

    /// Asks Gmail whose mailbox the credentials open.
    async fn ask(
        &self,
        key: &PlatformKey,
        stored: &StoredCredentials,
        email: &EmailAddress,
    ) -> Outcome {
        let Some(user) = decrypt_credentials(key, stored, email).await else {
            return Outcome::Nothing;
        };
        let clock = Arc::clone(&self.parts.clock);
        let (client, token_url) = (self.parts.client.clone(), self.parts.token_url.clone());
        let tokens = TokenSource::new(client, token_url, user, clock);
        let patience = Patience {
            tries: 1,
            ..Patience::default()
        };
        let (client, url) = (
            self.parts.gmail_client.clone(),
            self.parts.gmail_url.clone(),
        );
        let gmail = Gmail::new(client, url, Arc::new(tokens), patience);
        match gmail.profile().await {
            Ok(profile) => match profile.email_address.parse() {
                Ok(mailbox) => Outcome::Opens(mailbox),
                Err(_) => Outcome::Nothing,
            },
            Err(error) if is_refusal(&error) => Outcome::Nothing,
            Err(_) => Outcome::Unknown,
        }
    }
}

/// Whether Google has refused the credentials for good.
fn is_refusal(error: &GmailError) -> bool {
    match error {
        GmailError::Unauthorized | GmailError::Refused { .. } => true,
        GmailError::Token(error) => !matches!(error, TokenError::Unavailable { .. }),
        _ => false,
    }
}
