//! Real processes that crash, hang, ignore what they are told, and leave others behind.

use std::sync::Arc;
use std::time::Duration;

use postbell_controller::{
    Child, ChildSpec, ChildState, ChildStatus, Conflict, Processes, Supervisor, Timing, Variables,
};
use postbell_core::{SystemClock, Tasks};
use tempfile::TempDir;

use crate::world::{DEADLOCK, HURRIED, STAYS, is_gone, runs, written};

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
            variables: Variables::default()
                .with("PATH", "/usr/bin:/bin")
                .with("F", folder.path()),
        };
        let (child, tasks) = supervise(spec, timing);
        Self {
            child,
            tasks,
            folder,
        }
    }

    /// What the script wrote into a file, once it is there.
    async fn written(&self, name: &str) -> String {
        written(&self.folder.path().join(name)).await
    }

    /// Waits until it runs, and returns its process id.
    async fn running(&self) -> i32 {
        let status = self
            .child
            .wait_for(|status| status.state.running().is_some());
        status.await.state.running().unwrap().pid
    }

    async fn shut_down(self) {
        self.tasks.stop(DEADLOCK).await.unwrap();
    }
}

fn supervise(spec: ChildSpec, timing: Timing) -> (Child, Tasks) {
    let clock = Arc::new(SystemClock::new());
    let processes = Processes::new(None).unwrap();
    let (supervisor, child) = Supervisor::new(spec, timing, processes, clock);
    let tasks = Tasks::new();
    tasks.start("supervisor", |stop| supervisor.run(stop));
    (child, tasks)
}

#[tokio::test]
async fn a_child_is_started_stopped_and_reaped_on_command() {
    let world = World::of("echo $$ > $F/pid; exec sleep 1000", HURRIED);
    assert_eq!(world.child.status().state, ChildState::Stopped);
    world.child.start().await.unwrap();
    let pid = world.written("pid").await;
    assert_eq!(world.running().await.to_string(), pid);
    assert_eq!(world.child.start().await, Err(Conflict::AlreadyRunning));

    world.child.stop().await.unwrap();
    assert!(!runs(&pid));
    let status = world.child.status();
    assert_eq!(status.state, ChildState::Stopped);
    let exit = status.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal), (None, Some("SIGTERM")));
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
    assert_eq!(exit.signal, Some("SIGKILL"));
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
    let is_up = |status: &ChildStatus| status.restarts == 2 && status.state.running().is_some();
    let status = world.child.wait_for(is_up);
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
    let crashed = world.child.wait_for(|status| {
        let code = status.last_exit.and_then(|exit| exit.code);
        status.state == ChildState::Crashed && code == Some(1)
    });
    assert_eq!(crashed.await.restarts, 2);

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
    assert_ne!(world.running().await.to_string(), first);
    assert_eq!(world.child.status().restarts, 0, "nothing went wrong");
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
    assert_eq!(child.status().state, ChildState::ShuttingDown(None));
    assert_eq!(child.start().await, Err(Conflict::ShuttingDown));
}

#[tokio::test]
async fn commands_given_together_are_carried_out_one_at_a_time() {
    let world = World::of(STAYS, HURRIED);
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
    assert_eq!(world.child.status().state, ChildState::Stopped);
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
    let nowhere = ChildSpec {
        name: "nothing",
        program: "/nowhere/nothing".into(),
        arguments: Vec::new(),
        variables: Variables::default(),
    };
    let (child, tasks) = supervise(nowhere, HURRIED);
    child.start().await.unwrap();
    let status = child.wait_for(|status| status.restarts > 2).await;
    assert_eq!(status.last_exit.unwrap().code, Some(127));
    child.stop().await.unwrap();
    assert_eq!(child.status().state, ChildState::Stopped);
    tasks.stop(DEADLOCK).await.unwrap();
}

#[tokio::test]
async fn a_child_knows_its_own_variables_alone() {
    let world = World::of("env > $F/env; exec sleep 1000", HURRIED);
    world.child.start().await.unwrap();
    let text = world.written("env").await;
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["F", "PATH"]);
    world.shut_down().await;
}
