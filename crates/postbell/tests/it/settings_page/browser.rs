//! A real browser: Chromium, by way of ChromeDriver (<https://www.w3.org/TR/webdriver2/>).
//!
//! A few calls of our own: the usual crates have a licence that this project does not allow, or change
//! the JSON serialization of the whole workspace.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Method};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::DEADLOCK;

/// Chromium's flags: as root, headless, without background requests.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// The key of an element reference (WebDriver, section 12.3).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser session.
pub(super) struct Browser {
    client: Client,
    session: String,
    driver: Child,
    _log: JoinSet<()>,
    _profile: TempDir,
}

impl Drop for Browser {
    /// After a failed test the browser is still running, in the driver's process group.
    fn drop(&mut self) {
        if let Some(group) = self
            .driver
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The width and the color scheme of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) width: u32,
    pub(super) dark: bool,
}

impl Browser {
    /// Starts Chromium, which `scripts/test tools` installs.
    pub(super) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is missing: scripts/test tools installs it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let mut port = None;
        while port.is_none() {
            let line = lines.next_line().await.unwrap().expect("no port");
            let parts = line.split_once("successfully on port ");
            port = parts.map(|(_, port)| port.trim_end_matches('.').to_owned());
        }
        // Without a reader, the full pipe would block the driver.
        let mut log = JoinSet::new();
        log.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut flags: Vec<_> = FLAGS.map(str::to_owned).to_vec();
        flags.push(folder);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags },
        } } });
        let base = format!("http://127.0.0.1:{}/session", port.unwrap());
        let mut browser = Self {
            client: Client::new(),
            session: base,
            driver,
            _log: log,
            _profile: profile,
        };
        let made = browser.call(Method::POST, "", wanted).await.unwrap();
        let id = made["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    /// Closes the browser.
    pub(super) async fn close(mut self) {
        self.call(Method::DELETE, "", Value::Null).await.unwrap();
        self.driver.start_kill().unwrap();
        self.driver.wait().await.unwrap();
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.session));
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = timeout(DEADLOCK, request.send()).await.unwrap().unwrap();
        let is_good = answer.status().is_success();
        let mut answer: Value = answer.json().await.unwrap();
        let value = answer["value"].take();
        if is_good {
            Ok(value)
        } else {
            Err(value["message"].as_str().unwrap_or_default().to_owned())
        }
    }

    pub(super) async fn open(&self, url: &str) {
        let opened = self.call(Method::POST, "/url", json!({ "url": url }));
        opened.await.unwrap();
    }

    /// The path of the current page.
    pub(super) async fn path(&self) -> String {
        let path = self.run("return location.pathname", json!([])).await;
        path.as_str().unwrap().to_owned()
    }

    /// Runs a script in the page and returns its result.
    pub(super) async fn run(&self, script: &str, arguments: Value) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.call(Method::POST, "/execute/sync", body)
            .await
            .unwrap()
    }

    /// Waits until a condition in the page is true.
    pub(super) async fn until(&self, condition: &str) {
        let script = format!("return Boolean({condition})");
        let body = json!({ "script": script, "args": [] });
        let met = async {
            // During navigation the page does not answer.
            while self.call(Method::POST, "/execute/sync", body.clone()).await != Ok(true.into()) {
                tokio::task::yield_now().await;
            }
        };
        let met = timeout(DEADLOCK, met).await;
        if met.is_err() {
            let page = self.run("return document.body.innerText", json!([])).await;
            panic!(
                "not met: {condition}\n{}",
                page.as_str().unwrap_or_default()
            );
        }
    }

    /// Waits until a text is visible.
    pub(super) async fn sees(&self, text: &str) {
        let text = json!(text);
        self.until(&format!("document.body.innerText.includes({text})"))
            .await;
    }

    /// Waits until a toast with a text is fully visible, covers nothing and is not covered.
    pub(super) async fn sees_toast(&self, text: &str) {
        let text = json!(text);
        self.until(&format!(
            "(() => {{
                const toast = document.querySelector('#toast');
                if (!toast?.innerText.includes({text})) return false;
                const {{ top, bottom, left, right }} = toast.getBoundingClientRect();
                const there = document.elementsFromPoint((left + right) / 2, (top + bottom) / 2);
                const isAlone = there.every((one) => toast.contains(one) || one.contains(toast));
                return top >= 0 && bottom <= innerHeight && isAlone;
            }})()"
        ))
        .await;
    }

    /// Presses a key until a condition in the page is true, with a limit.
    pub(super) async fn press_until(&self, key: char, condition: &str) {
        const MOST: usize = 50;
        for _ in 0..MOST {
            let is_met = format!("return Boolean({condition})");
            if self.run(&is_met, json!([])).await == true {
                return;
            }
            self.press(&[key]).await;
            let outline = "return getComputedStyle(document.activeElement).outlineStyle";
            let outline = self.run(outline, json!([])).await;
            assert_ne!(outline, "none", "the focus is seen");
        }
        panic!("not met after {MOST} times: {condition}");
    }

    pub(super) async fn click(&self, selector: &str) {
        self.act_on(selector, "click", json!({})).await;
    }

    pub(super) async fn type_into(&self, selector: &str, text: &str) {
        self.act_on(selector, "value", json!({ "text": text }))
            .await;
    }

    /// Does something with an element. If the page replaces it in between, because something has changed, with its successor.
    async fn act_on(&self, selector: &str, action: &str, body: Value) {
        loop {
            let element = self.find(selector).await;
            let path = format!("/element/{element}/{action}");
            match self.call(Method::POST, &path, body.clone()).await {
                Ok(_) => return,
                Err(error) if error.starts_with("stale element reference") => (),
                Err(error) => panic!("{action} {selector}: {error}"),
            }
        }
    }

    async fn find(&self, selector: &str) -> String {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.call(Method::POST, "/element", body).await.unwrap();
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Presses keys one after the other, at the focused element.
    pub(super) async fn press(&self, keys: &[char]) {
        let strokes = keys.iter().flat_map(|key| {
            [
                json!({ "type": "keyDown", "value": key }),
                json!({ "type": "keyUp", "value": key }),
            ]
        });
        let strokes: Vec<_> = strokes.collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] });
        self.call(Method::POST, "/actions", actions).await.unwrap();
    }

    async fn command(&self, name: &str, parameters: Value) {
        let body = json!({ "cmd": name, "params": parameters });
        let done = self.call(Method::POST, "/goog/cdp/execute", body).await;
        done.unwrap();
    }

    /// Sets the viewport and the color scheme.
    pub(super) async fn look(&self, Look { width, dark }: Look, height: u64) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.command("Emulation.setEmulatedMedia", features).await;
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.command("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// A PNG of the whole page.
    pub(super) async fn picture(&self, look: Look) -> Vec<u8> {
        self.look(look, 800).await;
        let height = self
            .run("return document.documentElement.scrollHeight", json!([]))
            .await;
        self.look(look, height.as_u64().unwrap()).await;
        let picture = self
            .call(Method::GET, "/screenshot", Value::Null)
            .await
            .unwrap();
        BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// Runs axe and returns the serious accessibility violations.
    pub(super) async fn barriers(&self, axe: &str) -> Vec<Value> {
        // A driver's script is not subject to the page's policy.
        self.run(&format!("{axe}; window.axe = axe;"), json!([]))
            .await;
        let script = "const done = arguments[0]; window.axe.run(document, { resultTypes: ['violations'] })
            .then((found) => done(found.violations), (error) => done([{ impact: 'critical', id: String(error) }]));";
        let body = json!({ "script": script, "args": [] });
        let found = self
            .call(Method::POST, "/execute/async", body)
            .await
            .unwrap();
        let found = found.as_array().unwrap().iter();
        let is_serious = |one: &&Value| one["impact"] == "serious" || one["impact"] == "critical";
        found.filter(is_serious).cloned().collect()
    }

    /// Sets the timeout of scripts.
    pub(super) async fn be_patient(&self) {
        let body = json!({ "script": Duration::from_secs(60).as_millis() });
        self.call(Method::POST, "/timeouts", body).await.unwrap();
    }
}
