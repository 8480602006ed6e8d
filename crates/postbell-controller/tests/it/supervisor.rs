//! Real processes that crash, hang, ignore what they are told, and leave others behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postbell_controller::{Child, ChildSpec, ChildState, Conflict, Supervisor, Timing};
use postbell_core::{SystemClock, Tasks};
use tempfile::TempDir;
use tokio::task::yield_now;

/// How long everything together may take to end.
const DEADLOCK: Duration = Duration::from_secs(60);

/// No wait that a test would have to sit out.
const HURRIED: Timing = Timing {
    grace: DEADLOCK,
    first_wait: Duration::from_millis(1),
    longest_wait: Duration::from_millis(1),
    healthy_after: DEADLOCK,
};

struct World {
    child: Child,
    tasks: Tasks,
    folder: TempDir,
}

impl World {
    /// A child that runs this script in a folder of its own, which `$F` names.
    fn of(script: &str, timing: Timing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = ChildSpec {
            name: "script",
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: vec![("F".into(), folder.path().into())],
        };
        let clock = Arc::new(SystemClock::new());
        let (supervisor, child) = Supervisor::new(spec, timing, clock);
        let tasks = Tasks::new();
        tasks.start("supervisor", |stop| supervisor.run(stop));
        Self {
            child,
            tasks,
            folder,
        }
    }

    /// What the script wrote into a file, once it is there.
    async fn written(&self, name: &str) -> String {
        let file = self.folder.path().join(name);
        loop {
            match std::fs::read_to_string(&file) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => yield_now().await,
            }
        }
    }

    async fn shut_down(self) {
        self.tasks.stop(DEADLOCK).await.unwrap();
    }
}

fn runs(pid: &str) -> bool {
    // A process that is dead but not reaped yet has no memory.
    let statm = Path::new("/proc").join(pid).join("statm");
    std::fs::read_to_string(statm).is_ok_and(|statm| !statm.starts_with("0 "))
}

async fn is_gone(pid: &str) {
    while runs(pid) {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_child_is_started_stopped_and_reaped_on_command() {
    let world = World::of("echo $$ > $F/pid; exec sleep 1000", HURRIED);
    assert_eq!(world.child.status().state, ChildState::Stopped);
    world.child.start().await.unwrap();
    let pid = world.written("pid").await;
    let status = world.child.status();
    assert_eq!(status.state, ChildState::Running);
    assert_eq!(status.pid.unwrap().to_string(), pid);
    assert_eq!(world.child.start().await, Err(Conflict::AlreadyRunning));

    world.child.stop().await.unwrap();
    assert!(!runs(&pid));
    let status = world.child.status();
    assert_eq!(status.state, ChildState::Stopped);
    let exit = status.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal.as_deref()), (None, Some("SIGTERM")));
    world.shut_down().await;
}

#[tokio::test]
async fn a_child_that_ignores_what_it_is_told_is_killed_after_the_grace() {
    let timing = Timing {
        grace: Duration::from_millis(20),
        ..HURRIED
    };
    let world = World::of(
        "trap '' TERM; echo $$ > $F/pid; while :; do sleep 1; done",
        timing,
    );
    world.child.start().await.unwrap();
    let pid = world.written("pid").await;
    world.child.stop().await.unwrap();
    assert!(!runs(&pid));
    let exit = world.child.status().last_exit.unwrap();
    assert_eq!(exit.signal.as_deref(), Some("SIGKILL"));
    world.shut_down().await;
}

#[tokio::test]
async fn what_a_child_has_started_ends_with_it() {
    let script = "sh -c 'trap \"\" TERM; echo $$ > $F/grandchild; while :; do sleep 1; done' & \
                  echo $$ > $F/pid; wait";
    let world = World::of(script, HURRIED);
    world.child.start().await.unwrap();
    let grandchild = world.written("grandchild").await;
    world.child.stop().await.unwrap();
    is_gone(&grandchild).await;
    world.shut_down().await;
}

