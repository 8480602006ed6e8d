//! Checks in with the platform (protocol, section 3): the machine is up, so its queued mail becomes
//! due; and the watch expires at this time, which the owner sees.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use futures_util::future::select_all;
use postbell_core::{Backoff, BoxError, Timestamp};
use postbell_http::drain;
use postbell_protocol::api::CheckInRequest;
use postbell_protocol::gateway_token::GatewayToken;
use reqwest::Client;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::endpoint::Endpoint;
use crate::settings::CheckinSettings;
use crate::supervisor::{RunningProcess, Timing};
use crate::watch_expiry::WatchExpiry;

/// The time-out of a request to the platform.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The waits between reads of the watch's expiry after a check-in. A watcher often renews right
/// after its start, and then once a day.
const FIRST_POLL: Duration = Duration::from_secs(60);
const LONGEST_POLL: Duration = Duration::from_secs(60 * 60);

/// Creates the HTTP client. It is called once, after the children listen: reading the system's
/// certificates blocks, and takes longer than the rest of the start.
pub type MakeClient = dyn FnOnce() -> Result<Client, BoxError> + Send;

/// Checks in with the platform.
pub(crate) struct Checkin {
    pub(crate) settings: CheckinSettings,
    pub(crate) gateway_token: GatewayToken,
    pub(crate) make_client: Box<MakeClient>,
    /// Failures wait as long as crashes do.
    pub(crate) timing: Timing,
    /// Returns a random number from 0 to 1.
    pub(crate) jitter: fn() -> f64,
}

impl Checkin {
    /// Checks in whenever all `endpoints` are ready: after the start and after each restart; and
    /// when the watch has been renewed. Runs until `stop` is cancelled.
    pub(crate) async fn run(
        self,
        endpoints: Vec<Endpoint>,
        expiry: Option<WatchExpiry>,
        stop: CancellationToken,
    ) {
        stop.run_until_cancelled(self.check_in_after_starts(endpoints, expiry))
            .await;
    }

    async fn check_in_after_starts(self, endpoints: Vec<Endpoint>, expiry: Option<WatchExpiry>) {
        let Self {
            settings,
            gateway_token,
            make_client,
            timing,
            jitter,
        } = self;
        let mut ready = vec![None; endpoints.len()];
        for (endpoint, ready) in endpoints.iter().zip(&mut ready) {
            *ready = endpoint.next_ready(None).await;
        }
        let client = match tokio::task::spawn_blocking(make_client).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return log_disabled(&*error),
            Err(panic) => return log_disabled(&panic),
        };
        let platform = Platform {
            client,
            settings,
            gateway_token,
            expiry,
        };
        let check_in = || platform.check_in(timing, jitter);
        let read_expiry = || platform.watch_expires_at();
        loop {
            let (index, process) = {
                let restarted = any_restarted(&endpoints, &ready);
                tokio::select! {
                    restarted = restarted => restarted,
                    never = check_in_on_change(check_in, read_expiry) => match never {},
                }
            };
            ready[index] = process;
        }
    }
}

fn log_disabled(error: &(dyn Error + 'static)) {
    warn!(error, "Check-ins with the platform are disabled");
}

/// Checks in now, and again whenever the watch's expiry differs from the reported one.
async fn check_in_on_change<C, R>(
    check_in: impl Fn() -> C,
    read_expiry: impl Fn() -> R,
) -> Infallible
where
    C: Future<Output = Option<Timestamp>>,
    R: Future<Output = Option<Timestamp>>,
{
    loop {
        let reported = check_in().await;
        let mut polls = Backoff::new(FIRST_POLL, LONGEST_POLL);
        loop {
            sleep(polls.next_wait()).await;
            if read_expiry().await != reported {
                break;
            }
        }
    }
}

/// Waits until an endpoint is ready with another process than its last one. Returns the endpoint's
/// index and the process.
async fn any_restarted(
    endpoints: &[Endpoint],
    last: &[Option<RunningProcess>],
) -> (usize, Option<RunningProcess>) {
    let each = endpoints.iter().zip(last);
    let each = each.map(|(endpoint, last)| Box::pin(endpoint.next_ready(*last)));
    let (process, index, _) = select_all(each).await;
    (index, process)
}

/// The platform's check-in route.
struct Platform {
    client: Client,
    settings: CheckinSettings,
    gateway_token: GatewayToken,
    /// `None` if no mailbox is watched.
    expiry: Option<WatchExpiry>,
}

impl Platform {
    async fn watch_expires_at(&self) -> Option<Timestamp> {
        self.expiry.as_ref()?.read().await
    }

    /// Checks in, with retries, and returns the reported expiry of the watch.
    async fn check_in(&self, timing: Timing, jitter: fn() -> f64) -> Option<Timestamp> {
        let mut backoff = Backoff::new(timing.first_wait, timing.longest_wait);
        loop {
            let expires_at = self.watch_expires_at().await;
            match self.post(expires_at).await {
                Ok(()) => {
                    info!("Checked in with the platform");
                    return expires_at;
                }
                Err(error) => {
                    let error: &dyn Error = &*error;
                    let wait = backoff.peek();
                    warn!(
                        error,
                        ?wait,
                        "Could not check in with the platform; retrying"
                    );
                }
            }
            sleep(backoff.next_jittered(jitter())).await;
        }
    }

    async fn post(&self, watch_expires_at: Option<Timestamp>) -> Result<(), BoxError> {
        let body = CheckInRequest {
            sandbox_id: Some(self.settings.sandbox_id.to_string()),
            watch_expires_at,
            problem: None,
        };
        let request = self
            .client
            .post(self.settings.url.clone())
            .timeout(TIMEOUT)
            .bearer_auth(self.gateway_token.expose())
            .json(&body);
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        drain(response).await;
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

    /// Returns the check-ins of one day as (minute, reported expiry). The expiry changes at the given
    /// minutes, each time to the number of its minute.
    async fn check_ins(changes: &[u64]) -> Vec<(u64, Option<u64>)> {
        let start = Instant::now();
        let minute = || start.elapsed().as_secs() / 60;
        let expiry = || {
            let changes = changes.iter().rev();
            let last = changes.copied().find(|change| *change <= minute());
            last.map(|last| Timestamp::from_millis(last.cast_signed()))
        };
        let check_ins = RefCell::new(Vec::new());
        let check_in = async || {
            let reported = expiry();
            let change = reported.map(|reported| reported.as_millis().unsigned_abs());
            check_ins.borrow_mut().push((minute(), change));
            reported
        };
        tokio::select! {
            never = check_in_on_change(check_in, async || expiry()) => match never {},
            () = sleep(24 * HOUR) => {}
        }
        check_ins.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn an_unchanged_expiry_is_reported_once() {
        assert_eq!(check_ins(&[]).await, [(0, None)]);
        assert_eq!(check_ins(&[0]).await, [(0, Some(0))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_is_reported_soon_after_the_start_and_later_within_the_hour() {
        // Polls come after 1, 3, 7, 15, 31 and 63 minutes, then every hour.
        let check_ins = check_ins(&[1, 6, 1000]).await;
        let expected = [(0, None), (1, Some(1)), (8, Some(6)), (1031, Some(1000))];
        assert_eq!(check_ins, expected);
    }
}
