//! Applies changes of users, and brings their machines to the stored configuration.

mod command_queue;
mod keyed_locks;
mod machine_sync;

pub(crate) use self::command_queue::Change;
pub use self::command_queue::CommandQueue;
