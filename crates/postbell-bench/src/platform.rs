//! Measures the pages: time from request to whole page, one after the other, against a bare server with
//! an empty answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hdrhistogram::Histogram;
use postbell::config::Env;
use postbell::wiring;
use postbell_core::{
    Clock, DELIVERIES_KEPT, GoogleConnection, HistoryId, InstanceStatus, MachineLocation, NewUser,
    Notification, Principal, RelayId, SandboxId, Settlement, SystemClock, Tasks, Users,
};
use postbell_store::{KeyRing, Store, StoreOptions};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Method};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::child::{self, Served};
use crate::report::{Line, Promise, say};
use crate::world::user;

/// Users of the small database.
const FEW: usize = 10_000;

/// Pending notifications while the operator's page is measured, each in its own mailbox.
const WAITING: usize = 10_000;

/// Their due time, far enough away that no delivery starts.
const LATER: Duration = Duration::from_secs(24 * 60 * 60);

const PAGES: [(&str, &str); 2] = [("my bot", "/bot"), ("operator", "/operator")];

/// Requests per page.
const TIMES: usize = 2_000;

const WARM: usize = 200;

/// Concurrent calls that fill a database.
const AT_ONCE: usize = 1000;

/// User whose page is measured.
const LOOKED_AT: usize = 7;

const SECRET: &str = "a secret of the measurements";
const FORM: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

/// Serves the platform as `postbell serve` does.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let config = Env::from_process(None)?.load()?;
    let service = wiring::Service::new(config.relay.grace)?;
    let clock = Arc::new(SystemClock::new());
    let (relay, platform) = wiring::relay_and_platform(&config, clock)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    child::tell_address(&listener)?;
    let tasks = Tasks::new();
    platform.start(listener, &tasks);
    relay.start_in_background(&tasks);
    service.run(tasks, String::new(), async || None).await;
    Ok(())
}

/// Measures the pages; `most` is the size of the large user list.
pub(crate) async fn all(many: usize) -> anyhow::Result<()> {
    say("the pages, one request after the other, beside a bare axum server")?;
    say(&format!(
        "  filling databases with {FEW} and {many} users, {WAITING} notifications waiting"
    ))?;
    let few = FilledStore::filled(FEW).await?;
    let large = FilledStore::filled(many).await?;
    for filled in [&few, &large] {
        fill_inbox(&filled.url).await?;
    }
    say("  the databases are filled")?;
    let bare = Served::start("bare", &[]).await?;
    let url = format!("http://{}/push/user/ann", bare.address);
    let of_bare = time(&client()?, Method::POST, &url, "").await?;
    bare.stop().await?;
    say(&format!("  bare server: {}", in_words(&of_bare)))?;
    let served = few.serve().await?;
    let visitor = few.sign_in(&served).await?;
    let mut with_few = Vec::new();
    for (what, page) in PAGES {
        let times = visitor.time(page).await?;
        say(&format!("  {what}, {FEW} users: {}", in_words(&times)))?;
        compare(what, &times, &of_bare, Promise::AtMost(5.0))?;
        with_few.push(p50(&times));
    }
    served.stop().await?;
    of_large(&large, many, &with_few).await
}

/// Measures the pages with many users; `with_few` is the p50 of each with 10,000.
async fn of_large(large: &FilledStore, many: usize, with_few: &[f64]) -> anyhow::Result<()> {
    let served = large.serve().await?;
    let visitor = large.sign_in(&served).await?;
    for ((what, page), with_few) in PAGES.into_iter().zip(with_few) {
        let times = visitor.time(page).await?;
        say(&format!("  {what}, {many} users: {}", in_words(&times)))?;
        Line {
            what: "the page, in the same with 10,000 users, p50",
            measured: p50(&times) / with_few,
            promised: Promise::AtMost(1.20),
            unit: "",
        }
        .print()?;
    }
    let first = visitor.time("/operator").await?;
    let deep = visitor.search(&user(many / 10 * 9)[..9]).await?;
    let deep = visitor.next(&deep).await?;
    let deep = visitor.time(&deep).await?;
    say(&format!("  first page of {many}: {}", in_words(&first)))?;
    say(&format!("  a page near the end: {}", in_words(&deep)))?;
    let line = Line {
        what: "a page near the end of the list, in the first one, p50",
        measured: p50(&deep) / p50(&first),
        promised: Promise::AtMost(1.20),
        unit: "",
    };
    line.print()?;
    served.stop().await
}

