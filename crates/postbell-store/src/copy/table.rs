//! The tables that are copied, and the columns that every engine has.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256};

use self::Kind::{Bytes, Flag, Integer, Text};

/// The column with a user's id. Each engine has its own name for it.
pub(crate) const USER: &str = "user";

/// A table, or what both engines can show as one.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) rows: Rows,
    /// How many of the columns, from the first one, identify a row and order the rows.
    pub(crate) key: usize,
    /// How many rows are read and written at once.
    pub(crate) batch: usize,
    pub(crate) columns: &'static [(&'static str, Kind)],
}

/// Where the rows of a table are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rows {
    /// In a table of this name.
    Stored,
    /// One row per user: `HOUR:DELIVERED:FAILED` for each hour, separated by spaces.
    Hours,
    /// One row per number of the whole store.
    Numbers,
}

/// The type of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Integer,
    Flag,
    Bytes,
}

/// A value in the form in which it is copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    /// A number, or a truth value.
    Integer(i64),
    Bytes(Vec<u8>),
}

pub(crate) type Row = Vec<Value>;

const MANY: usize = 1000;

/// Of rows with a body, which may have 64 KiB.
const FEW: usize = 100;

/// The order matters: the hours of a user in PostgreSQL need the user's deliveries.
pub(crate) const TABLES: &[Table] = &[
    stored(
        "pending",
        1,
        FEW,
        &[
            (USER, Text),
            ("message_id", Text),
            ("history_id", Text),
            ("address", Text),
            ("published_at", Integer),
            ("accepted_at", Integer),
            ("merged_ids", Text),
            ("waiting_since", Integer),
            ("due_at", Integer),
            ("cooldown_until", Integer),
            ("leased_until", Integer),
            ("lease", Integer),
            ("attempt", Integer),
            ("consecutive_failures", Integer),
            ("failing_since", Integer),
            ("parked_for", Text),
            ("checked_in_at", Integer),
            ("trace", Text),
            ("body", Bytes),
        ],
    ),
    stored(
        "cursor",
        2,
        MANY,
        &[
            (USER, Text),
            ("address", Text),
            ("history_id", Text),
            ("message_ids", Text),
            ("settled_at", Integer),
            ("published_at", Integer),
        ],
    ),
    stored(
        "dead_letter",
        1,
        FEW,
        &[
            ("id", Integer),
            (USER, Text),
            ("message_id", Text),
            ("history_id", Text),
            ("address", Text),
            ("published_at", Integer),
            ("body", Bytes),
            ("reason", Text),
            ("cause", Text),
            ("failure_kind", Text),
            ("dead_lettered_at", Integer),
            ("trace", Text),
        ],
    ),
    stored(
        "delivery",
        2,
        MANY,
        &[
            (USER, Text),
            ("slot", Integer),
            ("lease", Integer),
            ("message_id", Text),
            ("history_id", Text),
            ("outcome", Text),
            ("cause", Text),
            ("failure_kind", Text),
            ("attempt", Integer),
            ("accepted_at", Integer),
            ("claimed_at", Integer),
            ("settled_at", Integer),
            ("trace_id", Text),
        ],
    ),
    Table {
        name: "delivery hours",
        rows: Rows::Hours,
        key: 1,
        batch: MANY,
        columns: &[(USER, Text), ("hours", Text)],
    },
    stored(
        "user_record",
        1,
        MANY,
        &[
            (USER, Text),
            ("owner", Text),
            ("sandbox_id", Text),
            ("status", Text),
            ("app", Text),
            ("machine", Text),
            ("url", Text),
            ("connected_at", Integer),
            ("email", Text),
            ("push_account", Text),
            ("notifications", Flag),
            ("wake_on_mail", Flag),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("watch_expires_at", Integer),
            ("pending_sync", Integer),
            ("problem_code", Text),
            ("problem_since", Integer),
            ("mail_dead_letters", Integer),
            ("started_at", Integer),
            ("unreachable_since", Integer),
            ("config_fetched_at", Integer),
            ("never_seen", Flag),
            ("several_accounts", Flag),
            ("version", Integer),
        ],
    ),
    stored("progress", 1, MANY, &[(USER, Text), ("history_id", Text)]),
    stored(
        "credential",
        1,
        FEW,
        &[(USER, Text), ("key_id", Text), ("ciphertext", Bytes)],
    ),
    stored(
        "orphaned_machine",
        2,
        MANY,
        &[("app", Text), ("machine", Text)],
    ),
    stored(
        "revocation",
        1,
        FEW,
        &[
            ("id", Bytes),
            ("key_id", Text),
            ("ciphertext", Bytes),
            ("added_at", Integer),
            ("due_at", Integer),
        ],
    ),
    stored(
        "sign_in_link",
        1,
        MANY,
        &[
            ("digest", Bytes),
            (USER, Text),
            ("operator", Text),
            ("viewer", Flag),
            ("expires_at", Integer),
        ],
    ),
    stored(
        "session_epoch",
        1,
        MANY,
        &[("subject", Text), ("epoch", Integer)],
    ),
    stored(
        "access_token",
        1,
        MANY,
        &[
            ("id", Text),
            ("digest", Bytes),
            ("name", Text),
            ("scope", Text),
            (USER, Text),
            ("created_at", Integer),
            ("expires_at", Integer),
            ("last_used_at", Integer),
        ],
    ),
    stored(
        "audit",
        1,
        MANY,
        &[
            ("number", Integer),
            ("at", Integer),
            ("actor", Text),
            ("origin", Text),
            ("action", Text),
            (USER, Text),
            ("detail", Text),
        ],
    ),
    stored(
        "alert",
        3,
        MANY,
        &[
            ("id", Text),
            (USER, Text),
            ("target", Text),
            ("event", Text),
            ("added_at", Integer),
            ("due_at", Integer),
            ("attempt", Integer),
            ("lease", Integer),
        ],
    ),
    stored(
        "alert_mark",
        1,
        MANY,
        &[
            ("subject", Text),
            ("state", Text),
            ("due_at", Integer),
            ("version", Integer),
        ],
    ),
    stored(
        "alert_target",
        2,
        MANY,
        &[
            (USER, Text),
            ("id", Text),
            ("key_id", Text),
            ("ciphertext", Bytes),
            ("added_at", Integer),
        ],
    ),
    Table {
        name: "numbers",
        rows: Rows::Numbers,
        key: 1,
        batch: MANY,
        columns: &[("name", Text), ("number", Integer)],
    },
];

