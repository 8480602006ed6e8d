//! `postbell watch test`: a notification of Gmail's, and a test message to the webhook.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use postbell_core::{Clock, Timestamp};
use postbell_protocol::watch_state::StateFile;
use postbell_watcher::{TestOutcome, test_webhook};
use serde_json::json;
use tokio::time::sleep;

use super::account::{Account, started_watch};
use crate::cli::TestArgs;
use crate::commands::setup::random;
use crate::config::Env;
use crate::console::Console;

/// How often the state is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the watcher may take to post the test: it looks for requests every second, and the webhook may take
/// 20.
const WEBHOOK_LIMIT: Duration = Duration::from_secs(25);

pub(super) async fn run(
    args: &TestArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::new(&args.account, env, Arc::clone(&clock))?;
    let state = started_watch(&account.state_folder, &account.address)?;
    ensure!(
        StateFile::is_in_use(&account.state_folder, &account.address),
        "no watcher runs for this account: start `postbell watch pull`, or its service"
    );
    account.confirm(console).await?;
    let began = clock.now();
    // Gmail publishes a notification whenever a watch is started or renewed.
    let watch = account.gmail()?.watch(&state.topic, &state.labels).await;
    let watch = watch.with_context(|| format!("gmail does not publish to {}", state.topic))?;
    if !args.json {
        let id = watch.history_id;
        console.data(&format!(
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
    console.data(&if args.json {
        json!({
            "ok": true,
            "notifiedAfterMs": millis(notified - began),
            "webhookAfterMs": millis(tested),
        })
        .to_string()
    } else {
        "The webhook accepted a test message. Mail works.".to_owned()
    })?;
    Ok(ExitCode::SUCCESS)
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
        let at = state.map_or(0, |state| state.last_notified_at_ms);
        let at = Timestamp::from_millis(at);
        if at >= began {
            return Ok(at);
        }
        if left.is_zero() {
            bail!(
                "no notification reached the watcher within {} s. The subscription may be missing, or push to \
                 another address: `postbell doctor` checks it",
                wait.as_secs()
            );
        }
        sleep(LOOK_INTERVAL).await;
        left = left.saturating_sub(LOOK_INTERVAL);
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
