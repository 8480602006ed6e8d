//! A PostgreSQL database for one test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio_postgres::{Client, Error, NoTls};

/// The variable with the URL of the server: that of a superuser, and of a database that exists. The server
/// has to trust its clients.
const SERVER: &str = "POSTBELL_TEST_POSTGRES";

/// The role that owns the databases, as an operator would make it: no superuser. It has no password.
const OWNER: &str = "postbell_test";

/// Roles are those of the server, so another test may be first.
const CREATE_OWNER: &str = "
    DO $$ BEGIN CREATE ROLE postbell_test LOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";

/// An empty database, which is dropped with this value.
#[derive(Debug)]
pub struct PostgresDatabase {
    server: String,
    name: String,
}

impl PostgresDatabase {
    /// Creates a database on the server that `POSTBELL_TEST_POSTGRES` names.
    ///
    /// # Panics
    ///
    /// Panics if the variable is missing or the server cannot be used: a test that needs it fails rather
    /// than being skipped.
    #[must_use]
    pub fn create() -> Self {
        Self::create_in("UTF8")
    }

    /// Makes an empty database with another encoding.
    #[must_use]
    pub fn create_in(encoding: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = Self {
            server: server(),
            name: format!("postbell_test_{}_{number}", std::process::id()),
        };
        database.administrate(&[
            CREATE_OWNER,
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", database.name),
            &format!(
                "CREATE DATABASE {} OWNER {OWNER} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0",
                database.name
            ),
        ]);
        database
    }

    /// The URL of the database, for its owner.
    #[must_use]
    pub fn url(&self) -> String {
        let url = self.administrator_url();
        let scheme = url.find("://").map_or(0, |at| at + 3);
        let host = url.find('@').map_or(scheme, |at| at + 1);
        format!("{}{OWNER}@{}", &url[..scheme], &url[host..])
    }

    fn administrator_url(&self) -> String {
        let (server, query) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let base = server.rsplit_once('/').map_or(server, |(base, _)| base);
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}/{}{mark}{query}", self.name)
    }

    /// Runs statements in the database, as a superuser.
    ///
    /// # Panics
    ///
    /// Panics if a statement fails.
    pub fn execute(&self, statements: &str) {
        run(&self.administrator_url(), &[statements]);
    }

    /// Whether the database refuses a statement, even of a superuser.
    #[must_use]
    pub fn refuses(&self, statement: &str) -> bool {
        try_run(&self.administrator_url(), &[statement]).is_err()
    }

    /// Runs statements that must not be in a transaction, beside the database.
    fn administrate(&self, statements: &[&str]) {
        run(&self.server, statements);
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        self.administrate(&[&drop]);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server's URL is given to the tests"
)]
fn server() -> String {
    std::env::var(SERVER).unwrap_or_else(|_| {
        panic!("{SERVER} is not set: run `eval \"$(scripts/postgres start)\"`, which starts a server for the tests")
    })
}

fn run(url: &str, statements: &[&str]) {
    if let Err(error) = try_run(url, statements) {
        panic!("the PostgreSQL server of {SERVER} cannot be used: {error:?}");
    }
}

/// Runs statements one by one on a connection of their own, from inside or outside of a runtime.
pub(crate) fn try_run(url: &str, statements: &[&str]) -> Result<(), Error> {
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
                tokio::select! {
                    outcome = execute(&client, statements) => outcome,
                    ended = connection => ended,
                }
            })
        });
        work.join().expect("no panic")
    })
}

async fn execute(client: &Client, statements: &[&str]) -> Result<(), Error> {
    for statement in statements {
        client.batch_execute(statement).await?;
    }
    Ok(())
}
