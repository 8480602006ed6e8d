//! Children that restart themselves: they start a detached copy and exit, as OpenClaw does unless it is told
//! that it is supervised.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use postbell_controller::{ChildState, ChildStatus};
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{FAST, closed_port, exists, is_dead, with_deadline, written};
use crate::supervisor::TestController;

/// Starts a server in a session of its own, which writes its process id to `$F/copy`.
const LEAVE_COPY: &str = "NAME=copy setsid $SERVE &";

/// Waits until the copy serves.
const COPY_SERVES: &str = "until [ -s $F/copy ]; do sleep 0.01; done";

/// Waits until the copy has a session of its own: what is in the child's group ends with the child.
const DETACHED: &str = "until [ -e $F/detached ]; do sleep 0.01; done";

/// Waits until the script is started again.
const SECOND_STARTED: &str = "until [ -e $F/second ]; do sleep 0.01; done";

/// Counts the starts of the script.
const COUNT: &str = "echo x >> $F/starts; N=$(wc -l < $F/starts)";

/// Listens on `$PORT`, appends to `$F/beats` and writes to the standard output until it is killed.
#[test]
#[ignore = "the children of the other tests run it as a program"]
fn serve() {
    let variable = |name| std::env::var_os(name).unwrap().into_string().unwrap();
    let folder = PathBuf::from(variable("F"));
    let append = |name: &str, text: &str| {
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .open(folder.join(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let address = format!("127.0.0.1:{}", variable("PORT"));
    let _listener = TcpListener::bind(address).unwrap();
    append(&variable("NAME"), &format!("{}\n", std::process::id()));
    loop {
        writeln!(std::io::stdout(), "beat").unwrap();
        append("beats", "beat\n");
        sleep(Duration::from_millis(5));
    }
}

async fn controller(script: &str) -> TestController {
    let port = closed_port().await;
    TestController::serving(&format!("{COUNT}; {script}"), port, FAST)
}

fn starts(controller: &TestController) -> usize {
    lines(controller, "starts")
}

fn lines(controller: &TestController, name: &str) -> usize {
    let text = std::fs::read_to_string(controller.folder.path().join(name));
    text.unwrap_or_default().lines().count()
}

/// Waits until this process is the supervised one, and returns the status.
async fn supervises(controller: &TestController, pid: &str) -> ChildStatus {
    let is_supervised = |status: &ChildStatus| {
        let running = status.state.running();
        running.is_some_and(|process| process.pid.to_string() == pid)
    };
    controller.is(is_supervised).await
}

fn kill(pid: &str) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_copy_that_replaces_its_child_is_supervised() {
    let again = "[ $N = 1 ] || { echo > $F/again; exec sleep 1000; }";
    let script = format!("{again}; {LEAVE_COPY} {COPY_SERVES}; exit 0");
    let controller = controller(&script).await;
    controller.child.start().await.unwrap();
    let copy = controller.written("copy").await;
    let exit = supervises(&controller, &copy).await.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(0), None));
    assert_eq!(starts(&controller), 1);

    // Its output is still read; a closed pipe would end it.
    let beats = lines(&controller, "beats");
    with_deadline(async {
        while lines(&controller, "beats") < beats + 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(controller.running().await.to_string(), copy);

    kill(&copy);
    let status = controller
        .is(|status| status.restarts == 2 && status.state.running().is_some())
        .await;
    assert_eq!(status.last_exit.unwrap().signal, Some("SIGKILL"));
    controller.written("again").await;
    assert_eq!(starts(&controller), 2);
    controller.shut_down().await;
}

#[tokio::test]
async fn a_copy_is_stopped_and_reaped_on_command() {
    for restart in [false, true] {
        let script = format!("[ $N = 1 ] || exec sleep 1000; {LEAVE_COPY} {COPY_SERVES}; exit 0");
        let controller = controller(&script).await;
        controller.child.start().await.unwrap();
        let copy = controller.written("copy").await;
        supervises(&controller, &copy).await;
        if restart {
            controller.child.restart().await.unwrap();
            assert_ne!(controller.running().await.to_string(), copy);
        } else {
            controller.child.stop().await.unwrap();
            assert_eq!(controller.child.status().state, ChildState::Stopped);
        }
        assert!(!exists(&copy));
        let exit = controller.child.status().last_exit.unwrap();
        assert_eq!((exit.code, exit.signal), (None, Some("SIGTERM")));
        controller.shut_down().await;
    }
}

#[tokio::test]
async fn a_copy_ends_with_the_controller() {
    let script = format!("{LEAVE_COPY} {COPY_SERVES}; exit 0");
    let controller = controller(&script).await;
    controller.child.start().await.unwrap();
    let copy = controller.written("copy").await;
    supervises(&controller, &copy).await;
    controller.shut_down().await;
    assert!(!exists(&copy));
}

/// The copy takes long to start. Another process that was started in the meantime cannot use its port.
#[tokio::test]
async fn a_copy_that_serves_late_is_supervised_once_it_does() {
    let script = format!(
        "if [ $N = 1 ]; then setsid sh -c 'echo > $F/detached; {SECOND_STARTED}; NAME=copy exec $SERVE' & \
         {DETACHED}; exit 0; fi; echo > $F/second; {COPY_SERVES}; exit 1"
    );
    let controller = controller(&script).await;
    controller.child.start().await.unwrap();
    let copy = controller.written("copy").await;
    supervises(&controller, &copy).await;
    assert_eq!(starts(&controller), 2);
    controller.shut_down().await;
}

#[tokio::test]
async fn what_a_crash_leaves_on_the_port_is_stopped() {
    let script = format!(
        "if [ $N = 1 ]; then {LEAVE_COPY} {COPY_SERVES}; exit 3; fi; export NAME=second; exec $SERVE"
    );
    let controller = controller(&script).await;
    controller.child.start().await.unwrap();
    let second = controller.written("second").await;
    assert_eq!(controller.running().await.to_string(), second);
    let status = controller.child.status();
    assert_eq!(
        (status.restarts, status.last_exit.unwrap().code),
        (1, Some(3))
    );
    is_dead(&written(&controller.folder.path().join("copy")).await).await;
    controller.shut_down().await;
}

#[tokio::test]
async fn a_port_of_another_program_is_none_of_the_controllers_business() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let controller = TestController::serving("exit 0", port, FAST);
    controller.child.start().await.unwrap();
    controller.is(|status| status.restarts > 8).await;
    assert!(other.local_addr().is_ok());
    controller.shut_down().await;
}
