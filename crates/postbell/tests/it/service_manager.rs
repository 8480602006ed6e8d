//! What a service and its service manager tell each other: sd_notify(3), and sockets that systemd has
//! opened.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{DEADLOCK, run};

/// A folder with the configuration of a service, and the socket of its service manager.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut init = Command::new(env!("CARGO_BIN_EXE_postbell"));
        init.args(["config", "init", "--audience", "https://push.example.com"]);
        init.args(["--url", "https://bell.example.com", "--config"]);
        init.arg(folder.path().join("postbell.toml"));
        assert_eq!(run(init.env_clear().current_dir("/")).await.0, Some(0));
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { folder, socket }
    }

    /// `postbell serve`, run by a shell that sets further variables.
    fn serve(&self, variables: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("{variables} exec \"$0\" serve 3<&0 < /dev/null");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_postbell")]);
        command
            .env_clear()
            .env("POSTBELL_CONFIG", self.file("postbell.toml"))
            .env("POSTBELL_RELAY__LISTEN", "127.0.0.1:0")
            .env("POSTBELL_PLATFORM__LISTEN", "127.0.0.1:0")
            .env("NOTIFY_SOCKET", self.file("notify"))
            .kill_on_drop(true);
        command
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// The next message of the service.
    async fn message(&self) -> String {
        let mut message = vec![0; 4096];
        let received = timeout(DEADLOCK, self.socket.recv(&mut message)).await;
        message.truncate(received.expect("no message").unwrap());
        String::from_utf8(message).unwrap()
    }
}

async fn terminate(mut child: Child) -> Option<i32> {
    let id = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    child.wait().await.unwrap().code()
}

#[tokio::test]
async fn a_service_reports_that_it_is_ready_alive_and_stopping() {
    let manager = Manager::new().await;
    let mut command = manager.serve("WATCHDOG_PID=$$");
    let child = command.env("WATCHDOG_USEC", "200000").spawn().unwrap();
    let works = "STATUS=receiving pushes and serving the platform\n";
    assert_eq!(manager.message().await, format!("READY=1\n{works}"));
    for _ in 0..3 {
        assert_eq!(manager.message().await, format!("WATCHDOG=1\n{works}"));
    }
    assert_eq!(terminate(child).await, Some(0));
    while !manager.message().await.starts_with("STOPPING=1\n") {}
}

#[tokio::test]
async fn a_service_takes_a_socket_of_systemd_by_its_name() {
    let manager = Manager::new().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = manager.serve("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=relay");
    command.env("POSTBELL_RELAY__LISTEN", "systemd:relay");
    command.stdin(OwnedFd::from(socket));
    let child = command.spawn().unwrap();
    assert!(manager.message().await.starts_with("READY=1\n"));
    let ready = reqwest::get(format!("http://{address}/ready")).await;
    assert_eq!(ready.unwrap().status(), 200);
    assert_eq!(terminate(child).await, Some(0));
}

#[tokio::test]
async fn a_socket_that_systemd_has_not_passed_is_refused_with_the_names_of_the_others() {
    let manager = Manager::new().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = manager.serve("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=other");
    command.env("POSTBELL_RELAY__LISTEN", "systemd:relay");
    command.stdin(OwnedFd::from(socket));
    let (code, _, message) = run(&mut command).await;
    assert_eq!(code, Some(1));
    let expected =
        "cannot listen on systemd:relay: systemd has passed only sockets with other names: other";
    assert!(message.contains(expected), "{message}");
}
