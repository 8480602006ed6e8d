//! `postbell setup` for a user of a platform.

use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_protocol::gog_keyring::GogKeyring;
use postbell_sandbox::{FaultPoint, Frequency, Kind};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::browser::Browser;
use crate::platform::OurPlatform;
use crate::support::{DEADLOCK, Received, ServiceProcess, google_variables, send};

const BOB: &str = "bob@example.com";
const PUSH_ACCOUNT: &str = "postbell-push@sandbox-project.iam.gserviceaccount.com";

/// A user who sets up a mailbox for a platform.
pub(crate) struct Setup<'a> {
    ours: &'a OurPlatform,
    platform: String,
    user: &'static str,
    pub(crate) home: tempfile::TempDir,
    pub(crate) browser: Browser,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(ours: &'a OurPlatform) -> Self {
        let home = tempfile::tempdir().unwrap();
        let client = ours.world.sandbox.oauth().client_file();
        std::fs::write(home.path().join("client.json"), client.to_string()).unwrap();
        let browser = Browser::new(home.path());
        Self {
            ours,
            platform: ours.url(),
            user: "ada",
            home,
            browser,
        }
    }

    /// The variables for the home folder and for Google.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let url = self.ours.world.sandbox.url();
        let mut variables = vec![
            ("HOME", self.home.path().display().to_string()),
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("BROWSER", self.browser.program.display().to_string()),
        ];
        variables.extend(google_variables(url));
        variables
    }

    pub(crate) async fn run(&self, more: &[&str]) -> (Option<i32>, String) {
        self.run_for(self.ours.world.email(), more).await
    }

    pub(crate) async fn run_for(&self, mailbox: &str, more: &[&str]) -> (Option<i32>, String) {
        let token = self.ours.command(&["users", "token", "ada"]).await;
        let (platform, relay) = (&self.platform, self.ours.relay_url());
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command
            .args(["setup", "--yes", "--json", "--client", "client.json"])
            .args(["--platform", platform, "--user", self.user])
            .args(["--relay", &relay])
            .args(["--mailbox", mailbox])
            .args(more)
            .env_clear()
            .envs(self.variables())
            .env("POSTBELL_USER_TOKEN", token.trim());
        command.current_dir(self.home.path()).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), format!("{printed}{shown}"))
    }
}

async fn serve(ours: &OurPlatform) -> ServiceProcess {
    serve_with(&ours.variables()).await
}

