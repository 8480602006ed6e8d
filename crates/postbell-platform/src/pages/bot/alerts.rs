//! The user's own alert targets: add, remove, and send a test alert.

pub(super) mod mail;

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use postbell_alerts::{AlertEvent, AlertKind, AlertTarget, InvalidTarget, SendError};
use postbell_core::{StoredTarget, TargetId, Timestamp, UserId};
use secrecy::ExposeSecret;
use tracing::info;

use self::mail::Entered;
use super::fragments;
use super::view::View;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::extract::{Origin, PathParam};
use crate::pages::format::relative;
use crate::pages::layout::{Page, form_token};
use crate::pages::session::{Session, UserSession};
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};
use crate::request_limit::RequestLimit;

/// How many targets a user may have.
pub(super) const MOST_TARGETS: usize = 5;

/// The section that the actions redirect to.
const SECTION: &str = "/bot#alerts";

/// Where a new target is posted to.
pub(super) const ALERTS: &str = "/bot/alerts";

/// A target as the page shows it: its service and host, because its text is a secret.
pub(super) struct ShownTarget {
    id: TargetId,
    service: String,
    added_at: Timestamp,
    /// Why nothing is sent to it.
    refusal: Option<SendError>,
}

/// Limits test alerts: each is a request to a server that the user names.
pub(in crate::pages) fn test_limit() -> RequestLimit<UserId> {
    RequestLimit::new(10, Duration::from_secs(6 * 60))
}

/// Reads a user's targets.
pub(super) async fn load(pages: &Pages, user: &UserId) -> Result<Vec<ShownTarget>, PageError> {
    let alerts = &pages.parts().alerts;
    let stored = alerts.targets.targets(user).await?;
    let shown = |target: StoredTarget| {
        let parsed = target.text.expose_secret().parse::<AlertTarget>();
        let parsed = parsed.as_ref().ok();
        ShownTarget {
            service: parsed.map_or_else(
                || "a service that this version does not know".to_owned(),
                AlertTarget::to_string,
            ),
            refusal: parsed.and_then(|target| alerts.client.check(target).err()),
            id: target.id,
            added_at: target.added_at,
        }
    };
    Ok(stored.into_iter().map(shown).collect())
}

/// The list, which may change while the page is open.
pub(super) fn targets(view: &View, session: &Session) -> Markup {
    html! {
        @if view.targets.is_empty() {
            p class="empty" { "No alert target yet." }
        } @else {
            ul class="rows" aria-label="Alert targets" {
                @for target in &view.targets {
                    li class="row" {
                        span class="row-main" {
                            (target.service)
                            span class="cause" { "added " (relative(target.added_at, view.now)) }
                            @if let Some(refusal) = &target.refusal {
                                span class="cause" { (unused(refusal)) }
                            }
                        }
                        (buttons(target, session))
                    }
                }
            }
        }
    }
}

/// Why a target gets nothing, and what its owner does next.
fn unused(refusal: &SendError) -> String {
    match refusal {
        SendError::NoMailServer => {
            "Gets no alerts: this service has no mail server any more. Remove it, and enter yours under By mail."
                .to_owned()
        }
        error => format!("Gets no alerts: {error}."),
    }
}

fn buttons(target: &ShownTarget, session: &Session) -> Markup {
    let (id, service) = (&target.id, &target.service);
    html! {
        span class="row-side buttons" {
            form method="post" action={ "/bot/alerts/" (id) "/test" } {
                (form_token(session))
                button aria-label={ "Send a test alert: " (service) } { "Send a test alert" }
            }
            details id={ "remove-" (id) } class="delete" {
                summary aria-label={ "Remove…: " (service) } { "Remove…" }
                form method="post" action={ "/bot/alerts/" (id) "/remove" } {
                    (form_token(session))
                    button class="danger" aria-label={ "Remove for good: " (service) } { "Remove for good" }
                }
            }
        }
    }
}

