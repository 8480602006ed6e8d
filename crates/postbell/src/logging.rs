//! Where the log goes: stderr, as text or as JSON, filtered by `POSTBELL_LOG`.

mod unread;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use self::unread::Lines;
use crate::config::{ConfigError, Surroundings};

/// The variable that holds the filter, in tracing's syntax.
const FILTER_VARIABLE: &str = "POSTBELL_LOG";

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The filter that the process is given, if it is.
pub(crate) fn filter(surroundings: &Surroundings) -> Option<&str> {
    surroundings.variable(FILTER_VARIABLE)
}

/// Starts the log of this process.
///
/// # Errors
///
/// Where the filter does not parse; another can be tried then.
pub(crate) fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|_| ConfigError::Value {
            key: FILTER_VARIABLE.to_owned(),
            source_name: "environment".to_owned(),
            problem: "expected a filter such as info,postbell_relay=debug".to_owned(),
        })?;
    let log = Subscriber::builder()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // Whoever reads the log may go away; that is no reason to stop working.
        .log_internal_errors(false)
        .with_writer(Lines::to(std::io::stderr(), format));
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(anyhow::Error::from_boxed)
}
