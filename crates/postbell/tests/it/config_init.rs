//! `postbell config init`: what it writes is enough for `postbell serve`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::process::Command;

use crate::support::{ServiceProcess, run};

const SECRETS: [&str; 3] = [
    "POSTBELL_PLATFORM__API_KEY",
    "POSTBELL_PLATFORM__GATEWAY_SECRET",
    "POSTBELL_PLATFORM__PRIVATE_KEY",
];

/// A command with the configuration in `folder`, run in another current folder.
fn postbell(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    command.arg("--config").arg(folder.join("postbell.toml"));
    command.args(arguments).env_clear().current_dir("/");
    command
}

fn init(folder: &Path, more: &[&str]) -> Command {
    let mut command = postbell(folder, &["config", "init"]);
    command
        .args(["--audience", "https://push.example.com"])
        .args(more);
    command
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn serve_starts_with_what_init_has_written() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("my \"bell\"");
    let written = run(&mut init(&folder, &["--url", "https://bell.example.com"])).await;
    assert_eq!(written.0, Some(0), "{}", written.2);
    assert_eq!(written.1.lines().count(), 4, "{}", written.1);
    let checked = run(&mut postbell(&folder, &["config", "check"])).await;
    assert!(
        checked.1.contains("valid") && checked.1.contains("postbell serve"),
        "{checked:?}"
    );

    let ports = ["RELAY", "PLATFORM"].map(|part| format!("POSTBELL_{part}__LISTEN"));
    let variables = ports
        .each_ref()
        .map(|name| (&**name, "127.0.0.1:0".to_owned()));
    let command = postbell(&folder, &["serve"]);
    let service = ServiceProcess::run(command, &variables, "The relay is listening").await;
    assert_eq!(service.terminate().await, Some(0));
    assert!(folder.join("postbell.db").exists());
    let added = ["users", "add", "ann", "--url", "https://bot.example.com"];
    let added = run(&mut postbell(&folder, &added)).await;
    assert_eq!(added.0, Some(0), "{}", added.2);
}

#[tokio::test]
async fn secrets_are_for_their_owner_alone_and_never_shown() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    let (_, stdout, stderr) = run(&mut init(folder, &[])).await;
    let secrets = folder.join("credentials");
    assert_eq!(
        (mode(&secrets), mode(&folder.join("postbell.toml"))),
        (0o700, 0o644)
    );
    let config = fs::read_to_string(folder.join("postbell.toml")).unwrap();
    for name in SECRETS {
        let file = secrets.join(name);
        assert_eq!(mode(&file), 0o600, "{name}");
        let secret = fs::read_to_string(file).unwrap();
        for shown in [&stdout, &stderr, &config] {
            assert!(!shown.contains(secret.trim_end()), "{name}");
        }
    }
}

#[tokio::test]
async fn init_overwrites_nothing_and_writes_nothing_that_serve_refuses() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("new");
    let mut refused = postbell(&folder, &["config", "init", "--audience", "https://a/$x"]);
    let (code, _, message) = run(&mut refused).await;
    assert_eq!(code, Some(2), "{message}");
    assert!(
        message.contains("without a path, such as https://push.example.com") && !folder.exists(),
        "{message}"
    );

    run(&mut init(&folder, &[])).await;
    for first in [
        folder.join("postbell.toml"),
        folder.join("credentials").join(SECRETS[1]),
    ] {
        let before = fs::read(&first).unwrap();
        let (code, stdout, message) = run(&mut init(&folder, &[])).await;
        assert_eq!((code, &*stdout), (Some(1), ""), "{message}");
        assert!(message.contains("exists: nothing was written"), "{message}");
        assert_eq!(fs::read(&first).unwrap(), before);
        // What is left of an interrupted run.
        let _ = fs::remove_file(folder.join("postbell.toml"));
    }
}

#[tokio::test]
async fn a_service_manager_passes_secrets_as_files_named_like_their_variables() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    run(&mut init(folder, &[])).await;
    // The service's user cannot read the folder of the secrets, only its credentials.
    let credentials = folder.join("passed");
    fs::rename(folder.join("credentials"), &credentials).unwrap();
    let mut without = postbell(folder, &["config", "check"]);
    assert_eq!(run(&mut without).await.0, Some(78));
    let mut with = postbell(folder, &["config", "check"]);
    with.env("CREDENTIALS_DIRECTORY", &credentials);
    let checked = run(&mut with).await;
    assert_eq!(checked.0, Some(0), "{}", checked.2);
}
