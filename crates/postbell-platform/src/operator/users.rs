//! Users: list, show, add, change, remove.

use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{
    Actor, AuditAction, Listing, MachineLocation, ManagedMachine, NewUser, SandboxId, StoreError,
    Timestamp, UserId, UserRecord, Users, UsersError, update_user,
};
use postbell_protocol::api::UserStatus;
use postbell_protocol::api::operator::{
    AddUser, ChangeUser, GooglePermission, ListUsers, MachineFields, RemoveUser, RemovedUser,
    SearchField, ShowUser, UserFilter, UserList,
};

use super::cursor::Cursor;
use super::{Operator, OperatorError, Perform, page_size};
use crate::change::{Change, Notifications};
use crate::random::random_text;
use crate::user_status;

/// How many of the latest entries about a user are searched for their removal. Entries between a removal and an addition are
/// few.
const ENTRIES_READ: usize = 100;

/// The length of the random end of a sandbox id, and of what may be before it.
const RANDOM_END: usize = 16;
const LONGEST_BEGINNING: usize = 100;

/// How often the removal of a user begins again because another account was connected, and a change of a sandbox id because it
/// was changed meanwhile.
const MOST_ROUNDS: usize = 10;

/// A watch that ends within this time is one that ends soon: machines renew it each day.
pub(crate) const WATCH_ENDS_SOON: Duration = Duration::from_secs(24 * 60 * 60);

#[async_trait]
impl Perform<ListUsers> for Operator {
    async fn perform(&self, request: ListUsers, by: &Actor) -> Result<UserList, OperatorError> {
        let limit = page_size(request.limit)?;
        let listing = user_listing(request, self.clock.now())?;
        // One more than is listed tells whether there are more.
        let mut records = self.ports.users(by).list(&listing, limit + 1).await?;
        let has_more = records.len() > limit;
        records.truncate(limit);
        let last = records.last().filter(|_| has_more);
        let next = last.map(|last| cursor_after(&listing, last));
        let users = &*self.ports.users(by);
        let listed = with_accounts(users, records).await?.into_iter();
        let listed = listed.map(|(record, accounts)| user_status(&record, &accounts));
        Ok(UserList {
            next,
            users: listed.collect(),
        })
    }
}

/// Returns each of some records that were listed with its further accounts; a further account has the machine of its owner.
pub(crate) async fn with_accounts(
    users: &dyn Users,
    records: Vec<UserRecord>,
) -> Result<Vec<(UserRecord, Vec<UserRecord>)>, StoreError> {
    let ids: Vec<_> = records.iter().map(|record| record.user.clone()).collect();
    let mut accounts = users.accounts_of(&ids).await?;
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        let owner = match &record.owner {
            Some(owner) => users.get(owner).await?,
            None => None,
        };
        let record = match owner {
            Some(owner) => record.with_machine_of(&owner),
            None => record,
        };
        let (theirs, others) = accounts
            .into_iter()
            .partition::<Vec<_>, _>(|account| account.owner.as_ref() == Some(&record.user));
        accounts = others;
        let theirs = theirs.into_iter();
        let theirs = theirs
            .map(|account| account.with_machine_of(&record))
            .collect();
        all.push((record, theirs));
    }
    Ok(all)
}

/// Returns the cursor of the page after a record.
pub(crate) fn cursor_after(listing: &Listing, last: &UserRecord) -> String {
    let by_user = matches!(
        listing,
        Listing::ByRecord { .. }
            | Listing::ByUser { .. }
            | Listing::WithoutMail { .. }
            | Listing::Unreachable { .. }
            | Listing::NotConnected { .. }
    );
    Cursor::after(last).encode(by_user)
}

/// Returns which users a request lists, and where the page begins. A cursor of another list is refused.
pub(crate) fn user_listing(request: ListUsers, now: Timestamp) -> Result<Listing, OperatorError> {
    let after = request.after.as_deref().map(Cursor::decode).transpose()?;
    let prefix = request.search;
    let user = after.as_ref().map(|after| after.user.clone());
    Ok(match (request.filter, request.by) {
        (Some(UserFilter::Problem(code)), _) => Listing::ByProblem {
            code,
            after: position(after, |after| after.problem.or(code))?,
        },
        (Some(UserFilter::WatchEnds), _) => Listing::ByWatchEnd {
            until: now + WATCH_ENDS_SOON,
            after: position(after, |after| after.watch_end)?,
        },
        (Some(UserFilter::WithoutMail), _) => Listing::WithoutMail { now, after: user },
        (Some(UserFilter::Unreachable), _) => Listing::Unreachable { after: user },
        (Some(UserFilter::NotConnected), _) => Listing::NotConnected { after: user },
        (None, SearchField::Email) => Listing::ByEmail {
            prefix,
            after: position(after, |after| after.email.clone())?,
        },
        (None, SearchField::User) => Listing::ByUser {
            prefix,
            after: user,
        },
    })
}

