//! A watcher of this machine that was started by its flags, without `postbell setup`.

use postbell_core::Timestamp;
use postbell_doctor::{CheckResult, Destination, Facts, LocalWatch, SetupState};
use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{StateFile, mailbox_of};
use postbell_setup::WatchStates;

use super::setup_state::local_watch;
use crate::cli::{AccountArgs, DoctorArgs};
use crate::commands::watch::account::ACCOUNT_VARIABLE;
use crate::commands::watch::stored_credentials::StoredCredentials;
use crate::config::{Config, ConfigError, Env};

/// What the state of a watcher shows, and its name.
pub(super) type Watched = (String, SetupState);

/// Returns the states of the watchers that are to be checked beside the mailbox of setup, unless a user or that mailbox is
/// named.
///
/// The machine of a service may hold the state of a watcher that is used no more: it is checked only if it runs, or
/// it or its credentials are named.
///
/// # Errors
///
/// Several mailboxes are watched, none is named, and a flag is about one.
pub(super) fn find(
    args: &DoctorArgs,
    is_service: bool,
    env: &Env,
    watch_states: &WatchStates,
    setup: &SetupState,
    now: Timestamp,
) -> Result<Vec<Watched>, CheckResult> {
    let named = args.account.as_deref();
    let is_of_setup = |named: &str| {
        let of_setup = setup.mailbox.as_ref();
        of_setup.is_some_and(|address| address.is_same_mailbox(named))
    };
    let has_setup = setup.destination.is_some();
    let is_other = named.is_some_and(|named| !is_of_setup(named));
    // These flags are about the mailbox of setup.
    let is_flagged = args.credentials.is_some() || args.hook_url.is_some();
    if args.user.is_some() || (has_setup && !is_other && (named.is_some() || is_flagged)) {
        return Ok(Vec::new());
    }
    let watches = if let Some(address) = named {
        let watch = watch(watch_states, address, now)?;
        let watch = watch.ok_or_else(|| not_started(address))?;
        vec![(address.to_owned(), watch)]
    } else {
        let mut watches = all(&watch_states.0, watch_states, now)?;
        let of_variable = env.variable(ACCOUNT_VARIABLE);
        if has_setup {
            watches.retain(|(one, _)| !is_of_setup(one));
        } else if watches.iter().any(|(one, _)| Some(&**one) == of_variable) {
            watches.retain(|(one, _)| Some(&**one) == of_variable);
        }
        if is_service && args.credentials.is_none() {
            watches.retain(|(_, watch)| watch.is_running);
        }
        watches
    };
    if watches.len() > 1 && (args.credentials.is_some() || args.hook_url.is_some()) {
        let addresses: Vec<_> = watches.iter().map(|(address, _)| &**address).collect();
        let addresses = addresses.join(", ");
        return Err(CheckResult::failed(
            format!("several mailboxes are watched here: {addresses}"),
            "Name the one that --credentials or --hook-url is about: `postbell doctor --account ADDRESS`.",
        ));
    }
    let states = watches.into_iter().map(|(address, watch)| {
        let state = state(&address, watch);
        (address, state)
    });
    Ok(states.collect())
}

/// The watches of all mailboxes that have a state here.
fn all(
    dirs: &GogDirs,
    watch_states: &WatchStates,
    now: Timestamp,
) -> Result<Vec<(String, LocalWatch)>, CheckResult> {
    let folders = dirs.watch_states();
    let accounts = folders
        .iter()
        .flat_map(|folder| StateFile::accounts(folder));
    let accounts: std::collections::BTreeSet<_> = accounts.collect();
    let mut watches = Vec::new();
    for account in accounts {
        // An older folder may have the state of a mailbox that is not looked up there.
        if let Some(watch) = watch(watch_states, &account, now)? {
            watches.push((account, watch));
        }
    }
    Ok(watches)
}

fn watch(
    watch_states: &WatchStates,
    address: &str,
    now: Timestamp,
) -> Result<Option<LocalWatch>, CheckResult> {
    let loaded = watch_states.load(address);
    let loaded = loaded.map_err(|error| CheckResult::failed(error.to_string(), error.remedy()))?;
    Ok(loaded.map(|watch| local_watch(watch, now)))
}

fn not_started(address: &str) -> CheckResult {
    CheckResult::failed(
        format!("no watch was started for {address} on this machine"),
        "Run `postbell setup`, or `postbell watch start --topic projects/P/topics/T`.",
    )
}

/// What the state of a watcher shows, whose address may name a further webhook of its mailbox.
pub(super) fn state(address: &str, watch: LocalWatch) -> SetupState {
    let topic = watch.topic.strip_prefix("projects/");
    let (project, topic) = topic
        .and_then(|topic| topic.split_once("/topics/"))
        .map(|(project, topic)| (project.to_owned(), topic.to_owned()))
        .unzip();
    SetupState {
        project,
        topic,
        mailbox: mailbox_of(address).parse().ok(),
        webhook: address
            .strip_prefix(mailbox_of(address))
            .and_then(|ending| ending.strip_prefix('/'))
            .map(str::to_owned),
        destination: Some(Destination::Watcher {
            is_pulled: !watch.subscription.is_empty(),
        }),
        watch: Ok(Some(watch)),
        ..SetupState::empty()
    }
}

/// Adds the credentials that a command for the mailbox would use.
pub(super) fn add_credentials(facts: &mut Facts, args: &DoctorArgs, config: &Config, env: &Env) {
    let (Some(Destination::Watcher { .. }), Some(address)) =
        (&facts.setup.destination, &facts.setup.mailbox)
    else {
        return;
    };
    let account = AccountArgs {
        account: Some(address.as_str().to_owned()),
        credentials: args.credentials.clone(),
        client: None,
    };
    let stored = StoredCredentials::of(&account, address.as_str(), config, env);
    match stored.and_then(|stored| Ok(stored.read()?)) {
        Ok(credentials) => {
            facts.mailbox = Ok((address.clone(), credentials));
            facts.keys = Some(CheckResult::ok("the mailbox's credentials can be read"));
        }
        Err(error) if error.is::<ConfigError>() => {
            facts.keys = Some(CheckResult::unknown_with_hint(
                "the watcher's credentials are not known here",
                "Name them: `postbell doctor --credentials google.json`.",
            ));
        }
        Err(error) => {
            let next = "Name the watcher's: `postbell doctor --credentials google.json`.";
            facts.keys = Some(CheckResult::failed(format!("{error:#}"), next));
        }
    }
}
