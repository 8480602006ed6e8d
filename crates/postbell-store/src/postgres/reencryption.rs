//! Encrypts with the first key what older ones have encrypted, so that those can be thrown away.

use postbell_core::UserId;

use super::connection::Connection;
use super::failure::Failure;
use super::session::Session;
use crate::at_rest::{KeyRing, Reencrypted};
use crate::columns::{number, parsed, sealed, text};

/// A table with secrets of users.
struct Table {
    /// The name of its contents, as a plural.
    what: &'static str,
    old: &'static str,
    /// Rows that another process encrypts again at the same time are left to it.
    of_old_keys: &'static str,
    put: &'static str,
}

const TABLES: [Table; 3] = [
    Table {
        what: "credentials",
        // Two ranges of the index: next to nothing is read where all are of the current key.
        old: "
            SELECT (SELECT count(*) FROM credential WHERE key_id < $1)
                + (SELECT count(*) FROM credential WHERE key_id > $1) AS old",
        // A user has one, which has no id.
        of_old_keys: "
            SELECT user_id, '' AS id, key_id, ciphertext FROM credential
            WHERE key_id <> $1 AND (user_id, '') > ($2, $3)
            ORDER BY user_id LIMIT 100 FOR UPDATE SKIP LOCKED",
        put: "
            UPDATE credential SET key_id = $3, ciphertext = $4 WHERE user_id = $1 AND $2 = ''",
    },
    Table {
        what: "alert targets",
        old: "SELECT count(*) AS old FROM alert_target WHERE key_id <> $1",
        of_old_keys: "
            SELECT user_id, id, key_id, ciphertext FROM alert_target
            WHERE key_id <> $1 AND (user_id, id) > ($2, $3)
            ORDER BY user_id, id LIMIT 100 FOR UPDATE SKIP LOCKED",
        put: "
            UPDATE alert_target SET key_id = $3, ciphertext = $4 WHERE user_id = $1 AND id = $2",
    },
    Table {
        what: "permissions to revoke",
        old: "SELECT count(*) AS old FROM revocation WHERE key_id <> $1",
        // Of no user: each is bound to its id.
        of_old_keys: "
            SELECT encode(id, 'hex') AS user_id, '' AS id, key_id, ciphertext FROM revocation AS r
            WHERE key_id <> $1 AND (encode(r.id, 'hex') COLLATE \"C\", '') > ($2, $3)
            ORDER BY r.id LIMIT 100 FOR UPDATE SKIP LOCKED",
        put: "
            UPDATE revocation SET key_id = $3, ciphertext = $4 WHERE id = decode($1, 'hex') AND $2 = ''",
    },
];

/// Encrypts again, a batch at a time. What no key opens stays as it is.
pub(super) async fn reencrypt(connection: &mut Connection, keys: &KeyRing) -> Result<(), Failure> {
    let session = connection.session();
    for table in &TABLES {
        let old = async {
            let found = session.query_one(table.old, &[&keys.current()]).await?;
            number(&found, "old")
        };
        let old = connection.run(old).await?;
        if old == 0 {
            continue;
        }
        let mut again = Reencrypted::begin(table.what, old.unsigned_abs());
        let mut after = Some((String::new(), String::new()));
        while let Some(last) = after {
            let batch = batch(&session, table, keys, &last, &mut again);
            after = connection.run_write(batch).await?;
        }
        again.log();
    }
    Ok(())
}

/// Encrypts the next rows again, and returns the key of the last one.
async fn batch(
    db: &Session,
    table: &Table,
    keys: &KeyRing,
    (user, id): &(String, String),
    again: &mut Reencrypted,
) -> Result<Option<(String, String)>, Failure> {
    db.batch("BEGIN").await?;
    let rows = db
        .query(table.of_old_keys, &[&keys.current(), &&**user, &&**id])
        .await?;
    let mut last = None;
    for row in &rows {
        let (user, id) = (parsed::<UserId, _>(row, "user_id")?, text(row, "id")?);
        if let Some(sealed) = again.reencrypt(keys, &user, &sealed(row)?) {
            let values = [
                &user.as_str() as _,
                &&*id as _,
                &&*sealed.with as _,
                &&*sealed.bytes as _,
            ];
            db.execute(table.put, &values).await?;
        }
        last = Some((user.to_string(), id));
    }
    db.batch("COMMIT").await?;
    again.log_progress(rows.len());
    Ok(last)
}
