//! Supervision of real processes that crash, hang, ignore signals and leave orphans.

use std::sync::Arc;
use std::time::Duration;

use postbell_controller::{
    Child, ChildSpec, ChildState, ChildStatus, CommandError, Processes, Supervisor, Timing,
    Variables,
};
use postbell_core::{SystemClock, Tasks};
use tempfile::TempDir;

use crate::fixture::{DEADLOCK, FAST, exists, is_dead, with_deadline, written};

pub(crate) struct TestController {
    pub(crate) child: Child,
    tasks: Tasks,
    pub(crate) folder: TempDir,
}

impl TestController {
    /// Supervises a script. `$F` is its own folder.
    fn of(script: &str, timing: Timing) -> Self {
        Self::of_child(script, None, timing)
    }

    /// Supervises a script that serves `$PORT`, by running `$SERVE` with a `$NAME`.
    pub(crate) fn serving(script: &str, port: u16, timing: Timing) -> Self {
        Self::of_child(script, Some(port), timing)
    }

    fn of_child(script: &str, port: Option<u16>, timing: Timing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut variables = Variables::default()
            .with("PATH", "/usr/bin:/bin")
            .with("F", folder.path());
        if let Some(port) = port {
            let program = std::env::current_exe().unwrap();
            let serve = "--exact self_restart::serve --ignored --nocapture";
            variables.set("SERVE", format!("{} {serve}", program.display()));
            variables.set("PORT", port.to_string());
        }
        let spec = ChildSpec {
            name: "script",
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables,
            port,
        };
        let (child, tasks) = supervise(spec, timing);
        Self {
            child,
            tasks,
            folder,
        }
    }

    /// Waits for a file that the script writes, and returns its content.
    pub(crate) async fn written(&self, name: &str) -> String {
        written(&self.folder.path().join(name)).await
    }

    /// Waits until the status matches.
    pub(crate) async fn is(&self, wanted: impl FnMut(&ChildStatus) -> bool) -> ChildStatus {
        with_deadline(self.child.wait_for(wanted)).await.unwrap()
    }

    /// Waits until the child runs, and returns its process id.
    pub(crate) async fn running(&self) -> i32 {
        let status = self.is(|status| status.state.running().is_some()).await;
        status.state.running().unwrap().pid
    }

    pub(crate) async fn shut_down(self) {
        self.tasks.stop(DEADLOCK).await.unwrap();
    }
}

fn supervise(spec: ChildSpec, timing: Timing) -> (Child, Tasks) {
    let clock = Arc::new(SystemClock::new());
    let processes = Processes::new().unwrap();
    let (supervisor, child) = Supervisor::new(spec, timing, processes, clock);
    let tasks = Tasks::new();
    tasks.start("supervisor", |stop| supervisor.run(stop));
    (child, tasks)
}

#[tokio::test]
async fn a_child_is_started_stopped_and_reaped_on_command() {
    let controller = TestController::of("echo $$ > $F/pid; exec sleep 1000", FAST);
    assert_eq!(controller.child.status().state, ChildState::Stopped);
    controller.child.start().await.unwrap();
    let pid = controller.written("pid").await;
    assert_eq!(controller.running().await.to_string(), pid);
    assert_eq!(
        controller.child.start().await,
        Err(CommandError::AlreadyRunning)
    );

    controller.child.stop().await.unwrap();
    assert!(!exists(&pid));
    let status = controller.child.status();
    assert_eq!(status.state, ChildState::Stopped);
    let exit = status.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal), (None, Some("SIGTERM")));
    controller.shut_down().await;
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed_after_the_grace() {
    let timing = Timing {
        grace: Duration::from_millis(20),
        ..FAST
    };
    let controller = TestController::of(
        "trap '' TERM; echo $$ > $F/pid; while :; do sleep 1; done",
        timing,
    );
    controller.child.start().await.unwrap();
    let pid = controller.written("pid").await;
    controller.child.stop().await.unwrap();
    assert!(!exists(&pid));
    let exit = controller.child.status().last_exit.unwrap();
    assert_eq!(exit.signal, Some("SIGKILL"));
    controller.shut_down().await;
}

