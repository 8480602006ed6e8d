//! Copies a store into another one, of the same engine or of the other.
//!
//! Nothing may write to the source during the copy. The target remembers, in the transaction of each batch, how far
//! the copy is, so that one that was killed continues; until the copy is verified, no process opens the target.
//! Secrets are copied as they are encrypted: no key is needed.

mod replaced;
mod table;

use async_trait::async_trait;
use postbell_core::{BoxError, StoreError, printable};

pub use self::replaced::ReplacedTexts;
use self::replaced::Replacements;
use self::table::{Checksum, decode, encode};
pub(crate) use self::table::{
    DROPPED, Kind, LAST_DEAD_LETTER, LAST_LEASE, LATEST_TIME, Row, Rows, TABLES, Table, USER, Value,
};
use crate::{Location, OpenError, locate, postgres, sqlite};

/// How far a copy is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CopyProgress {
    /// The table.
    pub table: &'static str,
    /// Whether it is compared, after it was copied.
    pub is_verified: bool,
    /// How many of its rows are done.
    pub rows: u64,
}

/// A copied table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CopiedTable {
    /// Its name.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// The beginning of the SHA-256 digest of all rows, the same in both stores.
    pub checksum: String,
}

/// Two stores with the same rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copied {
    /// Their tables.
    pub tables: Vec<CopiedTable>,
    /// Whether the target had all rows before, so that nothing was written.
    pub was_complete: bool,
    /// The columns whose texts are not the same, because the target cannot hold each character.
    pub replaced: Vec<ReplacedTexts>,
}

/// Why a store was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source cannot be opened.
    #[error("the source cannot be opened")]
    Source(#[source] OpenError),

    /// The target cannot be opened.
    #[error("the target cannot be opened")]
    Target(#[source] OpenError),

    /// A process uses the store.
    #[error(
        "a process uses {store}{sessions}: stop every relay and platform that does, and try again"
    )]
    InUse {
        /// Which store.
        store: &'static str,
        /// The sessions of a database, in parentheses.
        sessions: String,
    },

    /// Both are the same store.
    #[error("the source and the target are the same store")]
    Same,

    /// The target contains data that this copy did not write.
    #[error(
        "the target contains other data than the source: name an empty database, or a file that does not exist"
    )]
    NotEmpty,

    /// The target contains an unfinished copy of another store.
    #[error(
        "the target contains an unfinished copy of another store ({source_store}): name an empty one"
    )]
    AnotherCopy {
        /// The other store, without its password.
        source_store: String,
    },

    /// A table differs after it was copied.
    #[error(
        "the table {table} differs: the source was changed meanwhile. Delete the target, and copy again with \
         every process stopped"
    )]
    Differs {
        /// The table.
        table: &'static str,
    },

    /// The target does not accept the rows of a table.
    #[error("the table {table} cannot be written")]
    Write {
        /// The table.
        table: &'static str,
        /// Why.
        source: StoreError,
    },

    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CopyError {
    pub(crate) fn in_use(store: &'static str, sessions: &str) -> Self {
        let sessions = match sessions {
            "" => String::new(),
            sessions => format!(" ({})", printable(sessions)),
        };
        Self::InUse { store, sessions }
    }
}

/// How far a copy is, as the target remembers it.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    /// The store that is copied, without its password.
    pub(crate) source: String,
    /// The name of the table.
    pub(crate) table: String,
    /// The key of its last row, encoded; empty before the first one.
    pub(crate) last: String,
}

/// A store that is copied from or to. No other process uses it during the copy.
#[async_trait]
pub(crate) trait CopyEnd: Send {
    /// Whether a text may contain the NUL character.
    fn holds_nul(&self) -> bool;

    /// Reads the next rows, in the order of their keys.
    async fn page(&mut self, table: &Table, after: &[Value]) -> Result<Vec<Row>, CopyError>;

    /// Adds rows, and remembers the position in the same transaction.
    async fn write(
        &mut self,
        table: &Table,
        rows: &[Row],
        position: &Position,
    ) -> Result<(), CopyError>;

    /// Returns the position of the copy that was begun.
    async fn position(&mut self) -> Result<Option<Position>, CopyError>;

    /// Begins a copy: from now on, no process opens the store.
    async fn begin(&mut self, position: &Position) -> Result<(), CopyError>;

    /// Fails if a process uses the store.
    async fn refuse_if_used(&mut self) -> Result<(), CopyError>;

    /// Ends a copy: processes may open the store.
    async fn finish(&mut self) -> Result<(), CopyError>;
}

