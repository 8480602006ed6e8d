//! How a store is opened.

use std::sync::Arc;

use postbell_core::Changes;

use crate::KeyRing;

/// What a process may do with a store.
#[derive(Debug)]
pub struct StoreOptions {
    pub(crate) access: Access,
    pub(crate) create: bool,
    pub(crate) claims: bool,
    pub(crate) keys: Option<Arc<KeyRing>>,
    pub(crate) changes: Changes,
}

/// How far a process may change a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// Changes no byte and creates no file.
    ReadOnly,
    /// Writes rows, but not the schema.
    ReadWrite,
    /// Migrates the schema, and encrypts again what older keys have encrypted.
    Migrate,
}

impl StoreOptions {
    /// For a command that shows what is stored: changes no byte and creates no file.
    #[must_use]
    pub fn read_only() -> Self {
        Self::new(Access::ReadOnly)
    }

    /// For a command that changes rows: neither migrates the schema nor releases claims.
    #[must_use]
    pub fn read_write() -> Self {
        Self::new(Access::ReadWrite)
    }

    /// For a platform: creates the file if it is missing, migrates the schema, and encrypts with the
    /// first key what older ones have encrypted.
    #[must_use]
    pub fn platform() -> Self {
        Self::new(Access::Migrate).create()
    }

    /// For a relay, alone or together with a platform: as [`platform`](Self::platform), and releases
    /// the claims of relays that have died.
    #[must_use]
    pub fn relay() -> Self {
        Self {
            claims: true,
            ..Self::platform()
        }
    }

    /// Creates the file if it is missing.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.create = true;
        self
    }

    /// Sets the keys of the credentials. Without them, credentials can be neither read nor written.
    #[must_use]
    pub fn keys(mut self, keys: KeyRing) -> Self {
        self.keys = Some(Arc::new(keys));
        self
    }

    /// Announces every change through `changes`, after its commit.
    #[must_use]
    pub fn changes(mut self, changes: Changes) -> Self {
        self.changes = changes;
        self
    }

    fn new(access: Access) -> Self {
        Self {
            access,
            create: false,
            claims: false,
            keys: None,
            changes: Changes::new(),
        }
    }
}
