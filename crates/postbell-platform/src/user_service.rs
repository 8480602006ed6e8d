//! The rules for changing a user, shared by the JSON API and the pages.

use std::sync::Arc;

use postbell_core::{
    Actor, AuditedPorts, Clock, MailProblem, UserId, UserRecord, Users, update_user,
};
use tracing::info;

use crate::change::{Change, ChangeError, Changed, NewConnection, Notifications};
use crate::reconciler::CommandQueue;
use crate::{CheckIn, Fleet, OperatorClient, Relays};

/// Reads and changes users.
///
/// A change is committed first, with a pending sync for the user's machine. The reconciler then
/// notifies the relays and syncs the machine. Only the commit can fail: the sync's result is part of
/// the answer, and a failed sync is retried.
pub struct UserService {
    /// The users' records.
    pub store: Arc<dyn Users>,
    /// The same, for an actor.
    pub ports: Arc<dyn AuditedPorts>,
    /// The users' machines.
    pub fleet: Arc<Fleet>,
    /// The relays to notify of check-ins.
    pub relays: Arc<dyn Relays>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Hands changes to the reconciler.
    pub commands: CommandQueue,
    /// Connects accounts in the browser, if the operator has an OAuth client for that.
    pub operator_client: Option<Arc<OperatorClient>>,
}

impl UserService {
    /// Turns a user's notifications on or off.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn set_notifications(
        &self,
        user: &UserId,
        wanted: Notifications,
        by: &Actor,
    ) -> Result<Changed, ChangeError> {
        let change = Change::Notifications(wanted);
        let changed = self.commands.execute(user, change, by).await?;
        info!(user.id = %user.masked(), ?wanted, "Set the notifications of {}", user.masked());
        Ok(changed)
    }

    /// Connects a Google account and turns notifications on. Replaces a connected account.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn connect(
        &self,
        user: &UserId,
        new: NewConnection,
        by: &Actor,
    ) -> Result<Changed, ChangeError> {
        let credentials = new.stored_credentials()?;
        let change = Change::Connect(Box::new(new), credentials);
        let changed = self.commands.execute(user, change, by).await?;
        info!(user.id = %user.masked(), "Connected a Google account to {}", user.masked());
        Ok(changed)
    }

    /// Deletes a user's Google account, its credentials and its history cursor. Has Google take back a permission that was given
    /// to the operator's client.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn disconnect(&self, user: &UserId, by: &Actor) -> Result<Changed, ChangeError> {
        let changed = self.commands.execute(user, Change::Disconnect, by).await?;
        info!(user.id = %user.masked(), "Disconnected the Google account of {}", user.masked());
        Ok(changed)
    }

    /// Allows or forbids that pending mail starts a user's machine.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn set_wake_on_mail(
        &self,
        user: &UserId,
        allowed: bool,
        by: &Actor,
    ) -> Result<UserRecord, ChangeError> {
        let users = self.ports.users(by);
        let changed = update_user(&*users, user, None, &*self.clock, |record| {
            record.wake_on_mail = allowed;
            Ok::<_, ChangeError>(())
        });
        changed.await?.ok_or(ChangeError::UnknownUser)
    }

    /// Records a machine's check-in and forwards it to the relays.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] if the check-in cannot be stored.
    pub async fn check_in(&self, check_in: &CheckIn) -> Result<(), ChangeError> {
        let user = &check_in.user;
        let CheckIn {
            report, accounts, ..
        } = check_in;
        let records = self
            .fleet
            .report_running(user, *report, accounts.as_deref());
        let records = records.await?;
        if records.is_empty() {
            return Err(ChangeError::UnknownUser);
        }
        info!(user.id = %user.masked(), "The machine of {} checked in", user.masked());
        let mailboxes = records.into_iter().map(|record| {
            let blocking = record.problem.and_then(MailProblem::blocking_code);
            (record.user, blocking)
        });
        let mailboxes: Vec<_> = mailboxes.collect();
        self.relays.machine_checked_in(check_in, &mailboxes).await;
        Ok(())
    }

    /// Retries a failed sync of a user's machine at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is changed then.
    pub async fn retry_sync(&self, user: &UserId, by: &Actor) -> Result<Changed, ChangeError> {
        self.commands.execute(user, Change::RetrySync, by).await
    }
}
