//! Tells the platform that the machine is up, so that mail that waits for it is delivered at once.

use std::error::Error;
use std::time::Duration;

use futures_util::future::select_all;
use postbell_core::{BoxError, jittered};
use reqwest::Client;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::endpoint::Endpoint;
use crate::gateway_token::GatewayToken;
use crate::settings::CheckinSettings;
use crate::supervisor::{Alive, Timing};

/// How long the platform may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the HTTP client, once: reading the system's certificates takes longer than all else that the
/// controller does before it is ready, and blocks.
pub type MakeClient = dyn FnOnce() -> Result<Client, BoxError> + Send;

/// Tells the platform that the machine is up.
pub(crate) struct Checkin {
    pub(crate) settings: CheckinSettings,
    pub(crate) gateway_token: GatewayToken,
    pub(crate) make_client: Box<MakeClient>,
    /// Between failures it waits as between crashes.
    pub(crate) timing: Timing,
    /// A number from 0 to 1, another one each time.
    pub(crate) chance: fn() -> f64,
}

impl Checkin {
    /// Tells it whenever all of `endpoints` listen: after the start, and after each of them was
    /// started again. Until `stop` is cancelled.
    pub(crate) async fn keep_telling(self, endpoints: Vec<Endpoint>, stop: CancellationToken) {
        stop.run_until_cancelled(self.tell_of_each_start(endpoints))
            .await;
    }

    async fn tell_of_each_start(self, endpoints: Vec<Endpoint>) {
        let Self {
            settings,
            gateway_token,
            make_client,
            timing,
            chance,
        } = self;
        let mut listening = vec![None; endpoints.len()];
        for (endpoint, listening) in endpoints.iter().zip(&mut listening) {
            *listening = endpoint.listens_anew(None).await;
        }
        let client = match tokio::task::spawn_blocking(make_client).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return give_up(&*error),
            Err(panic) => return give_up(&panic),
        };
        let platform = Platform {
            client,
            settings,
            gateway_token,
        };
        loop {
            let (which, alive) = {
                let anew = any_anew(&endpoints, &listening);
                tokio::pin!(anew);
                tokio::select! {
                    anew = &mut anew => anew,
                    () = platform.tell(timing, chance) => anew.await,
                }
            };
            listening[which] = alive;
        }
    }
}

fn give_up(error: &(dyn Error + 'static)) {
    warn!(error, "The platform is not told that this machine is up");
}

/// Waits until a process listens that has not before; says which endpoint's, and which.
async fn any_anew(endpoints: &[Endpoint], last: &[Option<Alive>]) -> (usize, Option<Alive>) {
    let each = endpoints.iter().zip(last);
    let each = each.map(|(endpoint, last)| Box::pin(endpoint.listens_anew(*last)));
    let (alive, which, _) = select_all(each).await;
    (which, alive)
}

/// The platform, as the machine reaches it.
struct Platform {
    client: Client,
    settings: CheckinSettings,
    gateway_token: GatewayToken,
}

impl Platform {
    /// Tells it, as often as it takes.
    async fn tell(&self, timing: Timing, chance: fn() -> f64) {
        let mut wait = timing.first_wait;
        loop {
            match self.tell_once().await {
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
            sleep(jittered(wait, Duration::ZERO, chance())).await;
            wait = (wait * 2).min(timing.longest_wait);
        }
    }

    async fn tell_once(&self) -> Result<(), BoxError> {
        let request = self
            .client
            .post(self.settings.url.clone())
            .timeout(TIMEOUT)
            .bearer_auth(self.gateway_token.expose())
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
