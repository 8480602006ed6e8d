//! Helpers for tests with a real platform, and relay and platform as two processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use postbell::demo::DemoStack;
use postbell_core::{Clock, SystemClock};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{DEADLOCK, Received, ServiceProcess, free_port, hurried_world, send};

const API_KEY: &str = "the key of the tests";
const KEY: &str = include_str!("../../../postbell-protocol/fixtures/key.pem");
const ENVELOPE: &str = include_str!("../../../postbell-protocol/fixtures/envelope.json");
const PUSH_ACCOUNT: &str = "gmail-push@sandbox-project.iam.gserviceaccount.com";

/// A world whose user `ada` is on our platform instead of the sandbox's.
pub(crate) struct OurPlatform {
    pub(crate) world: DemoStack,
    address: SocketAddr,
    client: Client,
}

impl OurPlatform {
    pub(crate) async fn new() -> Self {
        let [relay, platform] = [free_port().await, free_port().await];
        let [relay, address] = [relay, platform].map(|port| port.local_addr().unwrap());
        Self {
            world: hurried_world(relay).await,
            address,
            client: Client::new(),
        }
    }

    /// The configuration of relay, platform and commands. A failed delivery is retried after an hour.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let sandbox = &self.world.sandbox;
        let relay = &self.world.config.relay;
        let jwks_url = self.world.config.google.jwks_url.to_string();
        let pairs = [
            ("POSTBELL_RELAY__LISTEN", relay.listen.to_string()),
            (
                "POSTBELL_RELAY__AUDIENCE",
                relay.audience().unwrap().to_owned(),
            ),
            ("POSTBELL_RELAY__INBOX", relay.inbox.expose().to_owned()),
            ("POSTBELL_RELAY__MACHINE_URL", relay.machine_url.clone()),
            ("POSTBELL_RELAY__RETRY__FIRST", "1h".to_owned()),
            ("POSTBELL_GOOGLE__JWKS_URL", jwks_url),
            ("POSTBELL_PLATFORM__LISTEN", self.address.to_string()),
            ("POSTBELL_PLATFORM__STORE", relay.inbox.expose().to_owned()),
            ("POSTBELL_PLATFORM__API_KEY", API_KEY.to_owned()),
            (
                "POSTBELL_PLATFORM__GATEWAY_SECRET",
                sandbox.platform().gateway_secret().to_owned(),
            ),
            ("POSTBELL_PLATFORM__PRIVATE_KEY", KEY.to_owned()),
            ("POSTBELL_PLATFORM__FLY__URL", sandbox.url().to_owned()),
            (
                "POSTBELL_PLATFORM__FLY__TOKEN",
                sandbox.fly().token().to_owned(),
            ),
        ];
        pairs.to_vec()
    }

    /// The platform's address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The relay's.
    pub(crate) fn relay_url(&self) -> String {
        self.world.config.relay.audience().unwrap().to_owned()
    }

    /// Relay and platform in one process.
    pub(crate) async fn serve(&self) -> ServiceProcess {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command.arg("serve");
        ServiceProcess::run(command, &self.variables(), "The relay is listening").await
    }

    /// Runs a command and returns its standard output.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command.args(arguments).env_clear().envs(self.variables());
        let output = command.output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Adds `ada`, whose machine is the world's controller.
    pub(crate) async fn add_ada(&self, more: &[&str]) {
        let url = &*self.world.config.relay.machine_url;
        let mut arguments = vec!["users", "add", "ada"];
        arguments.extend(more);
        if !more.contains(&"--app") {
            arguments.extend(["--url", url]);
        }
        self.command(&arguments).await;
    }

    /// The URL of a page.
    pub(crate) fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Signs a user in, without a browser.
    pub(crate) async fn sign_in(&self, user: &str) -> Session {
        let link = self.command(&["users", "link", user]).await;
        let session = Session {
            client: Client::builder().redirect(Policy::none()).build().unwrap(),
            base: self.url(),
            cookies: Mutex::default(),
        };
        session.send(session.client.post(link.trim())).await;
        session
    }

    /// Ada's page, without a browser.
    pub(crate) async fn my_bot(&self) -> String {
        self.sign_in("ada").await.page("/bot").await
    }

    /// Calls the platform with the internal key.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("http://{}{path}", self.address);
        let request = self.client.request(method, url).json(&body);
        let request = request.header("x-internal-api-key", API_KEY);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// Reports that ada's machine is up, with this expiry of its watch, and returns the status.
    pub(crate) async fn report_running(&self, watch_expires_at: i64) -> u16 {
        let body = json!({ "userId": "ada", "watchExpiresAt": watch_expires_at });
        let request = self.client.post(self.url() + "/api/platform/running");
        let request = request.header("x-internal-api-key", API_KEY).json(&body);
        request.send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn connect(&self) -> Value {
        let envelope: Value = serde_json::from_str(ENVELOPE).unwrap();
        let credentials = json!({
            "gogConfigTarball": envelope,
            "email": self.world.email(),
            "gmailPushOidcEmail": PUSH_ACCOUNT,
        });
        let body = json!({ "userId": "ada", "googleCredentials": credentials });
        self.ask(Method::POST, "/api/platform/google-credentials", body)
            .await
    }

    /// Disconnects as the setup tool does, with a user token.
    pub(crate) async fn disconnect_with_token(&self) {
        let token = self.command(&["users", "token", "ada"]).await;
        let url = format!("http://{}/api/admin/google-credentials", self.address);
        let request = self.client.delete(url).bearer_auth(token.trim());
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// Checks in as the machine does.
    pub(crate) async fn check_in(&self) {
        self.check_in_with(json!({ "sandboxId": "ada" })).await;
    }

    /// Checks in with a body.
    pub(crate) async fn check_in_with(&self, body: Value) {
        let url = format!("http://{}/api/controller/checkin", self.address);
        let token = self.world.sandbox.platform().gateway_token("ada");
        let request = self.client.post(url).bearer_auth(token).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 204);
    }

    /// The deliveries to ada's machine, latest first.
    pub(crate) async fn deliveries(&self) -> Vec<Value> {
        let shown = self.command(&["deliveries", "ada", "--json"]).await;
        serde_json::from_str(&shown).unwrap()
    }

    /// Waits until a delivery to ada's machine was attempted.
    pub(crate) async fn delivery_tried(&self) {
        let tried = async { while self.deliveries().await.is_empty() {} };
        timeout(DEADLOCK, tried).await.unwrap();
    }

    /// Waits until the platform has ada's delivered history id.
    pub(crate) async fn delivery_reported(&self) {
        let reported = async { while self.ada().await["gmailLastHistoryId"] == Value::Null {} };
        timeout(DEADLOCK, reported).await.unwrap();
    }

    /// The status of ada.
    pub(crate) async fn ada(&self) -> Value {
        let shown = self.command(&["users", "show", "ada", "--json"]).await;
        serde_json::from_str(&shown).unwrap()
    }

    /// Waits until every push was acknowledged.
    pub(crate) async fn drained(&self) {
        let subscription = self.world.subscription();
        self.world.sandbox.pubsub().drained(&subscription).await;
    }
}

