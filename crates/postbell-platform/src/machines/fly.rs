//! Fly's Machines API (<https://fly.io/docs/machines/api/machines-resource/>).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use postbell_core::{BoxError, Clock, InstanceStatus, ManagedMachine};
use postbell_http::{drain, read_response, retry_after};
use postbell_protocol::env_crypto::EnvKey;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Configured, Machines, MachinesError};
use crate::variables::{Variables, is_fetching};

/// The timeout of a call, besides the time that it asks Fly to wait.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The longest wait that Fly allows.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The longest description of a machine: its configuration has some kilobytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Machines on Fly.
pub struct FlyMachines {
    client: Client,
    url: Url,
    token: SecretString,
    env_key: Option<EnvKey>,
    clock: Arc<dyn Clock>,
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
    /// `clock` is the time of day, for a `Retry-After` that is a date.
    #[must_use]
    pub fn new(
        client: Client,
        url: Url,
        token: SecretString,
        env_key: Option<EnvKey>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            client,
            url,
            token,
            env_key,
            clock,
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
        let answer = self.send(self.request(Method::GET, machine, None)?).await?;
        let read = read_response(answer, MAX_BODY).await;
        let read = read.map_err(unavailable)?;
        serde_json::from_slice(&read).map_err(|_| unavailable("its answer cannot be read"))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, MachinesError> {
        let answer = request.send().await;
        // The URL names the machine, and the log has that already.
        let answer = answer.map_err(|error| unavailable(error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let retry_after = retry_after(answer.headers(), self.clock.now());
        drain(answer).await;
        Err(match status {
            StatusCode::NOT_FOUND => MachinesError::Missing,
            StatusCode::CONFLICT => MachinesError::Changed,
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                MachinesError::Unavailable {
                    retry_after,
                    source: format!("Fly answered {}", status.as_u16()).into(),
                }
            }
            status => MachinesError::Refused {
                status: status.as_u16(),
            },
        })
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
        // A proxy may want it (RFC 9110, section 8.6).
        let request = request.header(CONTENT_LENGTH, 0);
        drain(self.send(request).await?).await;
        Ok(())
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
        match self.send(request).await {
            Ok(answer) => {
                drain(answer).await;
                Ok(true)
            }
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
        let is_on = matches!(
            status_of(&state),
            Some(InstanceStatus::Running | InstanceStatus::Starting)
        );
        let fetches = is_fetching(&env);
        let changes = if fetches {
            // What an earlier configuration has left, also of a former user.
            Variables::remove_from(&mut env)
        } else {
            variables.apply_to(&mut env, self.env_key.as_ref())
        };
        if !changes {
            return Ok(match (fetches, is_on) {
                (true, true) => Configured::Fetches,
                (true, false) => Configured::Saved,
                (false, _) => Configured::Unchanged,
            });
        }
        config.insert("env".to_owned(), Value::Object(env));
        let update = json!({
            "config": config,
            "current_version": instance_id,
            "skip_launch": !is_on,
        });
        let request = self.request(Method::POST, machine, None)?;
        drain(self.send(request.json(&update)).await?).await;
        Ok(if is_on {
            Configured::Restarting
        } else {
            Configured::Saved
        })
    }
}

fn unavailable(source: impl Into<BoxError>) -> MachinesError {
    MachinesError::Unavailable {
        retry_after: None,
        source: source.into(),
    }
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
