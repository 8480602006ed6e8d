//! Sets Google Cloud up for Postbell, step by step.
//!
//! It knows no store and no other part: what the watcher remembers and what a relay has stored is
//! handed in. Nothing secret is printed, logged or remembered; what a person signs in with for the
//! administration stays in memory.
//!
//! Start reading at `step.rs`, what a step is; then `run.rs`, what is done with them, and
//! `steps.rs`. `trouble/words.rs` has what
//! people are told where they stand before a wall.

mod consent;
mod hook;
mod made;
mod memory;
mod person;
mod platform;
mod progress;
mod run;
mod site;
mod step;
mod steps;
mod times;
mod trouble;
mod undo;
mod waits;
mod wishes;

pub use made::{Key, Made};
pub use memory::{Begun, Remembered, WatchMemory};
pub use person::{Event, NoAnswer, Person, Question};
pub use progress::{ArrivalNote, DestinationNote, Names, Progress, ProgressFile, WatchNote};
pub use run::{Mode, run};
pub use site::{Patience, Site, Tools};
pub use step::{Report, State, StepId};
pub use steps::sign_in;
pub use trouble::{Trouble, Wall};
pub use undo::undo;
pub use wishes::{Browser, Destination, HookWish, Wishes, parse_endpoint};
