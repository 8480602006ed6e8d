//! `postbell watch install`: what it writes and calls, with a `systemctl` that records its calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::support::{ServiceProcess, run};
use crate::watch::{EMAIL, SUBSCRIPTION, TOKEN, World};

const UNIT: &str = "postbell-watch-ann@example.com.service";

impl World {
    fn unit(&self) -> PathBuf {
        self.home.path().join(".config/systemd/user").join(UNIT)
    }

    fn secrets(&self) -> PathBuf {
        let folder = ".config/postbell/watch/ann@example.com";
        self.home.path().join(folder)
    }

    /// Replaces `systemctl` by a script that records its calls and ends with `end`.
    fn systemctl(&self, end: &str) {
        let folder = self.home.path().join("bin");
        fs::create_dir_all(&folder).unwrap();
        let calls = self.home.path().join("calls");
        let script = format!("#!/bin/sh\necho \"$@\" >> {}\n{end}\n", calls.display());
        fs::write(folder.join("systemctl"), script).unwrap();
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join("systemctl"), executable).unwrap();
    }

    /// The calls since the last time.
    fn calls(&self) -> Vec<String> {
        let file = self.home.path().join("calls");
        let calls = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        calls.lines().map(str::to_owned).collect()
    }

    async fn with_systemctl(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.command(arguments);
        command.env_clear().envs(self.variables());
        run(command.env("PATH", self.home.path().join("bin"))).await
    }

    async fn install(&self) -> (Option<i32>, String, String) {
        let hook_url = self.sandbox.bot().hook_url();
        let pull = [
            "install",
            "pull",
            "--subscription",
            SUBSCRIPTION,
            "--hook-url",
            &hook_url,
        ];
        let more = [
            "--credentials",
            "google.json",
            "--hook-secret",
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        ];
        self.with_systemctl(&[&pull[..], &more, &["--include-body"]].concat())
            .await
    }

    /// The process that systemd would start, with the variables of the unit alone.
    fn service_of_unit(&self) -> (Command, Vec<(&'static str, String)>) {
        self.service_of(&self.unit())
    }

    fn service_of(&self, unit: &Path) -> (Command, Vec<(&'static str, String)>) {
        let unit = fs::read_to_string(unit).unwrap();
        let line = |prefix: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(prefix));
            line.unwrap().to_owned()
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("exec {}", line("ExecStart="))]);
        command.current_dir("/");
        let folder = line("Environment=\"CREDENTIALS_DIRECTORY=");
        let home = self.home.path().display().to_string();
        let folder = folder.trim_end_matches('"').to_owned();
        (
            command,
            vec![("HOME", home), ("CREDENTIALS_DIRECTORY", folder)],
        )
    }
}

#[tokio::test]
async fn an_installed_watcher_brings_mail_with_what_its_unit_has() {
    let mut world = World::watched().await;
    world.systemctl("exit 0");
    let (code, stdout, stderr) = world.install().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.contains(&world.unit().display().to_string()),
        "{stdout}"
    );
    let log = "journalctl --user -u postbell-watch-ann@example.com";
    assert!(stderr.contains(log), "{stderr}");
    let expected = [
        "--user show-environment".to_owned(),
        "--user daemon-reload".to_owned(),
        format!("--user enable {UNIT}"),
        format!("--user restart {UNIT}"),
    ];
    assert_eq!(world.calls(), expected);
    let (command, variables) = world.service_of_unit();
    let service = ServiceProcess::run(command, &variables, "The watcher is running").await;
    let id = world.deliver();
    let hook = world.next_hook().await;
    assert_eq!(hook.body["messages"][0]["id"], id);
    assert!(
        hook.body["messages"][0]["body"]
            .as_str()
            .unwrap()
            .contains("hello")
    );
    assert_eq!(service.terminate().await, Some(0));
}