/// The position of a cursor in a list that is sorted by something else than the user id.
fn position<T>(
    after: Option<Cursor>,
    of: impl FnOnce(&Cursor) -> Option<T>,
) -> Result<Option<(T, UserId)>, OperatorError> {
    let Some(after) = after else {
        return Ok(None);
    };
    let value = of(&after).ok_or_else(|| {
        OperatorError::Invalid("after: expected a cursor of the same list".to_owned())
    })?;
    Ok(Some((value, after.user)))
}

#[async_trait]
impl Perform<ShowUser> for Operator {
    async fn perform(&self, request: ShowUser, by: &Actor) -> Result<UserStatus, OperatorError> {
        let record = self.record(&request.user_id, by).await?;
        self.status(record, by).await
    }
}

#[async_trait]
impl Perform<AddUser> for Operator {
    async fn perform(&self, request: AddUser, by: &Actor) -> Result<UserStatus, OperatorError> {
        let users = self.ports.users(by);
        let new = self.new_user(request).await?;
        let record = users.add(new, self.clock.now()).await?;
        self.user_changed(&record.user).await;
        Ok(user_status(&record, &[]))
    }
}

#[async_trait]
impl Perform<ChangeUser> for Operator {
    async fn perform(&self, request: ChangeUser, by: &Actor) -> Result<UserStatus, OperatorError> {
        let ChangeUser {
            user_id: user,
            machine,
            sandbox_id,
            new_sandbox_id,
            wake_on_mail,
            notifications,
        } = request;
        let sandbox_id = match (sandbox_id, new_sandbox_id) {
            (Some(_), true) => {
                let text = "expected sandboxId or newSandboxId, not both";
                return Err(OperatorError::Invalid(text.to_owned()));
            }
            (None, true) => Some(self.new_sandbox_id(&user)?),
            (given, false) => given,
        };
        let location = location(&machine)?;
        let has_machine = location.is_some()
            || sandbox_id.is_some()
            || machine.status.is_some()
            || wake_on_mail.is_some();
        if has_machine {
            self.user_record(&user, by).await?;
        }
        let switch = notifications.map(switched);
        let apply = |record: &mut UserRecord| {
            if let Some(location) = &location {
                record.move_to(location.clone());
            }
            if let Some(id) = &sandbox_id {
                record.rename_machine(id.clone());
            }
            record.status = machine.status.unwrap_or(record.status);
            record.wake_on_mail = wake_on_mail.unwrap_or(record.wake_on_mail);
            match &switch {
                Some(switch) if notifications != Some(record.notifications_enabled) => {
                    switch.apply(record).map_err(OperatorError::from)
                }
                _ => Ok(()),
            }
        };
        let changed = self.change_record(&user, sandbox_id.as_ref(), apply, by);
        let changed = changed.await?;
        let (before, record) =
            changed.ok_or_else(|| OperatorError::UnknownUser { user: user.clone() })?;
        let users = self.ports.users(by);
        self.user_changed(&user).await;
        // They have the machine of their user.
        for account in users.accounts_of(std::slice::from_ref(&user)).await? {
            self.user_changed(&account.user).await;
        }
        if before.sandbox_id != record.sandbox_id {
            self.tell_former_machine(&before).await;
        }
        self.status(record, by).await
    }
}

#[async_trait]
impl Perform<RemoveUser> for Operator {
    /// If it fails half-way, repeating it completes it. The permission at Google ends first: without the credentials,
    /// it could never be ended.
    async fn perform(&self, request: RemoveUser, by: &Actor) -> Result<RemovedUser, OperatorError> {
        let user: UserId = request.user_id;
        let users = self.ports.users(by);
        let mut google_permission = None;
        let mut rounds = 0;
        loop {
            for account in users.accounts_of(std::slice::from_ref(&user)).await? {
                let (_, permission) = self.remove_record(&account.user, by).await?;
                google_permission = worst(google_permission, permission);
            }
            match self.remove_record(&user, by).await {
                // Another account has been connected, and its permission has to end, too.
                Err(UsersError::HasAccounts { .. }) if rounds < MOST_ROUNDS => rounds += 1,
                removed => {
                    let (removed, permission) = removed?;
                    return Ok(RemovedUser {
                        removed,
                        google_permission: worst(google_permission, permission),
                    });
                }
            }
        }
    }
}

