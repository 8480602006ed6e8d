//! The whole path at work, in one process, against the sandbox.
//!
//! [`World`] starts every part on a port of its own; [`Taps`] note when a notification passes each
//! hop; [`mails`] finds what is to be sent; [`Journal`] holds what was sent against what arrived.
//! The parts do not know that they are watched.

pub mod mails;

mod journal;
mod taps;
mod world;

pub use self::journal::{Arrived, Journal, Summary};
pub use self::taps::{Door, Hops, Taps};
pub use self::world::World;
