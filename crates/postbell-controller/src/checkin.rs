//! Tells the platform that the machine is up, so that mail that waits for it is delivered at once;
//! and when the watch ends, so that its owner sees it.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use futures_util::future::select_all;
use postbell_core::{BoxError, Timestamp, jittered};
use postbell_protocol::api::CheckInRequest;
use postbell_protocol::gateway_token::GatewayToken;
use reqwest::Client;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::endpoint::Endpoint;
use crate::settings::CheckinSettings;
use crate::supervisor::{Alive, Timing};
use crate::watch_expiry::WatchExpiry;

/// How long the platform may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// From a check-in to the first look whether the watch was renewed, which a watcher that starts often
/// does first of all; doubled for each look after, up to the longest: else it happens once a day.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const LONGEST_LOOK: Duration = Duration::from_secs(60 * 60);

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
    /// started again; and when the watch has been renewed. Until `stop` is cancelled.
    pub(crate) async fn keep_telling(
        self,
        endpoints: Vec<Endpoint>,
        expiry: Option<WatchExpiry>,
        stop: CancellationToken,
    ) {
        stop.run_until_cancelled(self.tell_of_each_start(endpoints, expiry))
            .await;
    }

    async fn tell_of_each_start(self, endpoints: Vec<Endpoint>, expiry: Option<WatchExpiry>) {
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
            expiry,
        };
        let tell = || platform.tell(timing, chance);
        let look = || platform.watch_expires_at();
        loop {
            let (which, alive) = {
                let anew = any_anew(&endpoints, &listening);
                tokio::select! {
                    anew = anew => anew,
                    never = keep_told(tell, look) => match never {},
                }
            };
            listening[which] = alive;
        }
    }
}

fn give_up(error: &(dyn Error + 'static)) {
    warn!(error, "The platform is not told that this machine is up");
}

/// Tells now, and again when what was told of the watch is true no more.
async fn keep_told<T, L>(tell: impl Fn() -> T, look: impl Fn() -> L) -> Infallible
where
    T: Future<Output = Option<Timestamp>>,
    L: Future<Output = Option<Timestamp>>,
{
    loop {
        let told = tell().await;
        let mut wait = FIRST_LOOK;
        loop {
            sleep(wait).await;
            if look().await != told {
                break;
            }
            wait = (wait * 2).min(LONGEST_LOOK);
        }
    }
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
    /// Where there is a watch.
    expiry: Option<WatchExpiry>,
}

impl Platform {
    async fn watch_expires_at(&self) -> Option<Timestamp> {
        self.expiry.as_ref()?.read().await
    }

    /// Tells it, as often as it takes; returns what it was told of the watch.
    async fn tell(&self, timing: Timing, chance: fn() -> f64) -> Option<Timestamp> {
        let mut wait = timing.first_wait;
        loop {
            let expires_at = self.watch_expires_at().await;
            match self.tell_once(expires_at).await {
                Ok(()) => {
                    info!("The platform knows that this machine is up");
                    return expires_at;
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

    async fn tell_once(&self, watch_expires_at: Option<Timestamp>) -> Result<(), BoxError> {
        let body = CheckInRequest {
            sandbox_id: Some(self.settings.sandbox_id.to_string()),
            watch_expires_at,
        };
        let request = self
            .client
            .post(self.settings.url.clone())
            .timeout(TIMEOUT)
            .bearer_auth(self.gateway_token.expose())
            .json(&body);
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    /// A watcher's state that changes at these minutes, each time to its own minute; returns when it
    /// was told of, and what, in a day.
    async fn told_of(changes: &[u64]) -> Vec<(u64, Option<u64>)> {
        let start = Instant::now();
        let minute = || start.elapsed().as_secs() / 60;
        let state = || {
            let changes = changes.iter().rev();
            let last = changes.copied().find(|change| *change <= minute());
            last.map(|last| Timestamp::from_millis(last.cast_signed()))
        };
        let told = RefCell::new(Vec::new());
        let tell = async || {
            let said = state();
            let change = said.map(|said| said.as_millis().unsigned_abs());
            told.borrow_mut().push((minute(), change));
            said
        };
        tokio::select! {
            never = keep_told(tell, async || state()) => match never {},
            () = sleep(24 * HOUR) => {}
        }
        told.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn the_platform_is_told_once_of_what_stays() {
        assert_eq!(told_of(&[]).await, [(0, None)]);
        assert_eq!(told_of(&[0]).await, [(0, Some(0))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_is_told_of_soon_after_the_start_and_later_within_the_hour() {
        // Looks come after 1, 3, 7, 15, 31 and 63 minutes, then every hour.
        let told = told_of(&[1, 6, 1000]).await;
        let expected = [(0, None), (1, Some(1)), (8, Some(6)), (1031, Some(1000))];
        assert_eq!(told, expected);
    }
}
