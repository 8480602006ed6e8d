//! A read-modify-write of a record that overwrites no concurrent change.

use super::{StoredCredentials, UserRecord, Users, UsersError};
use crate::{Clock, StoreError, UserId};

/// How often a change is tried. Each failed attempt means that another writer succeeded.
const ATTEMPTS: usize = 100;

/// Reads a user's record, changes it and writes it, and begins again if it changed in between.
///
/// `change` may run several times, each time on a newly read record. A record that it does not change
/// is not written, unless there are `credentials` to store with it. Returns the record as it is now,
/// or `None` if the user does not exist.
///
/// # Errors
///
/// The error of `change`, or of the store.
pub async fn update_user<E: From<UsersError>>(
    users: &dyn Users,
    user: &UserId,
    credentials: Option<&StoredCredentials>,
    clock: &dyn Clock,
    mut change: impl FnMut(&mut UserRecord) -> Result<(), E> + Send,
) -> Result<Option<UserRecord>, E> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let Some(read) = users.get(user).await.map_err(UsersError::from)? else {
            return Ok(None);
        };
        let mut record = read.clone();
        change(&mut record)?;
        if record == read && credentials.is_none() {
            return Ok(Some(record));
        }
        match users.replace(&record, credentials, clock.now()).await {
            Ok(written) => return Ok(Some(written)),
            Err(UsersError::Missing { .. }) => return Ok(None),
            Err(error @ UsersError::Changed { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let cause = last.map_or("the record was never read".into(), Into::into);
    Err(UsersError::Store(StoreError::Unavailable(cause)).into())
}
