//! The ports in memory: every promise except durability.

mod inbox;
mod instances;
mod mailbox;
mod sign_ins;

pub use inbox::MemoryInbox;
pub use instances::MemoryInstances;
pub use sign_ins::MemorySignIns;
