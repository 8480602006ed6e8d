//! How long it is waited between tries, and how often.

use std::time::Duration;

use postbell_google::{CloudError, Operation};

use crate::site::{Patience, Site};
use crate::step::StepId;

/// The shortest wait: whoever does not wait at all asks for ever.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest wait between two looks at something that is under way.
const LOOK: Duration = Duration::from_secs(2);

/// How often an operation is looked at.
const LOOKS: u32 = 120;

/// The waits between tries, until they have lasted long enough together.
pub(crate) struct Waits {
    next: Duration,
    longest: Duration,
    left: Duration,
}

/// A wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wait {
    /// How long.
    pub(crate) pause: Duration,
    /// How long it is waited at most after it.
    pub(crate) left: Duration,
}

impl Waits {
    /// For what only time mends: each wait is half as long again as the one before.
    pub(crate) fn growing(patience: Patience) -> Self {
        Self {
            next: patience.first.max(SHORTEST),
            longest: patience.longest.max(SHORTEST),
            left: patience.total,
        }
    }

    /// For what is under way, which is looked at every few moments.
    pub(crate) fn steady(patience: Patience, total: Duration) -> Self {
        let pause = patience.first.clamp(SHORTEST, LOOK);
        Self {
            next: pause,
            longest: pause,
            left: total,
        }
    }
}

impl Iterator for Waits {
    type Item = Wait;

    fn next(&mut self) -> Option<Wait> {
        if self.left.is_zero() {
            return None;
        }
        let pause = self.next.min(self.left);
        self.left -= pause;
        self.next = (self.next + self.next / 2).min(self.longest);
        Some(Wait {
            pause,
            left: self.left,
        })
    }
}

/// Waits until something that Google has begun has ended.
///
/// # Errors
///
/// [`CloudError`] where it has failed, or takes too long.
pub(crate) async fn finish(
    site: &Site,
    step: StepId,
    doing: &str,
    mut operation: Operation,
) -> Result<(), CloudError> {
    let pause = site.tools.patience.first.clamp(SHORTEST, LOOK);
    for look in 1..=LOOKS {
        if operation.is_done()? {
            return Ok(());
        }
        site.working(step, &format!("{doing} (look {look})"));
        tokio::time::sleep(pause).await;
        operation.look().await?;
    }
    Err(CloudError::Unavailable("it takes too long".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(first: u64, longest: u64, total: u64) -> Patience {
        let [first, longest, total] = [first, longest, total].map(Duration::from_secs);
        Patience {
            first,
            longest,
            total,
            ..Patience::default()
        }
    }

    #[test]
    fn waits_grow_until_they_have_lasted_long_enough() {
        let waits = Waits::growing(patience(4, 8, 21));
        let pauses: Vec<_> = waits.map(|wait| wait.pause.as_secs()).collect();
        assert_eq!(pauses, [4, 6, 8, 3]);
    }

    #[test]
    fn whoever_would_not_wait_at_all_ends_all_the_same() {
        assert!(Waits::growing(patience(0, 0, 1)).count() <= 1000);
        let none = patience(0, 0, 0);
        assert!(Waits::steady(none, Duration::from_millis(9)).count() <= 9);
    }
}
