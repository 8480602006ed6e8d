//! Changes of a user's further accounts: a record is added with the account, and removed with it.

use postbell_core::{
    Actor, NewAccount, StoreError, StoredCredentials, UserId, UserRecord, Users, UsersError,
};

use super::{MAX_CONFLICTS, Worker};
use crate::change::{Change, ChangeError, NewConnection};
use crate::operator_client::MailboxGrant;
use crate::random::random_text;

/// The length of the random end of a record's id, and of what is before it. The end keeps a later account from what is stored
/// elsewhere of a former one.
const RANDOM_END: usize = 16;
const LONGEST_BEGINNING: usize = 100;

/// The stored record, and the grant of the operator's client that it replaces or ends.
pub(super) type Stored = (UserRecord, Option<MailboxGrant>);

impl Worker {
    /// Stores an account beside the user's others: in the record that has it already, or in that of the user if no account is
    /// connected to it, or in a new one.
    pub(super) async fn store_further(
        &self,
        user: &UserId,
        change: &Change,
        new: &NewConnection,
        by: &Actor,
    ) -> Result<Stored, ChangeError> {
        let credentials = change.credentials().ok_or(ChangeError::NotConnected)?;
        let users = self.ports.users(by);
        let mut last = None;
        for _ in 0..MAX_CONFLICTS {
            let owner = self.store.get(user).await?;
            let is_same = |owner: &UserRecord| {
                let added = new.added.is_none_or(|added| added == owner.created_at);
                added && owner.owner.is_none()
            };
            let owner = owner.filter(is_same).ok_or(ChangeError::UnknownUser)?;
            let accounts = self.store.accounts_of(std::slice::from_ref(user)).await?;
            let refused = match place_of(new, &owner, &accounts) {
                Some(record) => {
                    let again = NewConnection {
                        added: Some(record.created_at),
                        ..new.clone()
                    };
                    let again = Change::Connect(Box::new(again), credentials.clone());
                    match self.store_record(&record.user, &again, by).await {
                        // Meanwhile the record has gone, or has another account.
                        Err(
                            ChangeError::UnknownUser
                            | ChangeError::AccountConnected
                            | ChangeError::OtherAccount,
                        ) => continue,
                        stored => return stored,
                    }
                }
                None => match self.add_account(&*users, &owner, new, credentials).await {
                    Ok(added) => return Ok((added, None)),
                    Err(refused) => refused,
                },
            };
            match refused {
                // Another browser has connected it, or another record has the id.
                UsersError::AccountConnected { .. } | UsersError::AlreadyExists { .. } => {
                    last = Some(refused);
                }
                refused => return Err(refused.into()),
            }
        }
        Err(last.map_or(ChangeError::AccountConnected, ChangeError::from))
    }

    async fn add_account(
        &self,
        users: &dyn Users,
        owner: &UserRecord,
        new: &NewConnection,
        credentials: &StoredCredentials,
    ) -> Result<UserRecord, UsersError> {
        let mut end = random_text(&self.random);
        end.truncate(RANDOM_END);
        let mut id = owner.user.as_str().to_owned();
        id.truncate(LONGEST_BEGINNING);
        let record = format!("{id}.{end}").parse();
        let account = NewAccount {
            record: record.map_err(|error| StoreError::Unavailable(Box::new(error)))?,
            owner: owner.user.clone(),
            owner_added: owner.created_at,
            connection: new.connection.clone(),
            watch_expires_at: new.watch_expires_at,
        };
        let added = users.add_account(account, credentials, self.clock.now());
        added.await
    }

    /// Removes the record of a further account, with what is stored of it in the queue. If it is connected again meanwhile, that
    /// connection is removed.
    pub(super) async fn remove_account(
        &self,
        account: &UserId,
        by: &Actor,
    ) -> Result<Stored, ChangeError> {
        let users = self.ports.users(by);
        let mut conflicts = 0;
        loop {
            let record = self.store.get(account).await?;
            let mut record = record.ok_or(ChangeError::UnknownUser)?;
            let grant = match self.operator_client.as_deref() {
                Some(client) => client.keep_grant_of(&record).await?,
                None => None,
            };
            let removed = users.remove(&record).await;
            if matches!(removed, Err(UsersError::Changed { .. })) && conflicts < MAX_CONFLICTS {
                conflicts += 1;
                continue;
            }
            if !removed? {
                return Err(ChangeError::UnknownUser);
            }
            if let Some(queue) = &self.queue {
                queue.delivery_log(by).remove_user(account).await?;
            }
            record.disconnect();
            return Ok((record, grant));
        }
    }
}

/// Returns the record of a user that an account belongs in, if there is one.
fn place_of<'a>(
    new: &NewConnection,
    owner: &'a UserRecord,
    accounts: &'a [UserRecord],
) -> Option<&'a UserRecord> {
    let email = new.connection.email.as_ref()?;
    let has_it = |record: &&UserRecord| {
        let google = record.google.as_ref();
        let theirs = google.and_then(|google| google.email.as_ref());
        theirs.is_some_and(|theirs| theirs.is_same_mailbox(email.as_str()))
    };
    let mut records = std::iter::once(owner).chain(accounts);
    let connected = records.find(has_it);
    connected.or_else(|| Some(owner).filter(|owner| owner.google.is_none()))
}
