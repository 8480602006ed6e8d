//! `postbell status`: one line for each mailbox that is watched here, and for each service that is configured.

use std::path::Path;
use std::process::ExitCode;

use postbell_core::{Clock, Depth, ProblemCode, Timestamp, printable};
use postbell_http::ListenAddress;
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{StateFile, WatchState, mailbox_of};
use postbell_setup::{Progress, ProgressFile, SavedDestination};
use postbell_store::{OpenError, StoreOptions};
use postbell_watcher::{assess, hung_since};
use serde::Serialize;
use url::Url;

use super::healthcheck::NoAnswer;
use super::setup::progress_file;
use super::{healthcheck, open_log, table};
use crate::cli::MailStatusArgs;
use crate::config::{Config, Env, WatchConfig};
use crate::console::Console;

/// Whether mail works, as far as one watcher or service is concerned.
#[derive(Debug, Serialize)]
struct Line {
    /// The mailbox, or the service.
    subject: String,
    ok: bool,
    detail: String,
    /// What to do; empty if nothing is.
    #[serde(skip_serializing_if = "String::is_empty")]
    next: String,
}

/// Prints the lines, and fails if one of them says that mail does not work.
pub(crate) async fn run(
    args: &MailStatusArgs,
    console: &Console,
    env: &Env,
    clock: &dyn Clock,
) -> anyhow::Result<ExitCode> {
    let config = env.load()?;
    let setup = local_setup(env);
    let of_setup = setup.as_ref().and_then(|setup| setup.mailbox.as_deref());
    // A service's user may have no home.
    let dirs = GogDirs::from_variables(|name| env.variable(name));
    let watchers = dirs.map_or_else(
        |_| Vec::new(),
        |dirs| watchers(&dirs, &config.watch, of_setup, clock.now()),
    );
    let mut lines = if has_never_run(&config) {
        // The sandbox prints a configuration for a relay, which is used for a watcher, too.
        let is_watchers = !watchers.is_empty() || setup.is_some();
        let is_relays = config.relay.audience.is_some() && !is_watchers;
        is_relays.then(relay_never_run).into_iter().collect()
    } else {
        services(&config).await
    };
    lines.extend(watchers);
    if lines.is_empty() {
        lines.extend(setup.as_ref().map(unfinished));
    }
    if lines.is_empty() {
        lines.push(Line {
            subject: "postbell".to_owned(),
            ok: false,
            detail: format!("nothing is set up here ({})", env.file_name()),
            next: "Run `postbell setup` for one bot, or `postbell config init` for a service."
                .to_owned(),
        });
    }
    if args.json {
        console.data(&serde_json::to_string(&lines)?)?;
    } else {
        for line in &lines {
            console.text(&line.to_text())?;
        }
    }
    Ok(if lines.iter().all(|line| line.ok) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Line {
    fn to_text(&self) -> String {
        let Self {
            subject,
            ok,
            detail,
            next,
        } = self;
        let works = if *ok { "works" } else { "does NOT work" };
        let line = format!("{subject}: mail {works}: {detail}. {next}");
        printable(line.trim_end())
    }
}

/// What setup has stored for a bot on this machine, or for one on a platform as long as it is not finished.
fn local_setup(env: &Env) -> Option<Progress> {
    let progress = ProgressFile::new(progress_file(None, env).ok()?);
    let progress = progress.read().ok()?;
    match progress.destination {
        Some(SavedDestination::Pull { .. } | SavedDestination::Serve { .. }) => Some(progress),
        Some(SavedDestination::Platform { .. }) if !progress.has_arrived() => Some(progress),
        _ => None,
    }
}

/// The relay of a configuration whose store was never made.
fn relay_never_run() -> Line {
    Line {
        subject: "relay".to_owned(),
        ok: false,
        detail: "it has not run yet".to_owned(),
        next: "Run `postbell relay`, or `postbell setup` for a bot on this machine.".to_owned(),
    }
}

/// Setup that was interrupted before it started a watch.
fn unfinished(setup: &Progress) -> Line {
    let mailbox = setup.mailbox.clone();
    Line {
        subject: mailbox.unwrap_or_else(|| "postbell".to_owned()),
        ok: false,
        detail: "setup has begun, and is not finished".to_owned(),
        next: "Run `postbell setup`; it continues where it stopped.".to_owned(),
    }
}

/// Whether the relay of a configuration without a platform has no store yet.
fn has_never_run(config: &Config) -> bool {
    let opened = open_log(config, StoreOptions::read_only());
    let is_missing = opened
        .is_err_and(|error| matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Missing)));
    is_missing && !config.platform.is_configured()
}

