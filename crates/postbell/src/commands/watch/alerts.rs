//! Alerts of a watcher: `--alert`, and `postbell watch test-alert`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use postbell_alerts::{AlertClient, AlertEvent, AlertKind, AlertTarget, Reach};
use postbell_core::{Clock, Tasks};
use postbell_watcher::Watcher;
use secrecy::ExposeSecret;

use super::account::{self, Account};
use crate::cli::{self, AlertArgs, TestAlertArgs};
use crate::commands::secrets::secret;
use crate::config::{Config, Env, WatchConfig};
use crate::console::Console;

/// Variable with targets, separated by spaces or lines.
const ALERT_VARIABLE: &str = "POSTBELL_WATCH_ALERT";

/// Starts sending alerts, if there is a target.
pub(super) fn start(
    watcher: &Watcher,
    account: &Account,
    args: &AlertArgs,
    env: &Env,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let targets = targets(args, env)?;
    if !targets.is_empty() {
        let client = client(&env.load()?, Arc::clone(&account.clock))?;
        for target in &targets {
            client.check(target).with_context(|| format!("{target}"))?;
        }
        let alerter = watcher.alerter(targets, client, fastrand::f64);
        tasks.start("alerts", |stop| alerter.run(stop));
    }
    Ok(())
}

/// Sends a test alert to each target: those of `[alerts]` and of the variable, if the configuration is that of a service and
/// nothing else is named. Fails if one did not accept it.
pub(super) async fn test(
    args: &TestAlertArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let config = env.load()?;
    let client = client(&config, Arc::clone(&clock))?;
    let mut code = ExitCode::SUCCESS;
    let mut tested = Vec::new();
    let of_service = config.alerts.targets()?;
    let names_mailbox = args.account.account.is_some() || !args.alerts.alert.is_empty();
    if !names_mailbox && config.watch.is_empty() && !of_service.is_empty() {
        let of_variable = targets(&args.alerts, env)?;
        let all = of_service.into_iter().chain(of_variable);
        tested.extend(all.map(|target| (None, target)));
    } else {
        for address in account::webhooks(&args.account, &config, env)? {
            let mut named = args.alerts.clone();
            named.alert.extend(of_table(&address, &config)?);
            let of_webhook = targets(&named, env)?.into_iter();
            tested.extend(of_webhook.map(|target| (Some(address.clone()), target)));
        }
    }
    let has_target = !tested.is_empty();
    for (address, target) in tested {
        let event = AlertEvent::new(AlertKind::Test, clock.now(), address, None);
        match client.send(&target, &event).await {
            Ok(()) => console.data(&format!("sent\t{target}"))?,
            Err(error) => {
                console.data(&format!("failed\t{target}\t{error}"))?;
                code = ExitCode::FAILURE;
            }
        }
    }
    anyhow::ensure!(
        has_target,
        "expected a target in --alert, {ALERT_VARIABLE}, alert in a [[watch.webhook]] table, or alerts.targets of a service"
    );
    Ok(code)
}

/// A client with the mail server of the configuration.
fn client(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<AlertClient> {
    let client = AlertClient::new(Reach::Anywhere, clock)?;
    Ok(client.with_mail_server(config.alerts.mail_server()?))
}

/// Returns the targets of the webhook's table.
fn of_table(address: &str, config: &Config) -> anyhow::Result<Vec<String>> {
    let mut webhooks = config.watch.iter().flat_map(WatchConfig::by_state);
    let found = webhooks.find(|(state, _)| state.eq_ignore_ascii_case(address));
    let delivery = found.map(|(_, webhook)| cli::webhook_delivery(&webhook));
    let delivery = delivery.transpose()?;
    Ok(delivery.map_or_else(Vec::new, |delivery| delivery.alerts.alert))
}

/// Returns the targets of the arguments and of the variable.
fn targets(args: &AlertArgs, env: &Env) -> anyhow::Result<Vec<AlertTarget>> {
    let of_variable = secret(None, ALERT_VARIABLE, env)?;
    let of_variable = of_variable.as_ref().map_or("", |text| text.expose_secret());
    let parse = |source: &'static str| {
        move |text: &str| text.parse::<AlertTarget>().with_context(|| source)
    };
    let given = args.alert.iter().map(String::as_str).map(parse("--alert"));
    let of_variable = of_variable.split_whitespace().map(parse(ALERT_VARIABLE));
    given.chain(of_variable).collect()
}