/// The numbers of a store: how many dead letters were dropped, the last dead letter, the last lease, and the
/// latest time at which something was scheduled.
pub(crate) const DROPPED: &str = "dropped_dead_letters";
pub(crate) const LAST_DEAD_LETTER: &str = "last_dead_letter";
pub(crate) const LAST_LEASE: &str = "last_lease";
pub(crate) const LATEST_TIME: &str = "latest_time";

const fn stored(
    name: &'static str,
    key: usize,
    batch: usize,
    columns: &'static [(&'static str, Kind)],
) -> Table {
    Table {
        name,
        rows: Rows::Stored,
        key,
        batch,
        columns,
    }
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Writes the key of a row as text, to store how far a copy is.
pub(crate) fn encode(key: &[Value]) -> String {
    let mut text = String::new();
    for value in key {
        let _ = match value {
            Value::Null => write!(text, "n "),
            Value::Text(one) => write!(text, "t{} ", hex::encode(one)),
            Value::Integer(number) => write!(text, "i{number} "),
            Value::Bytes(bytes) => write!(text, "b{} ", hex::encode(bytes)),
        };
    }
    text
}

/// Reads a key that [`encode`] has written.
pub(crate) fn decode(text: &str) -> Option<Vec<Value>> {
    let one = |word: &str| {
        let (kind, rest) = word.split_at_checked(1)?;
        Some(match kind {
            "t" => Value::Text(String::from_utf8(hex::decode(rest).ok()?).ok()?),
            "i" => Value::Integer(rest.parse().ok()?),
            "b" => Value::Bytes(hex::decode(rest).ok()?),
            _ => Value::Null,
        })
    };
    text.split_whitespace().map(one).collect()
}

/// The number of rows and a digest over all their values, in order.
pub(crate) struct Checksum {
    pub(crate) rows: u64,
    digest: Context,
}

impl Checksum {
    pub(crate) fn new() -> Self {
        Self {
            rows: 0,
            digest: Context::new(&SHA256),
        }
    }

    pub(crate) fn add(&mut self, row: &[Value]) {
        self.rows += 1;
        for value in row {
            let number;
            let (kind, bytes): (u8, &[u8]) = match value {
                Value::Null => (0, &[]),
                Value::Text(text) => (1, text.as_bytes()),
                Value::Integer(integer) => {
                    number = integer.to_be_bytes();
                    (2, &number)
                }
                Value::Bytes(bytes) => (3, bytes),
            };
            self.digest.update(&[kind]);
            self.digest.update(&(bytes.len() as u64).to_be_bytes());
            self.digest.update(bytes);
        }
    }

    /// The digest as 16 hex digits.
    pub(crate) fn finish(self) -> String {
        hex::encode(&self.digest.finish().as_ref()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back() {
        let key = [
            Value::Text("ann bob".to_owned()),
            Value::Integer(-7),
            Value::Bytes(vec![0, 255]),
        ];
        assert_eq!(decode(&encode(&key)).unwrap(), key);
        assert_eq!(decode("t6").map(|_| ()), None);
        assert_eq!(decode("").unwrap(), []);
    }
}
