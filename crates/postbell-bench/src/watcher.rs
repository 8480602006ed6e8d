//! Measures `postbell watch serve` between a push and the webhook, against the sandbox.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use postbell_core::{Clock, SystemClock};
use postbell_google::{AuthorizedUser, PubSubAdmin, TokenSource};
use postbell_sandbox::{Hook, PROJECT, Sandbox};
use reqwest::Client;
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use url::Url;

use crate::child::Served;
use crate::growth::{self, Samples};
use crate::measure::middle;
use crate::report::{Line, Promise, say};

const EMAIL: &str = "ann@example.com";
const TOKEN: &str = "the-watchers-token";

/// Numbers of mails: one at a time, and all at once.
const SINGLE: usize = 500;
const MANY: usize = 1000;

/// Rounds of the start; the median counts.
const STARTS: usize = 11;

/// Between two mails of a steady load.
const PAUSE: Duration = Duration::from_millis(50);

/// Concurrent reads of the watcher.
const READS_AT_ONCE: usize = 4;

type Hooks = UnboundedReceiver<Hook>;

/// A mailbox in the sandbox and its watcher.
struct World {
    sandbox: Sandbox,
    /// Of the watcher's environment.
    variables: Vec<(&'static str, String)>,
    watcher: Served,
    client: Client,
    tokens: Arc<TokenSource>,
    home: TempDir,
}

/// Measures the watcher.
pub(crate) async fn all() -> anyhow::Result<()> {
    say("the watcher between the sandbox's Gmail and its bot")?;
    let world = World::new().await?;
    let mut hooks = world.sandbox.bot().subscribe();
    world.one_mail_at_a_time(&mut hooks).await?;
    world.many_at_once(&mut hooks).await?;
    Line {
        what: "resident memory after that",
        measured: world.watcher.resident()?,
        promised: Promise::AtMost(30.0),
        unit: "MB",
    }
    .print()?;
    world.watcher.stop().await?;
    world.sandbox.stop().await;
    Ok(())
}

/// Measures its start, and its memory at rest.
pub(crate) async fn rest() -> anyhow::Result<()> {
    say("the watcher")?;
    let clock = SystemClock::new();
    let mut world = World::new().await?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        world.watcher.terminate().await?;
        let begun = clock.elapsed();
        world.watcher = serve(&world.sandbox, world.home.path(), &world.variables).await?;
        until_connected(&world.watcher).await;
        world.push().await?;
        times.push(clock.elapsed().saturating_sub(begun).as_secs_f64() * 1000.0);
    }
    Line {
        what: "from exec to the first push that is accepted",
        measured: middle(times),
        promised: Promise::AtMost(20.0),
        unit: "ms",
    }
    .print()?;
    sleep(Duration::from_secs(2)).await;
    Line {
        what: "private memory at rest",
        measured: world.watcher.private_memory()?,
        promised: Promise::AtMost(4.0),
        unit: "MB",
    }
    .print()?;
    world.watcher.stop().await?;
    world.sandbox.stop().await;
    Ok(())
}

/// Watches its memory while mails come one after the other.
pub(crate) async fn growth(time: Duration) -> anyhow::Result<Samples> {
    let world = World::new().await?;
    let samples = tokio::select! {
        samples = growth::sample(time, || world.watcher.private_memory()) => samples?,
        failed = world.push_until_it_fails() => return Err(failed),
    };
    world.watcher.stop().await?;
    world.sandbox.stop().await;
    Ok(samples)
}

