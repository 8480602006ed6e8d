//! A database that is copied from or to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row as PgRow;

use super::connection::Connection;
use super::failure::Failure;
use super::parameter::Parameter;
use super::schema;
use super::session::Session;
use super::url::Target;
use crate::columns::{Columns, corrupt, text};
use crate::copy::{
    CopyEnd, CopyError, DROPPED, Kind, LAST_DEAD_LETTER, LAST_LEASE, LATEST_TIME, Position, Row,
    Rows, TABLES, Table, USER, Value,
};
use crate::options::Access;

const HOURS: &str = "
    SELECT user_id, hours FROM (
        SELECT user_id, (
            SELECT string_agg(hour || ':' || one.delivered || ':' || one.failed, ' ' ORDER BY hour)
            FROM unnest(tally.hours, tally.delivered, tally.failed) AS one (hour, delivered, failed)
            WHERE one.delivered + one.failed > 0
        ) AS hours FROM tally
    ) AS tally WHERE hours IS NOT NULL AND user_id > $1 ORDER BY user_id LIMIT $2";

/// An hour is at its number modulo 24, plus one. The number of deliveries continues in the slot after that of
/// the last one.
const ADD_HOURS: &str = "
    INSERT INTO tally (user_id, deliveries, hours, delivered, failed)
    SELECT new.user_id,
        coalesce((SELECT slot FROM delivery d WHERE d.user_id = new.user_id ORDER BY lease DESC LIMIT 1), 0),
        counted.hours, counted.delivered, counted.failed
    FROM unnest($1, $2) AS new (user_id, hours) CROSS JOIN LATERAL (
        SELECT array_agg(split_part(one, ':', 1)::int8 ORDER BY place) AS hours,
            array_agg(split_part(one, ':', 2)::int4 ORDER BY place) AS delivered,
            array_agg(split_part(one, ':', 3)::int4 ORDER BY place) AS failed
        FROM generate_series(0, 23) AS place
        LEFT JOIN unnest(string_to_array(new.hours, ' ')) AS one
            ON split_part(one, ':', 1)::int8 % 24 = place
    ) AS counted";

/// A user with deliveries of which none is counted.
const ADD_UNCOUNTED: &str = "
    INSERT INTO tally (user_id, deliveries, hours, delivered, failed)
    SELECT DISTINCT ON (user_id) user_id, slot, '{}'::int8[], '{}'::int4[], '{}'::int4[]
    FROM delivery ORDER BY user_id, lease DESC ON CONFLICT (user_id) DO NOTHING";

const NUMBERS: &str = "
    SELECT name, number FROM (
        SELECT 'dropped_dead_letters' COLLATE \"C\" AS name, number FROM dead_letter_dropped
        UNION ALL SELECT 'last_dead_letter',
            CASE WHEN is_called THEN last_value ELSE 0 END FROM dead_letter_id_seq
        UNION ALL SELECT 'last_lease', CASE WHEN is_called THEN last_value ELSE 0 END FROM lease
        UNION ALL SELECT 'latest_time', latest FROM queue_clock
    ) AS numbers WHERE name > $1 ORDER BY name LIMIT $2";

const FIND_POSITION: &str = "SELECT source, table_name, last_key FROM store_copy";

const SET_POSITION: &str = "UPDATE store_copy SET table_name = $1, last_key = $2";

const ATTEMPTS: u32 = 10;

const PAUSE: Duration = Duration::from_millis(200);

const BEGIN: &str = "
    CREATE TABLE store_copy (source text NOT NULL, table_name text NOT NULL, last_key text NOT NULL)";

/// Sessions of the same role, whatever they call themselves, and of this program, in the same database. What a transaction has
/// read about them is forgotten first.
const SESSIONS: &str = "
    SELECT coalesce(string_agg(coalesce(nullif(application_name, ''), 'a session') || ', pid ' || pid, '; '), '')
        AS sessions
    FROM pg_stat_clear_snapshot(), pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND (usename = session_user OR application_name LIKE 'postbell%')";

/// A connection to a database that no other process uses.
pub(crate) struct PostgresEnd {
    connection: Connection,
    store: &'static str,
}

/// Connects to a database whose content is copied, as it is at this time.
pub(crate) async fn copy_source(target: &Target) -> Result<PostgresEnd, CopyError> {
    let encryption = target.encryption().map_err(CopyError::Source)?;
    let connection = Connection::open(target, &encryption, Access::ReadOnly).await;
    let connection = connection.map_err(|failure| CopyError::Source(failure.into()))?;
    let store = "the source";
    let mut end = PostgresEnd { connection, store };
    end.refuse_if_used().await?;
    let tables: Vec<_> = stored().map(|table| table.name).collect();
    // Before the first query, at which what the transaction sees is fixed.
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = '10s';
         LOCK TABLE {}, tally IN SHARE MODE",
        tables.join(", ")
    );
    end.run(|db| async move { db.batch(&begin).await }).await?;
    Ok(end)
}

