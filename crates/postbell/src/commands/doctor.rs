//! `postbell doctor`

mod checklist;
mod facts;
mod setup_state;
mod standalone;
mod tables;

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::{Clock, printable};
use postbell_doctor::{CheckResult, Deps, Destination, HopId, Report, SetupState, run_checks};
use postbell_google::TokenSource;
use postbell_setup::terminal::{Style, Task, TerminalUi, UiOptions};
use postbell_setup::{
    Blocker, Deps as SetupDeps, GoogleApis, Mode, ProgressFile, SetupContext, SetupError,
    SetupRequest, Timeouts, WatchStates, sign_in,
};
use serde_json::json;

use super::setup::{
    ACCESS_TOKEN_VARIABLE, browser, google_urls, progress_file, random, secret, ui_options,
    watch_states,
};
use crate::cli::DoctorArgs;
use crate::config::{BadSetting, Config, Env};
use crate::console::Console;
use crate::wiring;

/// Checks each hop and prints the report.
pub(crate) async fn run(
    args: DoctorArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.platform.is_none(),
        BadSetting::new(
            "expected no --platform: doctor reads the stores of relay and platform, so run it where they run"
        )
    );
    let options = UiOptions {
        interactive: args.sign_in,
        ..ui_options(*console, Task::Plan, env)
    };
    let ui = Arc::new(TerminalUi::new(Box::new(*console), options));
    let outcome = tokio::select! {
        outcome = check(&args, &ui, env, clock) => outcome?,
        signal = wiring::stop_signal() => {
            signal?;
            Err(SetupError::new(Blocker::Cancelled))
        }
    };
    ui.restore();
    let reports = match outcome {
        Ok(reports) => reports,
        Err(error) => {
            ui.fail(&error);
            return Ok(ExitCode::FAILURE);
        }
    };
    console.data(&if args.json {
        json(&reports)
    } else {
        text(&reports, ui.style(), args.all)
    })?;
    Ok(if reports.iter().any(|(_, report)| report.has_failed()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The report of each path, with the address of a `[[watch]]` table's webhook, or of one of several accounts.
type Reports = Vec<(Option<String>, Report)>;

/// One object: the only report, or several.
fn json(reports: &Reports) -> String {
    if let [(_, only)] = &reports[..] {
        return only.to_json().to_string();
    }
    let paths = reports.iter().map(|(address, report)| {
        let mut object = report.to_json();
        object["account"] = json!(address);
        object
    });
    let is_well = !reports.iter().any(|(_, report)| report.has_failed());
    json!({ "ok": is_well, "paths": paths.collect::<Vec<_>>() }).to_string()
}

fn text(reports: &Reports, style: Style, all: bool) -> String {
    let texts = reports.iter().map(|(address, report)| {
        let list = checklist::format(style, report, all);
        match address {
            Some(address) if reports.len() > 1 => format!("{}\n{list}", printable(address)),
            _ => list,
        }
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

/// Gathers the facts and runs the checks. Without a valid configuration, nothing else can be checked.
async fn check(
    args: &DoctorArgs,
    ui: &Arc<TerminalUi>,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Result<Reports, SetupError>> {
    let only = |result| Ok(Ok(vec![(None, Report::only(HopId::Configuration, result))]));
    let checked = env
        .load()
        .and_then(|config| config.check_watches().map(|()| config));
    let config = match checked {
        Ok(config) => config,
        Err(error) => {
            let next = "Correct it, and check: `postbell config check`.";
            return only(CheckResult::failed(error.to_string(), next));
        }
    };
    postbell_http::require_ca_certificates()?;
    let google = GoogleApis {
        client: postbell_http::client_with_tls_info()?,
        urls: google_urls(&config.google),
        clock,
    };
    let watch_states = watch_states(env)?;
    let webhooks = tables::chosen(args, &config)?;
    let progress_file = ProgressFile::new(progress_file(args.state.state.clone(), env)?);
    let setups = match set_up(args, &config, env, &progress_file, &watch_states, &google) {
        Ok(setups) => setups,
        Err(result) => return only(result),
    };
    let is_of_platform = setups
        .iter()
        .any(|(_, setup)| matches!(&setup.destination, Some(Destination::Platform { .. })));
    let has_other = args.account.is_none() && (facts::is_service(&config) || is_of_platform);
    let is_path = webhooks.is_empty() || has_other;
    let request = sign_in_request(args, &config, env);
    let states = WatchStates(watch_states.0.clone());
    let admin = match admin(args, request, ui, &google, states, progress_file).await {
        Ok(admin) => admin,
        Err(error) => return Ok(Err(error)),
    };
    let now = google.clock.now();
    let mut paths = Vec::new();
    ui.working("checking each hop of the path");
    for setup in setups.into_iter().filter(|_| is_path) {
        paths.extend(facts::gather(args, &config, env, setup, &google.client).await?);
    }
    for webhook in &webhooks {
        let facts = tables::facts(webhook, args, &config, env, &watch_states, now).await?;
        paths.push((Some(webhook.address.clone()), facts));
    }
    let deps = Deps {
        client: google.client,
        google: google.urls,
        clock: google.clock,
        admin,
        time_limit: args.wait,
    };
    let mut reports = Vec::new();
    for (address, facts) in paths {
        reports.push((address, run_checks(&deps, &facts).await));
    }
    Ok(Ok(reports))
}

/// Signs in to Google Cloud, if the person asks for it or has a token.
async fn admin(
    args: &DoctorArgs,
    request: SetupRequest,
    ui: &Arc<TerminalUi>,
    google: &GoogleApis,
    watch_states: WatchStates,
    progress_file: ProgressFile,
) -> Result<Option<Arc<TokenSource>>, SetupError> {
    if !args.sign_in && request.access_token.is_none() {
        return Ok(None);
    }
    let deps = SetupDeps {
        google: google.clone(),
        random,
        ui: Arc::<TerminalUi>::clone(ui),
        watch_states,
        timeouts: Timeouts::default(),
        progress_file,
    };
    let mut ctx = SetupContext::new(deps, request, Mode::Plan)?;
    sign_in(&mut ctx).await.map(Some)
}

/// Returns what setup has stored, or what the states of the watchers show that were started without it: those of a
/// controller, for example.
fn set_up(
    args: &DoctorArgs,
    config: &Config,
    env: &Env,
    progress_file: &ProgressFile,
    watch_states: &WatchStates,
    google: &GoogleApis,
) -> Result<Vec<(Option<String>, SetupState)>, CheckResult> {
    let now = google.clock.now();
    let setup = setup_state::read(progress_file, watch_states, now);
    let setup = setup.map_err(|error| CheckResult::failed(error.to_string(), error.remedy()))?;
    if !config.watch.is_empty() && args.account.is_none() {
        // Their webhooks are checked.
        return Ok(vec![(None, setup)]);
    }
    let is_service = facts::is_service(config);
    let watchers = standalone::find(args, is_service, env, watch_states, &setup, now)?;
    if watchers.is_empty() {
        return Ok(vec![(None, setup)]);
    }
    let of_setup = (args.account.is_none() && setup.destination.is_some()).then(|| {
        let mailbox = setup.mailbox.as_ref();
        (mailbox.map(|mailbox| mailbox.as_str().to_owned()), setup)
    });
    let named = |(address, state)| (Some(address), state);
    Ok(of_setup
        .into_iter()
        .chain(watchers.into_iter().map(named))
        .collect())
}

fn sign_in_request(args: &DoctorArgs, config: &Config, env: &Env) -> SetupRequest {
    SetupRequest {
        client_file: args.client.clone(),
        sign_in_client_file: match &args.client {
            Some(_) => None,
            None => config.google.sign_in_client_file.clone(),
        },
        access_token: secret(env, ACCESS_TOKEN_VARIABLE),
        browser: browser(args.no_browser),
        ..SetupRequest::default()
    }
}
