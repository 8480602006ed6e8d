//! Tells the platform that the machine is up, so that mail that waits for it is delivered at once.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{BoxError, jittered};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::presence::Door;
use crate::settings::CheckinSettings;

/// How long the platform may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The wait after the first failure; doubled for each one after.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Makes the HTTP client, when it is first needed: reading the system's certificates takes longer
/// than all else that the controller does before it is ready.
pub type MakeClient = dyn Fn() -> Result<Client, BoxError> + Send + Sync;

/// Tells the platform that the machine is up.
pub(crate) struct Checkin {
    pub(crate) settings: CheckinSettings,
    pub(crate) gateway_token: Arc<SecretString>,
    pub(crate) make_client: Box<MakeClient>,
    pub(crate) chance: fn() -> f64,
}

impl Checkin {
    /// Checks in whenever all of `doors` have opened: at the start, and after each of what is
    /// behind them was started again. Until `stop` is cancelled.
    pub(crate) async fn keep_telling(self, doors: Vec<Door>, stop: CancellationToken) {
        let telling = async {
            let client = match (self.make_client)() {
                Ok(client) => client,
                Err(error) => {
                    warn!(%error, "The platform is not told that this machine is up");
                    return std::future::pending().await;
                }
            };
            loop {
                for door in &doors {
                    door.opened().await;
                }
                let one_closed = any_closed(&doors);
                tokio::pin!(one_closed);
                tokio::select! {
                    () = &mut one_closed => continue,
                    () = self.tell(&client) => {}
                }
                one_closed.await;
            }
        };
        stop.run_until_cancelled(telling).await;
    }

    /// Tells it, as often as it takes.
    async fn tell(&self, client: &Client) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.tell_once(client).await {
                Ok(()) => {
                    info!("The platform knows that this machine is up");
                    return;
                }
                Err(error) => {
                    let error: &dyn Error = &*error;
                    warn!(
                        error,
                        ?wait,
                        "The platform was not told that this machine is up; trying again"
                    );
                }
            }
            sleep(jittered(wait, Duration::ZERO, (self.chance)())).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn tell_once(&self, client: &Client) -> Result<(), BoxError> {
        let request = client
            .post(self.settings.url.clone())
            .timeout(TIMEOUT)
            .bearer_auth(self.gateway_token.expose_secret())
            .json(&json!({ "sandboxId": self.settings.sandbox_id }));
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        // Read to its end, so that the connection is done with.
        let _ = answer.bytes().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answered {}", status.as_u16()).into())
        }
    }
}

async fn any_closed(doors: &[Door]) {
    let closed = doors.iter().map(|door| Box::pin(door.left()));
    futures_util::future::select_all(closed).await;
}
