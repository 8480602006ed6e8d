//! How it shows that a notification came through, from where setup runs.

use std::time::Duration;

use postbell_core::HistoryId;
use postbell_google::PushBody;
use postbell_protocol::api::ConnectionStatus;
use reqwest::Client;
use url::Url;

use crate::site::Site;
use crate::step::StepId;
use crate::trouble::{Trouble, Wall};
use crate::wishes::{Destination, platform};

/// How long an endpoint may take to turn a stranger away.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Whether a notification came through.
#[derive(Debug)]
pub(super) enum Seen {
    /// It did.
    Arrived,
    /// It may yet.
    NotYet,
    /// That cannot be seen from here: why not, and how it can.
    Never(String),
}

/// Whether a notification came through that says that the mailbox has come as far as `wanted`.
pub(super) async fn now(site: &Site, wanted: HistoryId) -> Result<Seen, Trouble> {
    match &site.wishes.destination {
        Some(Destination::Platform { .. }) => at_platform(site, wanted).await,
        Some(Destination::Serve { endpoint, .. }) => at_endpoint(site, endpoint).await,
        Some(Destination::Pull { .. }) | None => in_subscription(site, wanted).await,
    }
}

/// The platform is told how far mail was delivered, once the machine has taken it.
async fn at_platform(site: &Site, wanted: HistoryId) -> Result<Seen, Trouble> {
    let Some(platform) = platform(site) else {
        return Ok(Seen::NotYet);
    };
    let delivered = delivered(&platform.connection().await?);
    Ok(judge(site.known.delivered_before, delivered, wanted))
}

/// Remembers what came through before a notification is asked for, which says nothing of the path as
/// it is now. Whether there is one already that the watch, begun just now, has sent.
pub(super) async fn waits(site: &mut Site) -> Result<bool, Trouble> {
    if !matches!(site.wishes.destination, Some(Destination::Pull { .. })) {
        remember_delivered(site).await?;
        return Ok(false);
    }
    let waiting = waiting(site).await?;
    let watch = site.known.watch;
    let begun = watch.filter(|_| !site.is_wanted_again(StepId::Arrival));
    if let Some(watch) = begun
        && waiting
            .iter()
            .any(|(_, history_id)| *history_id >= watch.history_id)
    {
        return Ok(true);
    }
    site.known.waited_before = waiting.into_iter().map(|(id, _)| id).collect();
    Ok(false)
}

/// Remembers how far the platform has delivered.
pub(crate) async fn remember_delivered(site: &mut Site) -> Result<(), Trouble> {
    if site.known.delivered_before.is_none()
        && let Some(platform) = platform(site)
    {
        let delivered = delivered(&platform.connection().await?);
        site.known.delivered_before = Some(delivered.flatten().unwrap_or_default());
    }
    Ok(())
}

/// How far mail was delivered; `Some(None)` where none was, and `None` where the platform does not say.
fn delivered(connection: &ConnectionStatus) -> Option<Option<HistoryId>> {
    let said = connection.gmail_last_history_id.as_ref()?;
    Some(said.as_ref().and_then(|delivered| delivered.parse().ok()))
}

fn judge(
    before: Option<HistoryId>,
    delivered: Option<Option<HistoryId>>,
    wanted: HistoryId,
) -> Seen {
    const TRY: &str = "send yourself a mail, and see whether the bot gets it";
    match delivered {
        None => Seen::Never(format!(
            "this platform does not say how far mail was delivered: {TRY}"
        )),
        Some(_) if before >= Some(wanted) => Seen::Never(format!(
            "mail was delivered as far as that before, so it cannot be told whether this came \
             through: {TRY}"
        )),
        Some(delivered) if delivered >= Some(wanted) => Seen::Arrived,
        Some(_) => Seen::NotYet,
    }
}

/// A notification waits to be fetched. One that a watcher has fetched already is not seen.
async fn in_subscription(site: &Site, wanted: HistoryId) -> Result<Seen, Trouble> {
    let waiting = waiting(site).await?;
    let is_new = |id: &String| !site.known.waited_before.contains(id);
    let mut new = waiting.iter().filter(|(id, _)| is_new(id));
    if new.any(|(_, history_id)| *history_id >= wanted) {
        return Ok(Seen::Arrived);
    }
    let address = mailbox(site);
    let remembered = site.tools.memory.recall(address)?;
    let watcher_runs = remembered.is_some_and(|remembered| remembered.watcher_runs);
    Ok(if watcher_runs {
        let why = "a watcher runs, and has fetched it: send yourself a mail, and see whether the bot \
                   gets it";
        Seen::Never(why.to_owned())
    } else {
        Seen::NotYet
    })
}

/// The notifications of the mailbox that wait to be fetched: their ids, and how far they say that it
/// has come.
async fn waiting(site: &Site) -> Result<Vec<(String, HistoryId)>, Trouble> {
    let address = mailbox(site);
    let waiting = site.pubsub()?.peek(&site.subscription()?).await;
    let waiting = waiting.map_err(|error| site.trouble(error))?;
    let read = waiting.into_iter().filter_map(|one| {
        let changed = PushBody::read(&one.data).notification.ok()?;
        let is_its = changed.email_address.eq_ignore_ascii_case(address);
        is_its.then_some((one.id, changed.history_id))
    });
    Ok(read.collect())
}

fn mailbox(site: &Site) -> &str {
    let mailbox = site.wishes.mailbox.as_ref();
    mailbox.map(|address| address.as_str()).unwrap_or_default()
}

/// A watcher behind a public address lets no stranger in, and says nothing of others.
async fn at_endpoint(site: &Site, endpoint: &Url) -> Result<Seen, Trouble> {
    let status = knock(&site.tools.client, endpoint).await;
    Ok(match status {
        Some(401 | 403) => {
            let why = "the endpoint answers, and lets no stranger in; what Pub/Sub brings it cannot be \
                       seen from here: send yourself a mail, and see whether the bot gets it";
            Seen::Never(why.to_owned())
        }
        Some(status) => {
            let problem = format!("{endpoint} answers {status} where a stranger should get 401");
            return Err(Trouble::new(Wall::Endpoint(problem)));
        }
        None => Seen::Never(format!(
            "{endpoint} does not answer from here yet: start `postbell watch serve` as below, and \
             Pub/Sub brings what waits"
        )),
    })
}

/// What an endpoint answers a stranger.
async fn knock(client: &Client, endpoint: &Url) -> Option<u16> {
    let request = client.post(endpoint.clone()).timeout(TIMEOUT).body("{}");
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_before_says_nothing_of_the_path() {
        let id = |number: &str| number.parse::<HistoryId>().unwrap();
        for (before, delivered, expected) in [
            (None, None, "Never"),
            (Some("0"), Some(None), "NotYet"),
            (Some("4"), Some(Some("4")), "NotYet"),
            (Some("4"), Some(Some("5")), "Arrived"),
            (Some("5"), Some(Some("5")), "Never"),
            (Some("9"), Some(Some("9")), "Never"),
        ] {
            let delivered = delivered.map(|delivered| delivered.map(id));
            let seen = judge(before.map(id), delivered, id("5"));
            let seen = format!("{seen:?}");
            assert!(
                seen.starts_with(expected),
                "{before:?} {delivered:?}: {seen}"
            );
        }
    }
}