/// The change that turns notifications on or off.
const fn switched(is_on: bool) -> Change {
    Change::Notifications(if is_on {
        Notifications::On
    } else {
        Notifications::Off
    })
}

/// What an operator has to know of the permissions of several accounts.
fn worst(
    one: Option<GooglePermission>,
    other: Option<GooglePermission>,
) -> Option<GooglePermission> {
    let rank = |permission: &GooglePermission| match permission {
        GooglePermission::NotRevoked => 3,
        GooglePermission::Shared => 2,
        GooglePermission::OwnProject => 1,
        GooglePermission::Revoked => 0,
    };
    one.into_iter().chain(other).max_by_key(rank)
}

impl Operator {
    /// Removes a user who has no further accounts, or a further account, and ends its permission. A permission that is given
    /// meanwhile ends, too.
    async fn remove_record(
        &self,
        user: &UserId,
        by: &Actor,
    ) -> Result<(bool, Option<GooglePermission>), UsersError> {
        let users = self.ports.users(by);
        let mut permission = None;
        let (mut removed, mut former) = (false, None);
        let mut rounds = 0;
        while let Some(record) = users.get(user).await? {
            let (ended, kept) = match &self.client {
                Some(client) => client.release_before_removal(&record).await?,
                None => {
                    let google = record.google.as_ref();
                    (google.map(|_| GooglePermission::OwnProject), None)
                }
            };
            permission = worst(permission, ended);
            // A user who is added later with the same id must not inherit a link.
            self.ports.sessions(by).revoke_user(user).await?;
            self.note_former_machine(&record, by).await?;
            match users.remove(&record).await {
                Err(UsersError::Changed { .. }) if rounds < MOST_ROUNDS => rounds += 1,
                ended => {
                    removed = ended?;
                    if let Some((client, grant)) = self.client.as_ref().zip(kept) {
                        client.keep(&grant).await;
                    }
                    former = Some(record).filter(|record| removed && record.owner.is_none());
                    break;
                }
            }
        }
        if let Some(queue) = self.queue.as_ref().filter(|_| !is_reserved(user)) {
            queue.ports.delivery_log(by).remove_user(user).await?;
        }
        self.user_changed(user).await;
        // Last, because it may take seconds.
        if let Some(former) = former {
            self.tell_former_machine(&former).await;
        }
        Ok((removed, permission))
    }

    /// Formats a record with its further accounts.
    async fn status(&self, record: UserRecord, by: &Actor) -> Result<UserStatus, OperatorError> {
        let users = &*self.ports.users(by);
        let mut all = with_accounts(users, vec![record]).await?;
        let (record, accounts) = all.remove(0);
        Ok(user_status(&record, &accounts))
    }

    /// Returns the user of a request, with the sandbox id that they get.
    pub(super) async fn new_user(&self, request: AddUser) -> Result<NewUser, OperatorError> {
        let is_named = request.sandbox_id.is_some();
        let mut new = new_user(request)?;
        if !is_named {
            self.avoid_former_machine(&mut new).await?;
        }
        Ok(new)
    }

    /// Changes a record, and returns it before and after; `None` if there is none. A sandbox id that its machine loses for
    /// `sandbox_id` is recorded before, also if another operator has given it meanwhile.
    async fn change_record(
        &self,
        user: &UserId,
        sandbox_id: Option<&SandboxId>,
        apply: impl Fn(&mut UserRecord) -> Result<(), OperatorError> + Send + Sync,
        by: &Actor,
    ) -> Result<Option<(UserRecord, UserRecord)>, OperatorError> {
        let users = self.ports.users(by);
        let mut noted = None;
        let mut rounds = 0;
        loop {
            let mut lost = None;
            let mut before = None;
            let changed = update_user(&*users, user, None, &*self.clock, |record| {
                let is_lost = sandbox_id.is_some_and(|id| *id != record.sandbox_id);
                if is_lost && noted.as_ref() != Some(&record.sandbox_id) {
                    lost = Some(record.clone());
                    let user = user.clone();
                    return Err(OperatorError::from(UsersError::Changed { user }));
                }
                before = Some(record.clone());
                apply(record)
            });
            let changed = changed.await;
            match lost {
                Some(record) if rounds < MOST_ROUNDS => {
                    self.note_former_machine(&record, by).await?;
                    noted = Some(record.sandbox_id);
                    rounds += 1;
                }
                _ => return Ok(before.zip(changed?)),
            }
        }
    }

