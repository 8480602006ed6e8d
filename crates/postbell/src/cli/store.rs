//! The arguments of `postbell store`.

use clap::{Args, Subcommand};

const COPY_HELP: &str = "FROM and TO are `sqlite:PATH`, `postgres://USER@HOST/DATABASE`, or `file:PATH` with the path of a file
that contains such a URL: a URL with a password has to be in a file.

Stop every relay and platform that uses FROM first, and start them with TO afterwards: docs/move-store.md";

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy a store to another file or database, and compare both; continues if it was interrupted
    #[command(after_help = COPY_HELP)]
    Copy(CopyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// The store to copy
    #[arg(value_name = "FROM")]
    pub(crate) from: String,

    /// An empty database, or a file that does not exist
    #[arg(value_name = "TO")]
    pub(crate) to: String,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}
