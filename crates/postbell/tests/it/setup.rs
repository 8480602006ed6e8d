//! `postbell setup` as users run it, with and without a terminal, against the sandbox.

use std::path::PathBuf;
use std::process::Stdio;

use postbell_sandbox::{Blocker, ClientKind, FaultPoint, Frequency, Kind, Lag, Sandbox};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

use crate::browser::{Browser, consent};
use crate::support::{free_port, google_variables, run};
use crate::terminal::Terminal;

pub(crate) const MAILBOX: &str = "ann@example.com";
pub(crate) const PROJECT: &str = "anns-project";

/// A sandbox with an empty project, and a user with a home folder, a browser and an OAuth client file.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) home: TempDir,
    browser: Browser,
}

impl World {
    pub(crate) async fn new() -> Self {
        let sandbox = Sandbox::start(free_port().await).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let number = sandbox.cloud().put_project(PROJECT);
        let client = sandbox
            .oauth()
            .add_client(PROJECT, &number, ClientKind::Installed);
        std::fs::write(home.path().join("client.json"), client.to_string()).unwrap();
        let browser = Browser::new(home.path());
        Self {
            sandbox,
            home,
            browser,
        }
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let url = self.sandbox.url();
        let mut variables = vec![
            ("HOME", self.home.path().display().to_string()),
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("BROWSER", self.browser.program.display().to_string()),
            (
                "POSTBELL_WATCH_HOOK_TOKEN",
                self.sandbox.bot().token().to_owned(),
            ),
        ];
        variables.extend(google_variables(url));
        variables
    }

    /// Arguments that answer every question.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let hook = self.sandbox.bot().hook_url();
        let all = [
            "--yes",
            "--pull",
            "--client",
            "client.json",
            "--mailbox",
            MAILBOX,
        ];
        let more = ["--hook-url", &hook];
        all.iter()
            .chain(&more)
            .map(|&text| text.to_owned())
            .collect()
    }

    pub(crate) fn terminal(&self, arguments: &[&str], more: &[(&'static str, &str)]) -> Terminal {
        let mut variables = self.variables();
        variables.push(("TERM", "xterm".to_owned()));
        variables.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let arguments = ["setup"].iter().chain(arguments);
        let arguments: Vec<_> = arguments.map(|&text| text.to_owned()).collect();
        Terminal::start(&arguments, &variables, self.home.path())
    }

    /// Runs without a terminal.
    pub(crate) async fn run(&self, arguments: &[String]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .arg("setup")
            .args(arguments)
            .env_clear()
            .envs(self.variables())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        run(&mut command).await
    }

    pub(crate) async fn set_up(&self) -> String {
        let (code, stdout, stderr) = self.run(&self.arguments()).await;
        assert_eq!(code, Some(0), "{stdout}\n{stderr}");
        stdout
    }

    fn with(&self, more: &[&str]) -> Vec<String> {
        let mut arguments = self.arguments();
        arguments.extend(more.iter().map(|&text| text.to_owned()));
        arguments
    }

    /// Consents at the page that was shown last, and returns the address of the redirect.
    pub(crate) async fn consent_at_last_page(&self, terminal: &Terminal) -> Url {
        let seen = terminal.seen().all;
        let path = seen.rsplit(self.sandbox.url()).next().unwrap();
        let path = path.split_whitespace().next().unwrap();
        let page = Url::parse(&format!("{}{path}", self.sandbox.url()));
        consent(&page.unwrap()).await.unwrap()
    }

    pub(crate) fn progress_file(&self) -> PathBuf {
        self.home.path().join(".local/state/postbell/setup.json")
    }

    fn inventory(&self) -> Vec<String> {
        let mut all = self.sandbox.pubsub().inventory(PROJECT);
        all.extend(self.sandbox.cloud().inventory(PROJECT));
        all.extend(
            self.sandbox
                .gmail()
                .watch(MAILBOX)
                .map(|_| "a watch".to_owned()),
        );
        all.extend((0..self.sandbox.oauth().grants(MAILBOX)).map(|_| "a grant".to_owned()));
        let files = std::fs::read_dir(self.home.path()).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let ours = files.filter(|name| name.starts_with("google"));
        all.extend(ours);
        all
    }

    /// The secrets that setup must not show.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let read = |name: &str| -> Value {
            let text = std::fs::read(self.home.path().join(name)).unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        let google = read("google.json");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        vec![
            text(&google["refresh_token"]),
            text(&google["client_secret"]),
            self.sandbox.bot().token().to_owned(),
            "ya29.".to_owned(),
            "code=".to_owned(),
            "1//".to_owned(),
        ]
    }
}

