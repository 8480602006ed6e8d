use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use postbell_core::{Clock, SystemClock, Timestamp};
use postbell_google::{Api, AuthorizedUser, Gmail, Patience, TokenSource};
use postbell_http::HttpClient;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use reqwest::Client;
use tokio::net::TcpListener;
use url::Url;

pub(crate) const EMAIL: &str = "ann@example.com";

/// The machine's clock, which can be put ahead.
pub(crate) struct MovableClock {
    system: SystemClock,
    ahead: Mutex<Duration>,
}

impl MovableClock {
    pub(crate) fn advance(&self, time: Duration) {
        *self.ahead.lock() += time;
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        self.system.now() + *self.ahead.lock()
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed() + *self.ahead.lock()
    }
}

/// A sandbox and clients of it.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Arc<MovableClock>,
    pub(crate) tokens: Arc<TokenSource>,
    pub(crate) gmail: Gmail,
}

impl World {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener).await.unwrap();
        let clock = Arc::new(MovableClock {
            system: SystemClock::new(),
            ahead: Mutex::default(),
        });
        let user = serde_json::to_value(sandbox.oauth().grant(EMAIL)).unwrap();
        let user: AuthorizedUser = serde_json::from_value(user).unwrap();
        let url = base(&sandbox).join("/token").unwrap();
        let on: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let tokens = Arc::new(TokenSource::new(client(), url, user, on));
        let patience = Patience {
            tries: 3,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(2),
            ..Patience::default()
        };
        let client = HttpClient::from_env();
        let gmail = Gmail::new(client, base(&sandbox), Arc::clone(&tokens), patience);
        Self {
            sandbox,
            clock,
            tokens,
            gmail,
        }
    }

    pub(crate) fn fault(&self, at: FaultPoint, kind: Kind, times: u32) {
        self.sandbox.faults().add(at, kind, Frequency::Times(times));
    }

    /// How often a fault has occurred at `users.getProfile`.
    pub(crate) fn refused(&self) -> usize {
        self.sandbox.faults().occurred(FaultPoint::GmailProfile)
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(client(), base(&self.sandbox), Arc::clone(&self.tokens))
    }
}

pub(crate) fn client() -> Client {
    postbell_http::client().unwrap()
}

pub(crate) fn base(sandbox: &Sandbox) -> Url {
    Url::parse(sandbox.url()).unwrap()
}
