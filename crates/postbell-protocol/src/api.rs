//! JSON types of the platform's API (protocol, section 2). The same type is written by one side and
//! read by the other.
//!
//! A request's fields are optional where the platform answers a missing one with a message of its
//! own. An answer's fields have defaults where KiloClaw's platform does not send them.

mod admin;
mod machine;
mod machine_config;
pub mod operator;
mod platform;

pub use self::admin::{
    ConnectRequest, Connected, ConnectionStatus, CredentialsOffer, GoogleCredentials, PublicKey,
};
pub use self::machine::{CheckInRequest, FurtherMailboxReport, MailboxReport, RunningReport};
pub use self::machine_config::{FurtherAccount, MachineAccount, MachineConfig};
pub use self::platform::{
    AccountStatus, Acknowledged, DeliveryTarget, FoundUsers, GatewayTokenAnswer, HistoryIdReport,
    LookedUpUser, LookupAnswer, MachineStart, NotificationState, Problem, PushAccount, RelayLookup,
    RelayUser, UserRequest, UserStatus,
};
