//! A row of SQLite.

use rusqlite::Row;

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

impl From<Corrupt> for Failure {
    fn from(Corrupt { what, source }: Corrupt) -> Self {
        Self::Corrupt { what, source }
    }
}