    /// Records that a machine loses a sandbox id that is not the id of its user, but may be that of a later one.
    async fn note_former_machine(&self, record: &UserRecord, by: &Actor) -> Result<(), StoreError> {
        let named = UserId::try_from(record.sandbox_id.as_str().to_owned());
        let named = named.ok().filter(|named| *named != record.user);
        if let (Some(named), None) = (named, &record.owner) {
            let detail = format!("of {}", record.user);
            let audit = self.ports.audit_log();
            let action = AuditAction::EndMachine;
            audit.append(by, action, Some(&named), &detail).await?;
        }
        Ok(())
    }

    /// Gives a new user for whom the operator has named no sandbox id one with a random end, if a user with the same id was
    /// removed before, or a machine had it as its sandbox id: that machine may still have a token for it. The audit log
    /// knows for a year.
    pub(super) async fn avoid_former_machine(
        &self,
        new: &mut NewUser,
    ) -> Result<(), OperatorError> {
        let audit = self.ports.audit_log();
        let entries = audit.entries(Some(&new.user), None, ENTRIES_READ).await?;
        let ends = [AuditAction::RemoveUser, AuditAction::EndMachine].map(AuditAction::as_str);
        if entries.iter().any(|entry| ends.contains(&&*entry.action)) {
            new.sandbox_id = self.new_sandbox_id(&new.user)?;
        }
        Ok(())
    }

    /// Draws a sandbox id that no machine has had.
    fn new_sandbox_id(&self, user: &UserId) -> Result<SandboxId, OperatorError> {
        let mut random = random_text(&self.random);
        random.truncate(RANDOM_END);
        let mut id = user.as_str().to_owned();
        id.truncate(LONGEST_BEGINNING);
        Ok(format!("{id}.{random}").parse()?)
    }
}

/// Returns the user of a request.
pub(super) fn new_user(request: AddUser) -> Result<NewUser, OperatorError> {
    let location = location(&request.machine)?.unwrap_or_default();
    let user = request.user_id;
    if is_reserved(&user) {
        let text = "userId: expected an id that does not begin with /";
        return Err(OperatorError::Invalid(text.to_owned()));
    }
    let sandbox_id = request.sandbox_id;
    Ok(NewUser {
        sandbox_id: sandbox_id.unwrap_or_else(|| SandboxId::from(&user)),
        user,
        status: request
            .machine
            .status
            .unwrap_or_else(|| location.assumed_status()),
        location,
        wake_on_mail: request.wake_on_mail,
    })
}

/// Whether dead letters of the relay that belong to no user are stored under this id.
fn is_reserved(user: &UserId) -> bool {
    user.as_str().starts_with('/')
}

/// Returns where a machine is, if the request says it.
fn location(machine: &MachineFields) -> Result<Option<MachineLocation>, OperatorError> {
    let invalid = |text: &str| Err(OperatorError::Invalid(text.to_owned()));
    match (&machine.url, &machine.fly_app_name, &machine.fly_machine_id) {
        (None, None, None) => Ok(None),
        (Some(url), None, None) => {
            let is_base = matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            if is_base {
                Ok(Some(MachineLocation::Url(url.clone())))
            } else {
                invalid(
                    "url: expected a base URL without user and password, such as https://bot.example.com",
                )
            }
        }
        (None, Some(app), Some(machine)) => {
            let machine = ManagedMachine {
                app: app.clone(),
                machine: machine.clone(),
            };
            if machine.is_addressable() {
                Ok(Some(MachineLocation::Managed(machine)))
            } else {
                invalid(
                    "expected a Fly app and a Fly machine id of up to 63 letters, digits and hyphens",
                )
            }
        }
        (None, ..) => invalid("expected both the Fly app and the Fly machine id"),
        (Some(_), ..) => invalid("expected a URL or a machine on Fly, not both"),
    }
}
