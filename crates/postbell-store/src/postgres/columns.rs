//! A row of PostgreSQL.

use postbell_core::BoxError;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::failure::Failure;
use crate::columns::{Columns, Corrupt, corrupt};

impl Columns for Row {
    const USER: &'static str = "user_id";

    type Failure = Failure;

    fn text(&self, column: &'static str) -> Result<Option<&str>, Failure> {
        get(self, column)
    }

    fn integer(&self, column: &'static str) -> Result<Option<i64>, Failure> {
        let integer: Option<Integer> = get(self, column)?;
        Ok(integer.map(|Integer(value)| value))
    }

    fn flag(&self, column: &'static str) -> Result<bool, Failure> {
        get(self, column)
    }

    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, Failure> {
        get(self, column)
    }
}

impl From<Corrupt> for Failure {
    fn from(Corrupt { what, source }: Corrupt) -> Self {
        Self::Corrupt { what, source }
    }
}

/// Reads a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &'static str) -> Result<T, Failure> {
    let value = row.try_get(column);
    Ok(value.map_err(|error| corrupt(column, error))?)
}

/// An integer of 4 or 8 bytes.
struct Integer(i64);

impl<'a> FromSql<'a> for Integer {
    fn from_sql(sql_type: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        if *sql_type == Type::INT4 {
            return i32::from_sql(sql_type, raw).map(|value| Self(value.into()));
        }
        i64::from_sql(sql_type, raw).map(Self)
    }

    fn accepts(sql_type: &Type) -> bool {
        [Type::INT4, Type::INT8].contains(sql_type)
    }
}
