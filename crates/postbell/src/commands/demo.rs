//! `postbell demo`

mod show;

use std::path::Path;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::Clock;
use postbell_sandbox::Hook;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Sleep, sleep, timeout};

use self::show::Show;
use crate::cli::DemoArgs;
use crate::console::Console;
use crate::demo::mails::{Mail, built_in, find};
use crate::demo::{DemoStack, Recorder};
use crate::wiring;

/// Default number of built-in mails.
const DEFAULT_MAILS: usize = 5;

/// Pause between two mails, so that a person can watch them arrive. Many mails have shorter pauses.
const MAX_PAUSE: Duration = Duration::from_millis(200);
const MAX_TOTAL_PAUSE: Duration = Duration::from_secs(2);

/// Time without a webhook call after which missing mails count as lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// Sends mails through the whole path and prints each one that the bot receives.
pub(crate) async fn run(
    args: &DemoArgs,
    console: &Console,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let (mails, unreadable) = mails(args, console);
    let show = Show::new(*console, args.json, mails.len());
    if mails.is_empty() {
        console.error("error: there is no mail to send");
        return Ok(ExitCode::FAILURE);
    }
    show.begin();
    let stack = DemoStack::start(Arc::clone(&clock)).await?;
    let hooks = stack.sandbox.bot().subscribe();
    let mut demo = Demo {
        stack,
        hooks,
        recorder: Recorder::default(),
        clock,
        show,
    };
    demo.recorder.refused = unreadable;
    let ended = tokio::select! {
        ended = demo.send_all(&mails) => ended.map(|()| Ended::Done),
        stopped = wiring::stop_signal() => stopped.map(|()| Ended::Stopped).map_err(Into::into),
    };
    let summary = demo.recorder.summary();
    // The parts stop before an error is reported, such as a reader that has gone.
    let shown = ended.and_then(|ended| demo.show.end(summary).map(|()| ended));
    demo.stack.stop().await?;
    let has_succeeded = summary.lost == 0 && summary.sent > 0;
    Ok(match shown? {
        Ended::Done if has_succeeded => ExitCode::SUCCESS,
        Ended::Done | Ended::Stopped => ExitCode::FAILURE,
    })
}

enum Ended {
    Done,
    Stopped,
}

/// Finds the mails to send. Reports and counts unreadable paths and goes on with the others.
fn mails(args: &DemoArgs, console: &Console) -> (Vec<Mail>, usize) {
    let (mut mails, mut unreadable) = (Vec::new(), 0);
    for path in &args.eml {
        match find(path) {
            Ok(found) => mails.extend(found),
            Err(error) => {
                report(console, path, &error.to_string());
                unreadable += 1;
            }
        }
    }
    let default = if args.eml.is_empty() {
        DEFAULT_MAILS
    } else {
        0
    };
    mails.extend(built_in(args.mails.unwrap_or(default)));
    (mails, unreadable)
}

fn report(console: &Console, path: &Path, problem: &str) {
    console.error(&format!("error: {}: {problem}", path.display()));
}

struct Demo {
    stack: DemoStack,
    hooks: UnboundedReceiver<Hook>,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    show: Show,
}

impl Demo {
    async fn send_all(&mut self, mails: &[Mail]) -> anyhow::Result<()> {
        self.send(mails).await?;
        self.wait_for_remaining().await
    }

    async fn send(&mut self, mails: &[Mail]) -> anyhow::Result<()> {
        let count = u32::try_from(mails.len()).unwrap_or(u32::MAX).max(1);
        let pause = MAX_PAUSE.min(MAX_TOTAL_PAUSE / count);
        for mail in mails {
            let bytes = match mail.bytes() {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.refuse(mail, &error.to_string());
                    continue;
                }
            };
            let at = self.clock.elapsed();
            match self
                .stack
                .sandbox
                .gmail()
                .deliver(self.stack.email(), &bytes)
            {
                Ok(mail) => self.recorder.record_sent(&mail, at),
                Err(error) => self.refuse(mail, &error.to_string()),
            }
            let mut over = pin!(sleep(pause));
            while let Some(hook) = self.next_hook(over.as_mut()).await {
                self.record(&hook)?;
            }
        }
        Ok(())
    }

    fn refuse(&mut self, mail: &Mail, problem: &str) {
        self.show.refused(mail, problem);
        self.recorder.refused += 1;
    }

    /// Returns the next webhook call before `over` completes.
    async fn next_hook(&mut self, over: Pin<&mut Sleep>) -> Option<Hook> {
        tokio::select! {
            hook = self.hooks.recv() => hook,
            () = over => None,
        }
    }

    async fn wait_for_remaining(&mut self) -> anyhow::Result<()> {
        while !self.recorder.is_complete() {
            match timeout(LOST_AFTER, self.hooks.recv()).await {
                Ok(Some(hook)) => self.record(&hook)?,
                Ok(None) | Err(_) => break,
            }
        }
        // Duplicates are in the channel at this point.
        while let Ok(hook) = self.hooks.try_recv() {
            self.record(&hook)?;
        }
        Ok(())
    }

    fn record(&mut self, hook: &Hook) -> anyhow::Result<()> {
        let ago = hook.at.elapsed();
        let at = self.clock.elapsed().saturating_sub(ago);
        for mail in self.recorder.record_webhook(hook, at, &self.stack.tracer) {
            self.show.delivered(&mail)?;
        }
        Ok(())
    }
}
