//! Fly's Machines API (<https://fly.io/docs/machines/api/machines-resource/>).

use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{InstanceStatus, ManagedMachine};
use postbell_protocol::env_crypto::EnvKey;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Configured, Machines, MachinesError};
use crate::variables::Variables;

/// The timeout of a call, besides the time that it asks Fly to wait.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The longest wait that Fly allows.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Machines on Fly.
pub struct FlyMachines {
    client: Client,
    url: Url,
    token: SecretString,
    env_key: Option<EnvKey>,
}

/// A machine as Fly returns it. An update replaces the whole configuration, so everything but the
/// variables is sent back unchanged.
#[derive(Deserialize)]
struct Machine {
    state: String,
    instance_id: String,
    config: Map<String, Value>,
}

impl FlyMachines {
    /// Creates a client of the Machines API at `url`. With `env_key`, secret variables are encrypted.
    #[must_use]
    pub fn new(client: Client, url: Url, token: SecretString, env_key: Option<EnvKey>) -> Self {
        Self {
            client,
            url,
            token,
            env_key,
        }
    }

    fn request(
        &self,
        method: Method,
        machine: &ManagedMachine,
        action: Option<&str>,
    ) -> Result<RequestBuilder, MachinesError> {
        let ManagedMachine { app, machine } = machine;
        // Another text could address a different part of the API.
        if !is_name(app) || !is_name(machine) {
            return Err(MachinesError::Missing);
        }
        let base = self.url.as_str().trim_end_matches('/');
        let mut url = format!("{base}/v1/apps/{app}/machines/{machine}");
        if let Some(action) = action {
            url = format!("{url}/{action}");
        }
        let request = self.client.request(method, url).timeout(TIMEOUT);
        Ok(request.bearer_auth(self.token.expose_secret()))
    }

    async fn get(&self, machine: &ManagedMachine) -> Result<Machine, MachinesError> {
        let answer = send(self.request(Method::GET, machine, None)?).await?;
        answer.json().await.map_err(unavailable)
    }
}

#[async_trait]
impl Machines for FlyMachines {
    async fn status(
        &self,
        machine: &ManagedMachine,
    ) -> Result<Option<InstanceStatus>, MachinesError> {
        Ok(status_of(&self.get(machine).await?.state))
    }

    async fn start(&self, machine: &ManagedMachine) -> Result<(), MachinesError> {
        let request = self.request(Method::POST, machine, Some("start"))?;
        let answer = send(request).await?;
        // Reading the body to its end lets the connection be reused.
        answer.bytes().await.map(drop).map_err(unavailable)
    }

    async fn wait_until_started(
        &self,
        machine: &ManagedMachine,
        limit: Duration,
    ) -> Result<bool, MachinesError> {
        let limit = limit.min(MAX_WAIT);
        let seconds = limit.as_secs().to_string();
        let request = self
            .request(Method::GET, machine, Some("wait"))?
            .query(&[("state", "started"), ("timeout", &seconds)])
            .timeout(limit + TIMEOUT);
        match send(request).await {
            Ok(_) => Ok(true),
            Err(MachinesError::Refused { status: 408 }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn configure(
        &self,
        machine: &ManagedMachine,
        variables: &Variables,
    ) -> Result<Configured, MachinesError> {
        let Machine {
            state,
            instance_id,
            mut config,
        } = self.get(machine).await?;
        let mut env = match config.remove("env") {
            Some(Value::Object(env)) => env,
            _ => Map::new(),
        };
        if !variables.apply_to(&mut env, self.env_key.as_ref()) {
            return Ok(Configured::Unchanged);
        }
        config.insert("env".to_owned(), Value::Object(env));
        let is_on = matches!(
            status_of(&state),
            Some(InstanceStatus::Running | InstanceStatus::Starting)
        );
        let update = json!({
            "config": config,
            "current_version": instance_id,
            "skip_launch": !is_on,
        });
        let request = self.request(Method::POST, machine, None)?;
        let answer = send(request.json(&update)).await?;
        answer.bytes().await.map_err(unavailable)?;
        Ok(if is_on {
            Configured::Restarting
        } else {
            Configured::Saved
        })
    }
}

async fn send(request: RequestBuilder) -> Result<Response, MachinesError> {
    let answer = request.send().await.map_err(unavailable)?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        StatusCode::NOT_FOUND => Err(MachinesError::Missing),
        StatusCode::CONFLICT => Err(MachinesError::Changed),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            let problem = format!("Fly answered {}", status.as_u16());
            Err(MachinesError::Unavailable(problem.into()))
        }
        status => Err(MachinesError::Refused {
            status: status.as_u16(),
        }),
    }
}

/// Removes the URL from an error: it names the machine, and the log has that already.
fn unavailable(error: reqwest::Error) -> MachinesError {
    MachinesError::Unavailable(error.without_url().into())
}

/// Maps Fly's machine states (<https://fly.io/docs/machines/machine-states/>) to ours.
fn status_of(state: &str) -> Option<InstanceStatus> {
    Some(match state {
        "created" | "creating" => InstanceStatus::Provisioned,
        "starting" | "restarting" | "updating" | "replacing" => InstanceStatus::Starting,
        "started" => InstanceStatus::Running,
        "stopped" | "stopping" | "suspended" | "suspending" | "failed" => InstanceStatus::Stopped,
        "destroying" | "destroyed" | "launch_failed" => InstanceStatus::Destroying,
        _ => return None,
    })
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_allowed)
}
