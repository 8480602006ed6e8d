//! What opens the users' Google accounts, encrypted.

use async_trait::async_trait;
use postbell_core::{Credentials, StoreError, StoredCredentials, UserId};

use super::failure::Failure;
use super::session::Session;
use super::users::PostgresUsers;
use crate::at_rest::Sealed;
use crate::columns::sealed;

const PUT: &str = "
    INSERT INTO credential (user_id, key_id, ciphertext) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO UPDATE SET key_id = $2, ciphertext = $3";

const FIND: &str = "SELECT key_id, ciphertext FROM credential WHERE user_id = $1";

const DELETE: &str = "DELETE FROM credential WHERE user_id = $1";

#[async_trait]
impl Credentials for PostgresUsers {
    async fn credentials(&self, user: &UserId) -> Result<Option<StoredCredentials>, StoreError> {
        let found = self.database.read::<_, StoreError, _>(|db| async move {
            let row = db.query_opt(FIND, &[&user.as_str()]).await?;
            row.as_ref().map(sealed).transpose()
        });
        let opened = found.await?.map(|sealed| self.secrets.open(user, &sealed));
        Ok(opened.transpose()?.map(StoredCredentials::from))
    }
}

pub(super) async fn put(db: &Session, user: &UserId, sealed: &Sealed) -> Result<(), Failure> {
    let Sealed { with, bytes } = sealed;
    db.execute(PUT, &[&user.as_str(), &&**with, &&**bytes])
        .await
        .map(drop)
}

pub(super) async fn delete(db: &Session, user: &UserId) -> Result<(), Failure> {
    db.execute(DELETE, &[&user.as_str()]).await.map(drop)
}
