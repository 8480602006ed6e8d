//! What a user can do: each is a form, and leads back to the page.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use maud::Markup;
use postbell_core::inbox::Replayed;
use postbell_core::{DeadLetter, UserId};
use std::time::Duration;
use tracing::info;

use super::connection::Command;
use super::parts;
use super::test_message::test_notification;
use super::view::View;
use crate::Notifications;
use crate::pages::layout::Page;
use crate::pages::posted::Posted;
use crate::pages::session::AsUser;
use crate::pages::toast::Toast;
use crate::pages::{PageRefusal, Pages, RelayBeside};
use crate::random::random_text;

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
    AsUser { session, record }: AsUser,
    _: Posted,
) -> Result<Markup, PageRefusal> {
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
    Ok(page.around(&parts::all(&view, &session, Some(&command))))
}

pub(super) async fn set_notifications(
    State(pages): State<Pages>,
    AsUser { record, .. }: AsUser,
    posted: Posted,
) -> Result<Response, PageRefusal> {
    let wanted = if posted.is_on() {
        Notifications::On
    } else {
        Notifications::Off
    };
    let changed = pages
        .users()
        .set_notifications(&record.user, wanted)
        .await?;
    let toast = match wanted {
        Notifications::On => Toast::On(changed.machine.into()),
        Notifications::Off => Toast::Off(changed.machine.into()),
    };
    Ok(pages.say(toast, SETTINGS))
}

pub(super) async fn set_wake(
    State(pages): State<Pages>,
    AsUser { record, .. }: AsUser,
    posted: Posted,
) -> Result<Response, PageRefusal> {
    let allowed = posted.is_on();
    pages
        .users()
        .set_wake_on_mail(&record.user, allowed)
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
    AsUser { record, .. }: AsUser,
    _: Posted,
) -> Result<Response, PageRefusal> {
    let changed = pages.users().disconnect(&record.user).await?;
    Ok(pages.say(Toast::Disconnected(changed.machine.into()), CONNECTION))
}

/// Puts a notification of our own into the inbox.
pub(super) async fn send_test(
    State(pages): State<Pages>,
    AsUser { record, .. }: AsUser,
    _: Posted,
) -> Result<Response, PageRefusal> {
    let Some(relay) = &pages.parts().relay else {
        return Ok(pages.say(Toast::NoRelay, DELIVERIES));
    };
    if !record.as_instance().wants_notifications() {
        return Err(PageRefusal::Foreign);
    }
    let chance = random_text(&pages.parts().links.random);
    let test = test_notification(&record, &chance).map_err(|_| PageRefusal::Failed)?;
    let user = test.user.clone();
    relay.inbox.accept(test, pages.now()).await?;
    relay.arrivals.notify_one();
    info!(user.id = %user, "{user} has sent themselves a test");
    Ok(pages.say(Toast::TestSent, DELIVERIES))
}

pub(super) async fn replay(
    State(pages): State<Pages>,
    AsUser { record, .. }: AsUser,
    Path(number): Path<i64>,
    _: Posted,
) -> Result<Response, PageRefusal> {
    let toast = match own(&pages, &record.user, number).await? {
        Some((relay, letter)) => pages.replay(relay, &letter).await?,
        None => Toast::Missing,
    };
    Ok(pages.say(toast, LETTERS).into_response())
}

pub(super) async fn drop_one(
    State(pages): State<Pages>,
    AsUser { record, .. }: AsUser,
    Path(number): Path<i64>,
    _: Posted,
) -> Result<Response, PageRefusal> {
    let toast = match own(&pages, &record.user, number).await? {
        Some((relay, letter)) => pages.drop_letter(relay, &letter).await?,
        None => Toast::Missing,
    };
    Ok(pages.say(toast, LETTERS).into_response())
}

/// A dead letter of this user's, by its number; nobody else's.
async fn own<'a>(
    pages: &'a Pages,
    user: &UserId,
    number: i64,
) -> Result<Option<(&'a RelayBeside, DeadLetter)>, PageRefusal> {
    let Some(relay) = &pages.parts().relay else {
        return Ok(None);
    };
    let before = Some(number.saturating_add(1));
    let letters = relay.inbox.dead_letters(Some(user), before, 1).await?;
    let letter = letters.into_iter().find(|letter| letter.id == number);
    Ok(letter.map(|letter| (relay, letter)))
}

impl Pages {
    /// Delivers a dead letter again, and says whose page has changed.
    pub(in crate::pages) async fn replay(
        &self,
        relay: &RelayBeside,
        letter: &DeadLetter,
    ) -> Result<Toast, PageRefusal> {
        let replayed = relay.inbox.replay(letter.id, self.now()).await?;
        relay.arrivals.notify_one();
        self.parts().changes.tell(&letter.user);
        Ok(match replayed {
            Replayed::Waiting => Toast::Replayed,
            Replayed::Malformed => Toast::Malformed,
            Replayed::Missing => Toast::Missing,
        })
    }

    /// Throws a dead letter away, and says whose page has changed.
    pub(in crate::pages) async fn drop_letter(
        &self,
        relay: &RelayBeside,
        letter: &DeadLetter,
    ) -> Result<Toast, PageRefusal> {
        let was_there = relay.inbox.drop_dead_letter(letter.id).await?;
        self.parts().changes.tell(&letter.user);
        Ok(if was_there {
            Toast::Dropped
        } else {
            Toast::Missing
        })
    }
}