/// Measures the memory of the platform with a relay, at rest.
pub(crate) async fn rest() -> anyhow::Result<()> {
    say(&format!("serve, {FEW} users"))?;
    let few = FilledStore::filled(FEW).await?;
    let served = few.serve().await?;
    sleep(Duration::from_secs(2)).await;
    let private = served.private_memory()?;
    served.stop().await?;
    let line = Line {
        what: "private memory at rest",
        measured: private,
        promised: Promise::AtMost(15.0),
        unit: "MB",
    };
    Ok(line.print()?)
}

fn compare(
    what: &str,
    times: &Histogram<u64>,
    of_bare: &Histogram<u64>,
    promised: Promise,
) -> anyhow::Result<()> {
    say(&format!(
        "  {:.1} times the bare server's answer",
        p50(times) / p50(of_bare)
    ))?;
    let line = Line {
        what: if what == "operator" {
            "the operator's page, p99"
        } else {
            "a user's page, p99"
        },
        measured: millis(times.value_at_quantile(0.99)),
        promised,
        unit: "ms",
    };
    Ok(line.print()?)
}

/// Creates a database of connected users.
struct FilledStore {
    folder: TempDir,
    url: String,
}

impl FilledStore {
    async fn filled(users: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in("target")?;
        let url = format!("sqlite:{}", folder.path().join("bench.db").display());
        let store = Store::open(&url, StoreOptions::service().keys(keys()))?.users();
        let mut running = JoinSet::new();
        for number in 0..users {
            if running.len() >= AT_ONCE {
                running.join_next().await.context("nothing runs")???;
            }
            running.spawn(add(Arc::clone(&store), number));
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        deliver(&url).await?;
        let filled = Self { folder, url };
        filled.say_size(users)?;
        Ok(filled)
    }

    /// Says how large its file is.
    fn say_size(&self, users: usize) -> anyhow::Result<()> {
        let files = std::fs::read_dir(self.folder.path())?;
        let bytes: u64 = files
            .map(|file| Ok(file?.metadata()?.len()))
            .sum::<std::io::Result<_>>()?;
        let bytes = bytes / u64::try_from(users)?;
        Ok(say(&format!("  {users} users: {bytes} bytes for each"))?)
    }

    async fn serve(&self) -> anyhow::Result<Served> {
        let variables = [
            ("POSTBELL_RELAY__AUDIENCE", "http://127.0.0.1:9".to_owned()),
            ("POSTBELL_RELAY__INBOX", self.url.clone()),
            ("POSTBELL_PLATFORM__STORE", self.url.clone()),
            ("POSTBELL_PLATFORM__API_KEY", SECRET.to_owned()),
            ("POSTBELL_PLATFORM__GATEWAY_SECRET", SECRET.to_owned()),
        ];
        Served::start("platform", &variables).await
    }

    /// Signs in a user who is also an operator.
    async fn sign_in(&self, served: &Served) -> anyhow::Result<Browser> {
        let store = Store::open(&self.url, StoreOptions::read_write())?;
        let base = format!("http://{}", served.address);
        let links = links(store.sessions(), &base)?;
        let visitor = Principal {
            user: Some(user(LOOKED_AT).parse()?),
            operator: Some("bench".to_owned()),
            is_viewer: false,
        };
        let now = SystemClock::new().now();
        let link = links.issue(&visitor, Duration::from_secs(60), now).await?;
        let client = client()?;
        let post = client
            .post(link.expose_secret())
            .header(FORM[0].0, FORM[0].1);
        let answer = post.send().await?.error_for_status()?;
        let cookie = answer.headers().get(SET_COOKIE).context("not signed in")?;
        let cookie = cookie
            .to_str()?
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Browser {
            client,
            base,
            cookie,
        })
    }
}

fn links(
    sessions: Arc<dyn postbell_core::Sessions>,
    base: &str,
) -> anyhow::Result<postbell_platform::SignInLinks> {
    let config = postbell::config::PlatformConfig {
        url: Some(base.parse()?),
        ..Default::default()
    };
    Ok(wiring::sign_in_links(&config, sessions)?)
}

fn keys() -> KeyRing {
    KeyRing::new(&SECRET.into(), &[])
}

async fn add(users: Arc<dyn Users>, number: usize) -> anyhow::Result<()> {
    let now = SystemClock::new().now();
    let name = user(number);
    let new = NewUser {
        user: name.parse()?,
        sandbox_id: SandboxId::from(&name.parse()?),
        status: InstanceStatus::Running,
        location: MachineLocation::Url("https://bot.example.com".parse()?),
        wake_on_mail: false,
    };
    let mut record = users.add(new, now).await?;
    record.connect(GoogleConnection {
        email: Some(format!("{name}@example.com").parse()?),
        push_account: None,
        connected_at: now,
    });
    users.replace(&record, None, now).await?;
    Ok(())
}

