//! The ports in memory: every promise except durability.

mod alerts;
mod audit;
mod deliveries;
mod mailbox;
mod revocations;
mod sessions;
mod tokens;
mod users;

pub use self::alerts::MemoryAlerts;
pub use self::audit::{MemoryAudit, MemoryStore};
pub use self::deliveries::MemoryDeliveries;
pub use self::revocations::MemoryRevocations;
pub use self::sessions::MemorySessions;
pub use self::tokens::MemoryTokens;
pub use self::users::MemoryUsers;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postbell_core::Changes;

    use super::*;
    use crate::conformance::changes::{
        deliveries_are_announced, ended_sessions_are_announced, users_are_announced,
    };
    use crate::{Deliveries, UserStore};

    #[tokio::test]
    async fn every_change_is_announced() {
        let changes = Changes::new();
        let deliveries = Arc::new(MemoryDeliveries::announcing(changes.clone()));
        deliveries_are_announced(&Deliveries::new(deliveries), &changes).await;
        let users = Arc::new(MemoryUsers::announcing(changes.clone()));
        users_are_announced(&UserStore::new(users), &changes).await;
        let sessions = MemorySessions::announcing(changes.clone());
        ended_sessions_are_announced(&sessions, &changes).await;
    }
}
