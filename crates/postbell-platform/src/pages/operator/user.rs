//! The page of one user, for operators.

mod actions;
mod fragments;

use std::cmp::Reverse;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use postbell_core::{
    AuditEntry, Changes, DELIVERIES_KEPT, DeadLetter, DeliveryLog, DeliveryRecord, Listener,
    PendingDelivery, Timestamp, UserId, UserRecord,
};
use serde::Deserialize;

use crate::pages::layout::Page;
use crate::pages::session::{OperatorSession, Session};
use crate::pages::sse::{Fragment, LivePage, stream};
use crate::pages::toast::ShownToast;
use crate::pages::{PageError, Pages};

/// The purpose of an encrypted user id in a path: it may be an address, which access logs must not contain.
const PURPOSE: &str = "postbell-user";

/// How many dead letters, and how many changes, are shown.
const SHOWN: usize = 20;

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/operator/users/{user}", get(show))
        .route("/operator/users/{user}/events", get(events))
        .route("/operator/users/{user}/invite", post(actions::invite))
        .route("/operator/users/{user}/sign-out", post(actions::sign_out))
        .route(
            "/operator/users/{user}/sandbox-id",
            post(actions::new_sandbox_id),
        )
        .route(
            "/operator/users/{user}/dead-letters/{number}/replay",
            post(actions::replay),
        )
        .route(
            "/operator/users/{user}/dead-letters/{number}/drop",
            post(actions::drop_one),
        )
}

/// The path of a user's page.
pub(super) fn user_url(pages: &Pages, user: &UserId) -> String {
    let encrypted = pages.parts().cipher.encrypt_link(PURPOSE, user);
    format!("/operator/users/{encrypted}")
}

/// The user in the path.
pub(super) struct ShownUser(UserRecord);

impl FromRequestParts<Pages> for ShownUser {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, PageError> {
        #[derive(Deserialize)]
        struct InPath {
            user: String,
        }
        // Who may not see the page does not learn whether the user exists.
        OperatorSession::from_request_parts(parts, pages).await?;
        let path = Path::<InPath>::from_request_parts(parts, pages).await;
        let Path(InPath { user }) = path.map_err(|_| PageError::NotFound)?;
        let user: Option<UserId> = pages.parts().cipher.decrypt_link(PURPOSE, &user);
        let user = user.ok_or(PageError::NotFound)?;
        let fleet = &pages.users().fleet;
        let record = fleet.get(&user).await?.ok_or(PageError::NotFound)?;
        // The page of a further account is that of its user.
        let record = match &record.owner {
            Some(owner) => fleet.get(owner).await?.ok_or(PageError::NotFound)?,
            None => record,
        };
        Ok(Self(record))
    }
}

/// The data that the page shows.
struct View {
    record: UserRecord,
    /// Their further accounts.
    accounts: Vec<UserRecord>,
    now: Timestamp,
    /// `None` if the relay runs in another process.
    mail: Option<Mail>,
    /// The latest entries of the audit log about the user.
    entries: Vec<AuditEntry>,
}

struct Mail {
    pending: Option<PendingDelivery>,
    deliveries: Vec<DeliveryRecord>,
    dead_letters: Vec<DeadLetter>,
    dead_letter_count: u64,
}

impl Mail {
    async fn of(log: &dyn DeliveryLog, user: &UserId) -> Result<Self, PageError> {
        Ok(Self {
            pending: log.pending(user).await?,
            deliveries: log.deliveries(user).await?,
            dead_letters: log.dead_letters(Some(user), None, SHOWN).await?,
            dead_letter_count: log.count_dead_letters(user).await?,
        })
    }

    /// Adds that of another account.
    fn add(&mut self, other: Self) {
        let pending = self.pending.take().into_iter().chain(other.pending);
        self.pending = pending.min_by_key(|pending| (!pending.in_progress, pending.due_at));
        self.deliveries.extend(other.deliveries);
        let latest = |delivery: &DeliveryRecord| Reverse(delivery.settled_at);
        self.deliveries.sort_by_key(latest);
        self.deliveries.truncate(DELIVERIES_KEPT);
        self.dead_letters.extend(other.dead_letters);
        self.dead_letters.sort_by_key(|letter| Reverse(letter.id));
        self.dead_letters.truncate(SHOWN);
        self.dead_letter_count += other.dead_letter_count;
    }
}

impl View {
    async fn load(pages: &Pages, record: UserRecord) -> Result<Self, PageError> {
        let user = &record.user;
        let accounts = pages.users().fleet.accounts_of(&record).await?;
        let mail = match &pages.parts().relay {
            None => None,
            Some(relay) => {
                let mut mail = Mail::of(&*relay.log, user).await?;
                for account in &accounts {
                    mail.add(Mail::of(&*relay.log, &account.user).await?);
                }
                Some(mail)
            }
        };
        let operator = &pages.parts().operator;
        Ok(Self {
            entries: operator.latest_changes(Some(user), SHOWN).await?,
            now: pages.now(),
            mail,
            record,
            accounts,
        })
    }
}

async fn show(
    State(pages): State<Pages>,
    OperatorSession { session }: OperatorSession,
    ShownUser(record): ShownUser,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let url = user_url(&pages, &record.user);
    let view = View::load(&pages, record).await?;
    let page = Page {
        title: "User",
        events: &format!("{url}/events"),
        session: &session,
        toast: ShownToast::from_request(&pages, &headers),
    };
    Ok(page.response(&pages, &fragments::page(&view, &url, &session, None)))
}

/// Streams the fragments that change.
async fn events(
    State(pages): State<Pages>,
    OperatorSession { session }: OperatorSession,
    ShownUser(record): ShownUser,
) -> Result<Response, PageError> {
    stream(pages, session, OneUser(record.user))
}

/// The live page of a user.
struct OneUser(UserId);

#[async_trait]
impl LivePage for OneUser {
    async fn fragments(
        &self,
        pages: &Pages,
        session: &Session,
    ) -> Result<Option<Vec<Fragment>>, PageError> {
        let Some(record) = pages.users().fleet.get(&self.0).await? else {
            return Ok(None);
        };
        let view = View::load(pages, record).await?;
        let url = user_url(pages, &self.0);
        Ok(Some(fragments::live(&view, &url, session)))
    }

    fn listen(&self, changes: &Changes) -> Listener {
        changes.listen_to(&self.0)
    }

    fn debounce(&self) -> Duration {
        Duration::from_millis(150)
    }
}