/// The relay and the platform of the configuration.
async fn services(config: &Config) -> Vec<Line> {
    let mut lines = Vec::new();
    if config.relay.audience.is_some() {
        let is_secured = config.tls.is_configured();
        let mut line = service("relay", &config.relay.listen, is_secured).await;
        if line.ok {
            line.detail.push_str(&queue(config).await);
        }
        lines.push(line);
    }
    if config.platform.is_configured() {
        let is_secured = config.is_platform_secured();
        lines.push(service("platform", &config.platform.listen, is_secured).await);
    }
    lines
}

async fn service(name: &str, listen: &ListenAddress, is_secured: bool) -> Line {
    let line = |ok, detail: String, next: String| Line {
        subject: name.to_owned(),
        ok,
        detail,
        next,
    };
    let scheme = if is_secured { "https" } else { "http" };
    let asked = match listen {
        ListenAddress::Unix(file) => ready(&format!("{scheme}://localhost"), Some(file)).await,
        ListenAddress::Tcp(address) => {
            let mut address = *address;
            if address.ip().is_unspecified() {
                // It listens on the loopback address, too.
                address.set_ip(match address {
                    std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                    std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            ready(&format!("{scheme}://{address}"), None).await
        }
        ListenAddress::Systemd(_) => {
            return line(
                true,
                "its socket is systemd's, and was not asked".to_owned(),
                String::new(),
            );
        }
    };
    match asked {
        Ok(None) => line(true, "ready".to_owned(), String::new()),
        Ok(Some(warning)) => {
            let next = "See its log, and check DNS, firewall and proxy.";
            line(false, warning, next.to_owned())
        }
        Err(error) => {
            let next = if error.is::<NoAnswer>() {
                format!("See its log, and check that `postbell serve` or `postbell {name}` runs.")
            } else {
                "Run `postbell doctor`, and see its log.".to_owned()
            };
            line(false, error.to_string(), next)
        }
    }
}

async fn ready(
    base: &str,
    unix_socket: Option<&std::path::PathBuf>,
) -> anyhow::Result<Option<String>> {
    let url: Url = format!("{base}/ready").parse()?;
    healthcheck::check(&url, unix_socket.map(|file| &**file)).await
}

/// How much mail waits, if the queue can be read here.
async fn queue(config: &Config) -> String {
    let Ok(log) = open_log(config, StoreOptions::read_only()) else {
        return String::new();
    };
    let Ok(depth) = log.depth().await else {
        return String::new();
    };
    waiting(&depth)
}

fn waiting(depth: &Depth) -> String {
    let since = depth.oldest_accepted_at.map(table::time);
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    let failing = if depth.failing > 0 {
        let failing = depth.failing;
        format!(" (the last delivery to {failing} of them failed: `postbell deliveries USER`)")
    } else {
        String::new()
    };
    format!(
        "; mail of {} waits{since}{failing}; {}",
        counted(depth.pending, "mailbox", "mailboxes"),
        counted(depth.dead_letters, "dead letter", "dead letters")
    )
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The webhooks of the tables, and the other mailboxes that are watched by this user.
fn watchers(
    dirs: &GogDirs,
    tables: &[WatchConfig],
    of_setup: Option<&str>,
    now: Timestamp,
) -> Vec<Line> {
    let folders = dirs.watch_states();
    let states: Vec<_> = folders.iter().flat_map(|folder| states(folder)).collect();
    let tables: Vec<_> = tables.iter().flat_map(WatchConfig::states).collect();
    let has_state = |table: &str| {
        let mut states = states.iter();
        states.any(|(state, _)| state.account.eq_ignore_ascii_case(table))
    };
    let without_state = tables.iter().filter(|table| !has_state(table));
    let without_state = without_state.map(|table| unwatched(table));
    let lines = states.iter().map(|(state, is_running)| {
        let has_table = tables
            .iter()
            .any(|table| table.eq_ignore_ascii_case(&state.account));
        let is_further = mailbox_of(&state.account) != state.account;
        if is_further && !has_table && !is_running {
            return forgotten(state);
        }
        let mut line = watcher(state, *is_running, now);
        let is_of_setup = of_setup == Some(mailbox_of(&state.account));
        if is_of_setup && state.problem_code == ProblemCode::GrantRevoked.as_str() {
            line.next = "Run `postbell setup` to connect the account again; a running watcher goes on by itself.".to_owned();
        }
        line
    });
    lines.chain(without_state).collect()
}

/// A webhook of a table that has no state.
fn unwatched(address: &str) -> Line {
    let (detail, next) = if mailbox_of(address) == address {
        let next = format!("Run `postbell watch start --account {address} --topic TOPIC`.");
        ("no watch was started", next)
    } else {
        let next = "Start `postbell watch pull` (or `serve`), or its service, again.".to_owned();
        ("no watcher has run for it yet", next)
    };
    Line {
        subject: address.to_owned(),
        ok: false,
        detail: detail.to_owned(),
        next,
    }
}

/// The state of a further webhook whose table is gone.
fn forgotten(state: &WatchState) -> Line {
    let waiting = state.failing.len() + state.dead_letters.len();
    let waiting = match waiting {
        0 => String::new(),
        count => format!(
            ", and {}",
            counted(count as u64, "mail waits", "mails wait")
        ),
    };
    Line {
        subject: state.account.clone(),
        ok: false,
        detail: format!("no [[watch.webhook]] table names it any more{waiting}"),
        next: format!(
            "Put the table back, or forget the webhook: `postbell watch stop --account {}`.",
            state.account
        ),
    }
}

/// The states in a folder, and whether a watcher runs for each.
fn states(folder: &Path) -> Vec<(WatchState, bool)> {
    let accounts = StateFile::accounts(folder);
    let states = accounts.iter().filter_map(|account| {
        let state = StateFile::peek(folder, account).ok()??;
        Some((state, StateFile::is_in_use(folder, account)))
    });
    states.collect()
}

fn watcher(state: &WatchState, is_running: bool, now: Timestamp) -> Line {
    let assessment = assess(state, now);
    let line = |ok, detail: String, next: &str| Line {
        subject: state.account.clone(),
        ok,
        detail,
        next: next.to_owned(),
    };
    if let Some(found) = assessment.problem {
        return line(false, found.detail, found.code.advice());
    }
    if !is_running {
        let next = format!(
            "Start `postbell watch pull` (or `serve`), or its service; or forget the mailbox: `postbell watch stop --account {}`.",
            state.account
        );
        return line(false, "no watcher runs".to_owned(), &next);
    }
    if let Some(since) = hung_since(state, now) {
        let since = table::time(since);
        let detail = format!("a watcher runs, but has done nothing since {since}");
        let next = "If this machine has not just woken up, restart the watcher.";
        return line(false, detail, next);
    }
    if !assessment.renewal_problem.is_empty() {
        let detail = format!(
            "the renewal of Gmail's watch failed: {}",
            assessment.renewal_problem
        );
        return line(false, detail, "`postbell watch status` shows more.");
    }
    let mut detail = "the watcher runs".to_owned();
    if state.last_delivery_at_ms > 0 {
        let at = table::time(Timestamp::from_millis(state.last_delivery_at_ms));
        // That time is the last call's, whatever the webhook answered.
        detail.push_str(&if state.last_delivery_status == "error" {
            format!(", the last call of the webhook, at {at}, was not accepted")
        } else {
            format!(", the last mail was delivered at {at}")
        });
    } else {
        detail.push_str(", no mail was delivered yet");
    }
    if assessment.dead_letters > 0 {
        detail.push_str(&format!(
            ", {} set aside: `postbell watch dead-letters list`",
            counted(assessment.dead_letters as u64, "mail was", "mails were")
        ));
    }
    line(true, detail, "")
}

#[cfg(test)]
mod tests;