/// Connects to a database that gets the content of another store. The transaction that creates its tables begins the copy.
pub(crate) async fn copy_target(
    target: &Target,
    first: &Position,
) -> Result<PostgresEnd, CopyError> {
    let encryption = target.encryption().map_err(CopyError::Target)?;
    let opened = async {
        let mut connection =
            Connection::open_unchecked(target, &encryption, Access::Migrate).await?;
        let session = connection.session();
        let prepared = connection.run_write(async {
            session.batch("BEGIN").await?;
            if schema::apply(&session).await?.from == 0 {
                begin(&session, first).await?;
            }
            session.batch("COMMIT").await
        });
        prepared.await?;
        Ok::<_, Failure>(connection)
    };
    let connection = opened.await;
    let connection = connection.map_err(|failure| CopyError::Target(failure.into()))?;
    let store = "the target";
    let mut end = PostgresEnd { connection, store };
    end.refuse_if_used().await?;
    Ok(end)
}

async fn begin(db: &Session, first: &Position) -> Result<(), Failure> {
    db.batch(BEGIN).await?;
    let Position {
        source,
        table,
        last,
    } = first;
    let values: [&dyn Parameter; 3] = [&&**source, &&**table, &&**last];
    let added = db.execute("INSERT INTO store_copy VALUES ($1, $2, $3)", &values);
    added.await.map(drop)
}

fn stored() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.rows == Rows::Stored)
}

/// The names of the columns in this engine.
fn names(table: &Table) -> Vec<&'static str> {
    let name = |name: &'static str| if name == USER { "user_id" } else { name };
    table.columns.iter().map(|(one, _)| name(one)).collect()
}

impl PostgresEnd {
    async fn run<T, F>(
        &mut self,
        statements: impl FnOnce(Arc<Session>) -> F,
    ) -> Result<T, CopyError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let statements = statements(self.connection.session());
        self.connection.run(statements).await.map_err(failed)
    }
}

fn failed(failure: Failure) -> CopyError {
    CopyError::Store(failure.into())
}

#[async_trait]
impl CopyEnd for PostgresEnd {
    fn holds_nul(&self) -> bool {
        false
    }

    async fn page(&mut self, table: &Table, after: &[Value]) -> Result<Vec<Row>, CopyError> {
        self.run(|db| async move { page(&db, table, after).await })
            .await
    }

    async fn write(
        &mut self,
        table: &Table,
        rows: &[Row],
        position: &Position,
    ) -> Result<(), CopyError> {
        let session = self.connection.session();
        let written = self.connection.run_write(async {
            session.batch("BEGIN").await?;
            match table.rows {
                Rows::Stored => add_rows(&session, table, rows).await?,
                Rows::Hours => add_hours(&session, rows).await?,
                Rows::Numbers => set_numbers(&session, rows).await?,
            }
            let position: [&dyn Parameter; 2] = [&&*position.table, &&*position.last];
            session.execute(SET_POSITION, &position).await?;
            session.batch("COMMIT").await
        });
        written.await.map_err(failed)
    }

    async fn position(&mut self) -> Result<Option<Position>, CopyError> {
        let position = self.run(|db| async move {
            if !schema::is_unfinished_copy(&db).await? {
                return Ok(None);
            }
            let row = db.query_one(FIND_POSITION, &[]).await?;
            Ok(Some(Position {
                source: text(&row, "source")?,
                table: text(&row, "table_name")?,
                last: text(&row, "last_key")?,
            }))
        });
        position.await
    }

    async fn begin(&mut self, position: &Position) -> Result<(), CopyError> {
        let session = self.connection.session();
        let begun = self.connection.run_write(async {
            session.batch("BEGIN").await?;
            begin(&session, position).await?;
            session.batch("COMMIT").await
        });
        begun.await.map_err(failed)
    }

    async fn refuse_if_used(&mut self) -> Result<(), CopyError> {
        let mut sessions = String::new();
        // The server notices a moment later that a process has ended.
        for _ in 0..ATTEMPTS {
            let found = self.run(|db| async move {
                let row = db.query_one(SESSIONS, &[]).await?;
                text(&row, "sessions")
            });
            sessions = found.await?;
            if sessions.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(CopyError::in_use(self.store, &sessions))
    }

    async fn finish(&mut self) -> Result<(), CopyError> {
        // Only our tables: of the catalog's, the server warns that it may not, and a warning is a failure of a
        // write. Before the end, so that a repeat does it again.
        let tables: Vec<_> = stored().map(|table| table.name).collect();
        let analyze = format!("ANALYZE {}, tally", tables.join(", "));
        self.run(|db| async move { db.batch(&analyze).await })
            .await?;
        let session = self.connection.session();
        let finished = self
            .connection
            .run_write(async { session.batch("DROP TABLE store_copy").await });
        finished.await.map_err(failed)
    }
}

async fn page(db: &Session, table: &Table, after: &[Value]) -> Result<Vec<Row>, Failure> {
    let limit = i64::try_from(table.batch).unwrap_or(i64::MAX);
    let first = after.first().and_then(Value::text).unwrap_or_default();
    let rows = match table.rows {
        Rows::Hours => db.query(HOURS, &[&first, &limit]).await?,
        Rows::Numbers => db.query(NUMBERS, &[&first, &limit]).await?,
        Rows::Stored => {
            let names = names(table);
            let (columns, keys) = (names.join(", "), names[..table.key].join(", "));
            let marks: Vec<_> = (1..=after.len()).map(|mark| format!("${mark}")).collect();
            let from = match after {
                [] => String::new(),
                _ => format!("WHERE ({keys}) > ({})", marks.join(", ")),
            };
            let query = format!(
                "SELECT {columns} FROM {} {from} ORDER BY {keys} LIMIT {limit}",
                table.name
            );
            let values: Vec<_> = after.iter().map(key).collect();
            let values: Vec<_> = values
                .iter()
                .map(|value| &**value as &dyn Parameter)
                .collect();
            db.query(&query, &values).await?
        }
    };
    rows.iter().map(|row| values(table, row)).collect()
}

/// The value of a key, which is never NULL.
fn key<'a>(value: &'a Value) -> Box<dyn Parameter + 'a> {
    match value {
        Value::Integer(number) => Box::new(*number),
        Value::Bytes(bytes) => Box::new(&**bytes),
        Value::Null | Value::Text(_) => Box::new(value.text().unwrap_or_default()),
    }
}