/// The session of somebody who has signed in.
pub(crate) struct Session {
    client: Client,
    base: String,
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Session {
    /// Sends a request as from one of our pages, and keeps the cookies of the answer.
    async fn send(&self, request: RequestBuilder) -> Response {
        let cookies = self.cookies.lock().clone();
        let cookies: Vec<_> = cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let request = request.header(COOKIE, cookies.join("; "));
        let request = request.header("sec-fetch-site", "same-origin");
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let kept = (name.to_owned(), value.to_owned());
            self.cookies.lock().extend([kept]);
        }
        answer
    }

    /// The text of a page.
    pub(crate) async fn page(&self, path: &str) -> String {
        let page = self.send(self.client.get(format!("{}{path}", self.base)));
        page.await.text().await.unwrap()
    }

    /// Sends a form of *My bot*, and returns where the answer leads.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let page = self.page("/bot").await;
        let (_, token) = page.split_once("name=\"form_token\" value=\"").unwrap();
        let token = token.split('"').next().unwrap();
        let fields = [fields, &[("form_token", token)]].concat();
        let form = self.client.post(format!("{}{path}", self.base));
        leads_to(&self.send(form.form(&fields)).await)
    }

    /// Connects an account with the operator's client: one that `aim` names again, or another one.
    pub(crate) async fn connect(&self, aim: &[(&str, &str)], account: &str) {
        let consent = self.submit("/bot/google", aim).await;
        let decision = [("allow", "yes"), ("account", account)];
        let decided = self.client.post(consent).form(&decision).send();
        let back = leads_to(&decided.await.unwrap());
        let connected = leads_to(&self.send(self.client.get(back)).await);
        assert_eq!(connected, "/bot#connection");
    }
}

fn leads_to(answer: &Response) -> String {
    let location = answer.headers().get(LOCATION);
    let location = location.unwrap_or_else(|| panic!("{answer:?}"));
    location.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_remote_relay_starts_a_sleeping_machine_and_delivers_at_check_in() {
    let ours = OurPlatform::new().await;
    let world = &ours.world;
    let mut variables = ours.variables();
    let relay_url = format!("[\"http://{}\"]", world.config.relay.listen);
    variables.push(("POSTBELL_PLATFORM__RELAY_URLS", relay_url));
    variables.push((
        "POSTBELL_DIRECTORY__URL",
        format!("http://{}", ours.address),
    ));
    variables.push(("POSTBELL_DIRECTORY__API_KEY", API_KEY.to_owned()));
    let start = async |name: &str, works| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
        command.arg(name);
        ServiceProcess::run(command, &variables, works).await
    };
    let platform = start("platform", "The platform is listening").await;
    let relay = start("relay", "The relay is listening").await;
    let fly = world.sandbox.fly();
    fly.put("bot", "d8910", "stopped", &[]);
    let on_fly = ["--app", "bot", "--machine", "d8910", "--wake-on-mail"];
    ours.add_ada(&on_fly).await;
    ours.connect().await;
    assert_eq!(
        fly.env("bot", "d8910")["KILOCLAW_GOG_CONFIG_TARBALL"],
        "H4sIAAAA"
    );
    let mut hooks = world.sandbox.bot().subscribe();

    world.begin().await.unwrap();
    let sent = [send(world, 1)];
    let started = fly.called(|call| call.action == "start");
    timeout(DEADLOCK, started).await.unwrap();
    ours.delivery_tried().await;
    // A later end than Gmail gives is not believed.
    let ends = SystemClock::new().now() + Duration::from_secs(7 * 24 * 60 * 60);
    let body = json!({ "sandboxId": "ada", "watchExpiresAt": ends });
    ours.check_in_with(body).await;
    Received::default().wait_for(&sent, &mut hooks).await;
    let starts = fly.calls();
    let starts = starts.iter().filter(|call| call.action == "start");
    assert_eq!(starts.count(), 1);
    let watch = &ours.ada().await["watchExpiresAt"];
    assert_eq!(
        watch,
        &json!(ends),
        "the relay was told, too, and has said so"
    );
    assert_eq!(relay.terminate().await, Some(0));
    assert_eq!(platform.terminate().await, Some(0));
    ours.world.stop().await.unwrap();
}
