//! What the operator of a server should know.

use std::time::Duration;

use postbell_core::{DatabaseState, OldSnapshot, StoreError, SynchronousStandby, printable};
use tokio_postgres::Row;

use super::database::Database;
use super::failure::Failure;
use crate::columns::{number, text};

/// The number of standbys can be seen by every role, their state only with `pg_read_all_stats`. A commit that waits for longer
/// than three seconds is one of a role that can be seen.
const STANDBY: &str = "
    SELECT CASE
        WHEN current_setting('synchronous_standby_names') = '' THEN 'none'
        WHEN EXISTS (
            SELECT FROM pg_stat_replication WHERE coalesce(sync_state IN ('sync', 'quorum'), true)
        ) AND NOT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE wait_event = 'SyncRep' AND query_start < clock_timestamp() - interval '3 seconds'
        ) THEN 'connected'
        ELSE 'missing' END AS standby";

/// Vacuum is no transaction of a session, and its snapshot keeps no rows.
const OLD_SNAPSHOT: &str = "
    SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS application,
        coalesce(usename::text, '') AS role,
        extract(epoch FROM clock_timestamp() - xact_start)::int8 AS seconds
    FROM pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
        AND (datname = current_database() OR datname IS NULL)
        AND backend_type NOT LIKE 'autovacuum%'
        AND xact_start <= clock_timestamp() - make_interval(secs => $1)
    ORDER BY xact_start LIMIT 1";

impl Database {
    /// Connects as a process that writes does, and reads what the server says about itself. A snapshot is
    /// too old after `oldest`.
    pub(crate) async fn inspect(&self, oldest: Duration) -> Result<DatabaseState, StoreError> {
        let mut connection = self.connector.connect().await?;
        let session = connection.session();
        let oldest = i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX);
        let inspected = connection.run(async {
            let standby = session.query_one(STANDBY, &[]).await?;
            let snapshot = session.query_opt(OLD_SNAPSHOT, &[&oldest]).await?;
            Ok(DatabaseState {
                synchronous_standby: match &*text(&standby, "standby")? {
                    "none" => SynchronousStandby::None,
                    "connected" => SynchronousStandby::Connected,
                    _ => SynchronousStandby::Missing,
                },
                old_snapshot: snapshot.as_ref().map(old_snapshot).transpose()?,
            })
        });
        Ok(inspected.await?)
    }
}

fn old_snapshot(row: &Row) -> Result<OldSnapshot, Failure> {
    let session = format!("{} as {}", text(row, "application")?, text(row, "role")?);
    Ok(OldSnapshot {
        pid: number(row, "pid")?,
        session: printable(&session),
        age: Duration::from_secs(number(row, "seconds")?.unsigned_abs()),
    })
}
