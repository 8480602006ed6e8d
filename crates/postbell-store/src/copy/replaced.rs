//! Texts that PostgreSQL cannot hold.

use std::collections::BTreeMap;

use postbell_core::printable;

use super::table::{Row, Table, Value};
use crate::columns::without_nul;

/// The texts of a column that contained the NUL character, which PostgreSQL cannot hold
/// (<https://www.postgresql.org/docs/current/datatype-character.html>). In the target they have U+FFFD in its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplacedTexts {
    /// The table.
    pub table: &'static str,
    /// Its column.
    pub column: &'static str,
    /// How many rows.
    pub rows: u64,
    /// What identifies the first of them.
    pub first: String,
}

/// The texts that were replaced in the rows of a copy.
#[derive(Default)]
pub(super) struct Replacements(BTreeMap<(&'static str, &'static str), ReplacedTexts>);

impl Replacements {
    /// Replaces each NUL character in rows of a table.
    pub(super) fn replace(&mut self, table: &Table, rows: &mut [Row]) {
        for row in rows {
            for at in 0..row.len() {
                let Some(text) = row[at].text().filter(|text| text.contains('\0')) else {
                    continue;
                };
                let replaced = Value::Text(without_nul(text));
                let column = table.columns[at].0;
                let found = self.0.entry((table.name, column));
                let found = found.or_insert_with(|| ReplacedTexts {
                    table: table.name,
                    column,
                    rows: 0,
                    first: shown(&row[..table.key]),
                });
                found.rows += 1;
                row[at] = replaced;
            }
        }
    }
}

impl From<Replacements> for Vec<ReplacedTexts> {
    fn from(replacements: Replacements) -> Self {
        replacements.0.into_values().collect()
    }
}

fn shown(key: &[Value]) -> String {
    let shown = key.iter().map(|value| match value {
        Value::Null => String::new(),
        Value::Text(text) => printable(text),
        Value::Integer(number) => number.to_string(),
        Value::Bytes(bytes) => hex::encode(bytes),
    });
    shown.collect::<Vec<_>>().join(" ")
}
