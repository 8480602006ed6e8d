//! `postbell backup` and `postbell restore`.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::run;

/// The folder of a service, and the program in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn run_with(
        &self,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .args(arguments)
            .env_clear()
            .env("POSTBELL_PLATFORM__GATEWAY_SECRET", "hunter2")
            .envs(variables.iter().copied())
            .current_dir(self.0.path());
        run(&mut command).await
    }

    /// Runs a command that must succeed, and returns what it printed.
    async fn run(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run_with(&[], arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        stdout
    }
}

#[tokio::test]
async fn a_store_returns_to_its_backup_and_what_was_there_is_kept() {
    let folder = Folder::new();
    folder.run(&["users", "add", "ann"]).await;
    let printed = folder.run(&["backup", "saved"]).await;
    assert!(printed.contains("Wrote saved: 1 users"), "{printed}");
    assert!(
        printed.contains("platform.gateway_secret, fingerprint "),
        "{printed}"
    );
    folder.run(&["users", "add", "bob"]).await;

    let (code, _, stderr) = folder.run_with(&[], &["restore", "saved"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--replace"), "{stderr}");
    let printed = folder.run(&["restore", "saved", "--replace"]).await;
    assert!(printed.contains("postbell.db.before-restore"), "{printed}");
    folder.run(&["users", "show", "ann"]).await;
    let (code, ..) = folder.run_with(&[], &["users", "show", "bob"]).await;
    assert_eq!(code, Some(1));
    let before = [(
        "POSTBELL_PLATFORM__STORE",
        "sqlite:postbell.db.before-restore",
    )];
    let (code, ..) = folder.run_with(&before, &["users", "show", "bob"]).await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn another_secret_than_that_of_the_backup_is_named() {
    let folder = Folder::new();
    folder.run(&["users", "add", "ann"]).await;
    let made: Value =
        serde_json::from_str(&folder.run(&["backup", "saved", "--json"]).await).unwrap();
    assert_eq!(made["users"], 1);
    assert_eq!(made["secrets"][0]["name"], "platform.gateway_secret");
    assert!(!made.to_string().contains("hunter2"));

    let other = [
        ("POSTBELL_PLATFORM__GATEWAY_SECRET", "another"),
        ("POSTBELL_PLATFORM__STORE", "sqlite:other.db"),
        ("POSTBELL_RELAY__INBOX", "sqlite:other.db"),
    ];
    let (code, stdout, stderr) = folder
        .run_with(&other, &["restore", "saved", "--json"])
        .await;
    assert_eq!(code, Some(0), "{stderr}");
    let restored: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        restored["changedSecrets"],
        json!(["platform.gateway_secret"])
    );
}

/// SQLite takes such names for a URI, and for no file, if they are relative.
#[tokio::test]
async fn a_name_that_means_something_to_sqlite_is_that_of_a_file() {
    let folder = Folder::new();
    folder.run(&["users", "add", "ann"]).await;
    let store = std::fs::metadata(folder.0.path().join("postbell.db")).unwrap();
    let names = || {
        let entries = std::fs::read_dir(folder.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name()).collect();
        // The store itself may have a log or not.
        names.retain(|name| !name.to_string_lossy().starts_with("postbell.db"));
        names.sort();
        names
    };
    let mut expected = names();
    for name in ["file:y", ":memory:"] {
        folder.run(&["backup", name]).await;
        let copied = format!("sqlite:file:copy{name}?mode=memory");
        folder
            .run(&["store", "copy", "sqlite:postbell.db", &copied])
            .await;
        for file in [name, copied.trim_start_matches("sqlite:")] {
            let file = std::fs::metadata(folder.0.path().join(file)).unwrap();
            assert!(file.len() * 2 > store.len(), "{name}: {}", file.len());
        }
        expected.push(name.into());
        expected.push(copied.trim_start_matches("sqlite:").into());
    }
    expected.sort();
    assert_eq!(names(), expected);
}

#[tokio::test]
async fn what_was_ended_after_the_backup_is_named() {
    let folder = Folder::new();
    folder.run(&["users", "add", "ann"]).await;
    folder.run(&["backup", "saved"]).await;
    folder
        .run(&["users", "change", "ann", "--new-sandbox-id"])
        .await;
    let (code, stdout, stderr) = folder
        .run_with(&[], &["restore", "saved", "--replace"])
        .await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("Every session has ended"), "{stdout}");
    assert!(stderr.contains("user.change ann sandbox id"), "{stderr}");
}

#[tokio::test]
async fn a_store_in_postgresql_is_left_to_its_own_programs() {
    let folder = Folder::new();
    let url = "postgres://ann:hunter2@db.example.com/postbell";
    let variables = [
        ("POSTBELL_PLATFORM__STORE", url),
        ("POSTBELL_RELAY__INBOX", url),
    ];
    for (command, program) in [("backup", "pg_dump"), ("restore", "pg_restore")] {
        let (code, _, stderr) = folder.run_with(&variables, &[command, "saved"]).await;
        assert_eq!(code, Some(78), "{stderr}");
        assert!(
            stderr.contains(program) && !stderr.contains("hunter2"),
            "{stderr}"
        );
    }
}
