//! A row of SQLite.

use std::cell::Cell;

use rusqlite::{Row, Statement};

use super::failure::Failure;
use crate::columns::{Columns, Corrupt, corrupt};

impl Columns for Row<'_> {
    const USER: &'static str = "user";

    type Failure = Failure;

    fn text(&self, column: &'static str) -> Result<Option<&str>, Failure> {
        let text = self.get_ref(column)?.as_str_or_null();
        Ok(text.map_err(|error| corrupt(column, error))?)
    }

    fn integer(&self, column: &'static str) -> Result<Option<i64>, Failure> {
        Ok(self.get(column)?)
    }

    fn flag(&self, column: &'static str) -> Result<bool, Failure> {
        Ok(self.get(column)?)
    }

    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, Failure> {
        Ok(self.get(column)?)
    }
}

/// A row of which the columns are read in about the order of the query, whose names are known: SQLite finds a column
/// by comparing the names of all before it.
pub(super) struct InOrder<'row, 'statement> {
    row: &'row Row<'statement>,
    names: &'static [&'static str],
    next: Cell<usize>,
}

impl<'row, 'statement> InOrder<'row, 'statement> {
    /// Reads a row of a query that selects the columns with these names.
    pub(super) fn new(row: &'row Row<'statement>, names: &'static [&'static str]) -> Self {
        let statement: &Statement<'_> = row.as_ref();
        debug_assert_eq!(statement.column_names(), names);
        let next = Cell::default();
        Self { row, names, next }
    }

    fn index(&self, column: &str) -> rusqlite::Result<usize> {
        let next = self.next.get();
        let index = if self.names.get(next) == Some(&column) {
            Some(next)
        } else {
            self.names.iter().position(|name| *name == column)
        };
        let index = index.ok_or_else(|| rusqlite::Error::InvalidColumnName(column.to_owned()))?;
        self.next.set(index + 1);
        Ok(index)
    }
}

impl Columns for InOrder<'_, '_> {
    const USER: &'static str = "user";

    type Failure = Failure;

    fn text(&self, column: &'static str) -> Result<Option<&str>, Failure> {
        let text = self.row.get_ref(self.index(column)?)?.as_str_or_null();
        Ok(text.map_err(|error| corrupt(column, error))?)
    }

    fn integer(&self, column: &'static str) -> Result<Option<i64>, Failure> {
        Ok(self.row.get(self.index(column)?)?)
    }

    fn flag(&self, column: &'static str) -> Result<bool, Failure> {
        Ok(self.row.get(self.index(column)?)?)
    }

    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, Failure> {
        Ok(self.row.get(self.index(column)?)?)
    }
}

impl From<Corrupt> for Failure {
    fn from(Corrupt { what, source }: Corrupt) -> Self {
        Self::Corrupt { what, source }
    }
}