/// Copies a store, or continues a copy that was interrupted, and compares every table with the source.
///
/// Writes nothing to the source, nor to a target that has the same rows. `progress` is called after each batch.
///
/// # Errors
///
/// [`CopyError`]. After [`CopyError::Store`], [`CopyError::Write`] or a kill, the same call continues.
pub async fn copy(
    from: &str,
    to: &str,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<Copied, CopyError> {
    let source_name = crate::shown(from);
    if source_name == crate::shown(to) {
        return Err(CopyError::Same);
    }
    let mut source: Box<dyn CopyEnd> = match locate(from).map_err(CopyError::Source)? {
        Location::File(path) => Box::new(sqlite::copy_source(&path)?),
        Location::Postgres(target) => Box::new(postgres::copy_source(&target).await?),
    };
    let first = Position {
        source: source_name,
        table: TABLES[0].name.to_owned(),
        last: String::new(),
    };
    let mut target: Box<dyn CopyEnd> = match locate(to).map_err(CopyError::Target)? {
        Location::File(path) => Box::new(sqlite::copy_target(&path, &first)?),
        Location::Postgres(target) => Box::new(postgres::copy_target(&target, &first).await?),
    };
    let mut replaced = Replacements::default();
    let Some(position) = begin(&mut *target, first).await? else {
        let compared = verify(&mut *source, &mut *target, &mut replaced, progress).await;
        let tables = compared.map_err(|error| match error {
            CopyError::Differs { .. } => CopyError::NotEmpty,
            other => other,
        })?;
        return Ok(Copied {
            tables,
            was_complete: true,
            replaced: replaced.into(),
        });
    };
    copy_tables(&mut *source, &mut *target, position, progress).await?;
    let tables = verify(&mut *source, &mut *target, &mut replaced, progress).await?;
    // One that has started during the copy waits, and would use the source from then on.
    source.refuse_if_used().await?;
    target.finish().await?;
    Ok(Copied {
        tables,
        was_complete: false,
        replaced: replaced.into(),
    })
}

/// Returns where to continue, or begins in an empty target. `None`: the target has data.
async fn begin(target: &mut dyn CopyEnd, first: Position) -> Result<Option<Position>, CopyError> {
    match target.position().await? {
        Some(position) if position.source == first.source => return Ok(Some(position)),
        Some(Position { source, .. }) => {
            return Err(CopyError::AnotherCopy {
                source_store: source,
            });
        }
        None => (),
    }
    for table in TABLES {
        let is_empty = match table.rows {
            // They are there from the beginning.
            Rows::Numbers => true,
            Rows::Stored | Rows::Hours => target.page(table, &[]).await?.is_empty(),
        };
        if !is_empty {
            return Ok(None);
        }
    }
    target.begin(&first).await?;
    Ok(Some(first))
}

async fn copy_tables(
    source: &mut dyn CopyEnd,
    target: &mut dyn CopyEnd,
    mut position: Position,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<(), CopyError> {
    let done = TABLES.iter().position(|table| table.name == position.table);
    let done = done.ok_or_else(|| unreadable("the table"))?;
    for table in &TABLES[done..] {
        if position.table != table.name {
            table.name.clone_into(&mut position.table);
            position.last.clear();
        }
        let mut after = decode(&position.last).ok_or_else(|| unreadable("the key"))?;
        let mut rows = 0;
        loop {
            let mut page = source.page(table, &after).await?;
            let Some(last) = page.last() else { break };
            after = last[..table.key].to_vec();
            if !target.holds_nul() {
                // Those of all rows are reported when the tables are compared.
                Replacements::default().replace(table, &mut page);
            }
            position.last = encode(&after);
            let written = target.write(table, &page, &position).await;
            written.map_err(|error| match error {
                CopyError::Store(source) => CopyError::Write {
                    table: table.name,
                    source,
                },
                other => other,
            })?;
            rows += page.len() as u64;
            progress(CopyProgress {
                table: table.name,
                is_verified: false,
                rows,
            });
        }
    }
    Ok(())
}

fn unreadable(what: &'static str) -> CopyError {
    let source: BoxError = format!("{what} at which a copy stopped cannot be read").into();
    CopyError::Store(StoreError::Corrupt {
        what: "store_copy",
        source,
    })
}

async fn verify(
    source: &mut dyn CopyEnd,
    target: &mut dyn CopyEnd,
    replaced: &mut Replacements,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<Vec<CopiedTable>, CopyError> {
    let mut copied = Vec::new();
    for table in TABLES {
        let replaced = (!target.holds_nul()).then_some(&mut *replaced);
        let ours = checksum(source, table, replaced, progress).await?;
        if ours != checksum(target, table, None, progress).await? {
            return Err(CopyError::Differs { table: table.name });
        }
        let (rows, checksum) = ours;
        copied.push(CopiedTable {
            table: table.name,
            rows,
            checksum,
        });
    }
    Ok(copied)
}

async fn checksum(
    store: &mut dyn CopyEnd,
    table: &'static Table,
    mut replaced: Option<&mut Replacements>,
    progress: &mut (dyn FnMut(CopyProgress) + Send),
) -> Result<(u64, String), CopyError> {
    let mut checksum = Checksum::new();
    let mut after = Vec::new();
    loop {
        let mut page = store.page(table, &after).await?;
        let Some(last) = page.last() else { break };
        after = last[..table.key].to_vec();
        if let Some(replaced) = &mut replaced {
            replaced.replace(table, &mut page);
        }
        page.iter().for_each(|row| checksum.add(row));
        progress(CopyProgress {
            table: table.name,
            is_verified: true,
            rows: checksum.rows,
        });
    }
    Ok((checksum.rows, checksum.finish()))
}
