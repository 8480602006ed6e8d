//! How a store is opened.

use std::sync::Arc;

use postbell_core::Changes;

use crate::KeyRing;

/// What a process may do with a store.
#[derive(Debug)]
pub struct StoreOptions {
    pub(crate) access: Access,
    pub(crate) create: bool,
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

    /// For a command that changes rows: does not migrate the schema.
    #[must_use]
    pub fn read_write() -> Self {
        Self::new(Access::ReadWrite)
    }

    /// For a relay or a platform: creates the file if it is missing, migrates the schema, and encrypts
    /// with the first key what older ones have encrypted.
    #[must_use]
    pub fn service() -> Self {
        Self::new(Access::Migrate).create()
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
            keys: None,
            changes: Changes::new(),
        }
    }
}
