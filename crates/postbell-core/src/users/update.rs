//! A change that loses nobody else's.

use super::{StoredCredentials, UserRecord, Users, UsersError};
use crate::{Clock, UserId};

/// How often a change is tried. Each time that it fails, somebody else's has succeeded.
const TRIES: usize = 100;

/// Reads a user's record, changes it and writes it, again and again until nobody came in between.
///
/// `change` may run several times, on a new record each time. What it leaves as it was is not
/// written, unless there are `credentials` to store with it. Returns the record as it is now, or
/// `None` where there is no such user.
///
/// # Errors
///
/// What `change` refuses with, and what the backend does.
pub async fn update_user<E: From<UsersError>>(
    instances: &dyn Users,
    user: &UserId,
    credentials: Option<&StoredCredentials>,
    clock: &dyn Clock,
    mut change: impl FnMut(&mut UserRecord) -> Result<(), E> + Send,
) -> Result<Option<UserRecord>, E> {
    let mut last = None;
    for _ in 0..TRIES {
        let Some(read) = instances.get(user).await? else {
            return Ok(None);
        };
        let mut record = read.clone();
        change(&mut record)?;
        if record == read && credentials.is_none() {
            return Ok(Some(record));
        }
        match instances.replace(&record, credentials, clock.now()).await {
            Ok(written) => return Ok(Some(written)),
            Err(UsersError::Missing { .. }) => return Ok(None),
            Err(error @ UsersError::Changed { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let error = last.map_or("the record was never read".into(), Into::into);
    Err(UsersError::Unavailable(error).into())
}