pub(crate) fn assert_fits(screen: &str) {
    for line in screen.lines().filter(|line| !line.contains("http")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// Whether the output sets a colour.
fn has_colours(written: &str) -> bool {
    written.split("\x1b[").skip(1).any(|sequence| {
        let end = sequence.find(|byte: char| byte.is_ascii_alphabetic());
        end.is_some_and(|end| sequence[end..].starts_with('m'))
    })
}

fn assert_cursor_is_back(written: &str) {
    let shown = written.rfind("\x1b[?25h");
    assert!(shown > written.rfind("\x1b[?25l"), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_in_a_terminal_gets_from_an_empty_project_to_a_notification() {
    let world = World::new().await;
    let hook = world.sandbox.bot().hook_url();
    let mut terminal = world.terminal(&["--hook-url", &hook], &[]);
    // The first option.
    terminal.answer("Where does the bot run?", "").await;
    terminal.answer("Address of the mailbox", MAILBOX).await;
    terminal.answer("The downloaded file", "no-such-file").await;
    terminal.wait_for("cannot read").await;
    terminal
        .answer("client_secret_….json)", "client.json")
        .await;
    terminal.wait_for("Changes:").await;
    let command_line = terminal.command_line();
    terminal.answer("Apply these changes?", "").await;
    terminal
        .answer("Run the watcher as a service of your user", "n")
        .await;
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, 0, "{}", seen.screen);
    assert!(
        seen.screen.contains("Setup is complete."),
        "{}",
        seen.screen
    );
    assert!(
        seen.screen.contains("✓ Test notification delivered"),
        "{}",
        seen.screen
    );
    assert!(
        seen.screen.contains("postbell watch pull \\"),
        "{}",
        seen.screen
    );
    assert_fits(&seen.screen);
    assert!(seen.all.contains("\x1b[32m✓"), "colours are the default");
    assert_cursor_is_back(&seen.all);
    let console = world.browser.opened().remove(0);
    assert!(
        console.starts_with("https://console.cloud.google.com/auth/clients"),
        "{console}"
    );
    for secret in world.secrets() {
        assert!(!seen.all.contains(&secret), "{secret} was on the screen");
        assert!(
            !command_line.contains(&secret),
            "{secret} is in the process list"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_color_and_no_browser_are_respected() {
    let world = World::new().await;
    let arguments = [
        "--no-browser",
        "--pull",
        "--client",
        "client.json",
        "--mailbox",
        MAILBOX,
    ];
    let mut terminal = world.terminal(&arguments, &[("NO_COLOR", "1")]);
    terminal.answer("URL of the bot's webhook", "").await;
    let prompt = "Address of the failed page";
    terminal.wait_for(prompt).await;
    // The address of another sign-in is refused, and asked for again.
    terminal.type_in("http://127.0.0.1:1/?state=other&code=other\r");
    terminal.wait_for_times(prompt, 2).await;
    let back = world.consent_at_last_page(&terminal).await;
    terminal.type_in(&format!("{back}\r"));
    terminal.answer("Apply these changes?", "").await;
    terminal.wait_for_times(prompt, 3).await;
    let back = world.consent_at_last_page(&terminal).await;
    terminal.type_in(&format!("{back}\r"));
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, 0, "{}", seen.screen);
    assert!(!has_colours(&seen.all));
    assert!(world.browser.opened().is_empty());
    for secret in world.secrets() {
        assert!(!seen.all.contains(&secret), "{secret} was on the screen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_continues_after_ctrl_c() {
    let world = World::new().await;
    // During a question.
    let mut terminal = world.terminal(&["--pull", "--client", "client.json"], &[]);
    terminal.wait_for("Address of the mailbox").await;
    terminal.type_in("\x03");
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, 1);
    assert!(
        seen.screen.contains("it continues where it stopped"),
        "{}",
        seen.screen
    );

    // During a wait.
    let kind = Kind::Blocked {
        blocker: Blocker::ServiceDisabled,
    };
    world
        .sandbox
        .faults()
        .add(FaultPoint::TopicGet, kind, Frequency::Always);
    let arguments = ["--pull", "--client", "client.json", "--mailbox", MAILBOX];
    let mut terminal = world.terminal(&arguments, &[]);
    terminal.answer("URL of the bot's webhook", "").await;
    terminal.answer("Apply these changes?", "").await;
    terminal.wait_for("retry in").await;
    terminal.type_in("\x03");
    let (code, seen) = terminal.ended().await;
    assert_eq!(code, 1);
    assert_cursor_is_back(&seen.all);
    world.sandbox.faults().clear();
    world.set_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_continues_after_sigkill_in_each_step() {
    let world = World::new().await;
    let titles = [
        "Sign-in",
        "Project",
        "APIs",
        "Topic",
        "Publisher role",
        "Subscription",
        "Mailbox",
        "Credentials",
        "Subscriber role",
        "Gmail watch",
        "Webhook",
    ];
    let nothing = world.inventory();
    for title in titles {
        let arguments = world.arguments();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut terminal = world.terminal(&arguments, &[("NO_COLOR", "1")]);
        terminal.wait_for(&format!("✓ {title}")).await;
        terminal.kill().await;
        world.set_up().await;
        let before = (
            world.inventory(),
            std::fs::read(world.progress_file()).unwrap(),
        );
        world.set_up().await;
        let after = (
            world.inventory(),
            std::fs::read(world.progress_file()).unwrap(),
        );
        assert_eq!(before, after, "after {title}");
        let (code, stdout, stderr) = world.run(&world.with(&["--undo"])).await;
        assert_eq!(code, Some(0), "{title}: {stdout}\n{stderr}");
        assert_eq!(world.inventory(), nothing, "after {title}");
        assert!(!world.progress_file().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_printed_and_changes_nothing() {
    let world = World::new().await;
    let before = world.inventory();
    let (code, stdout, _) = world.run(&world.with(&["--plan"])).await;
    assert_eq!(code, Some(0));
    for line in [
        "· Topic",
        "after: APIs",
        "· APIs              enable Gmail, Pub/Sub",
    ] {
        assert!(stdout.contains(line), "{stdout}");
    }
    assert_fits(&stdout);
    assert_eq!(world.inventory(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_is_one_object_per_line() {
    let world = World::new().await;
    world.sandbox.cloud().set_lag(Lag {
        policies: 1,
        ..Lag::default()
    });
    let here = ["--json", "--state", "setup.json"];
    let (code, stdout, stderr) = world.run(&world.with(&here)).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(world.home.path().join("setup.json").exists());
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<_> = lines.collect();
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["event"], &summary["done"]),
        (&"summary".into(), &true.into())
    );
    let waiting = lines
        .iter()
        .find(|line| line["event"] == "waiting")
        .unwrap();
    assert_eq!(waiting["step"], "watch");
    assert!(waiting["reason"].as_str().unwrap().contains("7 minutes"));
    for secret in world.secrets() {
        let is_page = |line: &&str| line.contains("\"event\":\"page\"");
        let others = stdout
            .lines()
            .filter(|line| !is_page(line))
            .collect::<String>();
        assert!(
            !others.contains(&secret) && !stderr.contains(&secret),
            "{secret}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocker_is_shown_with_googles_message_and_the_next_action() {
    let world = World::new().await;
    let kind = Kind::Blocked {
        blocker: Blocker::DomainRestrictedSharing,
    };
    world
        .sandbox
        .faults()
        .add(FaultPoint::TopicSetPolicy, kind, Frequency::Always);
    let (code, stdout, stderr) = world.run(&world.arguments()).await;
    assert_eq!(code, Some(1));
    for text in [
        "✗ Publisher role    an organization policy forbids members from outside",
        "Google: One or more users named in the policy",
        "Next: Ask an organization administrator",
        "· Gmail watch       skipped, needs: Publisher role",
    ] {
        assert!(stderr.contains(text), "{stderr}");
    }
    assert!(
        stdout.contains("steps are done. Resolve the steps marked"),
        "{stdout}"
    );
    assert_fits(&stderr);

    let (code, stdout, _) = world.run(&world.with(&["--json"])).await;
    assert_eq!(code, Some(1));
    let failed = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failed = failed
        .into_iter()
        .find(|line| line["state"] == "failed")
        .unwrap();
    assert_eq!(failed["step"], "publisher");
    assert!(failed["googleSaid"].is_string() && failed["next"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_user_missing_input_is_named() {
    let world = World::new().await;
    let run = async |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(|&text| text.to_owned()).collect();
        world.run(&arguments).await
    };
    let (code, _, stderr) = run(&["--yes"]).await;
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("expected --pull, --serve URL or --platform URL"),
        "{stderr}"
    );
    let (_, _, stderr) = run(&["--yes", "--pull"]).await;
    assert!(stderr.contains("expected --mailbox ADDRESS"), "{stderr}");
    let (_, _, stderr) = run(&["--yes", "--pull", "--mailbox", MAILBOX]).await;
    assert!(stderr.contains("expected --client FILE"), "{stderr}");
    for wrong in [
        &["--platform", "https://p.example.com"][..],
        &["--pull", "--serve", "https://x"],
        &["--plan", "--undo"],
        &["--mailbox", "ann"],
        &["--topic", "goog-topic"],
        &["--service-account", "X"],
        &["--serve", "https://bot.example.com/?token=hunter2"],
        &[
            "--credentials",
            "c",
            "--platform",
            "https://p",
            "--user",
            "u",
        ],
    ] {
        assert_eq!(run(wrong).await.0, Some(2), "{wrong:?}");
    }
}
