//! `postbell doctor` for a platform's user, along a path on which everything is real: Google alone is
//! a sandbox.

use std::process::Stdio;
use std::sync::Arc;

use postbell_core::SystemClock;
use postbell_google::{Api, AuthorizedUser, PubSubAdmin, ServiceAccounts, TokenSource};
use serde_json::Value;
use tokio::process::Command;
use tokio::task::yield_now;
use tokio::time::timeout;
use url::Url;

use crate::controller::{Controller, Machine, SANDBOX_GATEWAY};
use crate::platform::OurPlatform;
use crate::setup_platform::{Setup, serve_with};
use crate::support::{DEADLOCK, ServiceProcess};

pub(crate) const TOPIC: &str = "projects/sandbox-project/topics/postbell-gmail-b5fc85e5";
pub(crate) const SUBSCRIPTION: &str = "projects/sandbox-project/subscriptions/postbell-ada";

/// A path that mail has come along: the operator's machine, the user's home, and the bot's machine.
pub(crate) struct Path<'a> {
    pub(crate) ours: &'a OurPlatform,
    pub(crate) setup: Setup<'a>,
    /// Its home is gone with it.
    _machine: Machine,
    pub(crate) controller: Controller,
    pub(crate) service: ServiceProcess,
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// What doctor printed.
pub(crate) struct DoctorOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl DoctorOutput {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{}", self.stderr))
    }

    /// A hop's state and detail.
    pub(crate) fn hop(&self, name: &str) -> (String, String) {
        let all = self.json();
        let hops = all["hops"].as_array().unwrap();
        let hop = hops.iter().find(|hop| hop["hop"] == name).unwrap();
        let text = |name: &str| hop[name].as_str().unwrap_or_default().to_owned();
        (
            text("state"),
            format!("{} Next: {}", text("detail"), text("next")),
        )
    }

    /// That a hop has failed, with these words, and no hop that does not need it.
    pub(crate) fn assert_failed(&self, name: &str, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{}", self.stdout);
        let all = self.json();
        let hops = all["hops"].as_array().unwrap().iter();
        let failed: Vec<_> = hops
            .filter(|hop| hop["state"] == "failed")
            .map(|hop| hop["hop"].as_str().unwrap())
            .collect();
        assert_eq!(failed, [name], "{}", self.stdout);
        let (_, detail) = self.hop(name);
        for words in words {
            assert!(detail.contains(words), "{words:?} in {detail}");
        }
    }
}

/// Runs doctor with these variables alone.
pub(crate) async fn doctor(
    arguments: &[&str],
    variables: &[(&str, String)],
    home: &std::path::Path,
) -> DoctorOutput {
    let output = Command::new(env!("CARGO_BIN_EXE_postbell"))
        .arg("doctor")
        .args(arguments)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(home)
        .stdin(Stdio::null())
        .output();
    let output = timeout(DEADLOCK, output).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    DoctorOutput {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl<'a> Path<'a> {
    /// Sets everything up, and returns once the bot has taken what Gmail announced.
    pub(crate) async fn new(ours: &'a OurPlatform) -> Self {
        let world = &ours.world;
        let mut machine = Machine::new(SANDBOX_GATEWAY).await;
        let mut variables = ours.variables();
        let machine_url = machine.url("");
        variables.push(("POSTBELL_RELAY__MACHINE_URL", machine_url.clone()));
        let service = serve_with(&variables).await;
        let fly = world.sandbox.fly();
        fly.put("bot", "d8910", "stopped", &[]);
        ours.add_ada(&["--app", "bot", "--machine", "d8910"]).await;
        let setup = Setup::new(ours);
        // The notification is not delivered yet: the machine has no account before setup.
        let (_, output) = setup.run(&["--wait", "1s"]).await;

        let url = world.sandbox.url();
        for (name, value) in fly.env("bot", "d8910") {
            machine.set(&name, &value);
        }
        let token = world.sandbox.platform().gateway_token("ada");
        machine.set("OPENCLAW_GATEWAY_TOKEN", &token);
        machine.set("POSTBELL_GOOGLE__TOKEN_URL", &format!("{url}/token"));
        machine.set("POSTBELL_GOOGLE__GMAIL_URL", url);
        let controller = machine.start();
        machine.is("ready").await;
        fly.put("bot", "d8910", "started", &[]);
        ours.check_in().await;
        let came = async {
            while !ours
                .deliveries()
                .await
                .iter()
                .any(|one| one["outcome"] == "delivered")
            {
                yield_now().await;
            }
        };
        assert!(timeout(DEADLOCK, came).await.is_ok(), "{output}");
        variables.extend(setup.variables());
        Self {
            ours,
            setup,
            _machine: machine,
            controller,
            service,
            variables,
        }
    }

    /// Runs doctor, signed in through the browser.
    pub(crate) async fn doctor_signed_in(&self) -> DoctorOutput {
        self.doctor(&["ada", "--json", "--sign-in"]).await
    }

    pub(crate) async fn doctor(&self, arguments: &[&str]) -> DoctorOutput {
        doctor(arguments, &self.variables, self.setup.home.path()).await
    }

    /// Runs doctor with other values of some variables.
    pub(crate) async fn doctor_with(
        &self,
        arguments: &[&str],
        changed: &[(&'static str, String)],
    ) -> DoctorOutput {
        let variables: Vec<_> = self.variables.iter().chain(changed).cloned().collect();
        doctor(arguments, &variables, self.setup.home.path()).await
    }

    /// Access tokens of the project's administrator.
    fn tokens(&self) -> Arc<TokenSource> {
        let world = &self.ours.world;
        let user = serde_json::to_value(world.sandbox.oauth().grant("admin@example.com"));
        let user: AuthorizedUser = serde_json::from_value(user.unwrap()).unwrap();
        let url = world.config.google.token_url.clone();
        let clock = Arc::new(SystemClock::new());
        Arc::new(TokenSource::new(reqwest::Client::new(), url, user, clock))
    }

    fn google(&self) -> Url {
        Url::parse(self.ours.world.sandbox.url()).unwrap()
    }

    pub(crate) fn pubsub(&self) -> PubSubAdmin {
        PubSubAdmin::new(reqwest::Client::new(), self.google(), self.tokens())
    }

    pub(crate) fn accounts(&self) -> ServiceAccounts {
        let api = Api::new(reqwest::Client::new(), self.google(), self.tokens());
        ServiceAccounts::new(api)
    }

    /// Ends everything that still runs.
    pub(crate) async fn end(self) {
        self.controller.kill().await;
        drop(self.service);
        self.ours.world.sandbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_setup_every_hop_is_well() {
    let ours = OurPlatform::new().await;
    let path = Path::new(&ours).await;
    let output = path.doctor_signed_in().await;
    let found = output.json();
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    for hop in found["hops"].as_array().unwrap() {
        assert_eq!(hop["state"], "ok", "{hop}");
    }
    path.end().await;
}
