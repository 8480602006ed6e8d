//! Live pages, by server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A change is a hint to look again: the parts of a page are made anew, and those that came out
//! differently are sent whole. So nothing is lost by a reader who is slow; and what another process
//! did is seen at the next look, a few seconds later.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use maud::{Markup, PreEscaped, html};
use parking_lot::Mutex;
use postbell_core::{Changes, Listener};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::{PageError, Pages};

/// How often a page is made anew where nobody has told of a change: another process may have made
/// one. What came out the same is not sent; the connection is kept alive by comments.
const LOOK_ANEW: Duration = Duration::from_secs(10);

/// How many live pages somebody may have open, and all together.
const OF_ONE: usize = 8;
const OF_ALL: usize = 1024;

/// A part of a page that may change: its id, and what is in it.
pub(super) type Fragment = (&'static str, Markup);

/// The live pages that are open.
#[derive(Default)]
pub(super) struct SseConnections {
    open: Mutex<HashMap<String, usize>>,
    ended: CancellationToken,
}

impl SseConnections {
    /// Ends them, and lets none begin.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Counts another one, until the value goes.
    fn admit(self: &Arc<Self>, subject: String) -> Result<SsePermit, PageError> {
        let mut open = self.open.lock();
        let theirs = open.get(&subject).copied().unwrap_or(0);
        if theirs >= OF_ONE || open.values().sum::<usize>() >= OF_ALL {
            return Err(PageError::TooManyStreams);
        }
        open.insert(subject.clone(), theirs + 1);
        let streams = Arc::clone(self);
        Ok(SsePermit { streams, subject })
    }
}

struct SsePermit {
    streams: Arc<SseConnections>,
    subject: String,
}

impl Drop for SsePermit {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        if let Some(theirs) = open.get_mut(&self.subject) {
            *theirs -= 1;
            if *theirs == 0 {
                open.remove(&self.subject);
            }
        }
    }
}

/// A page that can be live.
#[async_trait]
pub(super) trait LivePage: Send + Sync {
    /// Makes its parts, for whoever has this session; `None` where they may not see it any more.
    async fn parts(
        &self,
        pages: &Pages,
        session: &Session,
    ) -> Result<Option<Vec<Fragment>>, PageError>;

    /// Listens to what it shows.
    fn listen(&self, changes: &Changes) -> Listener;

    /// How long further changes are waited for, so that many at once are one.
    fn gathers(&self) -> Duration;
}

/// Shows parts in their places, each with what tells whether it has changed.
pub(super) fn place(id: &str, class: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) class=(class) data-live data-digest=(digest_of(content)) { (content) }
    }
}

fn digest_of(content: &PreEscaped<String>) -> String {
    hex::encode(&digest(&SHA256, content.0.as_bytes()).as_ref()[..8])
}

/// Answers with what changes on a page, until the session or the process ends.
pub(super) fn stream(
    pages: Pages,
    session: Session,
    page: impl LivePage + 'static,
) -> Result<Response, PageError> {
    let seat = pages.0.streams.admit(session.visitor.subject())?;
    let watch = Watch {
        changes: page.listen(&pages.parts().changes),
        pages,
        session,
        page,
        sent: HashMap::new(),
        waiting: VecDeque::new(),
        begun: false,
        _seat: seat,
    };
    let events = unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    let events = Sse::new(events).keep_alive(KeepAlive::default());
    // nginx would hold back what is to be seen at once
    // (<https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering>).
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

struct Watch<P> {
    pages: Pages,
    session: Session,
    page: P,
    changes: Listener,
    /// What was sent last of each part.
    sent: HashMap<&'static str, String>,
    waiting: VecDeque<Event>,
    begun: bool,
    _seat: SsePermit,
}

impl<P: LivePage> Watch<P> {
    async fn next(&mut self) -> Option<Event> {
        let ended = self.pages.0.streams.ended.clone();
        ended.run_until_cancelled(self.next_event()).await?
    }

    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.begun {
                // Nothing for so long is a reason to look, too.
                let _ = timeout(LOOK_ANEW, self.changes.changed()).await;
                sleep(self.page.gathers()).await;
                self.changes.catch_up();
            }
            self.begun = true;
            // Out of reach for a moment is no reason to end: the next look may succeed.
            if let Ok(parts) = self.look().await {
                self.compare(parts?);
            }
        }
    }

    async fn look(&self) -> Result<Option<Vec<Fragment>>, PageError> {
        if !self.pages.is_good(&self.session).await? {
            return Ok(None);
        }
        self.page.parts(&self.pages, &self.session).await
    }

    fn compare(&mut self, parts: Vec<Fragment>) {
        for (id, content) in parts {
            let digest = digest_of(&content);
            if self.sent.get(id) != Some(&digest) {
                let event = Event::default().event(id).id(&digest);
                self.waiting.push_back(event.data(content.into_string()));
                self.sent.insert(id, digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_live_pages_may_be_open_and_no_more() {
        let streams = Arc::new(SseConnections::default());
        let seats: Vec<_> = (0..OF_ONE)
            .map(|_| streams.admit("ann".to_owned()))
            .collect();
        assert!(seats.iter().all(Result::is_ok));
        assert!(streams.admit("ann".to_owned()).is_err());
        let of_bob = streams.admit("bob".to_owned());
        assert!(of_bob.is_ok());
        drop(seats);
        assert!(streams.admit("ann".to_owned()).is_ok());
        drop(of_bob);
        assert!(streams.open.lock().is_empty(), "nothing is left of them");
    }
}