/// Starts relay and platform in one process, with these variables.
pub(crate) async fn serve_with(variables: &[(&str, String)]) -> ServiceProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    command.arg("serve");
    ServiceProcess::run(command, variables, "The relay is listening").await
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_delivers_mail_to_the_bot_and_undo_removes_everything() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = serve(&ours).await;
    ours.add_ada(&[]).await;
    let setup = Setup::new(&ours);
    let mut hooks = world.sandbox.bot().subscribe();
    let (code, shown) = setup.run(&[]).await;
    assert_eq!(code, Some(0), "{shown}");
    let delivered = r#""detail":"delivered","event":"step","state":"done","step":"arrival""#;
    assert!(shown.contains(delivered), "{shown}");

    let ada = ours.ada().await;
    assert_eq!(ada["googleAccountEmail"], world.email());
    assert_eq!(ada["gmailPushOidcEmail"], PUSH_ACCOUNT);
    Received::default()
        .wait_for(&[send(world, 1)], &mut hooks)
        .await;

    // A second run changes nothing, and does not ask for the mailbox's consent.
    let consents = setup.browser.opened().len();
    let (code, shown) = setup.run(&[]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(
        setup.browser.opened().len(),
        consents + 1,
        "only for the sign-in"
    );

    let (code, shown) = setup.run(&["--undo"]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(ours.ada().await["googleConnected"], Value::Bool(false));
    assert!(
        world
            .sandbox
            .pubsub()
            .inventory("sandbox-project")
            .is_empty()
    );
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_of_an_interrupted_setup_keeps_the_account_that_is_connected() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = serve(&ours).await;
    ours.add_ada(&[]).await;
    world.sandbox.gmail().add_mailbox(BOB);
    let setup = Setup::new(&ours);
    let mut hooks = world.sandbox.bot().subscribe();
    let (code, shown) = setup.run(&[]).await;
    assert_eq!(code, Some(0), "{shown}");
    let before = world.sandbox.pubsub().inventory("sandbox-project");

    // Bob's account is to take the place of the first one, but nothing is sent to the platform.
    let faults = world.sandbox.faults();
    let refusal = Kind::refuse(403);
    faults.add(FaultPoint::TopicCreate, refusal, Frequency::Always);
    let (code, shown) = setup.run_for(BOB, &["--wait", "1s"]).await;
    assert_eq!(code, Some(1), "{shown}");
    faults.clear();
    let (code, shown) = setup.run_for(BOB, &["--undo"]).await;
    assert_eq!(code, Some(0), "{shown}");

    assert_eq!(ours.ada().await["googleAccountEmail"], world.email());
    let after = world.sandbox.pubsub().inventory("sandbox-project");
    assert_eq!(after, before, "{shown}");
    Received::default()
        .wait_for(&[send(world, 1)], &mut hooks)
        .await;
    let (code, shown) = setup.run(&["--undo"]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(ours.ada().await["googleConnected"], Value::Bool(false));
    let left = world.sandbox.pubsub().inventory("sandbox-project");
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_of_the_first_account_disconnects_it_after_a_further_one_was_set_up() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = serve(&ours).await;
    ours.add_ada(&[]).await;
    world.sandbox.gmail().add_mailbox(BOB);
    let setup = Setup::new(&ours);
    let (code, shown) = setup.run(&[]).await;
    assert_eq!(code, Some(0), "{shown}");
    // No machine accepts the notification; the other steps are done.
    let further = ["--further-account", "--wait", "1s"];
    let (_, shown) = setup.run_for(BOB, &further).await;
    let of_bob = |ada: &Value| ada["furtherAccounts"][0]["googleAccountEmail"].clone();
    assert_eq!(of_bob(&ours.ada().await), BOB, "{shown}");

    let (code, shown) = setup.run(&["--undo"]).await;
    assert_eq!(code, Some(0), "{shown}");
    let ada = ours.ada().await;
    assert_eq!(ada["googleConnected"], Value::Bool(false), "{shown}");
    assert_eq!(of_bob(&ada), BOB);
    let kept = world.sandbox.pubsub().inventory("sandbox-project");
    assert_eq!(kept.len(), 2, "topic and subscription of bob: {kept:?}");
    let (code, shown) = setup.run_for(BOB, &["--undo"]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(ours.ada().await.get("furtherAccounts"), None, "{shown}");
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_users_platform_is_refused_before_anything_changes() {
    let ours = OurPlatform::new().await;
    let service = serve(&ours).await;
    ours.add_ada(&[]).await;
    let of_another = Setup {
        user: "adam",
        ..Setup::new(&ours)
    };
    let relay = Setup {
        platform: ours.relay_url(),
        ..Setup::new(&ours)
    };
    for (setup, expected) in [
        (of_another, "the user token is for ada, and not for adam"),
        (
            relay,
            "the server at the platform's address is not a platform",
        ),
    ] {
        let (code, shown) = setup.run(&[]).await;
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains(expected), "{shown}");
        assert!(setup.browser.opened().is_empty(), "{shown}");
    }
    assert_eq!(ours.ada().await["googleConnected"], Value::Bool(false));
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_encrypted_credentials_open_on_the_machine() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let service = serve(&ours).await;
    let fly = world.sandbox.fly();
    fly.put("bot", "d8910", "stopped", &[]);
    ours.add_ada(&["--app", "bot", "--machine", "d8910"]).await;
    let setup = Setup::new(&ours);
    // No machine accepts the notification; the other steps are done.
    let (code, shown) = setup.run(&["--wait", "1s"]).await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("postbell doctor"), "{shown}");

    let env = fly.env("bot", "d8910");
    let tarball = SecretString::from(env["KILOCLAW_GOG_CONFIG_TARBALL"].clone());
    assert!(BASE64_STANDARD.decode(tarball.expose_secret()).is_ok());
    let folder = tempfile::tempdir().unwrap();
    postbell_protocol::tarball::unpack(&tarball, folder.path(), "gogcli").unwrap();
    let gogcli = folder.path().join("gogcli");
    let keyring = GogKeyring {
        keyring: gogcli.join("keyring"),
        clients: vec![gogcli.clone()],
    };
    let user = keyring.credentials(world.email(), "default", "kiloclaw");
    let user = user.unwrap();
    assert!(user.refresh_token.expose_secret().starts_with("1//"));
    let state = std::fs::read(gogcli.join("state/gmail-watch/ada_example_com.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["account"], world.email());
    assert!(state["historyId"].is_string() && state["expirationMs"].is_i64());
    timeout(DEADLOCK, service.terminate()).await.unwrap();
    ours.world.stop().await.unwrap();
}
