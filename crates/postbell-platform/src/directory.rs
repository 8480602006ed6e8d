//! The directory of a relay in the same process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    AccountReport, BoxError, Directory, DirectoryError, EmailAddress, HistoryId, Instance, Lookup,
    MachineReport, SandboxId, StoreError, UserId, UserRecord, Users,
};
use postbell_protocol::gateway_token::GatewayTokens;
use secrecy::SecretString;

use crate::{Fleet, MailboxUsers};

/// How long an answer may be used: another process on the same store may have changed the user, and tells
/// only its own relay. An answer costs one read.
const FRESH: Duration = Duration::from_secs(1);

/// The directory of a relay in the same process. It returns what [`crate::Platform`] serves over
/// HTTP.
pub struct LocalDirectory {
    /// The users' records.
    pub store: Arc<dyn Users>,
    /// The users' machines.
    pub fleet: Arc<Fleet>,
    /// Finds the users of a mailbox.
    pub mailboxes: Arc<MailboxUsers>,
    /// Derives the machines' tokens.
    pub gateway_tokens: GatewayTokens,
}

#[async_trait]
impl Directory for LocalDirectory {
    async fn look_up(&self, user: &UserId) -> Result<Option<Lookup>, DirectoryError> {
        let record = self.fleet.get(user).await.map_err(unavailable)?;
        Ok(record.map(|record| {
            let google = record.google.as_ref();
            let account = google.and_then(|google| google.push_account.clone());
            Lookup {
                instance: record.as_instance(),
                push_account: account.map(String::from),
                token: Some(delivery_token(&self.gateway_tokens, &record)),
                fresh_for: FRESH,
            }
        }))
    }

    async fn instance(&self, user: &UserId) -> Result<Option<Instance>, DirectoryError> {
        let record = self.fleet.get(user).await.map_err(unavailable)?;
        Ok(record.map(|record| record.as_instance()))
    }

    async fn push_account(&self, user: &UserId) -> Result<Option<String>, DirectoryError> {
        let record = self.store.get(user).await.map_err(unavailable)?;
        let account = record.and_then(|record| record.google?.push_account);
        Ok(account.map(String::from))
    }

    async fn gateway_token(&self, user: &UserId) -> Result<Option<SecretString>, DirectoryError> {
        let record = self.fleet.stored(user).await.map_err(unavailable)?;
        Ok(record.map(|record| delivery_token(&self.gateway_tokens, &record)))
    }

    async fn users_by_email(&self, email: &str) -> Result<Vec<UserId>, DirectoryError> {
        match email.parse::<EmailAddress>() {
            Ok(email) => self.mailboxes.find(&email).await.map_err(unavailable),
            // An invalid address belongs to no user.
            Err(_) => Ok(Vec::new()),
        }
    }

    async fn users_by_sandbox(&self, sandbox_id: &str) -> Result<Vec<UserId>, DirectoryError> {
        match sandbox_id.parse::<SandboxId>() {
            Ok(id) => {
                let users = users_by_sandbox(&*self.store, &id);
                users.await.map_err(unavailable)
            }
            Err(_) => Ok(Vec::new()),
        }
    }

    async fn report_history_id(
        &self,
        user: &UserId,
        history_id: HistoryId,
    ) -> Result<(), DirectoryError> {
        let raised = self.store.raise_history_id(user, history_id);
        raised.await.map(drop).map_err(unavailable)
    }

    async fn start_machine(&self, user: &UserId) -> Result<bool, DirectoryError> {
        self.fleet.request_start(user).await.map_err(unavailable)
    }

    async fn report_running(
        &self,
        user: &UserId,
        report: MachineReport,
        accounts: Option<&[AccountReport]>,
    ) -> Result<(), DirectoryError> {
        let updated = self.fleet.report_running(user, report, accounts);
        updated.await.map(drop).map_err(unavailable)
    }
}

/// The token with which notifications of a record are delivered to its machine.
pub(crate) fn delivery_token(tokens: &GatewayTokens, record: &UserRecord) -> SecretString {
    match record.owner {
        Some(_) => tokens.of_further_accounts(&record.sandbox_id),
        None => tokens.token(&record.sandbox_id),
    }
}

/// Returns the user whose machine has a sandbox id, and the ids of the user's further accounts.
pub(crate) async fn users_by_sandbox(
    store: &dyn Users,
    sandbox_id: &SandboxId,
) -> Result<Vec<UserId>, StoreError> {
    let Some(user) = store.user_by_sandbox(sandbox_id).await? else {
        return Ok(Vec::new());
    };
    let accounts = store.accounts_of(std::slice::from_ref(&user)).await?;
    let accounts = accounts.into_iter().map(|account| account.user);
    Ok(std::iter::once(user).chain(accounts).collect())
}

fn unavailable(error: impl Into<BoxError>) -> DirectoryError {
    DirectoryError::Unavailable(error.into())
}
