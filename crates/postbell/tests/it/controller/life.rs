//! Child processes over the life of the controller.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::task::yield_now;

use super::{Machine, exists, processes_of, until, within_deadline};

/// A gateway with a child in its process group and one in a session of its own.
const FAMILY: &str = "sleep 1000 & echo $! > $HOME/child; \
                      setsid sh -c 'echo $$ > $HOME/daemon; exec sleep 1000' & \
                      echo $$ > $HOME/gateway; exec sleep 1000";

#[tokio::test]
async fn no_process_outlives_a_stopped_controller() {
    let machine = Machine::new(FAMILY).await;
    let controller = machine.start();
    for name in ["child", "daemon", "gateway"] {
        assert!(exists(&machine.written(name).await), "{name}");
    }
    assert_eq!(controller.terminate().await, Some(0));
    assert_eq!(processes_of(machine.home.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_closed_terminal_stops_the_controller_and_its_children() {
    let gateway = "trap 'echo asked > $HOME/asked; exit' TERM; echo > $HOME/up; \
                   while :; do sleep 0.01; done";
    let machine = Machine::new(gateway).await;
    let mut controller = machine.start();
    machine.written("up").await;
    kill_process(controller.id(), Signal::HUP).unwrap();
    let ended = within_deadline(controller.child.wait()).await.unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(machine.written("asked").await, "asked");
    assert_eq!(processes_of(machine.home.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_controller_under_nohup_outlives_its_terminal() {
    let machine = Machine::new("exec sleep 1000").await;
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_postbell"));
    let controller = machine.start_as(command, machine.log_file());
    machine.is("ready").await;
    kill_process(controller.id(), Signal::HUP).unwrap();
    assert_eq!(machine.is("ready").await["state"], "ready");
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn the_controller_listens_on_ipv4_and_ipv6() {
    let machine = Machine::new("exec sleep 1000").await;
    let controller = machine.start();
    machine.is("ready").await;
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for host in ["127.0.0.1"].into_iter().chain(has_ipv6.then_some("[::1]")) {
        let url = format!("http://{host}:{}/health", machine.port);
        let answer = machine.client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{host}");
    }
    assert_eq!(controller.terminate().await, Some(0));
}

/// Descendants of children are ended by systemd or the container, not by the controller.
#[tokio::test]
async fn children_end_with_a_killed_controller() {
    let machine = Machine::new(FAMILY).await;
    let controller = machine.start();
    let gateway = machine.written("gateway").await;
    let descendants = [
        machine.written("child").await,
        machine.written("daemon").await,
    ];
    machine.is("ready").await;
    controller.kill().await;
    until(|| !exists(&gateway)).await;
    for id in descendants {
        let id = Pid::from_raw(id.parse().unwrap()).unwrap();
        let _ = kill_process(id, Signal::KILL);
    }
    until(|| processes_of(machine.home.path()).is_empty()).await;
}

#[tokio::test]
async fn no_process_outlives_a_killed_pid_1() {
    let machine = Machine::new(FAMILY).await;
    let mut controller = machine.start_as_pid_1();
    for name in ["child", "daemon", "gateway"] {
        machine.written(name).await;
    }
    kill_process(pid_1(&machine), Signal::KILL).unwrap();
    assert!(!controller.child.wait().await.unwrap().success());
    until(|| processes_of(machine.home.path()).is_empty()).await;
}

#[tokio::test]
async fn unread_log_does_not_block_the_controller() {
    let machine = Machine::new("yes | head -c 2000000; echo > $HOME/done; exec sleep 1000").await;
    let (log, stderr) = std::io::pipe().unwrap();
    let controller = machine.start_with_log(stderr);
    machine.written("done").await;
    machine.is("ready").await;
    assert_eq!(controller.terminate().await, Some(0));
    drop(log);
}

#[tokio::test]
async fn pid_1_reaps_orphans() {
    // The gateway creates orphans and crashes once.
    let script = "for i in 1 2 3 4 5; do setsid sh -c 'sleep 0.02 & sleep 0.01 &' & done; \
                  echo x >> $HOME/starts; [ $(wc -l < $HOME/starts) -gt 1 ] || exit 7; \
                  setsid sh -c '(sleep 0.01; echo > $HOME/orphans) &' & exec sleep 1000";
    let machine = Machine::new(script).await;
    let mut controller = machine.start_as_pid_1();
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
    let controller_pid = pid_1(&machine);
    // The controller has adopted the orphans; after reaping, only the gateway is left.
    machine.written("orphans").await;
    until(|| children_of(controller_pid) == 1).await;
    // From outside, as a container engine does; unshare passes the exit code on.
    kill_process(controller_pid, Signal::TERM).unwrap();
    assert_eq!(controller.child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn child_output_is_logged_with_the_name_of_the_child() {
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

/// Returns the controller's process id outside of the namespace in which it is PID 1 (proc(5),
/// `NSpid`).
fn pid_1(machine: &Machine) -> Pid {
    let processes = processes_of(machine.home.path());
    let is_first = |process: &&PathBuf| {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        inside.is_some_and(|inside| inside.split_whitespace().nth(1) == Some("1"))
    };
    let first = processes.iter().find(is_first).unwrap().file_name();
    Pid::from_raw(first.unwrap().to_str().unwrap().parse().unwrap()).unwrap()
}

/// Counts the children of a process, including zombies.
fn children_of(parent: Pid) -> usize {
    let parent = format!("PPid:\t{}", parent.as_raw_nonzero());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_child = |status: &String| status.lines().any(|line| line == parent);
    let statuses =
        processes.filter_map(|process| fs::read_to_string(process.path().join("status")).ok());
    statuses.filter(is_child).count()
}
