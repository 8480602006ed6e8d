//! The arguments of `postbell backup` and `postbell restore`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Printed below the help of `postbell backup`.
pub(super) const BACKUP_HELP: &str =
    "The services may run. The file is a SQLite database of its own; secrets in it stay encrypted.
Keep the secrets of the configuration elsewhere: their fingerprints are printed. docs/operate.md";

/// Printed below the help of `postbell restore`.
pub(super) const RESTORE_HELP: &str = "Stop every relay and platform first. docs/operate.md";

#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// A backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Replace a store that exists; it is kept with `.before-restore` at the end of its name
    #[arg(long)]
    pub(crate) replace: bool,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    /// Which store, if relay.inbox and platform.store are two
    #[arg(long, value_enum, value_name = "KEY")]
    pub(crate) store: Option<StoreKey>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The keys of the configuration that name a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum StoreKey {
    /// The relay's
    #[value(name = "relay.inbox")]
    Inbox,
    /// The platform's
    #[value(name = "platform.store")]
    Platform,
}
