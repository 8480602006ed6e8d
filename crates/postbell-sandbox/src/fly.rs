//! Fly's Machines, as far as a platform uses them
//! (<https://fly.io/docs/machines/api/machines-resource/>).

mod routes;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::routes::{error, routes};
use crate::rng::random_hex;

/// Fly's Machines.
#[derive(Debug)]
pub struct Fly {
    token: String,
    machines: Mutex<BTreeMap<(String, String), Machine>>,
    boot: Mutex<Duration>,
    calls: watch::Sender<Vec<FlyCall>>,
}

/// A call on a machine that succeeded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FlyCall {
    /// App name.
    pub app: String,
    /// Machine id.
    pub machine: String,
    /// `get`, `start` or `update`.
    pub action: &'static str,
}

#[derive(Clone, Debug)]
struct Machine {
    /// State, or the state after the boot.
    state: String,
    booted_at: Option<Instant>,
    /// Version; each update creates a new one.
    instance_id: String,
    config: Map<String, Value>,
}

/// Why a call is refused: status and Fly's text.
type Refused = (u16, &'static str);

const NO_MACHINE: Refused = (404, "machine not found");

impl Machine {
    fn state(&self) -> &str {
        match self.booted_at {
            Some(booted_at) if Instant::now() < booted_at => "starting",
            _ => &self.state,
        }
    }

    fn boot(&mut self, takes: Duration) {
        "started".clone_into(&mut self.state);
        self.booted_at = Some(Instant::now() + takes);
    }
}

impl Fly {
    pub(crate) fn new() -> Self {
        Self {
            token: random_hex(16),
            machines: Mutex::default(),
            boot: Mutex::default(),
            calls: watch::Sender::default(),
        }
    }

    /// The API token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Adds a machine in this state (`started`, `stopped`, `suspended`, `created` …), or replaces
    /// it.
    pub fn put(&self, app: &str, machine: &str, state: &str, env: &[(&str, &str)]) {
        let env: Map<_, _> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let config = json!({
            "image": "registry.fly.io/bot:latest",
            "env": env,
            "guest": { "cpu_kind": "shared", "cpus": 1, "memory_mb": 256 },
            "restart": { "policy": "always" },
        });
        let machine_of = Machine {
            state: state.to_owned(),
            booted_at: None,
            instance_id: version(),
            config: config.as_object().cloned().unwrap_or_default(),
        };
        let key = (app.to_owned(), machine.to_owned());
        self.machines.lock().insert(key, machine_of);
    }

    /// State of a machine, in Fly's terms.
    #[must_use]
    pub fn state(&self, app: &str, machine: &str) -> Option<String> {
        let key = (app.to_owned(), machine.to_owned());
        Some(self.machines.lock().get(&key)?.state().to_owned())
    }

    /// A machine's variables.
    #[must_use]
    pub fn env(&self, app: &str, machine: &str) -> BTreeMap<String, String> {
        let key = (app.to_owned(), machine.to_owned());
        let machines = self.machines.lock();
        let env = machines
            .get(&key)
            .and_then(|machine| machine.config.get("env"));
        let env = env.and_then(Value::as_object).into_iter().flatten();
        env.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// Sets the boot time of machines; zero by default.
    pub fn boot_takes(&self, time: Duration) {
        *self.boot.lock() = time;
    }

    /// All calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<FlyCall> {
        self.calls.borrow().clone()
    }

    /// Completes once a call matches.
    pub async fn called(&self, is_it: impl Fn(&FlyCall) -> bool) {
        let mut calls = self.calls.subscribe();
        // The sender lives as long as `self`.
        let _ = calls.wait_for(|calls| calls.iter().any(&is_it)).await;
    }

    fn on<T>(
        &self,
        key: &(String, String),
        action: &'static str,
        act: impl FnOnce(&mut Machine) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let done = act(self.machines.lock().get_mut(key).ok_or(NO_MACHINE)?)?;
        let (app, machine) = key.clone();
        let call = FlyCall {
            app,
            machine,
            action,
        };
        self.calls.send_modify(|calls| calls.push(call));
        Ok(done)
    }
}

/// Id of a machine's version; Fly's are ULIDs.
fn version() -> String {
    format!("01{}", random_hex(12).to_uppercase())
}
