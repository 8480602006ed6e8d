//! Where the log goes: stderr, as text or as JSON, filtered by `POSTBELL_LOG`.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

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

/// Starts the log of this process; `default_filter` holds where the variable is not set.
///
/// # Errors
///
/// Where the filter does not parse.
pub(crate) fn start(
    surroundings: &Surroundings,
    format: LogFormat,
    default_filter: &str,
) -> anyhow::Result<()> {
    let text = surroundings
        .variable(FILTER_VARIABLE)
        .unwrap_or(default_filter);
    let filter = EnvFilter::builder()
        .parse(text)
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
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(anyhow::Error::from_boxed)
}