impl World {
    async fn new() -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0").await?).await?;
        let home = tempfile::tempdir_in("target")?;
        let grant = serde_json::to_value(sandbox.oauth().grant(EMAIL))?;
        std::fs::write(home.path().join("google.json"), grant.to_string())?;
        let user: AuthorizedUser = serde_json::from_value(grant)?;
        let base = Url::parse(sandbox.url())?;
        let client = Client::builder().tcp_nodelay(true).build()?;
        let clock = Arc::new(SystemClock::new());
        let tokens = TokenSource::new(client.clone(), base.join("/token")?, user, clock);
        let tokens = Arc::new(tokens);
        let topic = format!("projects/{PROJECT}/topics/gmail");
        let admin = PubSubAdmin::new(client.clone(), base, Arc::clone(&tokens));
        admin.create_topic(&topic).await?;
        admin.allow_gmail(&topic).await?;
        let variables = variables(&sandbox, home.path())?;
        start_watch(home.path(), &variables, &topic).await?;
        let watcher = serve(&sandbox, home.path(), &variables).await?;
        until_connected(&watcher).await;
        Ok(Self {
            sandbox,
            variables,
            watcher,
            client,
            tokens,
            home,
        })
    }

    fn deliver(&self) -> anyhow::Result<String> {
        let mail = b"From: b@example.org\nSubject: hi\n\nhello";
        Ok(self.sandbox.gmail().deliver(EMAIL, mail)?.message_id)
    }

    /// Sends Pub/Sub's push and waits for the answer.
    async fn push(&self) -> anyhow::Result<()> {
        let history_id = self.sandbox.gmail().history_id(EMAIL);
        let data = json!({ "emailAddress": EMAIL, "historyId": history_id }).to_string();
        let message = json!({ "data": BASE64_STANDARD.encode(data), "messageId": "1" });
        let push = self
            .client
            .post(format!("http://{}/gmail-pubsub", self.watcher.address))
            .header("x-gog-token", TOKEN)
            .json(&json!({ "message": message }));
        push.send().await?.error_for_status()?;
        Ok(())
    }

    /// One mail after the other, with pauses.
    async fn push_until_it_fails(&self) -> anyhow::Error {
        loop {
            if let Err(failed) = self.deliver() {
                return failed;
            }
            if let Err(failed) = self.push().await {
                return failed;
            }
            sleep(PAUSE).await;
        }
    }

    async fn one_mail_at_a_time(&self, hooks: &mut Hooks) -> anyhow::Result<()> {
        let clock = SystemClock::new();
        let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
        for _ in 0..SINGLE {
            self.deliver()?;
            let begun = clock.elapsed();
            let hooked = async {
                let hook = hooks.recv().await.context("the bot is gone");
                hook.map(|_| clock.elapsed().saturating_sub(begun))
            };
            let (pushed, took) = tokio::join!(self.push(), hooked);
            pushed?;
            let took = took?;
            times.saturating_record(u64::try_from(took.as_micros())?);
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let millis = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
        say(&format!("  p99 {:.2} ms", millis(0.99)))?;
        Line {
            what: "from push to the bot's hook, one new mail, p50",
            measured: millis(0.50),
            promised: Promise::AtMost(2.0),
            unit: "ms",
        }
        .print()?;
        Ok(())
    }

    /// One sync over many mails, against only reading them from the sandbox.
    async fn many_at_once(&self, hooks: &mut Hooks) -> anyhow::Result<()> {
        let clock = SystemClock::new();
        let mut shares = Vec::new();
        for _ in 0..3 {
            let sent = (0..MANY).map(|_| self.deliver());
            let sent: Vec<_> = sent.collect::<anyhow::Result<_>>()?;
            let begun = clock.elapsed();
            self.read(&sent).await?;
            let bare = clock.elapsed().saturating_sub(begun);
            let begun = clock.elapsed();
            self.push().await?;
            let whole = clock.elapsed().saturating_sub(begun);
            let mut taken = 0;
            while let Ok(hook) = hooks.try_recv() {
                taken += hook.body["messages"].as_array().map_or(0, Vec::len);
            }
            ensure!(taken == MANY, "the bot has {taken} of {MANY} mails");
            say(&format!("  read {bare:.2?}, read and posted {whole:.2?}"))?;
            shares.push(bare.as_secs_f64() / whole.as_secs_f64());
        }
        shares.sort_by(f64::total_cmp);
        Line {
            what: "1 000 new mails in a pass, of what the sandbox can serve",
            measured: shares[1],
            promised: Promise::AtLeast(0.8),
            unit: "",
        }
        .print()?;
        Ok(())
    }

    async fn read(&self, ids: &[String]) -> anyhow::Result<()> {
        let token = self.tokens.access_token().await?;
        let base = self.sandbox.url();
        let reads = ids.iter().map(|id| {
            let url = format!("{base}/gmail/v1/users/me/messages/{id}?format=full");
            let read = self.client.get(url).bearer_auth(token.expose_secret());
            async move { anyhow::Ok(read.send().await?.error_for_status()?.bytes().await?) }
        });
        let reads: Vec<_> = reads.collect();
        let read = stream::iter(reads).buffered(READS_AT_ONCE);
        read.try_for_each(|_| async { Ok(()) }).await
    }
}

/// The watcher's environment.
fn variables(sandbox: &Sandbox, home: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (url, home) = (sandbox.url(), std::path::absolute(home)?);
    let grant = home.join("google.json").display().to_string();
    Ok(vec![
        ("HOME", home.display().to_string()),
        ("GOG_ACCOUNT", EMAIL.to_owned()),
        ("POSTBELL_GOOGLE__CREDENTIALS_FILE", grant),
        ("POSTBELL_GOOGLE__TOKEN_URL", format!("{url}/token")),
        ("POSTBELL_GOOGLE__GMAIL_URL", url.to_owned()),
        ("POSTBELL_LOG", "warn".to_owned()),
        ("POSTBELL_WATCH_TOKEN", TOKEN.to_owned()),
        (
            "POSTBELL_WATCH_HOOK_TOKEN",
            sandbox.bot().token().to_owned(),
        ),
    ])
}

/// `postbell` with only these variables.
fn postbell(home: &Path, variables: &[(&str, String)]) -> anyhow::Result<Command> {
    let program = std::env::current_exe()?.with_file_name("postbell");
    ensure!(
        program.exists(),
        "expected {}: run `cargo build --release` first",
        program.display()
    );
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(home);
    Ok(command)
}

async fn start_watch(home: &Path, variables: &[(&str, String)], topic: &str) -> anyhow::Result<()> {
    let mut command = postbell(home, variables)?;
    command.args(["watch", "start", "--topic", topic]);
    ensure!(command.output().await?.status.success(), "no watch");
    Ok(())
}

/// Starts `watch serve`, which may not listen yet.
async fn serve(
    sandbox: &Sandbox,
    home: &Path,
    variables: &[(&str, String)],
) -> anyhow::Result<Served> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    drop(listener);
    let mut command = postbell(home, variables)?;
    command
        .args(["watch", "serve", "--units-per-minute", "4294967295"])
        .args(["--port", &address.port().to_string()])
        .args(["--hook-url", &sandbox.bot().hook_url()]);
    Served::run(command, address)
}

async fn until_connected(watcher: &Served) {
    while TcpStream::connect(watcher.address).await.is_err() {
        sleep(Duration::from_micros(200)).await;
    }
}
