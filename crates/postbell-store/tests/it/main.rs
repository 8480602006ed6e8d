//! The store against its promises.

mod durability;
mod sqlite;
