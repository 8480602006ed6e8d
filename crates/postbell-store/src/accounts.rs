//! The rules about a user's several accounts, the same for every engine.

use postbell_core::{
    AuditAction, EmailAddress, MAX_ACCOUNTS_OF_USER, NewAccount, UserId, UserRecord, UsersError,
};

/// The address of the connected account.
pub(crate) fn email(record: &UserRecord) -> Option<&EmailAddress> {
    record.google.as_ref()?.email.as_ref()
}

/// Returns the address of a record that is to be written, if its mailbox is another one than that of the stored record. A mailbox
/// that the stored record has already is kept, even if another one has it.
pub(crate) fn new_mailbox<'a>(
    record: &'a UserRecord,
    stored: &UserRecord,
) -> Option<&'a EmailAddress> {
    let old = email(stored);
    email(record).filter(|new| !old.is_some_and(|old| old.is_same_mailbox(new.as_str())))
}

/// Fails if one of the records of a user, other than `own`, has a mailbox.
pub(crate) fn refuse_connected<'a>(
    email: &EmailAddress,
    own: &UserId,
    records: impl IntoIterator<Item = &'a UserRecord>,
) -> Result<(), UsersError> {
    let others = records.into_iter().filter(|record| record.user != *own);
    let mut with_it = others.filter(|record| {
        let theirs = self::email(record);
        theirs.is_some_and(|theirs| theirs.is_same_mailbox(email.as_str()))
    });
    match with_it.next() {
        Some(record) => {
            let record = record.user.clone();
            Err(UsersError::AccountConnected { record })
        }
        None => Ok(()),
    }
}

/// Fails if a user must not get a further account beside those that they have.
pub(crate) fn check_account(
    new: &NewAccount,
    owner: Option<&UserRecord>,
    accounts: &[UserRecord],
) -> Result<(), UsersError> {
    let missing = || UsersError::Missing {
        user: new.owner.clone(),
    };
    let owner = owner.ok_or_else(missing)?;
    if owner.created_at != new.owner_added {
        return Err(missing());
    }
    if let Some(of) = &owner.owner {
        let (user, owner) = (owner.user.clone(), of.clone());
        return Err(UsersError::IsAccount { user, owner });
    }
    if let Some(email) = &new.connection.email {
        let records = std::iter::once(owner).chain(accounts);
        refuse_connected(email, &new.record, records)?;
    }
    // The record of the user has a place, also if no account is connected to it.
    if accounts.len() + 1 >= MAX_ACCOUNTS_OF_USER {
        return Err(UsersError::TooManyAccounts);
    }
    if new.record == new.owner {
        let user = new.record.clone();
        return Err(UsersError::AlreadyExists { user });
    }
    Ok(())
}

/// The entry of the audit log about the removal of a user or of a further account.
pub(crate) fn removal(record: &UserRecord) -> (AuditAction, String) {
    match record.owner {
        Some(_) => {
            let detail = record.about_account("disconnected the Google account");
            (AuditAction::ChangeUser, detail)
        }
        None => (AuditAction::RemoveUser, String::new()),
    }
}
