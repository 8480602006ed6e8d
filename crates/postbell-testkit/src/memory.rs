//! The ports in memory: every promise except durability.

mod deliveries;
mod mailbox;
mod sessions;
mod users;

pub use self::deliveries::MemoryDeliveries;
pub use self::sessions::MemorySessions;
pub use self::users::MemoryUsers;
