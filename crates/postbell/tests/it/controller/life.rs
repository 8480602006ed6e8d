//! How children live and die with the controller.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::task::yield_now;

use super::{Machine, exists, processes_of, until, within_deadline};

/// A gateway with a child in its group, and one that has left it.
const FAMILY: &str = "sleep 1000 & echo $! > $HOME/child; \
                      setsid sh -c 'echo $$ > $HOME/daemon; exec sleep 1000' & \
                      echo $$ > $HOME/gateway; exec sleep 1000";

#[tokio::test]
async fn nothing_outlives_a_controller_that_is_told_to_stop() {
    let machine = Machine::new(FAMILY).await;
    let controller = machine.start();
    for name in ["child", "daemon", "gateway"] {
        assert!(exists(&machine.written(name).await), "{name}");
    }
    assert_eq!(controller.terminate().await, Some(0));
    // The guardian hears of the end, and follows.
    until(|| processes_of(machine.home.path()).is_empty()).await;
}

#[tokio::test]
async fn no_group_outlives_a_controller_that_is_killed() {
    let machine = Machine::new(FAMILY).await;
    let controller = machine.start();
    let [child, gateway, daemon] = [
        machine.written("child").await,
        machine.written("gateway").await,
        machine.written("daemon").await,
    ];
    machine.is("ready").await;
    controller.kill().await;
    until(|| !exists(&child) && !exists(&gateway)).await;
    // What has left its group belongs to nobody any more.
    let daemon = Pid::from_raw(daemon.parse().unwrap()).unwrap();
    let _ = kill_process(daemon, Signal::KILL);
    until(|| processes_of(machine.home.path()).is_empty()).await;
}

#[tokio::test]
async fn as_pid_1_it_reaps_what_is_not_its_own() {
    // Orphans, again and again, beside a gateway that crashes now and then.
    let script = "for i in 1 2 3 4 5; do setsid sh -c 'sleep 0.02 & sleep 0.01 &' & done; \
                  echo x >> $HOME/starts; [ $(wc -l < $HOME/starts) -gt 1 ] || exit 7; \
                  setsid sh -c '(sleep 0.01; echo > $HOME/orphans) &' & exec sleep 1000";
    let machine = Machine::new(script).await;
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command.arg(env!("CARGO_BIN_EXE_postbell"));
    let mut controller = machine.start_as(command);
    let status = within_deadline(async {
        loop {
            match machine.get("/_kilo/gateway/status").await {
                Some(status) if status["state"] == "running" && status["restarts"] == 1 => {
                    return status;
                }
                _ => yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(status["lastExit"]["code"], 7, "{status}");
    let first = first_of_its_own(&machine);
    // The orphans are the controller's by now: of its children only the gateway is left.
    machine.written("orphans").await;
    until(|| children_of(first) == 1).await;
    // Told from outside, as a container's engine does it; unshare passes the exit code on.
    kill_process(first, Signal::TERM).unwrap();
    assert_eq!(controller.child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_children_say_is_passed_on_with_their_name_to_the_last_word() {
    let script = "echo one; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x; echo; \
                  echo the last word; exit 3";
    let machine = Machine::new(script).await;
    let controller = machine.start();
    until(|| machine.log().contains("gateway: the last word")).await;
    let log = machine.log();
    assert!(log.contains("gateway: one") && log.contains("gateway: two"));
    let longest = log.lines().map(str::len).max().unwrap();
    assert!((8_000..9_000).contains(&longest), "{longest}");
    assert_eq!(controller.terminate().await, Some(0));
}

/// The controller, where it is the first process of a namespace of its own (proc(5), `NSpid`).
fn first_of_its_own(machine: &Machine) -> Pid {
    let processes = processes_of(machine.home.path());
    let is_first = |process: &&PathBuf| {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        inside.is_some_and(|inside| inside.split_whitespace().nth(1) == Some("1"))
    };
    let first = processes.iter().find(is_first).unwrap().file_name();
    Pid::from_raw(first.unwrap().to_str().unwrap().parse().unwrap()).unwrap()
}

/// How many children a process has, those included that are dead and not reaped.
fn children_of(parent: Pid) -> usize {
    let parent = format!("PPid:\t{}", parent.as_raw_nonzero());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_child = |status: &String| status.lines().any(|line| line == parent);
    let statuses =
        processes.filter_map(|process| fs::read_to_string(process.path().join("status")).ok());
    statuses.filter(is_child).count()
}
