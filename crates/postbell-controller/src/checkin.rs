//! Checks in with the platform (protocol, section 3): the machine is up, so its queued mail becomes
//! due; when the watch expires; and what keeps mail from reaching the bot. The owner sees both.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use postbell_core::{Backoff, BoxError, Clock, wait_for};
use postbell_protocol::api::CheckInRequest;
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes;
use reqwest::Client;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::endpoint::Endpoint;
use crate::mail_monitor::{MailMonitor, News};
use crate::settings::CheckinSettings;
use crate::shared_client::SharedClient;
use crate::supervisor::{RunningProcess, Timing};

/// The time-out of a request to the platform.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time between two check-ins: the platform learns that the machine is still up, and a check-in
/// that it has forgotten is repeated.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The share of the interval by which a check-in may come early, so that machines that were started together
/// do not check in together.
const EARLIER: f64 = 0.1;

/// The shortest time between two check-ins for news.
const PAUSE: Duration = Duration::from_secs(5);

/// Checks in with the platform.
pub(crate) struct Checkin {
    pub(crate) settings: CheckinSettings,
    pub(crate) gateway_token: GatewayToken,
    pub(crate) client: Arc<SharedClient>,
    /// Whether it watches several accounts of a user, if there are.
    pub(crate) watches_several: bool,
    /// Failures wait as long as crashes do.
    pub(crate) timing: Timing,
    pub(crate) clock: Arc<dyn Clock>,
    /// Returns a random number from 0 to 1.
    pub(crate) jitter: fn() -> f64,
}

impl Checkin {
    /// Checks in once the first `started` of the endpoints are ready, and whenever another process is; whenever
    /// there is news of the mail; and every hour. Runs until `stop` is cancelled.
    pub(crate) async fn run(
        self,
        endpoints: [Endpoint; 2],
        started: usize,
        mail: MailMonitor,
        stop: CancellationToken,
    ) {
        let running = self.check_in_after_starts(endpoints, started, mail);
        stop.run_until_cancelled(running).await;
    }

    async fn check_in_after_starts(
        self,
        endpoints: [Endpoint; 2],
        started: usize,
        mail: MailMonitor,
    ) {
        let Self {
            settings,
            gateway_token,
            client,
            watches_several,
            timing,
            clock,
            jitter,
        } = self;
        let mut ready = [None; 2];
        let all_ready = async {
            for (endpoint, ready) in endpoints.iter().zip(&mut ready).take(started) {
                *ready = endpoint.next_ready(None).await;
            }
        };
        // With a problem, one of them may never be ready.
        tokio::select! {
            () = all_ready => {}
            () = mail.wait_for(|report| report.problem().is_some()) => {}
        }
        // Only now, because creating it delays a machine that was started for mail.
        let Some(client) = client.get().await else {
            return;
        };
        let platform = Platform {
            client,
            settings,
            gateway_token,
            watches_several,
            mail: mail.clone(),
        };
        let check_in = || platform.check_in(timing, &*clock, jitter);
        loop {
            let (index, process) = {
                let restarted = any_restarted(&endpoints, &ready);
                tokio::select! {
                    restarted = restarted => restarted,
                    never = check_in_with_news(check_in, &mail, &*clock, jitter) => match never {},
                }
            };
            ready[index] = process;
        }
    }
}

