//! The service manager that started this process, such as systemd: it learns when the process is ready,
//! how it is, and that it still responds (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, interval_at, timeout};
use tracing::{debug, error};

/// How often the service manager gets a status, unless its watchdog wants to hear more often.
const PERIOD: Duration = Duration::from_secs(30);

/// Sends messages to the service manager.
type Send = Box<dyn Fn(&[NotifyState<'_>])>;

/// The connection to the service manager. Without one, nothing is sent.
pub(super) struct ServiceManager {
    send: Send,
    period: Duration,
    /// The status of the service while it works.
    status: String,
}

impl ServiceManager {
    /// Tells the service manager that the process is ready: its listeners accept connections, and its
    /// store is open.
    pub(super) fn ready(status: String) -> Self {
        Self::connect(Box::new(send), sd_notify::watchdog_enabled(), status)
    }

    /// `watchdog` is the time after which the service manager ends a process that it has not heard of.
    fn connect(send: Send, watchdog: Option<Duration>, status: String) -> Self {
        send(&[NotifyState::Ready, NotifyState::Status(&status)]);
        // Twice in that time (sd_watchdog_enabled(3)).
        let period = watchdog.map_or(PERIOD, |limit| PERIOD.min(limit / 2));
        Self {
            send,
            period: period.max(Duration::from_millis(1)),
            status,
        }
    }

    /// Asks `problem` again and again, and passes the answer on: `None` if all is well. The watchdog hears
    /// of each answer, whatever it says: a restart cures a process that does not respond, not a full
    /// disk. Never completes.
    pub(super) async fn report(&self, problem: impl AsyncFn() -> Option<String>) {
        let mut ticks = interval_at(Instant::now() + self.period, self.period);
        loop {
            ticks.tick().await;
            let Ok(problem) = timeout(self.period, problem()).await else {
                error!("The process does not respond to itself; a watchdog restarts it");
                continue;
            };
            let status = problem.as_deref().unwrap_or(&self.status);
            (self.send)(&[NotifyState::Watchdog, NotifyState::Status(status)]);
        }
    }

    /// Tells the service manager that the process is stopping.
    pub(super) fn stopping(&self) {
        let status = NotifyState::Status("finishing the work in flight");
        (self.send)(&[NotifyState::Stopping, status]);
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "Could not notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    /// A connection whose messages are recorded.
    fn recorded(watchdog: Option<Duration>) -> (ServiceManager, Rc<RefCell<Vec<String>>>) {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let record = Rc::clone(&sent);
        let send = move |states: &[NotifyState<'_>]| {
            let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
            record.borrow_mut().push(lines.join(" "));
        };
        let manager = ServiceManager::connect(Box::new(send), watchdog, "works".to_owned());
        (manager, sent)
    }

    const SECONDS: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_of_a_process_in_time_and_of_its_problem() {
        let (manager, sent) = recorded(Some(10 * SECONDS));
        let asked = Cell::new(0);
        let problem = async || {
            asked.set(asked.get() + 1);
            (asked.get() == 2).then(|| "the disk is full".to_owned())
        };
        assert!(
            timeout(16 * SECONDS, manager.report(problem))
                .await
                .is_err()
        );
        manager.stopping();
        let expected = [
            "READY=1 STATUS=works",
            "WATCHDOG=1 STATUS=works",
            "WATCHDOG=1 STATUS=the disk is full",
            "WATCHDOG=1 STATUS=works",
            "STOPPING=1 STATUS=finishing the work in flight",
        ];
        assert_eq!(*sent.borrow(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_nothing_of_a_process_that_does_not_respond() {
        let (manager, sent) = recorded(Some(10 * SECONDS));
        let stuck = async || std::future::pending().await;
        assert!(
            timeout(3600 * SECONDS, manager.report(stuck))
                .await
                .is_err()
        );
        assert_eq!(*sent.borrow(), ["READY=1 STATUS=works"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_is_renewed_without_a_watchdog() {
        let (manager, sent) = recorded(None);
        let report = manager.report(async || None);
        assert!(timeout(61 * SECONDS, report).await.is_err());
        assert_eq!(sent.borrow().len(), 3);
    }
}
