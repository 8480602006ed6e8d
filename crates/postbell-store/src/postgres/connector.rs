//! Connects to a database, and brings its schema to this version first.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::{Connection, in_time};
use super::failure::Failure;
use super::single_flight::SingleFlight;
use super::url::Target;
use super::{reencryption, schema};
use crate::options::{Access, StoreOptions};
use crate::{KeyRing, Migrated, OpenError};

/// How long a caller waits until the schema is this version's. Another process may migrate it.
const PREPARATION_WAIT: Duration = Duration::from_secs(10);

/// Makes the connections of a store.
pub(super) struct Connector {
    target: Target,
    encryption: MakeRustlsConnect,
    access: Access,
    creates: bool,
    keys: Option<Arc<KeyRing>>,
    /// Set once the schema is known to be this version's.
    is_prepared: OnceLock<()>,
    preparation: SingleFlight,
}

impl Connector {
    /// Reads files with certificates, but connects to nothing.
    pub(super) fn new(target: Target, options: &StoreOptions) -> Result<Self, OpenError> {
        Ok(Self {
            encryption: target.encryption()?,
            target,
            access: options.access,
            creates: options.create,
            keys: options.keys.clone(),
            is_prepared: OnceLock::new(),
            preparation: SingleFlight::default(),
        })
    }

    /// Opens a connection.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Connection, Failure> {
        if self.is_prepared.get().is_none() {
            let connector = Arc::clone(self);
            let prepare = || async move { connector.prepare().await };
            let migrating = "the schema is being migrated, or secrets are encrypted with a new key";
            self.preparation
                .run(prepare, PREPARATION_WAIT, migrating)
                .await?;
        }
        Connection::open(&self.target, &self.encryption, self.access).await
    }

    pub(super) fn must_write(&self) -> Result<(), Failure> {
        match self.access {
            Access::ReadOnly => Err(Failure::ReadOnly),
            Access::ReadWrite | Access::Migrate => Ok(()),
        }
    }

    /// Creates or migrates the schema, as far as this process may.
    async fn prepare(&self) -> Result<(), Failure> {
        let mut connection =
            Connection::open_unchecked(&self.target, &self.encryption, self.access).await?;
        let session = connection.session();
        let version = connection.run(async { schema::version(&session).await });
        let is_new = in_time(&self.target, version).await?.is_none();
        if self.access == Access::Migrate || (is_new && self.creates) {
            migrate_on(&mut connection).await?;
        }
        if let Some(keys) = &self.keys
            && self.access == Access::Migrate
        {
            reencryption::reencrypt(&mut connection, keys).await?;
        }
        let _ = self.is_prepared.set(());
        Ok(())
    }
}

/// Brings a database to the latest version.
///
/// Blocks: call it before serving, not while.
pub(crate) fn migrate(target: &Target) -> Result<Migrated, OpenError> {
    let encryption = target.encryption()?;
    let migrated = std::thread::scope(|scope| {
        let migrated = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(|error| Failure::Unusable(error.into()))?;
            runtime.block_on(async {
                let connection =
                    Connection::open_unchecked(target, &encryption, Access::Migrate).await;
                migrate_on(&mut connection?).await
            })
        });
        let panicked = || Failure::Unusable("the migration panicked".into());
        migrated.join().unwrap_or_else(|_| Err(panicked()))
    });
    Ok(migrated?)
}

pub(super) async fn migrate_on(connection: &mut Connection) -> Result<Migrated, Failure> {
    let session = connection.session();
    connection
        .run_write(async { schema::migrate(&session).await })
        .await
}
