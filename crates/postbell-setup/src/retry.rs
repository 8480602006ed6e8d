//! Retries of what takes Google minutes, and polling of what is in progress.

use std::time::Duration;

use postbell_core::Backoff;
use postbell_google::{CloudError, Operation};
use tokio::time::sleep;

use crate::error::{Result, SetupError};
use crate::report::StepId;
use crate::ui::{Event, Ui};

/// A zero delay would spin.
const MIN_DELAY: Duration = Duration::from_millis(1);

/// The delays between polls of something in progress.
const FIRST_POLL: Duration = Duration::from_millis(200);
const MAX_POLL: Duration = Duration::from_secs(2);

/// How long Google may take for an operation.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4 * 60);

/// How long setup waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The first delay before a retry; each later one is half as long again.
    pub initial_delay: Duration,
    /// The longest delay before a retry.
    pub max_delay: Duration,
    /// The sum of all delays of a step.
    pub total: Duration,
    /// How long the user may take to consent in the browser.
    pub consent: Duration,
    /// How long a test notification may take.
    pub arrival: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(5),
            max_delay: Duration::from_secs(30),
            total: Duration::from_secs(10 * 60),
            consent: Duration::from_secs(15 * 60),
            arrival: Duration::from_secs(3 * 60),
        }
    }
}

/// The delays between attempts, until their sum reaches a limit.
pub(crate) struct Retries {
    backoff: Backoff,
    left: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Delay {
    pause: Duration,
    /// What remains of the limit after the pause.
    left: Duration,
}

impl Retries {
    /// For errors that Google resolves within minutes.
    pub(crate) fn after_errors(timeouts: Timeouts) -> Self {
        Self {
            backoff: backoff(timeouts.initial_delay, timeouts.max_delay),
            left: timeouts.total,
        }
    }

    /// For something in progress.
    pub(crate) fn polling(timeouts: Timeouts, total: Duration) -> Self {
        let max = MAX_POLL.min(timeouts.initial_delay);
        Self {
            backoff: backoff(FIRST_POLL.min(max), max),
            left: total,
        }
    }

    /// Waits before the next attempt. Returns the error if a retry does not help, or the limit is
    /// reached.
    pub(crate) async fn wait_after(
        &mut self,
        error: SetupError,
        ui: &dyn Ui,
        step: StepId,
    ) -> Result<()> {
        let asked = error.retry_after.unwrap_or_default();
        match error.retry_reason() {
            Some(reason) if self.wait_at_least(asked, ui, step, reason).await => Ok(()),
            _ => Err(error),
        }
    }

    /// Waits before the next attempt, with a countdown. Returns `false` if the limit is reached.
    pub(crate) async fn wait(&mut self, ui: &dyn Ui, step: StepId, reason: &str) -> bool {
        self.wait_at_least(Duration::ZERO, ui, step, reason).await
    }

    /// The same, but not shorter than `asked`. Returns `false` at once if that is beyond the limit.
    async fn wait_at_least(
        &mut self,
        asked: Duration,
        ui: &dyn Ui,
        step: StepId,
        reason: &str,
    ) -> bool {
        const TICK: Duration = Duration::from_secs(1);
        let Some(delay) = self.next_at_least(asked) else {
            return false;
        };
        let mut remaining = delay.pause;
        while !remaining.is_zero() {
            ui.show(Event::Waiting {
                step,
                reason,
                remaining,
                left: delay.left + remaining,
            });
            let tick = remaining.min(TICK);
            sleep(tick).await;
            remaining -= tick;
        }
        true
    }

    fn next(&mut self) -> Option<Delay> {
        self.next_at_least(Duration::ZERO)
    }

    fn next_at_least(&mut self, asked: Duration) -> Option<Delay> {
        if self.left.is_zero() || asked > self.left {
            return None;
        }
        let pause = self.backoff.next_wait().max(asked).min(self.left);
        self.left -= pause;
        Some(Delay {
            pause,
            left: self.left,
        })
    }
}

fn backoff(first: Duration, longest: Duration) -> Backoff {
    Backoff::new(first.max(MIN_DELAY), longest.max(MIN_DELAY)).with_factor(1.5)
}

/// Polls a long-running operation of Google's until it ends.
pub(crate) async fn wait_for_operation(
    ui: &dyn Ui,
    timeouts: Timeouts,
    step: StepId,
    action: &str,
    mut operation: Operation,
) -> Result<(), CloudError> {
    let mut retries = Retries::polling(timeouts, OPERATION_TIMEOUT);
    while !operation.is_done()? {
        ui.show(Event::Working { step, action });
        let Some(delay) = retries.next() else {
            return Err(CloudError::unavailable("the operation timed out"));
        };
        sleep(delay.pause).await;
        operation.look().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn timeouts(initial_delay: u64, max_delay: u64, total: u64) -> Timeouts {
        let [initial_delay, max_delay, total] =
            [initial_delay, max_delay, total].map(Duration::from_secs);
        Timeouts {
            initial_delay,
            max_delay,
            total,
            ..Timeouts::default()
        }
    }

    #[test]
    fn delays_grow_until_their_sum_reaches_the_limit() {
        let mut retries = Retries::after_errors(timeouts(4, 8, 21));
        let delays = iter::from_fn(|| retries.next());
        let pauses: Vec<_> = delays.map(|delay| delay.pause.as_secs()).collect();
        assert_eq!(pauses, [4, 6, 8, 3]);
    }

    #[test]
    fn a_delay_is_at_least_as_long_as_google_asks() {
        let mut retries = Retries::after_errors(timeouts(4, 8, 60));
        let mut pause = |asked| {
            let delay = retries.next_at_least(Duration::from_secs(asked))?;
            Some(delay.pause.as_secs())
        };
        assert_eq!(pause(20), Some(20));
        assert_eq!(pause(1), Some(6));
        assert_eq!(pause(35), None, "34 seconds are left");
        assert_eq!(pause(34), Some(34));
        assert_eq!(pause(0), None);
    }

    #[test]
    fn zero_delays_still_reach_the_limit() {
        let mut retries = Retries::after_errors(timeouts(0, 0, 1));
        assert!(iter::from_fn(|| retries.next()).count() <= 1000);
        let mut polls = Retries::polling(timeouts(0, 0, 0), Duration::from_millis(9));
        assert!(iter::from_fn(|| polls.next()).count() <= 9);
    }
}
