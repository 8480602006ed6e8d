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
use crate::demo::{Journal, World};
use crate::wiring;

/// How many built-in mails are sent where nothing else is asked for.
const A_FEW: usize = 5;

/// The pause between two mails, so that a person sees them come; shorter, the more there are.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
const ALL_WITHIN: Duration = Duration::from_secs(2);

/// How long nothing may arrive before what is missing is taken for lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends mails through the whole path, and shows each one arrive.
pub(crate) async fn run(
    args: &DemoArgs,
    console: &Console,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let mails = mails(args, console);
    let show = Show::new(*console, args.json, mails.len());
    if mails.is_empty() {
        console.error("error: there is no mail to send");
        return Ok(ExitCode::FAILURE);
    }
    show.begin();
    tokio::select! {
        // What is dropped here tidies up after itself: the demo leaves no files behind.
        ended = send_all(&mails, show, clock) => ended,
        stopped = wiring::stop_signal() => {
            stopped?;
            console.error("stopped");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn send_all(mails: &[Mail], show: Show, clock: Arc<dyn Clock>) -> anyhow::Result<ExitCode> {
    let world = World::start(Arc::clone(&clock)).await?;
    let hooks = world.sandbox.bot().subscribe();
    let mut demo = Demo {
        world,
        hooks,
        journal: Journal::default(),
        clock,
        show,
    };
    demo.send(mails).await?;
    demo.wait_for_the_rest().await?;
    let summary = demo.journal.summary();
    demo.show.end(summary)?;
    demo.world.stop().await?;
    let is_good = summary.lost == 0 && summary.sent > 0;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Finds the mails. What cannot be read is named, and the others are sent all the same.
fn mails(args: &DemoArgs, console: &Console) -> Vec<Mail> {
    let mut mails = Vec::new();
    for path in &args.eml {
        match find(path) {
            Ok(found) => mails.extend(found),
            Err(error) => report(console, path, &error.to_string()),
        }
    }
    let few = if args.eml.is_empty() { A_FEW } else { 0 };
    mails.extend(built_in(args.mails.unwrap_or(few)));
    mails
}

fn report(console: &Console, path: &Path, problem: &str) {
    console.error(&format!("error: {}: {problem}", path.display()));
}

struct Demo {
    world: World,
    hooks: UnboundedReceiver<Hook>,
    journal: Journal,
    clock: Arc<dyn Clock>,
    show: Show,
}

impl Demo {
    async fn send(&mut self, mails: &[Mail]) -> anyhow::Result<()> {
        let count = u32::try_from(mails.len()).unwrap_or(u32::MAX).max(1);
        let pause = LONGEST_PAUSE.min(ALL_WITHIN / count);
        for mail in mails {
            let bytes = match mail.bytes() {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.show.refused(mail, &error.to_string());
                    continue;
                }
            };
            let at = self.clock.elapsed();
            match self
                .world
                .sandbox
                .gmail()
                .deliver(self.world.email(), &bytes)
            {
                Ok(delivered) => self.journal.note_sent(&delivered, at),
                Err(error) => self.show.refused(mail, &error.to_string()),
            }
            let mut over = pin!(sleep(pause));
            while let Some(hook) = self.next_hook(over.as_mut()).await {
                self.note(&hook)?;
            }
        }
        Ok(())
    }

    /// The next hook that comes before `over` is.
    async fn next_hook(&mut self, over: Pin<&mut Sleep>) -> Option<Hook> {
        tokio::select! {
            hook = self.hooks.recv() => hook,
            () = over => None,
        }
    }

    async fn wait_for_the_rest(&mut self) -> anyhow::Result<()> {
        while !self.journal.is_complete() {
            match timeout(PATIENCE, self.hooks.recv()).await {
                Ok(Some(hook)) => self.note(&hook)?,
                Ok(None) | Err(_) => break,
            }
        }
        // A repeat of what has arrived would be under way by now, or in the queue.
        while let Ok(hook) = self.hooks.try_recv() {
            self.note(&hook)?;
        }
        Ok(())
    }

    fn note(&mut self, hook: &Hook) -> anyhow::Result<()> {
        let ago = hook.at.elapsed();
        let at = self.clock.elapsed().saturating_sub(ago);
        for arrived in self.journal.note_arrived(hook, at, &self.world.taps) {
            self.show.arrived(&arrived)?;
        }
        Ok(())
    }
}
