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
    On(SyncOutcome),
    /// Notifications were switched off.
    Off(SyncOutcome),
    /// The Google account was disconnected.
    Disconnected(SyncOutcome),
    /// The machine may be woken.
    WakeOn,
    /// The machine may not be woken any more.
    WakeOff,
    /// The machine was told again what it could not be told before.
    SyncRetried(SyncOutcome),
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

/// What happens with the machine, as a sentence.
const fn machine_sentence(outcome: SyncOutcome) -> &'static str {
    match outcome {
        SyncOutcome::UpToDate => "",
        SyncOutcome::AtNextStart => " Your machine is off: it learns of this when it starts.",
        SyncOutcome::Restarting => " Your machine restarts with it, which takes a moment.",
        SyncOutcome::Failed => {
            " This is saved, but your machine did not restart with it, and goes on as before. \
                 Postbell tries again by itself."
        }
    }
}

impl Toast {
    /// Whether somebody should do something about it.
    pub(super) const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::On(SyncOutcome::Failed)
                | Self::Off(SyncOutcome::Failed)
                | Self::Disconnected(SyncOutcome::Failed)
                | Self::SyncRetried(SyncOutcome::Failed)
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
            Self::On(outcome) => ("Gmail notifications are on.", machine_sentence(outcome)),
            Self::Off(outcome) => ("Gmail notifications are off.", machine_sentence(outcome)),
            Self::Disconnected(outcome) => (
                "Your Google account is disconnected.",
                machine_sentence(outcome),
            ),
            Self::SyncRetried(SyncOutcome::Failed) => (
                "Your machine cannot be told now: it goes on as before. Postbell tries again.",
                "",
            ),
            Self::SyncRetried(outcome) => ("Your machine knows it now.", machine_sentence(outcome)),
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
