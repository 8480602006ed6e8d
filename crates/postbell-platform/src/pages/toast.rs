//! The message that the page after an action shows once.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};

use super::Pages;
use super::cookies::CookieName;
use super::format::rounded;
use postbell_protocol::api::operator::GooglePermission;

use crate::SyncOutcome;

/// How long a toast waits for the next page.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The result of an action.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum Toast {
    NotificationsOn(SyncOutcome),
    NotificationsOff(SyncOutcome),
    /// And when Google ends the permission, if it does.
    Connected(SyncOutcome, Option<Duration>),
    Disconnected(SyncOutcome, GooglePermission),
    WakeOn,
    WakeOff,
    SyncRetried(SyncOutcome),
    /// Notifications cannot be turned on without a Google account.
    NotConnected,
    /// The account that the form names is no longer connected.
    AccountMissing,
    TestSent,
    /// A notification is pending already, and its delivery serves as the test.
    MailPending,
    /// No test is sent while notifications are off.
    NotificationsUnwanted,
    /// There is no relay in this process.
    NoRelay,
    Replayed,
    /// The dead letter cannot be parsed, so it cannot be replayed.
    Unparseable,
    Dropped,
    DroppedAll,
    /// The dead letter does not exist.
    Missing,
    TargetAdded,
    TargetRemoved,
    TooManyTargets,
    /// The alert target does not exist.
    TargetMissing,
    /// A user is signed out everywhere.
    UserSignedOut,
    /// A user's machine needs a new token.
    SandboxIdChanged,
    TestAlertSent,
    /// The service did not accept the test alert, for this reason.
    TestAlertFailed(String),
    TooManyTestAlerts,
}

/// A toast, and where the page shows it.
#[derive(Deserialize, Serialize)]
pub(super) struct ShownToast {
    pub(super) toast: Toast,
    /// The id of the section that the action is in.
    pub(super) section: String,
}

impl ShownToast {
    /// Returns the toast that the requested page shows.
    pub(super) fn from_request(pages: &Pages, headers: &HeaderMap) -> Option<Self> {
        pages.cookies().read(CookieName::Toast, headers)
    }
}

impl Toast {
    /// Redirects to a section of a page, which shows the toast.
    pub(super) fn redirect(self, pages: &Pages, page: &str) -> Response {
        let section = page.split_once('#').map_or("", |(_, section)| section);
        let shown = ShownToast {
            toast: self,
            section: section.to_owned(),
        };
        let cookie = pages.cookies().set(CookieName::Toast, &shown, MAX_AGE);
        (cookie, Redirect::to(page)).into_response()
    }

    /// Whether the action failed, entirely or in part.
    pub(super) const fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::NotificationsOn(SyncOutcome::Failed)
                | Self::NotificationsOff(SyncOutcome::Failed)
                | Self::Connected(SyncOutcome::Failed, _)
                | Self::Connected(_, Some(_))
                | Self::Disconnected(SyncOutcome::Failed, _)
                | Self::Disconnected(_, GooglePermission::NotRevoked)
                | Self::SyncRetried(SyncOutcome::Failed)
                | Self::NotConnected
                | Self::AccountMissing
                | Self::SandboxIdChanged
                | Self::NotificationsUnwanted
                | Self::NoRelay
                | Self::Unparseable
                | Self::Missing
                | Self::TooManyTargets
                | Self::TargetMissing
                | Self::TestAlertFailed(_)
                | Self::TooManyTestAlerts
        )
    }

    pub(super) fn text(&self) -> String {
        let text = match self {
            Self::NotificationsOn(outcome) => {
                return with_machine("Gmail notifications are on.", *outcome);
            }
            Self::NotificationsOff(outcome) => {
                return with_machine("Gmail notifications are off.", *outcome);
            }
            Self::Connected(outcome, ends_in) => return connected(*outcome, *ends_in),
            Self::Disconnected(outcome, permission) => {
                return disconnected(*outcome, *permission);
            }
            Self::SyncRetried(SyncOutcome::Failed) => {
                "Your machine could not be updated and keeps its old configuration. Postbell retries."
            }
            Self::SyncRetried(outcome) => {
                return with_machine("Your machine is up to date.", *outcome);
            }
            Self::WakeOn => "New mail starts your machine from now on.",
            Self::WakeOff => "New mail no longer starts your machine.",
            Self::TestSent => "The test is sent: see the deliveries below.",
            Self::NotConnected => {
                "Cannot enable Gmail notifications without a connected Google account."
            }
            Self::AccountMissing => "This Google account is no longer connected.",
            Self::MailPending => {
                "A notification is already pending for your bot: its delivery is the test."
            }
            Self::NotificationsUnwanted => {
                "No test was sent: notifications are off, or no Google account is connected."
            }
            Self::NoRelay => "The relay runs on another server: this is only possible there.",
            Self::Replayed => "The notification is queued again and delivered as soon as possible.",
            Self::Unparseable => "This dead letter cannot be parsed, so it cannot be delivered.",
            Self::Dropped => "The dead letter is deleted.",
            Self::DroppedAll => "The dead letters are deleted.",
            Self::Missing => "This dead letter no longer exists.",
            Self::TargetAdded => "The alert target is added. Send it a test alert.",
            Self::TargetRemoved => "The alert target is removed.",
            Self::TooManyTargets => {
                "Nothing was added: remove one of your five alert targets first."
            }
            Self::TargetMissing => "This alert target no longer exists.",
            Self::SandboxIdChanged => "The machine has a new sandbox id, and needs its new token.",
            Self::UserSignedOut => {
                "The user is signed out everywhere. Unused links and tokens are revoked."
            }
            Self::TestAlertSent => "The service accepted the test alert.",
            Self::TestAlertFailed(reason) => {
                return format!("The test alert was not accepted: {reason}.");
            }
            Self::TooManyTestAlerts => {
                "Too many test alerts: the next one can be sent in six minutes."
            }
        };
        text.to_owned()
    }
}

fn connected(outcome: SyncOutcome, ends_in: Option<Duration>) -> String {
    let text = with_machine("Your Google account is connected.", outcome);
    match ends_in {
        None => text,
        Some(time) => format!(
            "{text} Google ends the permission in {}: connect again before that, or ask your operator why.",
            rounded(time)
        ),
    }
}

fn disconnected(outcome: SyncOutcome, permission: GooglePermission) -> String {
    let text = with_machine("Your Google account is disconnected.", outcome);
    format!("{text}{}", after_disconnect(permission))
}

const fn after_disconnect(permission: GooglePermission) -> &'static str {
    match permission {
        GooglePermission::OwnProject => "",
        GooglePermission::Revoked => " Google has taken the permission back.",
        GooglePermission::Shared => {
            " The permission stays in your Google account, because another bot uses the mailbox."
        }
        GooglePermission::NotRevoked => {
            " Google could not be reached. Postbell tries again until it has taken the permission back. \
             You can also remove it at myaccount.google.com/connections."
        }
    }
}

fn with_machine(text: &str, outcome: SyncOutcome) -> String {
    let machine = match outcome {
        SyncOutcome::UpToDate => return text.to_owned(),
        SyncOutcome::AtNextStart => "Your machine is off and gets the change when it starts.",
        SyncOutcome::Restarting => "Your machine restarts with the change, which takes a moment.",
        SyncOutcome::Reloaded => "Your machine has the change; your bot was not restarted.",
        SyncOutcome::Failed => {
            "The change is saved, but your machine could not be updated and keeps its old \
             configuration. Postbell retries."
        }
    };
    format!("{text} {machine}")
}
