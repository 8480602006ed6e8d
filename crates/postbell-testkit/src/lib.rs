//! What tests of several crates share: conformance suites, in-memory stores and a paused clock.
//!
//! Only ever a dev-dependency: nothing of this is in the binary. [`conformance`] has one test for each
//! promise in the documentation of a port; every backend runs all of them.

pub mod clock;
pub mod conformance;
pub mod memory;

pub use clock::PausedClock;
pub use memory::{MemoryInbox, MemorySessions, MemoryUsers};
