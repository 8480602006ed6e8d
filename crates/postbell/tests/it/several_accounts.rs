//! Several Google accounts of one user on the whole way: operator's client, platform, relay, controller, watcher and one webhook.

use std::fs;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::controller::{Machine, SANDBOX_GATEWAY};
use crate::doctor::doctor;
use crate::platform::{OurPlatform, Session};
use crate::settings_page::connect::set_up;
use crate::setup_platform::{Setup, serve_with};
use crate::support::{DEADLOCK, google_variables};

const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";

/// Between two looks at what other processes have done: they need the processor.
const PAUSE: Duration = Duration::from_millis(20);

/// A user of a platform, with a machine of her own.
struct Ann<'a> {
    ours: &'a OurPlatform,
    user: &'static str,
    machine: Machine,
    session: Session,
}

impl<'a> Ann<'a> {
    async fn new(ours: &'a OurPlatform, user: &'static str) -> Self {
        let sandbox = &ours.world.sandbox;
        let mut machine = Machine::new(SANDBOX_GATEWAY).await;
        machine.set_token(&sandbox.platform().gateway_token(user));
        machine.set("KILOCLAW_SANDBOX_ID", user);
        machine.set("POSTBELL_CONTROLLER__PLATFORM_URL", &ours.url());
        for (name, value) in google_variables(sandbox.url()) {
            machine.set(name, &value);
        }
        ours.command(&["users", "add", user, "--url", &machine.url("")])
            .await;
        let session = ours.sign_in(user).await;
        Self {
            ours,
            user,
            machine,
            session,
        }
    }

    async fn status(&self) -> Value {
        let path = format!("/api/platform/status?userId={}", self.user);
        self.ours.ask(Method::GET, &path, Value::Null).await
    }

    /// The id of the record of the further account.
    async fn bob(&self) -> String {
        let status = self.status().await;
        let id = status["furtherAccounts"][0]["userId"].as_str();
        id.unwrap().to_owned()
    }

    fn deliver(&self, email: &str, subject: &str) {
        let mail = format!("From: c@example.org\nSubject: {subject}\n\nhello");
        let gmail = self.ours.world.sandbox.gmail();
        gmail.deliver(email, mail.as_bytes()).unwrap();
    }

    async fn has(&self, email: &str, subject: &str) -> bool {
        let mail = (email.to_owned(), subject.to_owned());
        self.machine.received().await.contains(&mail)
    }

    async fn gets(&self, email: &str, subject: &str) {
        let arrives = async {
            while !self.has(email, subject).await {
                sleep(PAUSE).await;
            }
        };
        let arrived = timeout(DEADLOCK, arrives).await;
        arrived.unwrap_or_else(|_| panic!("{subject} is missing"));
    }

    async fn arrives(&self, email: &str, subject: &str) {
        self.deliver(email, subject);
        self.gets(email, subject).await;
    }

    async fn switch(&self, account: &str, to: &str) {
        let form = [("account", account), ("to", to)];
        self.session.submit("/bot/notifications", &form).await;
    }

    async fn watcher(&self) -> Value {
        let version = self.machine.get("/_kilo/version").await.unwrap();
        version["watcher"]["pid"].clone()
    }

    fn folders_of_further_accounts(&self) -> usize {
        let folder = self.machine.home.path().join(".config/.postbell-accounts");
        fs::read_dir(folder).unwrap().count()
    }
}

