//! A file that is copied from or to.

use std::path::Path;

use async_trait::async_trait;
use postbell_core::StoreError;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::failure::Failure;
use super::{connection, schema};
use crate::OpenError;
use crate::copy::{
    CopyEnd, CopyError, DROPPED, LAST_DEAD_LETTER, LAST_LEASE, LATEST_TIME, Position, Row, Rows,
    Table, USER, Value,
};

const HOURS: &str = "
    SELECT user, group_concat(hour || ':' || delivered || ':' || failed, ' ' ORDER BY hour)
    FROM delivery_hour WHERE user > ?1 AND delivered + failed > 0 GROUP BY user ORDER BY user LIMIT ?2";

const ADD_HOUR: &str = "
    INSERT INTO delivery_hour (user, slot, hour, delivered, failed) VALUES (?1, ?2 % 24, ?2, ?3, ?4)";

const NUMBERS: &str = "
    SELECT name, number FROM (
        SELECT 'dropped_dead_letters' AS name, number FROM dead_letter_dropped
        UNION ALL SELECT 'last_dead_letter',
            coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dead_letter'), 0)
        UNION ALL SELECT 'last_lease', number FROM last_lease
        UNION ALL SELECT 'latest_time', latest FROM queue_clock
    ) WHERE name > ?1 ORDER BY name LIMIT ?2";

const FIND_POSITION: &str = "SELECT source, table_name, last_key FROM store_copy";

const SET_POSITION: &str = "UPDATE store_copy SET table_name = ?1, last_key = ?2";

const BEGIN: &str = "
    CREATE TABLE store_copy (
        source     TEXT NOT NULL,
        table_name TEXT NOT NULL,
        last_key   TEXT NOT NULL
    ) STRICT";

/// A file that no other process has open.
pub(crate) struct SqliteEnd {
    db: Connection,
    store: &'static str,
}

/// Opens a file whose content is copied.
pub(crate) fn copy_source(path: &Path) -> Result<SqliteEnd, CopyError> {
    if !path.exists() {
        return Err(CopyError::Source(OpenError::Missing));
    }
    let db = alone(path, "the source")?;
    let checked = schema::check(&db).and_then(|_| schema::refuse_unfinished_copy(&db));
    checked.map_err(CopyError::Source)?;
    Ok(SqliteEnd {
        db,
        store: "the source",
    })
}

/// Opens a file that gets the content of another store, and creates it if it is missing. The transaction that creates its tables
/// begins the copy.
pub(crate) fn copy_target(path: &Path, first: &Position) -> Result<SqliteEnd, CopyError> {
    connection::create(path).map_err(CopyError::Target)?;
    let mut db = alone(path, "the target")?;
    prepare(&mut db, first).map_err(CopyError::Target)?;
    Ok(SqliteEnd {
        db,
        store: "the target",
    })
}

fn prepare(db: &mut Connection, first: &Position) -> Result<(), OpenError> {
    let transaction = db.transaction()?;
    if schema::create(&transaction)? {
        begin(&transaction, first)?;
    }
    transaction.commit()?;
    schema::migrate(db).map(drop)
}

fn begin(db: &Connection, first: &Position) -> rusqlite::Result<()> {
    db.execute_batch(BEGIN)?;
    let Position {
        source,
        table,
        last,
    } = first;
    let add = "INSERT INTO store_copy VALUES (?1, ?2, ?3)";
    db.execute(add, [source, table, last]).map(drop)
}

/// Opens a file that no other process has open, and keeps it locked. Every connection to a file in WAL mode
/// holds a lock on it, which this one excludes
/// (<https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory>).
fn alone(path: &Path, store: &'static str) -> Result<Connection, CopyError> {
    let db = connection::open_exclusively(path);
    db.map_err(|error| match error {
        error if connection::is_busy(&error) => CopyError::in_use(store, ""),
        error => CopyError::Store(Failure::from(error).into()),
    })
}

impl SqliteEnd {
    fn read(&self, table: &Table, after: &[Value]) -> Result<Vec<Row>, rusqlite::Error> {
        let limit = i64::try_from(table.batch).unwrap_or(i64::MAX);
        let first = after.first().and_then(Value::text).unwrap_or_default();
        match table.rows {
            Rows::Hours => self.rows(HOURS, params![first, limit]),
            Rows::Numbers => self.rows(NUMBERS, params![first, limit]),
            Rows::Stored => {
                let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
                let (columns, keys) = (names.join(", "), names[..table.key].join(", "));
                let marks = vec!["?"; after.len()].join(", ");
                let from = match after {
                    [] => String::new(),
                    _ => format!("WHERE ({keys}) > ({marks})"),
                };
                let query = format!(
                    "SELECT {columns} FROM {} {from} ORDER BY {keys} LIMIT {limit}",
                    table.name
                );
                self.rows(&query, params_from_iter(after))
            }
        }
    }