/// Checks in now, again whenever there is other news than the last check-in had, and every hour.
async fn check_in_with_news<C>(
    check_in: impl Fn() -> C,
    mail: &MailMonitor,
    clock: &dyn Clock,
    jitter: fn() -> f64,
) -> Infallible
where
    C: Future<Output = News>,
{
    loop {
        let reported = check_in().await;
        sleep(PAUSE).await;
        let interval = INTERVAL.mul_f64(1.0 - EARLIER * jitter());
        let news = mail.wait_for(|report| report.news() != reported);
        tokio::select! {
            () = news => (),
            () = wait_for(clock, interval.saturating_sub(PAUSE)) => (),
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
    watches_several: bool,
    mail: MailMonitor,
}

impl Platform {
    /// Checks in, with retries, and returns the reported news.
    async fn check_in(&self, timing: Timing, clock: &dyn Clock, jitter: fn() -> f64) -> News {
        let mut backoff = Backoff::new(timing.first_wait, timing.longest_wait);
        loop {
            let report = self.mail.refresh().await;
            let news = report.news();
            match self.post(news.clone()).await {
                Ok(()) => {
                    let problem = report.problem().map(|problem| problem.code.as_str());
                    info!(problem, "Checked in with the platform");
                    return news;
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
            wait_for(clock, backoff.next_jittered(jitter())).await;
        }
    }

    async fn post(&self, news: News) -> Result<(), BoxError> {
        let body = CheckInRequest {
            sandbox_id: Some(self.settings.sandbox_id.to_string()),
            mailbox: news.first.into(),
            accounts: self
                .watches_several
                .then(|| news.further.into_iter().map(Into::into).collect()),
        };
        let request = self
            .client
            .post(self.settings.url.clone())
            .timeout(TIMEOUT)
            .bearer_auth(self.gateway_token.expose())
            // Where KiloClaw's platform expects it.
            .header(routes::MACHINE_TOKEN, self.gateway_token.expose())
            .json(&body);
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        // Reading the body frees the connection.
        let _ = response.bytes().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answered {}", status.as_u16()).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use postbell_core::{ProblemCode, Timestamp};
    use postbell_protocol::gog_dirs::GogDirs;
    use postbell_protocol::watch_state::{StateFile, WatchState};
    use postbell_testkit::PausedClock;
    use tokio::time::Instant;

    use super::*;
    use crate::mail_settings::FIRST;
    use crate::watched_mailbox::{WatchStateFile, WatchedMailbox};

    const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    type Change = fn(&mut WatchState);

    /// Returns the check-ins of almost three hours as (second, problem). The state changes at the given seconds.
    async fn check_ins(changes: &[(u64, Change)]) -> Vec<(u64, Option<ProblemCode>)> {
        let start = Instant::now();
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| home.path().to_str().filter(|_| name == "HOME");
        let gog_dirs = GogDirs::from_variables(variable).unwrap();
        let account = "ann@example.com".to_owned();
        let file = StateFile::open(&gog_dirs.watch_state(&account), &account).unwrap();
        let clock = Arc::new(PausedClock::starting_at(START));
        let observed = WatchStateFile {
            gog_dirs,
            account,
            name: FIRST.to_owned(),
        };
        let mail = MailMonitor::new(observed.into(), None, None, None, Arc::clone(&clock) as _);
        let check_ins = RefCell::new(Vec::new());
        let check_in = async || {
            let news = mail.refresh().await.news();
            let problem = news.first.problem.map(|problem| problem.code);
            check_ins
                .borrow_mut()
                .push((start.elapsed().as_secs(), problem));
            news
        };
        let changing = async {
            let mut state = WatchState::default();
            for (second, change) in changes {
                sleep(Duration::from_secs(*second).saturating_sub(start.elapsed())).await;
                change(&mut state);
                file.write_without_sync(&state).unwrap();
            }
            let end = 3 * INTERVAL - Duration::from_secs(1);
            sleep(end.saturating_sub(start.elapsed())).await;
        };
        tokio::select! {
            never = check_in_with_news(check_in, &mail, &*clock, || 0.0) => match never {},
            () = mail.clone().run(CancellationToken::new()) => {}
            () = changing => {}
        }
        check_ins.into_inner()
    }

    fn set_problem(state: &mut WatchState, code: ProblemCode) {
        state.problem_code = code.as_str().to_owned();
        state.problem = "in a sentence".to_owned();
    }

    fn solve_problem(state: &mut WatchState) {
        state.problem_code.clear();
        state.problem.clear();
    }

    #[tokio::test(start_paused = true)]
    async fn without_news_there_is_one_check_in_an_hour() {
        let check_ins = check_ins(&[]).await;
        assert_eq!(check_ins, [(0, None), (3_600, None), (7_200, None)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_asleep_is_an_hour_without_news() {
        let clock = Arc::new(PausedClock::starting_at(START));
        let nothing = WatchedMailbox::default();
        let mail = MailMonitor::new(nothing, None, None, None, Arc::clone(&clock) as _);
        let count = Cell::new(0);
        let check_in = async || {
            count.set(count.get() + 1);
            mail.report().news()
        };
        let sleeping = async {
            for expected in 1..4 {
                sleep(Duration::from_secs(60)).await;
                assert_eq!(count.get(), expected);
                clock.sleep(INTERVAL);
            }
        };
        tokio::select! {
            never = check_in_with_news(check_in, &mail, &*clock, || 0.0) => match never {},
            () = sleeping => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_problem_its_end_and_a_renewal_are_reported_within_15_seconds() {
        let changes: [(u64, Change); 4] = [
            (61, |state| set_problem(state, ProblemCode::GrantRevoked)),
            (121, |state| state.problem = "in other words".to_owned()),
            (181, solve_problem),
            (241, |state| {
                state.expiration_ms = (START + 100 * INTERVAL).as_millis()
            }),
        ];
        let check_ins = check_ins(&changes).await;
        let revoked = Some(ProblemCode::GrantRevoked);
        let hourly = [(3_845, None), (7_445, None)];
        let expected = [(0, None), (65, revoked), (185, None), (245, None)];
        assert_eq!(check_ins, [&expected[..], &hourly].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_problem_that_comes_and_goes_is_not_reported_more_often_than_it_is_read() {
        let come: Change = |state| set_problem(state, ProblemCode::WebhookFailing);
        let go: Change = solve_problem;
        let changes: Vec<_> = (1..100)
            .map(|second| (second, if second % 2 == 0 { go } else { come }))
            .collect();
        let check_ins = check_ins(&changes).await;
        assert!(check_ins.len() < 25, "{check_ins:?}");
    }
}
