//! Choosing one of several bots that use the Google account of a sign-in.

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use maud::html;
use postbell_core::{EmailAddress, Principal, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::google::given_by;
use super::log_name;
use crate::pages::cookies::CookieName;
use crate::pages::csrf_form::SameOriginForm;
use crate::pages::extract::Origin;
use crate::pages::layout::plain_page;
use crate::pages::session::{Session, epoch};
use crate::pages::{PageError, Pages};

pub(super) const PATH: &str = "/sign-in/bot";

/// How long a person may take to choose.
const LIFETIME: Duration = Duration::from_secs(600);

const EXPIRED: PageError =
    PageError::SignInFailed("This sign-in has expired, or its bot was removed. Start again.");

/// Whose bots a person may open, stored in a cookie.
#[derive(Deserialize, Serialize)]
struct Choice {
    /// Each with the epoch of its sessions: a sign-out ends what was offered before it, too.
    users: Vec<(UserId, i64)>,
    /// Without a user.
    principal: Principal,
    /// By which address they have signed in.
    address: EmailAddress,
    /// In which way they have signed in.
    way: String,
    asked_at: Timestamp,
}

/// Shows the bots.
pub(super) async fn ask(
    pages: &Pages,
    users: Vec<UserId>,
    principal: Principal,
    address: EmailAddress,
    way: String,
) -> Result<Response, PageError> {
    let page = plain_page(
        "Choose a bot",
        html! {
            p { "Several bots use this account. To open another one later, sign out." }
            form method="post" action=(PATH) {
                @for user in &users {
                    p { button class="primary wide" name="user" value=(user) { (user) } }
                }
            }
        },
    );
    let mut offered = Vec::new();
    for user in users {
        let of_user = Principal {
            user: Some(user.clone()),
            ..principal.clone()
        };
        offered.push((user, epoch(pages, &of_user).await?));
    }
    let choice = Choice {
        users: offered,
        principal,
        address,
        way,
        asked_at: pages.now(),
    };
    let cookie = pages
        .cookies()
        .set(CookieName::BotChoice, &choice, LIFETIME);
    Ok((cookie, page).into_response())
}

/// Starts the session of the bot that was chosen.
pub(super) async fn choose(
    State(pages): State<Pages>,
    headers: HeaderMap,
    Origin(origin): Origin,
    form: SameOriginForm,
) -> Result<Response, PageError> {
    let choice: Option<Choice> = pages.cookies().read(CookieName::BotChoice, &headers);
    let choice = choice.filter(|choice| pages.now() < choice.asked_at + LIFETIME);
    let Choice {
        users,
        mut principal,
        address,
        way,
        ..
    } = choice.ok_or(EXPIRED)?;
    let mut users = users.into_iter();
    let user = users.find(|(user, _)| form.field("user") == Some(user.as_str()));
    let (user, offered_in) = user.ok_or(PageError::InvalidForm)?;
    principal.user = Some(user);
    if epoch(&pages, &principal).await? != offered_in {
        return Err(EXPIRED);
    }
    let name = log_name(&principal);
    pages.count_change(&principal)?;
    let given = given_by(&pages, principal.user.as_ref(), address).await?;
    let started = Session::start(&pages, principal, given, origin, &way).await?;
    let started = started.ok_or(EXPIRED)?;
    info!(principal = name, way, "Signed in");
    let remove = pages.cookies().remove(CookieName::BotChoice);
    Ok((remove, started).into_response())
}