fn values(table: &Table, row: &PgRow) -> Result<Row, Failure> {
    let names = names(table);
    let columns = table.columns.iter().zip(names);
    let value = |((_, kind), name): (&(&str, Kind), &'static str)| {
        Ok(match kind {
            Kind::Text => row
                .text(name)?
                .map_or(Value::Null, |text| Value::Text(text.to_owned())),
            Kind::Integer => row.integer(name)?.map_or(Value::Null, Value::Integer),
            Kind::Flag => Value::Integer(row.flag(name)?.into()),
            Kind::Bytes => {
                let bytes: Option<Vec<u8>> =
                    row.try_get(name).map_err(|error| corrupt(name, error))?;
                bytes.map_or(Value::Null, Value::Bytes)
            }
        })
    };
    columns.map(value).collect()
}

/// Adds rows with one statement, a list per column.
async fn add_rows(db: &Session, table: &Table, rows: &[Row]) -> Result<(), Failure> {
    let mut names = names(table);
    let mut lists: Vec<Box<dyn Parameter + '_>> = Vec::new();
    for (number, (_, kind)) in table.columns.iter().enumerate() {
        let column = rows.iter().map(|row| &row[number]);
        lists.push(match kind {
            Kind::Text => Box::new(column.map(Value::text).collect::<Vec<_>>()),
            Kind::Integer => Box::new(column.map(Value::integer).collect::<Vec<_>>()),
            Kind::Flag => {
                let flag = |value: &Value| value.integer().map(|number| number != 0);
                Box::new(column.map(flag).collect::<Vec<_>>())
            }
            Kind::Bytes => Box::new(column.map(Value::bytes).collect::<Vec<_>>()),
        });
    }
    let keys;
    if table.name == "user_record" {
        let email = table.columns.iter().position(|(name, _)| *name == "email");
        keys = mailbox_keys(rows, email.unwrap_or_default());
        names.push("mailbox_key");
        lists.push(Box::new(keys));
    }
    let marks: Vec<_> = (1..=names.len()).map(|mark| format!("${mark}")).collect();
    let add = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT * FROM unnest({})",
        table.name,
        names.join(", "),
        marks.join(", ")
    );
    let values: Vec<_> = lists.iter().map(|list| &**list as &dyn Parameter).collect();
    db.execute(&add, &values).await.map(drop)
}

/// The keys of the mailboxes, which only this engine stores.
fn mailbox_keys(rows: &[Row], email: usize) -> Vec<Option<String>> {
    let key = |row: &Row| {
        let email: postbell_core::EmailAddress = row[email].text()?.parse().ok()?;
        Some(email.mailbox_key().into_owned())
    };
    rows.iter().map(key).collect()
}

async fn add_hours(db: &Session, rows: &[Row]) -> Result<(), Failure> {
    let users: Vec<_> = rows.iter().map(|row| row[0].text()).collect();
    let hours: Vec<_> = rows.iter().map(|row| row[1].text()).collect();
    db.execute(ADD_HOURS, &[&users, &hours]).await.map(drop)
}

async fn set_numbers(db: &Session, rows: &[Row]) -> Result<(), Failure> {
    for row in rows {
        let set = match row[0].text().unwrap_or_default() {
            DROPPED => "UPDATE dead_letter_dropped SET number = $1",
            LATEST_TIME => "UPDATE queue_clock SET latest = $1",
            LAST_LEASE => "SELECT setval('lease', greatest($1, 1), $1 > 0)",
            LAST_DEAD_LETTER => "SELECT setval('dead_letter_id_seq', greatest($1, 1), $1 > 0)",
            _ => continue,
        };
        let number = row[1].integer().unwrap_or_default();
        db.query(set, &[&number]).await?;
    }
    db.execute(ADD_UNCOUNTED, &[]).await.map(drop)
}
