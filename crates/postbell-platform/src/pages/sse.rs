//! Live pages by server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A change notification carries no data: the fragments of a page are rendered again, and those that
//! differ are sent as a whole. A slow reader loses nothing. `change_poll.rs` announces what other
//! processes change of a user; on a page of all users it is seen at the next periodic render.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use maud::{Markup, html};
use parking_lot::Mutex;
use postbell_core::{Changes, Listener, UserId};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::{PageError, Pages};

/// How often a page is rendered without a change notification: another process may have changed
/// something. Equal fragments are not sent; comments keep the connection alive.
const RENDER_INTERVAL: Duration = Duration::from_secs(10);

/// How many connections one principal, and all together, may have open.
const MAX_PER_PRINCIPAL: usize = 8;
const MAX_CONNECTIONS: usize = 1024;

/// The id and the content of a part of a page that may change.
pub(super) type Fragment = (&'static str, Markup);

/// The open connections.
#[derive(Default)]
pub(super) struct SseConnections {
    open: Mutex<HashMap<String, usize>>,
    closed: CancellationToken,
}

impl SseConnections {
    /// Closes all connections.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Counts a connection until the permit is dropped.
    fn acquire(self: &Arc<Self>, subject: String) -> Result<SsePermit, PageError> {
        let mut open = self.open.lock();
        let own = open.get(&subject).copied().unwrap_or(0);
        if own >= MAX_PER_PRINCIPAL || open.values().sum::<usize>() >= MAX_CONNECTIONS {
            return Err(PageError::TooManyConnections);
        }
        open.insert(subject.clone(), own + 1);
        Ok(SsePermit {
            connections: Arc::clone(self),
            subject,
        })
    }
}

struct SsePermit {
    connections: Arc<SseConnections>,
    subject: String,
}

impl Drop for SsePermit {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        if let Some(own) = open.get_mut(&self.subject) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.subject);
            }
        }
    }
}

/// A page that updates itself while it is open.
#[async_trait]
pub(super) trait LivePage: Send + Sync {
    /// Renders the fragments. Returns `None` if the session may no longer see the page.
    async fn fragments(
        &self,
        pages: &Pages,
        session: &Session,
    ) -> Result<Option<Vec<Fragment>>, PageError>;

    /// Subscribes to the changes that the page shows.
    fn listen(&self, changes: &Changes) -> Listener;

    /// The users of whom the page has shown something, if they change while it is open.
    fn audience(&self) -> Vec<UserId> {
        Vec::new()
    }

    /// How long changes are collected before the page is rendered again.
    fn debounce(&self) -> Duration;
}

/// Renders a fragment in its element. The digest lets the script detect a changed fragment.
pub(super) fn live_section(id: &str, class: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) class=(class) data-live data-digest=(digest_of(content)) { (content) }
    }
}

fn digest_of(content: &Markup) -> String {
    hex::encode(&digest(&SHA256, content.0.as_bytes()).as_ref()[..8])
}

/// Responds with the fragments that change, until the session or the process ends.
pub(super) fn stream(
    pages: Pages,
    session: Session,
    page: impl LivePage + 'static,
) -> Result<Response, PageError> {
    let permit = pages.0.connections.acquire(session.principal.subject())?;
    let connection = Connection {
        changes: page.listen(&pages.parts().changes),
        pages,
        session,
        page,
        sent: HashMap::new(),
        queued: VecDeque::new(),
        is_first: true,
        _permit: permit,
    };
    let events = unfold(connection, |mut connection| async move {
        let event = connection.next().await?;
        Some((Ok::<_, Infallible>(event), connection))
    });
    let events = Sse::new(events).keep_alive(KeepAlive::default());
    // nginx buffers responses otherwise
    // (<https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering>).
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

struct Connection<P> {
    pages: Pages,
    session: Session,
    page: P,
    changes: Listener,
    /// The digest of each fragment that was sent last.
    sent: HashMap<&'static str, String>,
    queued: VecDeque<Event>,
    is_first: bool,
    _permit: SsePermit,
}

impl<P: LivePage> Connection<P> {
    async fn next(&mut self) -> Option<Event> {
        let closed = self.pages.0.connections.closed.clone();
        closed.run_until_cancelled(self.next_event()).await?
    }

    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queued.pop_front() {
                return Some(event);
            }
            if !self.is_first {
                let _change_or_interval = timeout(RENDER_INTERVAL, self.changes.changed()).await;
                sleep(self.page.debounce()).await;
                self.changes.catch_up();
            }
            self.is_first = false;
            let audience = self.page.audience();
            // After an error the connection stays open: the next render may succeed.
            if let Ok(fragments) = self.render().await {
                self.queue_changed(fragments?);
            }
            if self.page.audience() != audience {
                self.changes = self.page.listen(&self.pages.parts().changes);
                // Changes before that are not announced again.
                self.is_first = true;
            }
        }
    }

    async fn render(&self) -> Result<Option<Vec<Fragment>>, PageError> {
        if !self.session.is_valid(&self.pages).await? {
            return Ok(None);
        }
        self.page.fragments(&self.pages, &self.session).await
    }

    fn queue_changed(&mut self, fragments: Vec<Fragment>) {
        for (id, content) in fragments {
            let digest = digest_of(&content);
            if self.sent.get(id) != Some(&digest) {
                let event = Event::default().event(id).id(&digest);
                self.queued.push_back(event.data(content.into_string()));
                self.sent.insert(id, digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_per_principal() {
        let connections = Arc::new(SseConnections::default());
        let permits: Vec<_> = (0..MAX_PER_PRINCIPAL)
            .map(|_| connections.acquire("ann".to_owned()))
            .collect();
        assert!(permits.iter().all(Result::is_ok));
        assert!(connections.acquire("ann".to_owned()).is_err());
        let bob = connections.acquire("bob".to_owned());
        assert!(bob.is_ok());
        drop(permits);
        assert!(connections.acquire("ann".to_owned()).is_ok());
        drop(bob);
        assert!(
            connections.open.lock().is_empty(),
            "every permit is returned"
        );
    }
}
