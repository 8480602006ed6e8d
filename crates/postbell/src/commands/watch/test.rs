//! `postbell watch test`: a notification of Gmail's, and a test message to the webhook.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};
use postbell_core::{Clock, ProblemCode, Timestamp, printable};
use postbell_google::{GmailError, TokenError};
use postbell_protocol::watch_state::{StateFile, WatchState};
use postbell_watcher::{TestOutcome, assess, test_webhook};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::account::{self, Account, started_watch};
use crate::cli::{AccountArgs, TestArgs};
use crate::commands::setup::random;
use crate::config::Env;
use crate::console::Console;

/// How often the state is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The time within which a watcher notices that its subscription exists again.
const REOPENED: Duration = Duration::from_secs(20);

/// How long the watcher may take to post the test: it looks for requests every second, and the webhook may take
/// 20.
const WEBHOOK_LIMIT: Duration = Duration::from_secs(25);

pub(super) async fn run(
    args: &TestArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let addresses = account::webhooks(&args.account, &env.load()?, env)?;
    if let [address] = &addresses[..] {
        let tested = test_one(address, args, console, env, &clock).await?;
        if args.json {
            console.data(&tested.to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut results = Vec::new();
    let mut is_well = true;
    for address in &addresses {
        if !args.json {
            console.text(&format!("{address}:"))?;
        }
        let tested = test_one(address, args, console, env, &clock).await;
        is_well &= tested.is_ok();
        let result = tested.unwrap_or_else(|error| {
            let error = format!("{error:#}");
            json!({ "ok": false, "error": error })
        });
        if args.json {
            results.push(json!({ "account": address, "result": result }));
        } else if let Some(error) = result["error"].as_str() {
            console.data(&format!("Failed: {}", printable(error)))?;
        }
    }
    if args.json {
        console.data(&json!({ "ok": is_well, "webhooks": results }).to_string())?;
    }
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Tests one webhook, and returns the times.
async fn test_one(
    address: &str,
    args: &TestArgs,
    console: &Console,
    env: &Env,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Value> {
    let of_webhook = AccountArgs {
        account: Some(address.to_owned()),
        ..args.account.clone()
    };
    let account = Account::new(&of_webhook, env, Arc::clone(clock))?;
    let state = started_watch(&account.state_folder, &account.address)?;
    ensure!(
        StateFile::is_in_use(&account.state_folder, &account.address),
        "no watcher runs for this account: start `postbell watch pull`, or its service"
    );
    account.confirm(console).await?;
    let began = clock.now();
    // Gmail publishes a notification whenever a watch is started or renewed.
    let watch = account.gmail()?.watch(&state.topic, &state.labels).await;
    let watch = watch.map_err(|error| not_published(error, &state.topic))?;
    if !args.json {
        let id = watch.history_id;
        console.text(&format!(
            "Gmail published a notification (history id {id})."
        ))?;
    }
    let notified = notified(&account, began, args.wait).await?;
    if !args.json {
        let seconds = (notified - began).as_secs_f64();
        console.data(&format!("It reached the watcher after {seconds:.1} s."))?;
    }
    let began_test = clock.now();
    test(&account).await?;
    let tested = clock.now() - began_test;
    if !args.json {
        console.data("The webhook accepted a test message. Mail works.")?;
    }
    Ok(json!({
        "ok": true,
        "notifiedAfterMs": millis(notified - began),
        "webhookAfterMs": millis(tested),
    }))
}

fn not_published(error: GmailError, topic: &str) -> anyhow::Error {
    if let GmailError::Token(TokenError::GrantRevoked) = error {
        let code = ProblemCode::GrantRevoked;
        return anyhow!("{}. {}", code.summary(), code.advice());
    }
    anyhow::Error::from(error).context(format!("gmail does not publish to {topic}"))
}

/// Waits until a notification has reached the watcher since `began`, and returns when.
async fn notified(
    account: &Account,
    began: Timestamp,
    wait: Duration,
) -> anyhow::Result<Timestamp> {
    let mut left = wait;
    loop {
        let state = StateFile::peek(&account.state_folder, &account.address)?;
        let at = state.as_ref().map_or(0, |state| state.last_notified_at_ms);
        let at = Timestamp::from_millis(at);
        if at >= began {
            return Ok(at);
        }
        let problem = state.and_then(|state| receiving_problem(&state, began));
        let is_missing = matches!(&problem, Some((ProblemCode::SubscriptionMissing, _)));
        // A subscription may just have been created again.
        let is_final = is_missing && wait - left >= REOPENED;
        if left.is_zero() || is_final {
            return Err(not_notified(problem, wait - left));
        }
        sleep(LOOK_INTERVAL).await;
        left = left.saturating_sub(LOOK_INTERVAL);
    }
}

/// What keeps notifications from the watcher, according to its state.
fn receiving_problem(state: &WatchState, now: Timestamp) -> Option<(ProblemCode, String)> {
    let found = assess(state, now).problem?;
    let is_webhooks = matches!(
        found.code,
        ProblemCode::WebhookFailing | ProblemCode::WebhookGone
    );
    (!is_webhooks).then_some((found.code, found.detail))
}

fn not_notified(problem: Option<(ProblemCode, String)>, waited: Duration) -> anyhow::Error {
    match problem {
        Some((code, detail)) => anyhow!(
            "no notification reaches the watcher: {detail}. {}",
            code.advice()
        ),
        None => anyhow!(
            "no notification reached the watcher within {} s. The subscription may be missing, or push to another address: `postbell doctor` checks \
             what setup has set up",
            waited.as_secs()
        ),
    }
}

async fn test(account: &Account) -> anyhow::Result<()> {
    let mut id = [0; 8];
    random(&mut id);
    let (folder, address) = (&account.state_folder, &account.address);
    match test_webhook(folder, address, &hex::encode(id), WEBHOOK_LIMIT).await? {
        TestOutcome::Accepted => Ok(()),
        TestOutcome::Refused(problem) => bail!("the webhook does not accept mail: {problem}"),
        TestOutcome::NoWatcher => bail!("the watcher has stopped: see its log"),
        TestOutcome::NoAnswer => bail!(
            "the watcher did not test its webhook within {} s: it may be of an earlier version",
            WEBHOOK_LIMIT.as_secs()
        ),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_notification_is_explained_by_what_the_watcher_has_seen() {
        let told = |code: ProblemCode| {
            let state = WatchState {
                topic: "projects/p/topics/t".to_owned(),
                expiration_ms: 1,
                problem: "projects/p/subscriptions/s does not exist".to_owned(),
                problem_code: code.to_string(),
                ..WatchState::default()
            };
            let problem = receiving_problem(&state, Timestamp::default());
            not_notified(problem, Duration::ZERO).to_string()
        };
        let missing = told(ProblemCode::SubscriptionMissing);
        assert!(missing.contains("s does not exist. "), "{missing}");
        let webhook = told(ProblemCode::WebhookFailing);
        assert!(!webhook.contains("does not exist"), "{webhook}");
    }
}