/// Google revokes the grant of the further account, and its owner consents again.
async fn lose_a_grant(ann: &Ann<'_>, bob: &str) {
    ann.ours.world.sandbox.oauth().revoke(BOB);
    ann.deliver(BOB, "without a grant");
    ann.arrives(ANN, "beside a dead grant").await;
    let shown = async {
        loop {
            let status = ann.status().await;
            let account = &status["furtherAccounts"][0];
            if account["problem"]["code"] == "grant_revoked" {
                return status;
            }
            sleep(PAUSE).await;
        }
    };
    let status = timeout(DEADLOCK, shown).await.unwrap();
    assert_eq!(status["problem"], Value::Null);
    assert_eq!(status["status"], "running");
    let page = ann.session.page("/bot").await;
    assert!(page.contains("grant_revoked"), "{page}");
    assert!(!ann.has(BOB, "without a grant").await);
    ann.session.connect(&[("account", bob)], BOB).await;
    ann.gets(BOB, "without a grant").await;
    // A check-in from before the consent may come after the mail.
    let over = async {
        while ann.status().await["furtherAccounts"][0]["problem"] != Value::Null {
            sleep(PAUSE).await;
        }
    };
    timeout(DEADLOCK, over).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_of_a_user_comes_goes_and_fails_without_the_other() {
    let ours = OurPlatform::new().await;
    let operator = tempfile::tempdir().unwrap();
    let mut variables = ours.variables();
    variables.extend(google_variables(ours.world.sandbox.url()));
    variables.extend(set_up(&ours, operator.path()).await);
    variables.push(("POSTBELL_RELAY__RETRY__FIRST", "20ms".to_owned()));
    let service = serve_with(&variables).await;
    let ann = Ann::new(&ours, "ann").await;
    let controller = ann.machine.start();
    ann.machine.is("ready").await;

    ann.session.connect(&[], ANN).await;
    ann.arrives(ANN, "the first account").await;
    let watcher = ann.watcher().await;
    ann.session.connect(&[("another", "1")], BOB).await;
    ann.arrives(BOB, "the second account").await;
    ann.arrives(ANN, "beside a second account").await;

    let bob = ann.bob().await;
    ann.switch(&bob, "off").await;
    ann.deliver(BOB, "while it was off");
    ann.arrives(ANN, "beside one that is off").await;
    assert!(!ann.has(BOB, "while it was off").await);
    ann.switch(&bob, "on").await;
    ann.gets(BOB, "while it was off").await;

    lose_a_grant(&ann, &bob).await;
    assert_eq!(ann.watcher().await, watcher, "the watcher has run on");

    assert_eq!(ann.folders_of_further_accounts(), 1);
    let form = [("account", &*bob)];
    ann.session.submit("/bot/disconnect", &form).await;
    assert_eq!(ann.folders_of_further_accounts(), 0);
    assert_eq!(ours.world.sandbox.oauth().grants(BOB), 0);
    assert_eq!(ann.status().await.get("furtherAccounts"), None);
    ann.arrives(ANN, "without the second account").await;
    assert_eq!(controller.terminate().await, Some(0));
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}

/// What `postbell doctor` reports of each account of ada: its address and the hops that have failed.
async fn failed_hops(setup: &Setup<'_>, variables: &[(&str, String)]) -> Vec<(String, String)> {
    let variables = [variables, &setup.variables()].concat();
    let arguments = ["ada", "--json", "--sign-in"];
    let output = doctor(&arguments, &variables, setup.home.path()).await;
    let found: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.stderr));
    let paths = found["paths"]
        .as_array()
        .unwrap_or_else(|| panic!("{found}"));
    let failed = paths.iter().map(|path| {
        let hops = path["hops"].as_array().unwrap().iter();
        let failed = hops.filter(|hop| hop["state"] == "failed");
        let failed: Vec<_> = failed
            .map(|hop| format!("{}: {}", hop["hop"], hop["detail"]))
            .collect();
        (
            path["account"].as_str().unwrap().to_owned(),
            failed.join("; "),
        )
    });
    failed.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_account_with_a_project_of_ones_own_is_set_up_checked_and_undone() {
    let ours = OurPlatform::new().await;
    let mut variables = ours.variables();
    variables.extend(google_variables(ours.world.sandbox.url()));
    variables.push(("POSTBELL_RELAY__RETRY__FIRST", "20ms".to_owned()));
    let service = serve_with(&variables).await;
    let ada = Ann::new(&ours, "ada").await;
    let controller = ada.machine.start();
    ada.machine.is("ready").await;

    let (setup, further) = (Setup::new(&ours), Setup::new(&ours));
    let (code, shown) = setup.run(&[]).await;
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = further.run_for(BOB, &["--further-account"]).await;
    assert_eq!(code, Some(0), "{shown}");
    let delivered = r#""detail":"delivered","event":"step","state":"done","step":"arrival""#;
    assert!(shown.contains(delivered), "{shown}");
    let first = ours.world.email();
    assert_eq!(ada.status().await["googleAccountEmail"], first);
    ada.arrives(BOB, "the further account").await;
    ada.arrives(first, "the first account").await;

    let well = [
        (first.to_owned(), String::new()),
        (BOB.to_owned(), String::new()),
    ];
    for setup in [&setup, &further] {
        assert_eq!(failed_hops(setup, &variables).await, well);
    }
    ours.world.sandbox.oauth().revoke(BOB);
    let [(_, of_first), (_, of_bob)] = failed_hops(&setup, &variables).await.try_into().unwrap();
    assert_eq!(of_first, "");
    assert!(of_bob.contains("\"grant\": "), "{of_bob}");

    let (code, shown) = further.run_for(BOB, &["--further-account", "--undo"]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(ada.status().await.get("furtherAccounts"), None);
    ada.arrives(first, "without the further account").await;
    assert_eq!(controller.terminate().await, Some(0));
    assert_eq!(service.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}
