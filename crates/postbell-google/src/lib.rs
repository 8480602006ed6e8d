//! Clients of Google's APIs: keys and ID tokens, OAuth, Gmail, Pub/Sub and project administration.
//!
//! It knows nothing of relays, stores or bots. Base URLs, HTTP clients and clocks are arguments.
//! Start reading at `id_token.rs` for pushes, at `gmail.rs` for mail, and at `cloud.rs` for
//! administration.

mod base64;
mod cloud;
mod consent;
mod credentials;
mod gmail;
mod id_token;
mod issuer;
mod keys;
mod oauth;
mod oauth_client;
mod problem;
mod pull;
mod push_body;
mod resource_names;
mod sign_in;
mod urls;

pub use cloud::{
    Api, CloudError, Delivery, Mailbox, Operation, Policy, Project, Projects, PubSubAdmin,
    PushSubscription, Refusal, RefusalKind, ServiceAccounts, Services, Subscription, Waiting,
    push_account_email,
};
pub use consent::{ConsentRequest, ConsentSecrets, Grant, Redirected};
pub use credentials::{AuthorizedUser, Credentials, ServiceAccount};
pub use gmail::{
    Body, Changed, Gmail, GmailError, Header, HistoryPage, HistoryRecord, HistoryType, Label,
    Message, MessageList, MessageRef, Part, Patience, PrepaidRead, Profile, Thread,
    UNITS_PER_MINUTE, WatchStarted,
};
pub use id_token::{Caller, IdTokenError, IdTokenVerifier};
pub use issuer::Issuer;
pub use keys::{KeysUnavailable, SigningKeys};
pub use oauth::{TokenError, TokenSource, revoke_grant};
pub use oauth_client::{OAuthClient, OAuthClientError};
pub use pull::{PullError, PullSubscription, Pulled};
pub use push_body::{MailboxChanged, PushBody, publish_time};
pub use resource_names::{
    DEFAULT_OPERATOR_NAME, DEFAULT_PULL_SUBSCRIPTION, DEFAULT_PUSH_ACCOUNT,
    DEFAULT_PUSH_SUBSCRIPTION, DEFAULT_TOPIC, default_id_of_mailbox, default_user_subscription,
};
pub use sign_in::{SignIn, SignInAttempt, SignInError};
pub use urls::GoogleUrls;
