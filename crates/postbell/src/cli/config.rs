//! The arguments of `postbell config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use url::Url;

use super::users::base_url;
use postbell_http::is_loopback;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a configuration file for `postbell serve`, with new secrets in files beside it
    Init(InitArgs),

    /// Check the configuration and print all errors and warnings
    Check,

    /// Print a configuration file with every key, its default and its description
    Example,
}

/// The file is the one of `--config`.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Public base URL of the relay, to which Google pushes: https, and no path
    #[arg(long, value_parser = public_url, value_name = "URL")]
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

/// Parses the URL that Google pushes to. Only a sandbox on this machine pushes without TLS.
fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url =
        url.filter(|url| url.scheme() == "https" || url.scheme() == "http" && is_loopback(url));
    let url = url.filter(|url| (url.path(), url.query(), url.fragment()) == ("/", None, None));
    url.ok_or_else(|| {
        "expected a URL with https and without a path, such as https://push.example.com".to_owned()
    })
}
