//! `postbell doctor`

mod checklist;
mod facts;
mod setup_state;
mod standalone;

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::Clock;
use postbell_doctor::{CheckResult, Deps, HopId, Report, SetupState, run_checks};
use postbell_setup::terminal::{Task, TerminalUi, UiOptions};
use postbell_setup::{
    Blocker, Deps as SetupDeps, GoogleApis, Mode, ProgressFile, SetupContext, SetupError,
    SetupRequest, Timeouts, WatchStates, sign_in,
};

use super::setup::{
    ACCESS_TOKEN_VARIABLE, browser, google_urls, progress_file, random, secret, ui_options,
    watch_states,
};
use crate::cli::DoctorArgs;
use crate::config::{Config, Env};
use crate::console::Console;
use crate::wiring;

/// Checks each hop and prints the report.
pub(crate) async fn run(
    args: DoctorArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
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
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            ui.fail(&error);
            return Ok(ExitCode::FAILURE);
        }
    };
    console.data(&if args.json {
        report.to_json()
    } else {
        checklist::format(ui.style(), &report, args.all)
    })?;
    Ok(if report.has_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Gathers the facts and runs the checks. Without a valid configuration, nothing else can be checked.
async fn check(
    args: &DoctorArgs,
    ui: &Arc<TerminalUi>,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Result<Report, SetupError>> {
    let config = match env.load() {
        Ok(config) => config,
        Err(error) => {
            let next = "Correct it, and check: `postbell config check`.";
            let result = CheckResult::failed(error.to_string(), next);
            return Ok(Ok(Report::only(HopId::Configuration, result)));
        }
    };
    postbell_http::require_ca_certificates()?;
    let google = GoogleApis {
        client: postbell_http::client_with_tls_info()?,
        urls: google_urls(&config.google),
        clock,
    };
    let watch_states = watch_states(env)?;
    let progress_file = ProgressFile::new(progress_file(args.state.state.clone(), env)?);
    let setup = match set_up(args, &config, env, &progress_file, &watch_states, &google) {
        Ok(setup) => setup,
        Err(result) => return Ok(Ok(Report::only(HopId::Configuration, result))),
    };
    let request = sign_in_request(args, &config, env);
    let admin = if args.sign_in || request.access_token.is_some() {
        let deps = SetupDeps {
            google: google.clone(),
            random,
            ui: Arc::<TerminalUi>::clone(ui),
            watch_states,
            timeouts: Timeouts::default(),
            progress_file,
        };
        let signed_in = match SetupContext::new(deps, request, Mode::Plan) {
            Ok(mut ctx) => sign_in(&mut ctx).await,
            Err(error) => Err(error),
        };
        match signed_in {
            Ok(admin) => Some(admin),
            Err(error) => return Ok(Err(error)),
        }
    } else {
        None
    };
    ui.working("checking each hop of the path");
    let facts = facts::gather(args, &config, env, setup, &google.client).await?;
    let deps = Deps {
        client: google.client,
        google: google.urls,
        clock: google.clock,
        admin,
        time_limit: args.wait,
    };
    Ok(Ok(run_checks(&deps, &facts).await))
}

/// Returns what setup has stored, or what the state of a watcher shows that was started without it.
fn set_up(
    args: &DoctorArgs,
    config: &Config,
    env: &Env,
    progress_file: &ProgressFile,
    watch_states: &WatchStates,
    google: &GoogleApis,
) -> Result<SetupState, CheckResult> {
    let now = google.clock.now();
    let setup = setup_state::read(progress_file, watch_states, now);
    let setup = setup.map_err(|error| CheckResult::failed(error.to_string(), error.remedy()))?;
    let is_service = facts::is_service(config);
    let watcher = standalone::find(args, is_service, env, watch_states, &setup, now)?;
    Ok(watcher.unwrap_or(setup))
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
