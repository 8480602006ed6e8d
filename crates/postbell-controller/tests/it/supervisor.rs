//! Real processes that crash, hang, ignore what they are told, and leave others behind.

use std::sync::Arc;
use std::time::Duration;

use postbell_controller::{
    Child, ChildSpec, ChildState, ChildStatus, CommandError, Processes, Supervisor, Timing,
    Variables,
};
use postbell_core::{SystemClock, Tasks};
use tempfile::TempDir;

use crate::world::{DEADLOCK, HURRIED, exists, is_dead, within_deadline, written};

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

    /// Waits until what is known of it is so.
    async fn is(&self, wanted: impl FnMut(&ChildStatus) -> bool) -> ChildStatus {
        within_deadline(self.child.wait_for(wanted)).await.unwrap()
    }

    /// Waits until it runs, and returns its process id.
    async fn running(&self) -> i32 {
        let status = self.is(|status| status.state.running().is_some()).await;
        status.state.running().unwrap().pid
    }

    async fn shut_down(self) {
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
    let world = World::of("echo $$ > $F/pid; exec sleep 1000", HURRIED);
    assert_eq!(world.child.status().state, ChildState::Stopped);
    world.child.start().await.unwrap();
    let pid = world.written("pid").await;
    assert_eq!(world.running().await.to_string(), pid);
    assert_eq!(world.child.start().await, Err(CommandError::AlreadyRunning));

    world.child.stop().await.unwrap();
    assert!(!exists(&pid));
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
    assert!(!exists(&pid));
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
    is_dead(&grandchild).await;
    world.shut_down().await;
}

#[tokio::test]
async fn a_child_that_crashed_is_started_again_and_its_exit_is_told() {
    // Crashes twice, then runs.
    let script = "echo x >> $F/starts; [ $(wc -l < $F/starts) -gt 2 ] && exec sleep 1000; exit 3";
    let world = World::of(script, HURRIED);
    world.child.start().await.unwrap();
    let is_up = |status: &ChildStatus| status.restarts == 2 && status.state.running().is_some();
    let exit = world.is(is_up).await.last_exit.unwrap();
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
    let crashed = world.is(|status| {
        let code = status.last_exit.and_then(|exit| exit.code);
        status.state == ChildState::Crashed && code == Some(1)
    });
    assert_eq!(crashed.await.restarts, 2);
    world.shut_down().await;
}

#[tokio::test]
async fn a_stop_and_a_shutdown_cancel_the_restart_that_is_pending() {
    let soon = Timing {
        first_wait: Duration::from_millis(200),
        longest_wait: Duration::from_millis(200),
        ..HURRIED
    };
    let stopped = World::of("echo x >> $F/starts; exit 1", soon);
    let shut_down = World::of("echo x >> $F/starts; exit 1", soon);
    for world in [&stopped, &shut_down] {
        world.child.start().await.unwrap();
        world.is(|status| status.state == ChildState::Crashed).await;
    }
    stopped.child.stop().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later");
    let starts = |world: &World| std::fs::read_to_string(world.folder.path().join("starts"));
    shut_down.tasks.clone().stop(DEADLOCK).await.unwrap();
    // One that is started again after as long a wait shows that it is over.
    let script = format!(
        "echo x >> $F/n; [ $(wc -l < $F/n) -lt 3 ] && exit 1; echo > {}; exec sleep 1000",
        later.display()
    );
    let other = World::of(&script, soon);
    other.child.start().await.unwrap();
    written(&later).await;
    for world in [&stopped, &shut_down] {
        assert_eq!(starts(world).unwrap(), "x\n");
    }
    assert_eq!(stopped.child.status().state, ChildState::Stopped);
    other.shut_down().await;
    stopped.shut_down().await;
}

#[tokio::test]
async fn a_restart_is_another_process() {
    let world = World::of("echo $$ > $F/pid; exec sleep 1000", HURRIED);
    world.child.start().await.unwrap();
    let first = world.written("pid").await;
    world.child.restart().await.unwrap();
    assert!(!exists(&first));
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
    assert!(!exists(&pid));
    assert_eq!(child.status().state, ChildState::ShuttingDown(None));
    assert_eq!(child.start().await, Err(CommandError::ShuttingDown));
}

#[tokio::test]
async fn commands_given_together_are_carried_out_one_at_a_time() {
    // Two that ran at once would find the file of the other.
    let script = "trap 'rm $F/alone; exit' TERM; [ -e $F/alone ] && echo > $F/overlap; \
                  echo > $F/alone; echo > $F/up; while :; do sleep 0.01; done";
    let world = World::of(script, HURRIED);
    let commands = (0..12).map(|number| {
        let child = world.child.clone();
        let up = world.folder.path().join("up");
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
    world.child.stop().await.unwrap();
    assert_eq!(world.child.status().state, ChildState::Stopped);
    assert!(!world.folder.path().join("overlap").exists());
    world.shut_down().await;
}

#[tokio::test]
async fn a_command_that_comes_during_the_shutdown_is_refused_at_once() {
    let world = World::of("trap '' TERM; echo > $F/up; exec sleep 1000", HURRIED);
    world.child.start().await.unwrap();
    world.written("up").await;
    let stubborn = world.running().await;
    let child = world.child.clone();
    let ends = world.tasks.clone().stop(DEADLOCK);
    let refused = async {
        world
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
    assert_eq!(child.start().await, Err(CommandError::Unstartable));
    let status = within_deadline(child.wait_for(|status| status.restarts > 2)).await;
    assert_eq!(status.unwrap().last_exit.unwrap().code, Some(127));
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

#[test]
fn the_times_are_those_of_the_contract() {
    let Timing {
        grace,
        first_wait,
        longest_wait,
        healthy_after,
    } = Timing::default();
    let seconds = [grace, first_wait, longest_wait, healthy_after].map(|time| time.as_secs());
    assert_eq!(seconds, [10, 1, 300, 30]);
}
