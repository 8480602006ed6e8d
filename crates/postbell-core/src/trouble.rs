//! Why deliveries fail: the words in which a cause is recorded, and what can be read from them.
//!
//! Both stand here, so that whoever delivers and whoever advises cannot come to differ.

/// The machine does not run.
pub const NOT_RUNNING: &str = "the machine is not running";

/// Added to a cause where the machine is on its way up.
pub const BEING_STARTED: &str = "; the machine is being started";

/// Nobody listens where the machine is said to be.
pub const UNREACHABLE: &str = "the controller cannot be reached";

/// The machine took the request, and said nothing for too long.
pub const NO_ANSWER: &str = "the controller did not answer in time";

const ANSWERED: &str = "the controller answered ";

/// The machine answered something other than success.
#[must_use]
pub fn answered(status: u16) -> String {
    format!("{ANSWERED}{status}")
}

/// What stands behind a failed delivery, as far as an owner can do something about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The machine is on its way up.
    BeingStarted,
    /// The machine does not take our token.
    Token,
    /// The machine is up, but nothing there takes mail.
    NoWatcher,
    /// The machine does not answer.
    NoAnswer,
    /// Nothing that the words of a cause show.
    Other,
}

impl Trouble {
    /// Reads a recorded cause.
    #[must_use]
    pub fn of(cause: &str) -> Self {
        if cause.ends_with(BEING_STARTED) {
            return Self::BeingStarted;
        }
        match cause.strip_prefix(ANSWERED) {
            Some("401") => Self::Token,
            Some("404" | "503") => Self::NoWatcher,
            Some(_) => Self::Other,
            None if [UNREACHABLE, NO_ANSWER].contains(&cause) => Self::NoAnswer,
            None => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_cause_says_what_the_trouble_is() {
        for (cause, trouble) in [
            (answered(401), Trouble::Token),
            (answered(404), Trouble::NoWatcher),
            (answered(503), Trouble::NoWatcher),
            (answered(500), Trouble::Other),
            (UNREACHABLE.to_owned(), Trouble::NoAnswer),
            (NO_ANSWER.to_owned(), Trouble::NoAnswer),
            (
                format!("{NOT_RUNNING}{BEING_STARTED}"),
                Trouble::BeingStarted,
            ),
            (NOT_RUNNING.to_owned(), Trouble::Other),
            // It is not the machine that cannot be reached.
            ("the directory cannot be reached".to_owned(), Trouble::Other),
            ("the directory answered 503".to_owned(), Trouble::Other),
        ] {
            assert_eq!(Trouble::of(&cause), trouble, "{cause}");
        }
    }
}
