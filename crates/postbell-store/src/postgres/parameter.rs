//! The values of statements, with their types: a statement that is not prepared must name them.

use bytes::{BufMut, BytesMut};
use postbell_core::BoxError;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// Where a row is (`tid`), in the form in which the server sends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tid([u8; 6]);

/// A value of a statement.
pub(super) trait Parameter: Send + Sync {
    fn value(&self) -> &(dyn ToSql + Sync);
    fn sql_type(&self) -> Type;
}

/// The values of a column, for `unnest`.
pub(super) fn column<'a, V>(values: impl Iterator<Item = V>) -> Box<dyn Parameter + 'a>
where
    Vec<V>: Parameter + 'a,
{
    Box::new(values.collect::<Vec<V>>())
}

macro_rules! parameters {
    ($($rust:ty => $one:ident, $many:ident;)+) => { $(
        parameters!(@ $rust, $one);
        parameters!(@ Option<$rust>, $one);
        parameters!(@ Vec<$rust>, $many);
        parameters!(@ Vec<Option<$rust>>, $many);
    )+ };
    (@ $rust:ty, $sql:ident) => {
        impl Parameter for $rust {
            fn value(&self) -> &(dyn ToSql + Sync) {
                self
            }

            fn sql_type(&self) -> Type {
                Type::$sql
            }
        }
    };
}

parameters! {
    &str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    i64 => INT8, INT8_ARRAY;
    i32 => INT4, INT4_ARRAY;
    bool => BOOL, BOOL_ARRAY;
    &[u8] => BYTEA, BYTEA_ARRAY;
    Tid => TID, TID_ARRAY;
}

impl<'a> FromSql<'a> for Tid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(raw.try_into()?))
    }

    fn accepts(sql_type: &Type) -> bool {
        *sql_type == Type::TID
    }
}

impl ToSql for Tid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(sql_type: &Type) -> bool {
        *sql_type == Type::TID
    }

    to_sql_checked!();
}
