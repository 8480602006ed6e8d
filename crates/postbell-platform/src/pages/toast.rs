//! What is said once, on the page after something was done.

use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};

use super::Pages;
use super::cookies::Cookie;
use crate::SyncOutcome;

/// For how many seconds it waits to be said.
const WAITS: i64 = 60;

/// What was done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Toast {
    /// Notifications were switched on.
    On(Told),
    /// Notifications were switched off.
    Off(Told),
    /// The Google account was disconnected.
    Disconnected(Told),
    /// The machine may be woken.
    WakeOn,
    /// The machine may not be woken any more.
    WakeOff,
    /// The machine was told again what it could not be told before.
    ToldAgain(Told),
    /// Notifications cannot be switched on: no Google account is connected any more.
    NotConnected,
    /// A test is on its way.
    TestSent,
    /// Something waits already, and is as good as a test.
    MailWaits,
    /// There is no test where nobody wants notifications.
    NotWanted,
    /// There is no relay in this process, so that nothing can be sent or replayed.
    NoRelay,
    /// A dead letter waits again.
    Replayed,
    /// A dead letter cannot be read, and so not be replayed.
    Malformed,
    /// A dead letter was thrown away.
    Dropped,
    /// All that was given up was thrown away.
    DroppedAll,
    /// A dead letter is gone already.
    Missing,
}

/// What became of the machine: [`SyncOutcome`], as it is kept.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Told {
    Nothing,
    WhenItStarts,
    Restarting,
    Failed,
}

impl From<SyncOutcome> for Told {
    fn from(told: SyncOutcome) -> Self {
        match told {
            SyncOutcome::Nothing => Self::Nothing,
            SyncOutcome::WhenItStarts => Self::WhenItStarts,
            SyncOutcome::Restarting => Self::Restarting,
            SyncOutcome::Failed => Self::Failed,
        }
    }
}

impl Told {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::WhenItStarts => " Your machine is off: it learns of this when it starts.",
            Self::Restarting => " Your machine restarts with it, which takes a moment.",
            Self::Failed => {
                " This is saved, but your machine did not restart with it, and goes on as before. \
                 Postbell tries again by itself."
            }
        }
    }
}

impl Toast {
    /// Whether somebody should do something about it.
    pub(super) const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::On(Told::Failed)
                | Self::Off(Told::Failed)
                | Self::Disconnected(Told::Failed)
                | Self::ToldAgain(Told::Failed)
                | Self::NotConnected
                | Self::NotWanted
                | Self::NoRelay
                | Self::Malformed
                | Self::Missing
        )
    }

    /// What is said.
    pub(super) fn text(self) -> String {
        let (said, more) = match self {
            Self::On(told) => ("Gmail notifications are on.", told.sentence()),
            Self::Off(told) => ("Gmail notifications are off.", told.sentence()),
            Self::Disconnected(told) => ("Your Google account is disconnected.", told.sentence()),
            Self::ToldAgain(Told::Failed) => (
                "Your machine cannot be told now: it goes on as before. Postbell tries again.",
                "",
            ),
            Self::ToldAgain(told) => ("Your machine knows it now.", told.sentence()),
            Self::WakeOn => ("Mail may start your machine from now on.", ""),
            Self::WakeOff => ("Mail does not start your machine any more.", ""),
            Self::TestSent => ("A test is on its way: watch the deliveries below.", ""),
            Self::NotConnected => (
                "Cannot enable Gmail notifications without a connected Google account.",
                "",
            ),
            Self::MailWaits => (
                "Something waits for your bot already: its delivery is the test.",
                "",
            ),
            Self::NotWanted => (
                "Nothing was sent: notifications are off, or no Google account is connected.",
                "",
            ),
            Self::DroppedAll => ("They are forgotten.", ""),
            Self::NoRelay => (
                "Mail is delivered by another server here: this can only be done there.",
                "",
            ),
            Self::Replayed => ("It waits again, and is delivered as soon as possible.", ""),
            Self::Malformed => ("It cannot be read, so it can never be delivered.", ""),
            Self::Dropped => ("It is forgotten.", ""),
            Self::Missing => ("It is gone already.", ""),
        };
        format!("{said}{more}")
    }
}

impl Pages {
    /// Leads to a page, which says it.
    pub(super) fn say(&self, toast: Toast, page: &str) -> Response {
        let cookie = self.keep(Cookie::Toast, &toast, WAITS);
        ([(SET_COOKIE, cookie)], Redirect::to(page)).into_response()
    }

    /// What is to be said on this page.
    pub(super) fn toast(&self, headers: &HeaderMap) -> Option<Toast> {
        self.kept(Cookie::Toast, headers)
    }
}
