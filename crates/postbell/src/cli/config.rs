//! The arguments of `postbell config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use url::Url;

use super::users::base_url;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a configuration file for `postbell serve`, with new secrets in files beside it
    Init(InitArgs),

    /// Check the configuration and print the first error
    Check,

    /// Print a configuration file with every key, its default and its description
    Example,
}

/// The file is the one of `--config`.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Public base URL of the relay, to which Google pushes: https, and no path
    #[arg(long, value_parser = base_url, value_name = "URL")]
    pub(crate) audience: Url,

    /// Public base URL of the web pages [default: http:// and the platform's address, for this machine
    /// only]
    #[arg(long, value_parser = base_url, value_name = "URL")]
    pub(crate) url: Option<Url>,

    /// Folder of the database; it is created [default: the configuration file's folder, or
    /// /var/lib/postbell if that is /etc/postbell]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
}
