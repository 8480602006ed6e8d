//! Notifies relays, which cache what they know of users.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use postbell_core::{AccountReport, MachineReport, ProblemCode, UserId};
use postbell_protocol::api::{CheckInRequest, UserRequest};
use postbell_protocol::routes;
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;
use url::Url;

/// The timeout of a notification: the caller of the change waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Relays to notify. Notifications are best effort: a relay refreshes its cache by itself, too.
#[async_trait]
pub trait Relays: Send + Sync {
    /// Has the relays drop what they cached of a user.
    async fn user_changed(&self, user: &UserId);

    /// Forwards a machine's check-in. `mailboxes` are the user and the further accounts, each with the problem that stops its
    /// deliveries.
    async fn machine_checked_in(
        &self,
        check_in: &CheckIn,
        mailboxes: &[(UserId, Option<ProblemCode>)],
    );
}

#[async_trait]
impl Relays for Vec<Arc<dyn Relays>> {
    async fn user_changed(&self, user: &UserId) {
        for relays in self {
            relays.user_changed(user).await;
        }
    }

    async fn machine_checked_in(
        &self,
        check_in: &CheckIn,
        mailboxes: &[(UserId, Option<ProblemCode>)],
    ) {
        for relays in self {
            relays.machine_checked_in(check_in, mailboxes).await;
        }
    }
}

/// An authenticated check-in of a machine.
pub struct CheckIn {
    /// The machine's user.
    pub user: UserId,
    /// The sandbox id that the machine sent.
    pub sandbox_id: String,
    /// The gateway token that the machine sent.
    pub token: SecretString,
    /// What the machine said of the first account.
    pub report: MachineReport,
    /// Its report on the further ones; `None` from a machine that does not watch several accounts.
    pub accounts: Option<Vec<AccountReport>>,
}

impl CheckIn {
    /// The body that the machine sent.
    fn body(&self) -> CheckInRequest {
        CheckInRequest {
            sandbox_id: Some(self.sandbox_id.clone()),
            mailbox: self.report.into(),
            accounts: self
                .accounts
                .as_ref()
                .map(|them| them.iter().cloned().map(Into::into).collect()),
        }
    }
}

/// Relays in other processes.
pub struct HttpRelays {
    client: Client,
    urls: Vec<Url>,
    api_key: SecretString,
}

impl HttpRelays {
    /// Creates a client of the relays at `urls`.
    #[must_use]
    pub fn new(client: Client, urls: Vec<Url>, api_key: SecretString) -> Self {
        Self {
            client,
            urls,
            api_key,
        }
    }

    async fn post(&self, path: &str, request: impl Fn(RequestBuilder) -> RequestBuilder) {
        let notify = |url: &Url| {
            let base = url.as_str().trim_end_matches('/');
            let post = self.client.post(format!("{base}{path}")).timeout(TIMEOUT);
            let sent = request(post).send();
            async move {
                let result = sent.await.and_then(reqwest::Response::error_for_status);
                if let Err(error) = result {
                    // The URL may contain secrets of the operator.
                    let error = &error.without_url() as &dyn std::error::Error;
                    debug!(error, path, "Could not notify a relay");
                }
            }
        };
        join_all(self.urls.iter().map(notify)).await;
    }
}

#[async_trait]
impl Relays for HttpRelays {
    async fn user_changed(&self, user: &UserId) {
        let body = UserRequest::new(user);
        self.post(routes::RELAY_FORGET, |post| {
            let post = post.header(routes::INTERNAL_API_KEY, self.api_key.expose_secret());
            post.json(&body)
        })
        .await;
    }

    async fn machine_checked_in(&self, check_in: &CheckIn, _: &[(UserId, Option<ProblemCode>)]) {
        let body = check_in.body();
        self.post(routes::CHECK_IN, |post| {
            post.bearer_auth(check_in.token.expose_secret()).json(&body)
        })
        .await;
    }
}
