//! Google as Postbell needs it: keys and ID tokens, OAuth, Gmail, Pub/Sub.
//!
//! It knows nothing of relays, stores or bots: whoever calls says which mailbox, which topic, and
//! what a failure means. Base URLs, clients and clocks are given. Start reading at `id_token.rs`
//! for what comes from Google, and at `gmail.rs` for what goes to it.

mod base64;
mod credentials;
mod gmail;
mod gog_keyring;
mod id_token;
mod keys;
mod oauth;
mod pubsub;
mod pull;
mod push_body;
mod sign_in;

pub use credentials::{AuthorizedUser, Credentials, CredentialsError, ServiceAccount};
pub use gmail::{
    Body, Changed, Gmail, GmailError, Header, HistoryPage, HistoryRecord, HistoryType, Label,
    Message, MessageList, MessageRef, Part, Patience, Profile, UNITS_PER_MINUTE, WatchStarted,
};
pub use gog_keyring::GogKeyring;
pub use id_token::{Caller, IdTokenError, IdTokenVerifier};
pub use keys::{GoogleKeys, KeysUnavailable};
pub use oauth::{TokenError, TokenSource};
pub use pubsub::{PubSubAdmin, PubSubError, PushSubscription};
pub use pull::{PullError, PullSubscription, Pulled};
pub use push_body::{MailboxChanged, PushBody};
pub use sign_in::{SignIn, SignInAttempt, SignInError};