#[tokio::test]
async fn descendants_in_the_group_end_with_the_child() {
    let script = "sh -c 'trap \"\" TERM; echo $$ > $F/grandchild; while :; do sleep 1; done' & \
                  echo $$ > $F/pid; wait";
    let controller = TestController::of(script, FAST);
    controller.child.start().await.unwrap();
    let grandchild = controller.written("grandchild").await;
    controller.child.stop().await.unwrap();
    is_dead(&grandchild).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn a_crashed_child_is_restarted_and_its_exit_is_reported() {
    // Crashes twice, then runs.
    let script = "echo x >> $F/starts; [ $(wc -l < $F/starts) -gt 2 ] && exec sleep 1000; exit 3";
    let controller = TestController::of(script, FAST);
    controller.child.start().await.unwrap();
    let is_up = |status: &ChildStatus| status.restarts == 2 && status.state.running().is_some();
    let exit = controller.is(is_up).await.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    controller.shut_down().await;
}

#[tokio::test]
async fn a_clean_exit_restarts_at_once_and_a_crash_waits() {
    let patient = Timing {
        first_wait: DEADLOCK,
        ..FAST
    };
    // Exits with 0 once, then crashes.
    let script = "[ -e $F/once ] && exit 1; echo > $F/once; exit 0";
    let controller = TestController::of(script, patient);
    controller.child.start().await.unwrap();
    let crashed = controller.is(|status| {
        let code = status.last_exit.and_then(|exit| exit.code);
        status.state == ChildState::Crashed && code == Some(1)
    });
    assert_eq!(crashed.await.restarts, 2);
    controller.shut_down().await;
}

#[tokio::test]
async fn stop_and_shutdown_cancel_a_pending_restart() {
    let soon = Timing {
        first_wait: Duration::from_millis(200),
        longest_wait: Duration::from_millis(200),
        ..FAST
    };
    let stopped = TestController::of("echo x >> $F/starts; exit 1", soon);
    let shut_down = TestController::of("echo x >> $F/starts; exit 1", soon);
    for controller in [&stopped, &shut_down] {
        controller.child.start().await.unwrap();
        controller
            .is(|status| status.state == ChildState::Crashed)
            .await;
    }
    stopped.child.stop().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later");
    let starts = |controller: &TestController| {
        std::fs::read_to_string(controller.folder.path().join("starts"))
    };
    shut_down.tasks.clone().stop(DEADLOCK).await.unwrap();
    // Another child that restarts after the same wait shows that the wait is over.
    let script = format!(
        "echo x >> $F/n; [ $(wc -l < $F/n) -lt 3 ] && exit 1; echo > {}; exec sleep 1000",
        later.display()
    );
    let other = TestController::of(&script, soon);
    other.child.start().await.unwrap();
    written(&later).await;
    for controller in [&stopped, &shut_down] {
        assert_eq!(starts(controller).unwrap(), "x\n");
    }
    assert_eq!(stopped.child.status().state, ChildState::Stopped);
    other.shut_down().await;
    stopped.shut_down().await;
}

#[tokio::test]
async fn a_restart_starts_another_process() {
    let controller = TestController::of("echo $$ > $F/pid; exec sleep 1000", FAST);
    controller.child.start().await.unwrap();
    let first = controller.written("pid").await;
    controller.child.restart().await.unwrap();
    assert!(!exists(&first));
    assert_ne!(controller.running().await.to_string(), first);
    assert_eq!(
        controller.child.status().restarts,
        0,
        "a restart on command is not a crash"
    );
    controller.shut_down().await;
}

#[tokio::test]
async fn shutdown_returns_once_the_child_is_reaped() {
    let controller = TestController::of("echo $$ > $F/pid; exec sleep 1000", FAST);
    controller.child.start().await.unwrap();
    let pid = controller.written("pid").await;
    let child = controller.child.clone();
    controller.shut_down().await;
    assert!(!exists(&pid));
    assert_eq!(child.status().state, ChildState::ShuttingDown(None));
    assert_eq!(child.start().await, Err(CommandError::ShuttingDown));
}

#[tokio::test]
async fn concurrent_commands_are_executed_one_at_a_time() {
    // Two processes at once would see each other's file.
    let script = "trap 'rm $F/alone; exit' TERM; [ -e $F/alone ] && echo > $F/overlap; \
                  echo > $F/alone; echo > $F/up; while :; do sleep 0.01; done";
    let controller = TestController::of(script, FAST);
    let commands = (0..12).map(|number| {
        let child = controller.child.clone();
        let up = controller.folder.path().join("up");
        async move {
            match number % 3 {
                0 => child.start().await.unwrap_or_default(),
                1 => child.restart().await.unwrap(),
                _ => child.stop().await.unwrap(),
            }
            if child.status().state.running().is_some() {
                written(&up).await;
            }
        }
    });
    futures_util::future::join_all(commands).await;
    controller.child.stop().await.unwrap();
    assert_eq!(controller.child.status().state, ChildState::Stopped);
    assert!(!controller.folder.path().join("overlap").exists());
    controller.shut_down().await;
}

#[tokio::test]
async fn a_command_during_the_shutdown_is_refused_at_once() {
    let controller = TestController::of("trap '' TERM; echo > $F/up; exec sleep 1000", FAST);
    controller.child.start().await.unwrap();
    controller.written("up").await;
    let stubborn = controller.running().await;
    let child = controller.child.clone();
    let ends = controller.tasks.clone().stop(DEADLOCK);
    let refused = async {
        controller
            .is(|status| matches!(status.state, ChildState::ShuttingDown(Some(_))))
            .await;
        let refused = child.restart().await;
        let pid = rustix::process::Pid::from_raw(stubborn).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        refused
    };
    let (ended, refused) = tokio::join!(ends, refused);
    ended.unwrap();
    assert_eq!(refused, Err(CommandError::ShuttingDown));
}

#[tokio::test]
async fn much_output_does_not_block_the_child() {
    let controller = TestController::of(
        "head -c 10000000 /dev/zero; echo done > $F/done; sleep 1000",
        FAST,
    );
    controller.child.start().await.unwrap();
    assert_eq!(controller.written("done").await, "done");
    controller.shut_down().await;
}

#[tokio::test]
async fn a_missing_program_is_retried_and_can_be_stopped() {
    let nowhere = ChildSpec {
        name: "nothing",
        program: "/nowhere/nothing".into(),
        arguments: Vec::new(),
        variables: Variables::default(),
        port: None,
    };
    let (child, tasks) = supervise(nowhere, FAST);
    assert_eq!(child.start().await, Err(CommandError::StartFailed));
    let status = with_deadline(child.wait_for(|status| status.restarts > 2)).await;
    assert_eq!(status.unwrap().last_exit.unwrap().code, Some(127));
    child.stop().await.unwrap();
    assert_eq!(child.status().state, ChildState::Stopped);
    tasks.stop(DEADLOCK).await.unwrap();
}

#[tokio::test]
async fn a_child_gets_only_its_own_variables() {
    let controller = TestController::of("env > $F/env; exec sleep 1000", FAST);
    controller.child.start().await.unwrap();
    let text = controller.written("env").await;
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["F", "PATH"]);
    controller.shut_down().await;
}

#[test]
fn times_match_the_protocol() {
    let Timing {
        grace,
        first_wait,
        longest_wait,
        healthy_after,
    } = Timing::default();
    let seconds = [grace, first_wait, longest_wait, healthy_after].map(|time| time.as_secs());
    assert_eq!(seconds, [10, 1, 300, 30]);
}
