use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;

use postbell_protocol::gog_dirs::GogDirs;
use postbell_protocol::watch_state::{StateFile, WatchState};
use serde_json::Value;
use tokio::process::Command;

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir("/");
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let without_scheme = [
        "watch",
        "pull",
        "--account",
        "a@example.com",
        "--hook-url",
        "localhost:1/x",
    ];
    for arguments in [
        &["no-such-command"][..],
        &["demo", "--mails", "many"],
        &[],
        &without_scheme,
    ] {
        assert_eq!(run(arguments, &[]).await.0, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_bad_configuration_ends_with_78_and_says_which_key() {
    for (command, variables, expected) in [
        (
            &["relay"][..],
            &[][..],
            "relay.audience: expected the public base URL",
        ),
        (
            &["config", "check"],
            &[("POSTBELL_RELAY__LISTEN", "x")],
            "POSTBELL_RELAY__LISTEN",
        ),
        (
            &["relay"],
            &[("POSTBELL_RELAY__AUDIENCE", "https://p.example.com")],
            "directory",
        ),
        (&["relay"], &[("POSTBELL_LOG", "a=b=c")], "POSTBELL_LOG"),
        (&["platform"], &[], "platform.api_key"),
        (&["serve"], &[], "relay.audience"),
        (
            &["serve"],
            &[("POSTBELL_RELAY__AUDIENCE", "https://p.example.com")],
            "platform.api_key",
        ),
        (&["users", "list"], &[], "platform.gateway_secret"),
        (
            &["config", "check"],
            &[("POSTBELL_RELAY__AUDIENCE", "https://p.example.com")],
            "directory",
        ),
        (
            &["config", "check"],
            &[
                ("POSTBELL_RELAY__AUDIENCE", "https://p.example.com"),
                ("POSTBELL_PLATFORM__API_KEY", "k"),
                ("POSTBELL_PLATFORM__GATEWAY_SECRET", "s"),
                ("POSTBELL_PLATFORM__LISTEN", "127.0.0.1:8080"),
            ],
            "platform.listen",
        ),
        (
            &["config", "check"],
            &[("POSTBELL_PLATFORM__API_KEY", "k")],
            "platform.gateway_secret",
        ),
        (
            &["--config", "/no/such.toml", "relay"],
            &[],
            "/no/such.toml",
        ),
    ] {
        let (code, _, stderr) = run(command, variables).await;
        assert_eq!(code, Some(78), "{command:?}: {stderr}");
        assert!(stderr.contains(expected), "{command:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_right_configuration_is_said_to_be_right() {
    let variables = [
        ("POSTBELL_RELAY__AUDIENCE", "https://p.example.com"),
        ("POSTBELL_DIRECTORY__URL", "https://d.example.com"),
        ("POSTBELL_DIRECTORY__API_KEY", "k"),
    ];
    assert_eq!(run(&["config", "check"], &variables).await.0, Some(0));
    // A platform on its own needs nothing of a relay's.
    let mut variables = vec![
        ("POSTBELL_PLATFORM__API_KEY", "k"),
        ("POSTBELL_PLATFORM__GATEWAY_SECRET", "s"),
    ];
    let (code, stdout, _) = run(&["config", "check"], &variables).await;
    assert_eq!(code, Some(0));
    assert!(stdout.contains("for postbell platform"), "{stdout}");
    variables.push(("POSTBELL_RELAY__AUDIENCE", "https://p.example.com"));
    let (code, stdout, _) = run(&["config", "check"], &variables).await;
    assert_eq!(code, Some(0));
    assert!(stdout.contains("for postbell serve"), "{stdout}");
}

#[tokio::test]
async fn a_place_that_serve_could_not_use_is_told_before() {
    let variables = [
        ("POSTBELL_RELAY__AUDIENCE", "https://p.example.com"),
        ("POSTBELL_PLATFORM__API_KEY", "k"),
        ("POSTBELL_PLATFORM__GATEWAY_SECRET", "s"),
    ];
    for (name, key) in [
        ("POSTBELL_RELAY__INBOX", "relay.inbox"),
        ("POSTBELL_PLATFORM__STORE", "platform.store"),
    ] {
        for wrong in ["sqlite:/nowhere/postbell.db", "sqlite:/tmp", "sqlite:", "x"] {
            let variables = [&variables[..], &[(name, wrong)]].concat();
            let (code, _, stderr) = run(&["config", "check"], &variables).await;
            assert_eq!(code, Some(78), "{name}={wrong}: {stderr}");
            assert!(stderr.contains(key), "{stderr}");
        }
    }
}

#[tokio::test]
async fn a_variable_that_is_no_text_is_refused_by_its_name() {
    let name = "POSTBELL_PLATFORM__API_KEY";
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    let output = command
        .args(["config", "check"])
        .env_clear()
        .env(name, OsStr::from_bytes(b"hunter2\xff"))
        .current_dir("/");
    let output = output.output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr.contains(name) && !stderr.contains("hunter2"),
        "{stderr}"
    );
}

#[tokio::test]
async fn status_says_that_setup_was_interrupted_or_a_relay_never_ran() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let inbox = format!("sqlite:{}", home.join("inbox.db").display());
    let relay = [
        ("POSTBELL_RELAY__AUDIENCE", "https://push.example.com"),
        ("POSTBELL_RELAY__INBOX", &inbox),
    ];
    let (code, stdout, _) = run(&["status"], &relay).await;
    assert_eq!(code, Some(1));
    let expected = "relay: mail does NOT work: it has not run yet. Run `postbell relay`";
    assert!(stdout.starts_with(expected), "{stdout}");

    let folder = home.join(".local/state/postbell");
    std::fs::create_dir_all(&folder).unwrap();
    let progress = r#"{"mailbox":"ann@example.com","destination":{"kind":"pull","credentials":"/google.json"}}"#;
    std::fs::write(folder.join("setup.json"), progress).unwrap();
    let variables = [("HOME", home.to_str().unwrap())];
    let (code, stdout, _) = run(&["status"], &variables).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        stdout,
        "ann@example.com: mail does NOT work: setup has begun, and is not finished. Run `postbell setup`; it continues where it stopped.\n"
    );
}

#[tokio::test]
async fn commands_are_about_every_mailbox_that_is_watched_here() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let dirs = GogDirs::from_variables(|name| (name == "HOME").then_some(home)).unwrap();
    let accounts = ["ann@example.com", "bob@example.com"];
    for account in accounts {
        let state = WatchState {
            account: account.to_owned(),
            ..WatchState::default()
        };
        let file = StateFile::open(&dirs.watch_state(account), account).unwrap();
        file.write(&state).unwrap();
    }
    let run = async |arguments: &[&str]| run(arguments, &[("HOME", home)]).await;
    let (_, status, told) = run(&["watch", "status", "--offline", "--json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap_or_else(|_| panic!("{told}"));
    let states = status["webhooks"].as_array().unwrap().iter();
    let shown: Vec<_> = states
        .map(|state| state["watch"]["account"].as_str().unwrap())
        .collect();
    assert_eq!(shown, accounts);

    let (code, _, told) = run(&["watch", "renew"]).await;
    assert_eq!(code, Some(78), "{told}");
    let named = "several are watched here: ann@example.com, bob@example.com";
    assert!(told.contains(named), "{told}");
}

#[tokio::test]
async fn the_example_is_the_file_in_the_repository() {
    let (code, stdout, _) = run(&["config", "example"], &[]).await;
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), include_str!("../../../../postbell.example.toml"))
    );
}

#[tokio::test]
async fn help_names_every_command() {
    let (code, stdout, _) = run(&["--help"], &[]).await;
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(stdout);
}

#[tokio::test]
async fn every_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(run(&["man", path], &[]).await.0, Some(0));
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let top = page("postbell.1");
    for command in [
        "postbell-watch-pull",
        "postbell-dead-letters-replay",
        "postbell-demo",
    ] {
        let page = page(&format!("{command}.1"));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    let (_, help, _) = run(&["--help"], &[]).await;
    let commands = help.split_once("Commands:\n").unwrap().1;
    let listed = commands.lines().take_while(|line| !line.is_empty());
    // A name stands two columns in; the rest of a text that wraps stands further in.
    for line in listed.filter(|line| !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        let name = name.replace('-', "\\-");
        assert!(
            name == "help" || top.contains(&format!("postbell\\-{name}(1)")),
            "{name}: {top}"
        );
    }
    assert!(!top.contains("postbell\\-man"), "it is for packagers");
}