#[tokio::test]
async fn a_child_that_crashed_is_started_again_and_its_exit_is_told() {
    // Crashes twice, then runs.
    let script = "echo x >> $F/starts; [ $(wc -l < $F/starts) -gt 2 ] && exec sleep 1000; exit 3";
    let world = World::of(script, HURRIED);
    world.child.start().await.unwrap();
    let is_up = |restarts, state| restarts == 2 && state == ChildState::Running;
    let status = world
        .child
        .wait_for(|status| is_up(status.restarts, status.state));
    let exit = status.await.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    world.shut_down().await;
}

#[tokio::test]
async fn a_clean_exit_starts_again_at_once_and_a_crash_waits() {
    let patient = Timing {
        first_wait: DEADLOCK,
        ..HURRIED
    };
    // Ends well once, then crashes.
    let script = "[ -e $F/once ] && exit 1; echo > $F/once; exit 0";
    let world = World::of(script, patient);
    world.child.start().await.unwrap();
    let has_crashed = |status: &postbell_controller::ChildStatus| {
        status.state == ChildState::Crashed && status.restarts == 1
    };
    let status = world.child.wait_for(has_crashed).await;
    assert!(status.last_exit.is_some());
    let crashed = world.child.wait_for(|status| {
        let code = status.last_exit.as_ref().and_then(|exit| exit.code);
        status.state == ChildState::Crashed && code == Some(1)
    });
    assert_eq!(crashed.await.restarts, 1);

    // A stop cancels the restart that is pending.
    world.child.stop().await.unwrap();
    assert_eq!(world.child.status().state, ChildState::Stopped);
    world.shut_down().await;
}

#[tokio::test]
async fn a_restart_is_another_process() {
    let world = World::of("echo $$ > $F/pid; exec sleep 1000", HURRIED);
    world.child.start().await.unwrap();
    let first = world.written("pid").await;
    world.child.restart().await.unwrap();
    assert!(!runs(&first));
    let status = world.child.status();
    assert_ne!(status.pid.unwrap().to_string(), first);
    assert_eq!(status.restarts, 1);
    world.shut_down().await;
}

#[tokio::test]
async fn shutdown_returns_once_the_child_is_reaped() {
    let world = World::of("echo $$ > $F/pid; exec sleep 1000", HURRIED);
    world.child.start().await.unwrap();
    let pid = world.written("pid").await;
    let child = world.child.clone();
    world.shut_down().await;
    assert!(!runs(&pid));
    assert_eq!(child.status().state, ChildState::ShuttingDown);
    assert_eq!(child.start().await, Err(Conflict::ShuttingDown));
}

#[tokio::test]
async fn commands_given_together_are_carried_out_one_at_a_time() {
    let world = World::of("exec sleep 1000", HURRIED);
    let commands = (0..12).map(|number| {
        let child = world.child.clone();
        async move {
            match number % 3 {
                0 => child.start().await.unwrap_or_default(),
                1 => child.restart().await.unwrap(),
                _ => child.stop().await.unwrap(),
            }
        }
    });
    futures_util::future::join_all(commands).await;
    world.child.stop().await.unwrap();
    assert_eq!(world.child.status().pid, None);
    world.shut_down().await;
}

#[tokio::test]
async fn a_flood_of_output_holds_nobody_up() {
    let world = World::of(
        "head -c 10000000 /dev/zero; echo done > $F/done; sleep 1000",
        HURRIED,
    );
    world.child.start().await.unwrap();
    assert_eq!(world.written("done").await, "done");
    world.shut_down().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_tried_again_and_can_be_stopped() {
    let spec = ChildSpec {
        name: "nothing",
        program: "/nowhere/nothing".into(),
        arguments: Vec::new(),
        variables: Vec::new(),
    };
    let (supervisor, child) = Supervisor::new(spec, HURRIED, Arc::new(SystemClock::new()));
    let tasks = Tasks::new();
    tasks.start("supervisor", |stop| supervisor.run(stop));
    child.start().await.unwrap();
    child.wait_for(|status| status.restarts > 2).await;
    child.stop().await.unwrap();
    assert_eq!(child.status().state, ChildState::Stopped);
    tasks.stop(DEADLOCK).await.unwrap();
}