#[tokio::test]
async fn secrets_are_in_files_for_the_user_alone_and_nowhere_else() {
    let world = World::watched().await;
    world.systemctl("exit 0");
    world.install().await;
    let unit = fs::read_to_string(world.unit()).unwrap();
    let hook_url = world.sandbox.bot().hook_url();
    for secret in [
        EMAIL,
        TOKEN,
        world.sandbox.bot().token(),
        "whsec_",
        &hook_url,
    ] {
        let uses = unit.replace(&world.secrets().display().to_string(), "");
        assert!(!uses.contains(secret), "{secret}: {unit}");
    }
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.secrets()), 0o700);
    for name in [
        "GOG_ACCOUNT",
        "POSTBELL_WATCH_HOOK_TOKEN",
        "POSTBELL_WATCH_HOOK_SECRET",
        "POSTBELL_WATCH_HOOK_URL",
    ] {
        assert_eq!(mode(world.secrets().join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn installing_again_changes_nothing_and_uninstalling_leaves_only_the_state() {
    let world = World::watched().await;
    world.systemctl("exit 0");
    world.install().await;
    let before = fs::read(world.unit()).unwrap();
    assert_eq!(world.install().await.0, Some(0));
    assert_eq!(fs::read(world.unit()).unwrap(), before);
    world.calls();

    let (code, shown, _) = world.with_systemctl(&["status", "--offline"]).await;
    assert_eq!(code, Some(1), "the service does not run");
    assert!(
        shown.contains("service\tsystemctl --user status postbell-watch-"),
        "{shown}"
    );
    // As it was installed: without an address, which only one mailbox can mean.
    let uninstall = async || {
        let mut command = world.command(&["uninstall"]);
        let variables = world.variables().into_iter();
        let without_address = variables.filter(|(name, _)| *name != "GOG_ACCOUNT");
        command.env_clear().envs(without_address);
        run(command.env("PATH", world.home.path().join("bin"))).await
    };
    let (code, _, stderr) = uninstall().await;
    assert_eq!(code, Some(0), "{stderr}");
    let (code, _, stderr) = uninstall().await;
    assert_eq!((code, stderr.contains(UNIT)), (Some(1), true), "{stderr}");
    let expected = [
        "--user show-environment".to_owned(),
        format!("--user disable --now {UNIT}"),
        "--user daemon-reload".to_owned(),
    ];
    assert_eq!(world.calls(), expected);
    assert!(!world.unit().exists() && !world.secrets().exists());
    let (_, shown, _) = world.with_systemctl(&["status", "--offline"]).await;
    assert!(!shown.contains("service\t"), "{shown}");
}

#[tokio::test]
async fn without_a_service_manager_nothing_is_written_and_the_message_says_what_to_do() {
    let world = World::watched().await;
    world.systemctl("echo 'Failed to connect to bus: No medium found' >&2; exit 1");
    let (code, _, stderr) = world.install().await;
    assert_eq!(code, Some(1));
    for text in [
        "no systemd runs for this user",
        "No medium found",
        "under another supervisor",
    ] {
        assert!(stderr.contains(text), "{stderr}");
    }
    assert!(!world.unit().exists() && !world.secrets().exists());
}

#[tokio::test]
async fn a_service_that_does_not_start_is_a_failure_with_the_place_of_its_log() {
    let world = World::watched().await;
    world.systemctl("case \"$2\" in restart) exit 1 ;; esac");
    let (code, _, stderr) = world.install().await;
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("the service does not start") && stderr.contains("journalctl"),
        "{stderr}"
    );
}

#[tokio::test]
async fn one_service_runs_the_mailboxes_of_the_tables() {
    let mut world = World::watched().await;
    world.systemctl("exit 0");
    let hook_url = world.sandbox.bot().hook_url();
    let table = format!(
        "[[watch]]\naccount = \"{EMAIL}\"\nsubscription = \"{SUBSCRIPTION}\"\n[[watch.webhook]]\n\
         hook_url = \"{hook_url}\"\nhook_token = \"{}\"",
        world.sandbox.bot().token()
    );
    fs::write(world.home.path().join("postbell.toml"), table).unwrap();
    let named = ["install", "pull", "--account", EMAIL];
    let (code, _, stderr) = world.with_systemctl(&named).await;
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("--account"), "{stderr}");
    let (code, stdout, stderr) = world.with_systemctl(&["install", "pull"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let unit = world
        .unit()
        .with_file_name("postbell-watch-mailboxes.service");
    assert!(stdout.contains(&unit.display().to_string()), "{stdout}");
    let (_, shown, _) = world.with_systemctl(&["status", "--offline"]).await;
    assert!(shown.contains("postbell-watch-mailboxes"), "{shown}");
    let (command, variables) = world.service_of(&unit);
    let service = ServiceProcess::run(command, &variables, "The watcher is running").await;
    let id = world.deliver();
    let hook = world.next_hook().await;
    assert_eq!(hook.body["messages"][0]["id"], id);
    assert_eq!(service.terminate().await, Some(0));
    let (code, _, stderr) = world.with_systemctl(&["uninstall"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!unit.exists());
}