/// Fills the measured user's list of deliveries.
async fn deliver(url: &str) -> anyhow::Result<()> {
    let queue = Store::open(url, StoreOptions::service())?.queue();
    let now = SystemClock::new().now();
    for number in 0..DELIVERIES_KEPT {
        let notification = Notification {
            trace: None,
            user: user(LOOKED_AT).parse()?,
            address: None,
            message_id: format!("m{number}").parse()?,
            published_at: None,
            history_id: HistoryId::new(u64::try_from(number)?),
            body: Bytes::from_static(b"{}"),
        };
        queue.accept(notification, now).await?;
        for claim in queue
            .claim(RelayId::new(1), now, Duration::from_secs(60), 1)
            .await?
            .claims
        {
            queue.settle(&claim, Settlement::Delivered, now).await?;
        }
    }
    Ok(())
}

/// Queues notifications with realistic bodies.
async fn fill_inbox(url: &str) -> anyhow::Result<()> {
    let queue = Store::open(url, StoreOptions::service())?.queue();
    let due = SystemClock::new().now() + LATER;
    let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for number in 0..WAITING {
        if running.len() >= AT_ONCE {
            running.join_next().await.context("nothing runs")???;
        }
        let queue = Arc::clone(&queue);
        running.spawn(async move {
            let notification = Notification {
                trace: None,
                user: user(number).parse()?,
                address: None,
                message_id: format!("waiting-{number}").parse()?,
                published_at: None,
                history_id: HistoryId::new(1_000_000),
                body: Bytes::from(vec![b' '; 600]),
            };
            queue.accept(notification, due).await?;
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// A signed-in session.
struct Browser {
    client: Client,
    base: String,
    cookie: String,
}

impl Browser {
    async fn time(&self, page: &str) -> anyhow::Result<Histogram<u64>> {
        let url = format!("{}{page}", self.base);
        time(&self.client, Method::GET, &url, &self.cookie).await
    }

    async fn get(&self, page: &str) -> anyhow::Result<String> {
        let url = format!("{}{page}", self.base);
        let answer = self.client.get(url).header(COOKIE, &self.cookie).send();
        Ok(answer.await?.error_for_status()?.text().await?)
    }

    /// Path of the user list from this id prefix.
    async fn search(&self, text: &str) -> anyhow::Result<String> {
        let page = self.get("/operator").await?;
        let token = between(&page, "name=\"form_token\" value=\"", "\"")?;
        let form = [("form_token", token), ("by", "user"), ("text", text)];
        let post = self.client.post(format!("{}/operator/search", self.base));
        let post = post
            .header(COOKIE, &self.cookie)
            .header(FORM[0].0, FORM[0].1)
            .form(&form);
        let answer = post.send().await?;
        let place = answer
            .headers()
            .get(LOCATION)
            .context("no list")?
            .to_str()?;
        Ok(place.split('#').next().unwrap_or_default().to_owned())
    }

    /// Path of the next page.
    async fn next(&self, page: &str) -> anyhow::Result<String> {
        let page = self.get(page).await?;
        let place = between(&page, "rel=\"next\" href=\"", "\"")?;
        Ok(place.split('#').next().unwrap_or_default().to_owned())
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> anyhow::Result<&'a str> {
    let (_, rest) = text.split_once(before).context("not on the page")?;
    Ok(rest.split(after).next().unwrap_or_default())
}

fn client() -> anyhow::Result<Client> {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none());
    Ok(client.tcp_nodelay(true).build()?)
}

async fn time(
    client: &Client,
    method: Method,
    url: &str,
    cookie: &str,
) -> anyhow::Result<Histogram<u64>> {
    let clock = SystemClock::new();
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    for number in 0..WARM + TIMES {
        let begun = clock.elapsed();
        let request = client.request(method.clone(), url).header(COOKIE, cookie);
        let answer = request.send().await?.error_for_status()?;
        answer.bytes().await?;
        let took = clock.elapsed().saturating_sub(begun);
        if number >= WARM {
            times.saturating_record(u64::try_from(took.as_micros())?);
        }
    }
    Ok(times)
}

fn in_words(times: &Histogram<u64>) -> String {
    let [p50, p99] = [0.50, 0.99].map(|quantile| millis(times.value_at_quantile(quantile)));
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms")
}

fn p50(times: &Histogram<u64>) -> f64 {
    millis(times.value_at_quantile(0.50))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