/// The refused target, and why it was refused.
pub(super) enum Refused {
    /// A text, and what the field has now: the text, or what may have been meant.
    Text { value: String, reason: String },
    /// The fields for mail.
    Mail { entered: Entered, reason: String },
}

impl Refused {
    fn new(text: &str, InvalidTarget { expected }: InvalidTarget) -> Self {
        let text = text.trim();
        let completed = format!("https://{text}");
        let names_host = text
            .split('/')
            .next()
            .is_some_and(|host| host.contains('.'));
        if !text.contains("://") && names_host && completed.parse::<AlertTarget>().is_ok() {
            let reason =
                "The text had no https:// at its beginning. Add it if this is what you mean.";
            return Self::Text {
                value: completed,
                reason: reason.to_owned(),
            };
        }
        Self::Text {
            value: text.to_owned(),
            reason: format!("Expected {expected}."),
        }
    }

    /// The form that the client's refusal leads to.
    fn by_client(text: &str, error: &SendError) -> Self {
        match error {
            SendError::NoMailServer => {
                let address = text.trim().trim_start_matches("mailto:");
                let reason = "Alerts by mail need a mail server: enter yours.".to_owned();
                let entered = Entered::to(address);
                Self::Mail { entered, reason }
            }
            error => Self::Text {
                value: text.to_owned(),
                reason: format!("The alert could not be sent: {error}."),
            },
        }
    }
}

/// The forms that add a target. They are not replaced while a person types.
pub(super) fn add_forms(view: &View, session: &Session) -> Markup {
    let (text, mail) = match &view.refused_target {
        Some(Refused::Text { value, reason }) => (Some((value, reason)), None),
        Some(Refused::Mail { entered, reason }) => (None, Some((entered, &**reason))),
        None => (None, None),
    };
    html! {
        // With the fragment, the page after a refusal shows this form.
        form class="add-target" method="post" action={ (ALERTS) "#alerts" } {
            (form_token(session))
            label for="alert-target" { "New target" }
            @if let Some((_, reason)) = text {
                p id="alert-target-refused" class="refused" role="alert" { "Nothing was added. " (reason) }
            }
            div class="search" {
                input id="alert-target" name="target" type="text" required maxlength="2048" autocomplete="off"
                    autocapitalize="none" spellcheck="false"
                    placeholder=(if view.has_mail_server { "you@example.com" } else { "https://hooks.slack.com/…" })
                    value=[text.map(|(value, _)| value)]
                    aria-invalid=[text.map(|_| "true")]
                    aria-describedby="alert-target-refused alert-target-help";
                button { "Add" }
            }
            p id="alert-target-help" class="hint" {
                @if view.has_mail_server { "Your mail address, the " } @else { "The " }
                "URL of a Slack or Discord webhook as the service shows it, " code { "ntfy.sh/TOPIC" } ", "
                code { "telegram://BOT_TOKEN@api.telegram.org/CHAT_ID" } ", or any https URL of yours."
            }
        }
        @if !view.has_mail_server { (mail::form(session, mail)) }
    }
}

pub(super) async fn add(
    State(pages): State<Pages>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let text = form.field("target").unwrap_or_default();
    let target = match text.parse::<AlertTarget>() {
        Ok(target) => target,
        Err(error) => {
            let refused = Refused::new(text, error);
            return refuse(&pages, form.session, refused).await;
        }
    };
    if let Err(error) = pages.parts().alerts.client.check(&target) {
        let refused = Refused::by_client(text, &error);
        return refuse(&pages, form.session, refused).await;
    }
    add_target(&pages, &form.session, origin, &target).await
}

