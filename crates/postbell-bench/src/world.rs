//! The relay's environment: Google's keys, the directory and valid pushes.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use postbell_core::{Clock, SystemClock};
use postbell_sandbox::{IdTokenClaims, PlatformInstance, Sandbox};
use serde_json::json;
use tokio::net::TcpListener;

const AUDIENCE: &str = "https://push.example.com";
const ACCOUNT: &str = "push@bench.iam.gserviceaccount.com";

/// Number of sending users.
pub(crate) const USERS: usize = 200;

/// Every tenth mailbox of the large database is pending.
pub(crate) const WAITING: usize = 10;

/// Google's keys and the directory.
pub(crate) struct World {
    sandbox: Sandbox,
    users: Vec<String>,
}

/// Template of a user's pushes.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) path: String,
    /// Value of the `authorization` header.
    pub(crate) authorization: String,
}

/// The service account of all users' pushes.
pub(crate) const fn push_account() -> &'static str {
    ACCOUNT
}

/// Whether the users' machines run.
#[derive(Clone, Copy)]
pub(crate) enum Machines {
    Running,
    Stopped,
}

impl World {
    /// Creates `users` users, spread over `mailboxes` mailboxes.
    pub(crate) async fn new(
        users: usize,
        mailboxes: usize,
        machines: Machines,
    ) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await?).await?;
        let users = (0..users).map(|number| user(number * (mailboxes / users)));
        let users: Vec<_> = users.collect();
        let of_those_who_wait = (0..mailboxes).step_by(WAITING).map(user);
        for user in of_those_who_wait.chain(users.iter().cloned()) {
            sandbox.platform().put(instance(&user, machines));
        }
        Ok(Self { sandbox, users })
    }

    /// Environment variables of the relay; deliveries go to `machines`.
    pub(crate) fn variables(&self, inbox: &str, machines: &str) -> Vec<(&'static str, String)> {
        let url = self.sandbox.url();
        let pairs = [
            ("POSTBELL_RELAY__AUDIENCE", AUDIENCE.to_owned()),
            ("POSTBELL_RELAY__INBOX", inbox.to_owned()),
            ("POSTBELL_RELAY__MACHINE_URL", machines.to_owned()),
            // Raise the rate limit above the load; the check stays in the path.
            (
                "POSTBELL_RELAY__RATE_PER_USER__PER_SECOND",
                "1000000".to_owned(),
            ),
            ("POSTBELL_RELAY__RATE_PER_USER__BURST", "1000000".to_owned()),
            ("POSTBELL_DIRECTORY__URL", url.to_owned()),
            (
                "POSTBELL_DIRECTORY__API_KEY",
                self.sandbox.platform().api_key().to_owned(),
            ),
            (
                "POSTBELL_GOOGLE__JWKS_URL",
                format!("{url}/oauth2/v3/certs"),
            ),
        ];
        pairs.to_vec()
    }

    /// Creates `count` senders, round-robin over users. Tokens differ if there are more senders than users.
    pub(crate) fn senders(&self, count: usize) -> Vec<Sender> {
        let now = SystemClock::new().now().as_secs();
        let sender = |number: usize| {
            let user = &self.users[number % self.users.len()];
            let path = format!("/push/user/{user}");
            let age = i64::try_from(number / self.users.len()).unwrap_or_default();
            let claims = IdTokenClaims::of(ACCOUNT, &format!("{AUDIENCE}{path}"), now - age);
            let token = self.sandbox.oauth().id_token(&claims);
            Sender {
                path,
                authorization: format!("Bearer {token}"),
            }
        };
        (0..count).map(sender).collect()
    }

    pub(crate) async fn stop(self) {
        self.sandbox.stop().await;
    }
}

/// User id of a mailbox.
pub(crate) fn user(number: usize) -> String {
    format!("user-{number:07}")
}

/// Pub/Sub's body of a message.
pub(crate) fn body(message: u64) -> Bytes {
    let data = json!({ "emailAddress": "ann@example.com", "historyId": message });
    let data = BASE64_STANDARD.encode(data.to_string());
    let id = format!("{:020}", message);
    let body = json!({
        "message": {
            "data": data, "messageId": id, "message_id": id,
            "publishTime": "2026-11-23T19:13:55.749Z", "publish_time": "2026-11-23T19:13:55.749Z",
        },
        "subscription": "projects/bench/subscriptions/postbell",
    });
    Bytes::from(body.to_string())
}

pub(crate) fn listening_at(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn instance(user: &str, machines: Machines) -> PlatformInstance {
    let status = match machines {
        Machines::Running => "running",
        Machines::Stopped => "stopped",
    };
    PlatformInstance {
        user_id: user.to_owned(),
        sandbox_id: format!("sandbox-of-{user}"),
        status: status.to_owned(),
        fly_app_name: "bot".to_owned(),
        fly_machine_id: "d8910".to_owned(),
        google_connected: true,
        gmail_notifications_enabled: true,
        gmail_push_oidc_email: Some(ACCOUNT.to_owned()),
        email: None,
        gmail_last_history_id: None,
    }
}
