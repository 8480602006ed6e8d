//! What applying style sheets may cost, in comparisons of an element with a selector.

/// The largest number of comparisons for a page.
pub(super) const MAX_COMPARISONS: u64 = 4_000_000;

/// The bytes of a text that cost as much as a comparison.
pub(super) const BYTES_OF_STEP: u64 = 64;
