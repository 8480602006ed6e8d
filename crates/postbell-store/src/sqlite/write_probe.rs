//! What a readiness check reads and writes.

use rusqlite::Connection;

/// The smallest read.
pub(super) fn read(db: &Connection) -> rusqlite::Result<()> {
    let statement = "SELECT latest FROM queue_clock";
    let mut statement = db.prepare_cached(statement)?;
    statement
        .query_row([], |row| row.get::<_, i64>(0))
        .map(drop)
}

/// Writes as much as the largest push: its body, and the pages of the tables and indexes that change with it. A smaller write may
/// still fit on a disk that is full for pushes.
pub(super) fn write(db: &Connection) -> rusqlite::Result<()> {
    let statement = "INSERT OR REPLACE INTO write_probe (id, data) VALUES (1, zeroblob(98304))";
    db.prepare_cached(statement)?.execute([]).map(drop)
}
