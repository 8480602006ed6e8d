//! The ports in memory: every promise except durability.

mod inbox;
mod mailbox;
mod sessions;
mod users;

pub use inbox::MemoryInbox;
pub use sessions::MemorySessions;
pub use users::MemoryUsers;
