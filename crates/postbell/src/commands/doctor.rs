//! `postbell doctor`

mod facts;
mod sealed;
mod setup_state;
mod words;

use std::process::ExitCode;
use std::sync::Arc;

use postbell_core::Clock;
use postbell_doctor::{CheckResult, Deps, HopId, Report, run_checks};
use postbell_setup::{
    Browser, Patience, ProgressFile, Site, Tools, Trouble, Wall, Wishes, sign_in,
};

use super::setup::{
    ACCESS_TOKEN_VARIABLE, Manner, Onlooker, StateMemory, Task, google_urls, progress_file, random,
    secret,
};
use crate::cli::DoctorArgs;
use crate::config::{Config, Surroundings};
use crate::console::Console;
use crate::wiring;

/// Walks the path of a mail hop by hop, and says what is wrong with it.
pub(crate) async fn run(
    args: DoctorArgs,
    console: &Console,
    surroundings: &Surroundings,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let manner = Manner {
        is_asked: args.sign_in,
        is_program: false,
        task: Task::Plan,
    };
    let onlooker = Arc::new(Onlooker::new(*console, manner, surroundings));
    let outcome = tokio::select! {
        outcome = diagnose(&args, &onlooker, surroundings, clock) => outcome?,
        signal = wiring::stop_signal() => {
            signal?;
            Err(Trouble::new(Wall::Stopped))
        }
    };
    onlooker.restore();
    let diagnosis = match outcome {
        Ok(diagnosis) => diagnosis,
        Err(trouble) => {
            onlooker.give_up(&trouble);
            return Ok(ExitCode::FAILURE);
        }
    };
    console.data(&if args.json {
        diagnosis.to_json()
    } else {
        words::checklist(onlooker.style(), &diagnosis)
    })?;
    Ok(if diagnosis.has_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Without a configuration nothing else can be looked at: where things are is not known.
async fn diagnose(
    args: &DoctorArgs,
    onlooker: &Arc<Onlooker>,
    surroundings: &Surroundings,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Result<Report, Trouble>> {
    let config = match surroundings.load() {
        Ok(config) => config,
        Err(error) => {
            let next = "Mend it, and see: `postbell config check`.";
            let result = CheckResult::failed(error.to_string(), next);
            return Ok(Ok(Report::only(HopId::Configuration, result)));
        }
    };
    let tools = Tools {
        client: postbell_http::client_with_tls_info()?,
        google: google_urls(&config.google),
        clock,
        random,
        person: Arc::<Onlooker>::clone(onlooker),
        memory: Arc::new(StateMemory::of(surroundings)?),
        patience: Patience::default(),
        progress_file: ProgressFile::new(progress_file(args.state.state.clone(), surroundings)?),
    };
    let mut site = match Site::new(tools, wishes(args, &config, surroundings)) {
        Ok(site) => site,
        Err(trouble) => {
            let result = CheckResult::failed(trouble.to_string(), trouble.next());
            return Ok(Ok(Report::only(HopId::Configuration, result)));
        }
    };
    let admin = if args.sign_in || site.wishes.access_token.is_some() {
        match sign_in(&mut site).await {
            Ok(admin) => Some(admin),
            Err(trouble) => return Ok(Err(trouble)),
        }
    } else {
        None
    };
    onlooker.working("checking each hop of the path");
    let facts = facts::gather(args, &config, surroundings, &site).await;
    let deps = Deps {
        client: site.tools.client.clone(),
        google: site.tools.google.clone(),
        clock: Arc::clone(&site.tools.clock),
        admin,
        time_limit: args.wait,
    };
    Ok(Ok(run_checks(&deps, &facts).await))
}

fn wishes(args: &DoctorArgs, config: &Config, surroundings: &Surroundings) -> Wishes {
    Wishes {
        client_file: args.client.clone(),
        sign_in_client_file: match &args.client {
            Some(_) => None,
            None => config.google.sign_in_client_file.clone(),
        },
        access_token: secret(surroundings, ACCESS_TOKEN_VARIABLE),
        browser: if args.no_browser {
            Browser::Elsewhere
        } else {
            Browser::Here
        },
        ..Wishes::default()
    }
}