async fn add_target(
    pages: &Pages,
    UserSession { session, record }: &UserSession,
    origin: String,
    target: &AlertTarget,
) -> Result<Response, PageError> {
    let user = &record.user;
    let stored = StoredTarget {
        id: target.id(),
        text: target.text().clone(),
        added_at: pages.now(),
    };
    let by = session.actor(origin, pages.now());
    let targets = pages.parts().operator.ports.alert_targets(&by);
    let is_added = targets.add_target(user, &stored, MOST_TARGETS).await?;
    let toast = if is_added {
        info!(user.id = %user.masked(), target.id = %stored.id, "Added an alert target of {}", user.masked());
        Toast::TargetAdded
    } else {
        Toast::TooManyTargets
    };
    Ok(toast.redirect(pages, SECTION))
}

/// Shows the page with what was not added, to correct it.
async fn refuse(
    pages: &Pages,
    UserSession { session, record }: UserSession,
    refused: Refused,
) -> Result<Response, PageError> {
    let mut view = View::load(pages, record).await?;
    view.refused_target = Some(refused);
    let page = Page {
        title: "My bot",
        events: "/bot/events",
        session: &session,
        toast: None,
    };
    let page = page.document(&fragments::page(&view, &session, None));
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// Leads back from the address that a refusal leaves in the browser.
pub(super) async fn show() -> Redirect {
    Redirect::to(SECTION)
}

pub(super) async fn remove(
    State(pages): State<Pages>,
    PathParam(id): PathParam<TargetId>,
    Origin(origin): Origin,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let user = &form.session.record.user;
    let by = form.session.session.actor(origin, pages.now());
    let targets = pages.parts().operator.ports.alert_targets(&by);
    let toast = if targets.remove_target(user, &id).await? {
        info!(user.id = %user.masked(), target.id = %id, "Removed an alert target of {}", user.masked());
        Toast::TargetRemoved
    } else {
        Toast::TargetMissing
    };
    Ok(toast.redirect(&pages, SECTION))
}

/// Sends a test alert at once, and shows what the service answered.
pub(super) async fn send_test(
    State(pages): State<Pages>,
    PathParam(id): PathParam<TargetId>,
    form: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let record = &form.session.record;
    let alerts = &pages.parts().alerts;
    let mut stored = alerts.targets.targets(&record.user).await?.into_iter();
    let stored = stored.find(|target| target.id == id);
    let target = stored.and_then(|target| target.text.expose_secret().parse::<AlertTarget>().ok());
    let Some(target) = target else {
        return Ok(Toast::TargetMissing.redirect(&pages, SECTION));
    };
    let now = pages.now();
    let elapsed = pages.users().clock.elapsed();
    if !pages.0.test_alerts.take(&record.user, elapsed) {
        return Ok(Toast::TooManyTestAlerts.redirect(&pages, SECTION));
    }
    let google = record.google.as_ref();
    let account = google.and_then(|google| google.email.as_ref());
    let account = account.map(|email| email.as_str().to_owned());
    let event = AlertEvent::new(AlertKind::Test, now, account, Some(record.user.to_string()));
    let toast = match alerts.client.send(&target, &event).await {
        Ok(()) => Toast::TestAlertSent,
        Err(error) => Toast::TestAlertFailed(error.to_string()),
    };
    info!(
        user.id = %record.user.masked(), target.id = %id, ?toast,
        "Sent a test alert of {}", record.user.masked()
    );
    Ok(toast.redirect(&pages, SECTION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_target_is_completed_to_what_may_be_meant() {
        for (text, value, reason) in [
            (
                " example.com/alerts",
                "https://example.com/alerts",
                "no https://",
            ),
            ("ntfy://ntfy.sh", "ntfy://ntfy.sh", "an ntfy topic"),
            ("slack", "slack", "the URL of an alert target"),
        ] {
            let error = text.parse::<AlertTarget>().unwrap_err();
            let Refused::Text {
                value: shown,
                reason: given,
            } = Refused::new(text, error)
            else {
                panic!("{text}: expected the same form");
            };
            assert_eq!(shown, value);
            assert!(given.contains(reason), "{given}");
        }
    }
}
