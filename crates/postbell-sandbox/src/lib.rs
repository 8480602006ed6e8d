//! Stand-ins for Google, Fly, a user directory and a bot, over real HTTP, that misbehave on command.
//!
//! It is written from Google's and Fly's documents and uses none of Postbell's own types, so that the two
//! cannot share a mistake; Google's own clients run against it. Everything is on one listener, and
//! every base URL of Google's is that of the sandbox. `/sandbox` lists the control routes.
//!
//! Start reading at [`Sandbox`]; then `gmail.rs` and `pubsub.rs`, the path of a mail out of Google, and
//! `cloud.rs` with `blockers.rs`, which setup meets.

// For the list of controls, which is one `json!`.
#![recursion_limit = "256"]
#![expect(
    clippy::result_large_err,
    reason = "what refuses a request is its answer, as axum has it"
)]

mod alert_services;
mod blockers;
mod bot;
mod clock;
mod cloud;
mod control;
mod errors;
mod fault_point;
mod faults;
mod fly;
mod gateway;
mod gmail;
mod gog;
mod mail_server;
mod oauth;
mod platform;
mod policy;
mod pubsub;
mod push_tokens;
mod rng;
mod server;
mod webhook_schema;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::alert_services::{AlertServices, Misbehaviour, ReceivedAlert};
pub use crate::blockers::Blocker;
pub use crate::bot::{Bot, BotPolicy, Hook};
pub use crate::clock::Clock;
pub use crate::cloud::{Cloud, Lag};
pub use crate::fault_point::FaultPoint;
pub use crate::faults::{Fault, Faults, Frequency, Kind, Named, Reason};
pub use crate::fly::{Fly, FlyCall};
pub use crate::gateway::run_gateway;
pub use crate::gmail::{CountedCalls, Delivered, Gmail, NotAMail};
pub use crate::mail_server::{MailServer, ReceivedMail};
pub use crate::oauth::{
    Audience, AuthorizedUser, ClientKind, IdTokenClaims, OAuth, PROJECT, PROJECT_NUMBER, Publishing,
};
pub use crate::platform::{Platform, PlatformInstance};
pub use crate::pubsub::PubSub;
use crate::push_tokens::PushTokens;
pub use crate::webhook_schema::schema_violation;

/// A running sandbox. A clone is a handle to the same one.
#[derive(Clone, Debug)]
pub struct Sandbox {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    url: String,
    clock: Arc<Clock>,
    faults: Faults,
    oauth: OAuth,
    cloud: Cloud,
    pubsub: Arc<PubSub>,
    gmail: Gmail,
    platform: Platform,
    fly: Fly,
    bot: Arc<Bot>,
    push_tokens: PushTokens,
    client: reqwest::Client,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Sandbox {
    /// Serves on `listener` until [`stop`](Self::stop) is called.
    ///
    /// # Errors
    ///
    /// If the listener has no address.
    pub async fn start(listener: TcpListener) -> std::io::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let client = || {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
        };
        // A system without CA certificates can push to HTTP URLs only.
        let client = client()
            .build()
            .or_else(|_| client().tls_certs_only([]).build())
            .map_err(std::io::Error::other)?;
        let clock = Arc::new(Clock::default());
        let pubsub = Arc::new(PubSub::new(Arc::clone(&clock)));
        let parts = Parts {
            faults: Faults::new(),
            oauth: OAuth::new(),
            cloud: Cloud::new(Arc::clone(&clock)),
            gmail: Gmail::new(Arc::clone(&clock), Arc::clone(&pubsub)),
            platform: Platform::new(),
            fly: Fly::new(),
            bot: Arc::new(Bot::new(format!("{url}/bot/hooks/gmail"))),
            push_tokens: PushTokens::default(),
            client,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            pubsub,
            clock,
            url,
        };
        let sandbox = Self {
            parts: Arc::new(parts),
        };
        let serving = server::serve(
            listener,
            sandbox.router(),
            sandbox.parts.tasks.clone(),
            sandbox.child_token(),
        );
        sandbox.spawn(serving);
        Ok(sandbox)
    }

    fn router(&self) -> Router {
        Router::new()
            .merge(oauth::routes())
            .merge(gmail::routes())
            .merge(pubsub::routes())
            .merge(cloud::routes())
            .merge(platform::routes())
            .merge(fly::routes())
            .merge(control::routes())
            .merge(self.bot_routes())
            .fallback(async || errors::not_found())
            .layer(from_fn_with_state(self.clone(), faults::inject))
            .layer(from_fn_with_state(self.clone(), clock::add_date_header))
            .with_state(self.clone())
    }

    fn bot_routes(&self) -> Router<Self> {
        Router::new()
            .route("/bot/hooks/gmail", post(bot::take_hook))
            .route(
                "/sandbox/hooks",
                get(bot::list_hooks).delete(bot::forget_hooks),
            )
            .route("/sandbox/bot", post(bot::set_policy))
            .with_state(Arc::clone(&self.parts.bot))
    }

    /// Stops all tasks of the sandbox and waits for them.
    pub async fn stop(&self) {
        self.parts.stop.cancel();
        self.parts.tasks.close();
        self.parts.tasks.wait().await;
    }

    /// The base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.parts.url
    }

    /// Google's accounts.
    #[must_use]
    pub fn oauth(&self) -> &OAuth {
        &self.parts.oauth
    }

    /// Gmail.
    #[must_use]
    pub fn gmail(&self) -> &Gmail {
        &self.parts.gmail
    }

    /// Cloud Pub/Sub.
    #[must_use]
    pub fn pubsub(&self) -> &PubSub {
        &self.parts.pubsub
    }

    /// Google Cloud around Pub/Sub.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.parts.cloud
    }

    /// The user directory.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.parts.platform
    }

    /// Fly's Machines.
    #[must_use]
    pub fn fly(&self) -> &Fly {
        &self.parts.fly
    }

    /// The bot.
    #[must_use]
    pub fn bot(&self) -> &Bot {
        &self.parts.bot
    }

    /// The faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.parts.faults
    }

    /// The sandbox's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    /// Rotates the signing key.
    pub fn rotate_keys(&self) {
        self.oauth().rotate_keys();
        self.parts.push_tokens.forget();
    }

    fn push_tokens(&self) -> &PushTokens {
        &self.parts.push_tokens
    }

    fn client(&self) -> &reqwest::Client {
        &self.parts.client
    }

    fn child_token(&self) -> CancellationToken {
        self.parts.stop.child_token()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.parts.tasks.spawn(task);
    }
}
