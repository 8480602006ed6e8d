//! What a user can do: each is a form, and leads back to the page.

use axum::extract::State;
use axum::response::Response;
use maud::Markup;
use postbell_core::{Accepted, Replayed, UserId};
use std::time::Duration;
use tracing::info;

use super::connection::Command;
use super::fragments;
use super::test_message::test_notification;
use super::view::View;
use crate::pages::csrf_form::CsrfForm;
use crate::pages::extract::InPath;
use crate::pages::layout::Page;
use crate::pages::session::UserSession;
use crate::pages::toast::Toast;
use crate::pages::{PageError, Pages};
use crate::random::random_text;
use crate::{ChangeError, Notifications};

/// How long the token in the command is good: it is pasted at once.
const TOKEN_TIME: Duration = Duration::from_secs(60 * 60);

/// The part of the page that each action leads back to.
const SETTINGS: &str = "/bot#settings";
const CONNECTION: &str = "/bot#connection";
const DELIVERIES: &str = "/bot#deliveries";
const LETTERS: &str = "/bot#letters";

/// Shows the command that connects a Google account: it holds a token, so it is made when asked for.
pub(super) async fn show_command(
    State(pages): State<Pages>,
    posted: CsrfForm<UserSession>,
) -> Result<Markup, PageError> {
    let UserSession { session, record } = posted.by;
    let token = pages
        .parts()
        .user_tokens
        .issue(&record, pages.now() + TOKEN_TIME);
    let relay = pages.parts().relay.as_ref();
    let url = pages.parts().links.url.as_str();
    let command = Command {
        platform: url.trim_end_matches('/').to_owned(),
        relay: relay.map(|relay| relay.url.clone()),
        user: record.user.clone(),
        token,
    };
    let view = View::of(&pages, record).await?;
    let page = Page {
        title: "Connect Google",
        events: "/bot/events",
        session: &session,
        toast: None,
    };
    Ok(page.around(&fragments::all(&view, &session, Some(&command))))
}

pub(super) async fn set_notifications(
    State(pages): State<Pages>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let wanted = if posted.is_on() {
        Notifications::On
    } else {
        Notifications::Off
    };
    let user = &posted.by.record.user;
    let toast = match pages.users().set_notifications(user, wanted).await {
        Ok(changed) => match wanted {
            Notifications::On => Toast::On(changed.machine),
            Notifications::Off => Toast::Off(changed.machine),
        },
        // The page that offered it is older than the connection's end.
        Err(ChangeError::NotConnected) => Toast::NotConnected,
        Err(error) => return Err(error.into()),
    };
    Ok(pages.say(toast, SETTINGS))
}

pub(super) async fn set_wake(
    State(pages): State<Pages>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let allowed = posted.is_on();
    pages
        .users()
        .set_wake_on_mail(&posted.by.record.user, allowed)
        .await?;
    let toast = if allowed {
        Toast::WakeOn
    } else {
        Toast::WakeOff
    };
    Ok(pages.say(toast, SETTINGS))
}

pub(super) async fn disconnect(
    State(pages): State<Pages>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let changed = pages.users().disconnect(&posted.by.record.user).await?;
    Ok(pages.say(Toast::Disconnected(changed.machine), CONNECTION))
}

/// Puts a notification of our own into the inbox.
pub(super) async fn send_test(
    State(pages): State<Pages>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let Some(relay) = &pages.parts().relay else {
        return Ok(pages.say(Toast::NoRelay, DELIVERIES));
    };
    let record = &posted.by.record;
    if !record.as_instance().wants_notifications() {
        return Ok(pages.say(Toast::NotWanted, DELIVERIES));
    }
    // It would take nobody's place, and start the schedule of what waits over.
    if relay.inbox.waiting(&record.user).await?.is_some() {
        return Ok(pages.say(Toast::MailWaits, DELIVERIES));
    }
    let chance = random_text(&pages.parts().links.random);
    let test = test_notification(record, &chance).map_err(|_| PageError::Failed)?;
    let accepted = relay.inbox.accept(test, pages.now()).await?;
    relay.arrivals.notify_one();
    let user = record.user.masked();
    info!(user.id = %user, ?accepted, "{user} has sent themselves a test");
    let toast = match accepted {
        Accepted::Queued => Toast::TestSent,
        Accepted::Merged | Accepted::Duplicate => Toast::MailWaits,
    };
    Ok(pages.say(toast, DELIVERIES))
}

pub(super) async fn replay(
    State(pages): State<Pages>,
    InPath(number): InPath<i64>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let user = &posted.by.record.user;
    let toast = pages.act_on_letter(Some(user), number, Act::Replay).await?;
    Ok(pages.say(toast, LETTERS))
}

pub(super) async fn drop_one(
    State(pages): State<Pages>,
    InPath(number): InPath<i64>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let user = &posted.by.record.user;
    let toast = pages.act_on_letter(Some(user), number, Act::Drop).await?;
    Ok(pages.say(toast, LETTERS))
}

/// Throws away all that the page had when it was made: what has come since was seen by nobody.
pub(super) async fn drop_all(
    State(pages): State<Pages>,
    posted: CsrfForm<UserSession>,
) -> Result<Response, PageError> {
    let Some(relay) = &pages.parts().relay else {
        return Ok(pages.say(Toast::NoRelay, LETTERS));
    };
    let last = posted.field("last").and_then(|last| last.parse().ok());
    let last = last.ok_or(PageError::Unreadable)?;
    let user = &posted.by.record.user;
    let dropped = relay.inbox.drop_dead_letters(user, last).await?;
    pages.parts().changes.tell(user);
    info!(user.id = %user.masked(), dropped, "{} has thrown away what was given up", user.masked());
    let toast = if dropped > 0 {
        Toast::DroppedAll
    } else {
        Toast::Missing
    };
    Ok(pages.say(toast, LETTERS))
}

/// What is done with a dead letter.
#[derive(Clone, Copy, Debug)]
pub(in crate::pages) enum Act {
    /// It is delivered again.
    Replay,
    /// It is thrown away.
    Drop,
}

impl Pages {
    /// Does something with a dead letter, by its number, and says whose page has changed; only with
    /// one of `user`'s, where one is given.
    pub(in crate::pages) async fn act_on_letter(
        &self,
        user: Option<&UserId>,
        number: i64,
        act: Act,
    ) -> Result<Toast, PageError> {
        let Some(relay) = &self.parts().relay else {
            return Ok(Toast::NoRelay);
        };
        let before = Some(number.saturating_add(1));
        let letters = relay.inbox.dead_letters(user, before, 1).await?;
        let Some(letter) = letters.into_iter().find(|letter| letter.id == number) else {
            return Ok(Toast::Missing);
        };
        let toast = match act {
            Act::Replay => match relay.inbox.replay(number, self.now()).await? {
                Replayed::Queued => Toast::Replayed,
                Replayed::Unparseable => Toast::Malformed,
                Replayed::Missing => Toast::Missing,
            },
            Act::Drop if relay.inbox.drop_dead_letter(number).await? => Toast::Dropped,
            Act::Drop => Toast::Missing,
        };
        relay.arrivals.notify_one();
        self.parts().changes.tell(&letter.user);
        Ok(toast)
    }
}
