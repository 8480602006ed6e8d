//! How it shows that a notification came through, from where setup runs.

use std::time::Duration;

use postbell_core::HistoryId;
use postbell_google::PushBody;
use reqwest::Client;
use url::Url;

use crate::site::Site;
use crate::trouble::{Trouble, Wall};
use crate::wishes::{Destination, platform};

/// How long an endpoint may take to turn a stranger away.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Whether a notification came through.
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
    let connection = platform.connection().await?;
    if wanted == HistoryId::default() {
        return Ok(Seen::NotYet);
    }
    let delivered = match connection.gmail_last_history_id {
        Some(Some(delivered)) => delivered,
        Some(None) => return Ok(Seen::NotYet),
        None => {
            let why = "this platform does not say how far mail was delivered: send yourself a mail, and \
                       see whether the bot gets it";
            return Ok(Seen::Never(why.to_owned()));
        }
    };
    let delivered: Option<HistoryId> = delivered.parse().ok();
    Ok(if delivered >= Some(wanted) {
        Seen::Arrived
    } else {
        Seen::NotYet
    })
}

/// A notification waits to be fetched. One that a watcher has fetched already is not seen.
async fn in_subscription(site: &Site, wanted: HistoryId) -> Result<Seen, Trouble> {
    let address = site.wishes.mailbox.as_ref().map(|address| address.as_str());
    let address = address.unwrap_or_default();
    let waiting = site.pubsub()?.peek(&site.subscription()?).await;
    let waiting = waiting.map_err(|error| site.trouble(error))?;
    let arrived = waiting.iter().any(|data| {
        let read = PushBody::read(data).notification;
        read.is_ok_and(|changed| {
            changed.email_address.eq_ignore_ascii_case(address) && changed.history_id >= wanted
        })
    });
    if arrived {
        return Ok(Seen::Arrived);
    }
    let remembered = site.tools.memory.recall(address)?;
    let watcher_runs = remembered.is_some_and(|remembered| remembered.watcher_runs);
    Ok(if watcher_runs && wanted != HistoryId::default() {
        let why = "a watcher runs, and has fetched it: send yourself a mail, and see whether the bot \
                   gets it";
        Seen::Never(why.to_owned())
    } else {
        Seen::NotYet
    })
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
            return Err(Trouble::new(Wall::Hook(problem)));
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
