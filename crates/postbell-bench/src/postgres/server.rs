//! A PostgreSQL server of the measurements' own, on a disk, that keeps what it acknowledges.

use std::ops::Deref;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, ensure};
use postbell_core::DeliveryQueue;
use postbell_store::{Store, StoreOptions};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// What a mailbox has that has received mail for a while: `$1` of them.
const FILL: [&str; 4] = [
    "INSERT INTO cursor (user_id, address, history_id, message_ids, settled_at, published_at)
     SELECT 'user-' || lpad(n::text, 7, '0'), 'user-' || lpad(n::text, 7, '0') || '@example.com',
         lpad('0', 20, '0'), lpad(n::text, 17, '0'), 0, 0
     FROM generate_series(0, $1 - 1) AS n",
    "INSERT INTO tally (user_id, deliveries, hours, delivered, failed)
     SELECT 'user-' || lpad(n::text, 7, '0'), 20, array_fill(0::int8, ARRAY[24]),
         array_fill(1, ARRAY[24]), array_fill(0, ARRAY[24])
     FROM generate_series(0, $1 - 1) AS n",
    "INSERT INTO delivery (user_id, slot, lease, message_id, history_id, outcome, attempt,
         accepted_at, claimed_at, settled_at)
     SELECT 'user-' || lpad(n::text, 7, '0'), slot, slot, lpad(n::text, 17, '0'), lpad('0', 20, '0'),
         'delivered', 0, 0, 0, 0
     FROM generate_series(0, $1 - 1) AS n, generate_series(0, 4) AS slot",
    "SELECT setval('lease', 1000000) WHERE $1::int8 > 0",
];

/// Mailboxes whose notification is due: `$1` of them.
const WAIT: &str = "
    INSERT INTO pending (user_id, message_id, history_id, address, published_at, accepted_at,
        waiting_since, due_at, body)
    SELECT 'user-' || lpad(n::text, 7, '0'), lpad(n::text, 17, '0'), lpad(n::text, 20, '0'),
        'user-' || lpad(n::text, 7, '0') || '@example.com', 1, 1, 1, n, $2
    FROM generate_series(0, $1 - 1) AS n";

/// It ends with this value.
pub(super) struct Server {
    /// Its URL without the name of a database.
    url: String,
}

impl Server {
    pub(super) fn start() -> anyhow::Result<Self> {
        // One may be left of measurements that were killed.
        script("stop")?;
        let exported = script("start")?;
        let url = exported.trim().rsplit_once('=').context("no URL")?.1;
        let url = url.strip_suffix("/postgres").context("another URL")?;
        Ok(Self {
            url: url.to_owned(),
        })
    }

    /// Creates a database with the tables of a queue.
    pub(super) async fn database(&self, name: &str) -> anyhow::Result<Database> {
        let administration = connect(&format!("{}/postgres", self.url)).await?;
        let create = format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0");
        administration.batch_execute(&create).await?;
        let url = format!("{}/{name}", self.url);
        Store::migrate(&url)?;
        Ok(Database {
            queue: Store::open(&url, StoreOptions::service())?.queue(),
            session: connect(&url).await?,
            url,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The next measurements stop it otherwise.
        let _ = script("stop");
    }
}

pub(super) struct Database {
    pub(super) queue: Arc<dyn DeliveryQueue>,
    pub(super) session: Session,
    pub(super) url: String,
}

impl Database {
    /// Adds mailboxes at rest, each with its last deliveries.
    pub(super) async fn fill(&self, mailboxes: u64) -> anyhow::Result<()> {
        let mailboxes = i32::try_from(mailboxes)?;
        for statement in FILL {
            let statement = statement.replace("$1", &mailboxes.to_string());
            self.session.batch_execute(&statement).await?;
        }
        self.session.batch_execute("VACUUM ANALYZE").await?;
        Ok(())
    }

    /// Makes a notification of each of `mailboxes` due, and of no other.
    pub(super) async fn make_due(&self, mailboxes: u64, body: &[u8]) -> anyhow::Result<()> {
        self.forget().await?;
        let mailboxes = i32::try_from(mailboxes)?;
        self.session.execute(WAIT, &[&mailboxes, &body]).await?;
        self.session.batch_execute("VACUUM ANALYZE pending").await?;
        Ok(())
    }

    /// Deletes what is pending.
    pub(super) async fn forget(&self) -> anyhow::Result<()> {
        self.session.batch_execute("TRUNCATE pending").await?;
        Ok(())
    }

    /// A number that a query returns.
    pub(super) async fn number(&self, query: &str) -> anyhow::Result<i64> {
        Ok(self.session.query_one(query, &[]).await?.try_get(0)?)
    }
}

/// A connection for the measurements' own statements.
pub(super) struct Session {
    client: Client,
    _driver: JoinSet<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

pub(super) async fn connect(url: &str) -> anyhow::Result<Session> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // The client notices if the connection ends.
        let _ = connection.await;
    });
    Ok(Session {
        client,
        _driver: driver,
    })
}

fn script(command: &str) -> anyhow::Result<String> {
    let output = Command::new("scripts/postgres")
        .args([command, "bench"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run scripts/postgres: start the measurements in the project's folder")?;
    ensure!(output.status.success(), "scripts/postgres {command} failed");
    Ok(String::from_utf8(output.stdout)?)
}