    fn rows(&self, query: &str, values: impl rusqlite::Params) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.db.prepare_cached(query)?;
        let columns = statement.column_count();
        let rows = statement.query_map(values, |row| {
            (0..columns)
                .map(|column| Ok(value(row.get_ref(column)?)))
                .collect()
        })?;
        rows.collect()
    }

    fn add(&mut self, table: &Table, rows: &[Row], position: &Position) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        match table.rows {
            Rows::Stored => add_rows(&transaction, table, rows)?,
            Rows::Hours => add_hours(&transaction, rows)?,
            Rows::Numbers => set_numbers(&transaction, rows)?,
        }
        transaction.execute(SET_POSITION, [&position.table, &position.last])?;
        transaction.commit()
    }

    fn failed(&self, error: rusqlite::Error) -> CopyError {
        if connection::is_busy(&error) {
            return CopyError::in_use(self.store, "");
        }
        CopyError::Store(StoreError::from(Failure::from(error)))
    }
}

#[async_trait]
impl CopyEnd for SqliteEnd {
    fn holds_nul(&self) -> bool {
        true
    }

    async fn page(&mut self, table: &Table, after: &[Value]) -> Result<Vec<Row>, CopyError> {
        self.read(table, after).map_err(|error| self.failed(error))
    }

    async fn write(
        &mut self,
        table: &Table,
        rows: &[Row],
        position: &Position,
    ) -> Result<(), CopyError> {
        let added = self.add(table, rows, position);
        added.map_err(|error| self.failed(error))
    }

    async fn position(&mut self) -> Result<Option<Position>, CopyError> {
        let found = schema::is_unfinished_copy(&self.db).and_then(|is_unfinished| {
            if !is_unfinished {
                return Ok(None);
            }
            let found = self.db.query_row(FIND_POSITION, [], |row| {
                Ok(Position {
                    source: row.get(0)?,
                    table: row.get(1)?,
                    last: row.get(2)?,
                })
            });
            found.optional()
        });
        found.map_err(|error| self.failed(error))
    }

    async fn begin(&mut self, position: &Position) -> Result<(), CopyError> {
        let begun = self.db.transaction().and_then(|transaction| {
            begin(&transaction, position)?;
            transaction.commit()
        });
        begun.map_err(|error| self.failed(error))
    }

    /// The file is locked.
    async fn refuse_if_used(&mut self) -> Result<(), CopyError> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), CopyError> {
        let finished = self.db.execute_batch("DROP TABLE store_copy");
        finished.map_err(|error| self.failed(error))
    }
}

fn add_rows(db: &Connection, table: &Table, rows: &[Row]) -> rusqlite::Result<()> {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    debug_assert!(USER == "user", "the name of the column in a file");
    let marks = vec!["?"; names.len()].join(", ");
    let add = format!(
        "INSERT INTO {} ({}) VALUES ({marks})",
        table.name,
        names.join(", ")
    );
    let mut statement = db.prepare_cached(&add)?;
    for row in rows {
        statement.execute(params_from_iter(row))?;
    }
    Ok(())
}

fn add_hours(db: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(ADD_HOUR)?;
    for row in rows {
        let hours = row[1].text().unwrap_or_default();
        for hour in hours.split(' ') {
            let mut numbers = hour.split(':').map(|number| number.parse::<i64>().ok());
            let mut next = || numbers.next().flatten();
            statement.execute(params![row[0], next(), next(), next()])?;
        }
    }
    Ok(())
}

fn set_numbers(db: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    for row in rows {
        let set: &[&str] = match row[0].text().unwrap_or_default() {
            DROPPED => &["UPDATE dead_letter_dropped SET number = ?1"],
            LAST_LEASE => &["UPDATE last_lease SET number = ?1"],
            LATEST_TIME => &["UPDATE queue_clock SET latest = ?1"],
            LAST_DEAD_LETTER => &[
                "DELETE FROM sqlite_sequence WHERE name = 'dead_letter' AND ?1 IS NOT NULL",
                "INSERT INTO sqlite_sequence (name, seq) SELECT 'dead_letter', ?1 WHERE ?1 > 0",
            ],
            _ => &[],
        };
        for statement in set {
            db.execute(statement, [&row[1]])?;
        }
    }
    Ok(())
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        // No column contains one.
        ValueRef::Real(number) => Value::Text(number.to_string()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::TABLES;

    /// Values that are made anew, or mean nothing to another process.
    const NOT_COPIED: [&str; 11] = [
        "compatibility",
        "dead_letter_dropped.number",
        "delivery_hour",
        "depth",
        "last_lease.number",
        "pending.holder",
        "pending.id",
        "queue_clock.latest",
        "relay",
        "user_count",
        "write_probe",
    ];

    #[test]
    fn every_column_of_a_file_is_copied() {
        let db = schema::in_memory();
        let columns = "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c
            WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
        let mut columns = db.prepare(columns).unwrap();
        let columns = columns.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        });
        for column in columns.unwrap() {
            let (table, column) = column.unwrap();
            let name = format!("{table}.{column}");
            let copied = TABLES.iter().find(|one| one.name == table);
            let is_copied = copied.is_some_and(|table| {
                let mut columns = table.columns.iter();
                columns.any(|(name, _)| *name == column)
            });
            let is_known = [&*table, &*name].iter().any(|it| NOT_COPIED.contains(it));
            assert!(
                is_copied || is_known,
                "{name} is neither copied nor left out on purpose"
            );
        }
    }
}
