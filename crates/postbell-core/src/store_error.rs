//! Why a store could not answer.

use crate::BoxError;

/// Why a call to a store failed, if it was not refused.
///
/// Not `non_exhaustive`: inside the workspace the compiler lists every place that must decide about
/// a new case.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The backend is busy, full or out of reach. The same call may succeed later.
    #[error("the store is unavailable")]
    Unavailable(#[source] BoxError),

    /// The stored data is damaged, was not written by this program, or is encrypted with a key that
    /// is not configured. Never retried.
    #[error("the stored {what} cannot be read")]
    Corrupt {
        /// The column or table.
        what: &'static str,
        /// The problem with it.
        #[source]
        source: BoxError,
    },
}

/// The source of [`StoreError::Unavailable`] if there is no space for what is written.
#[derive(Debug, thiserror::Error)]
#[error("the disk is full")]
pub struct DiskFull(#[source] pub BoxError);

impl StoreError {
    /// Whether there is no space for what is written.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Unavailable(source) if source.is::<DiskFull>())
    }
}
