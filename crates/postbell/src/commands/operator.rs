//! The platform that an operator's command works on: the store of the configuration, or one elsewhere.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use postbell_core::{Actor, AuditedPorts, Clock, UserId};
use postbell_http::{read_response, request_problem};
use postbell_platform::{
    Controllers, OperatedQueue, Operator, OperatorClient, OperatorError, Perform, UserTokens,
    system_random,
};
use postbell_protocol::api::Problem;
use postbell_protocol::api::operator::{Operation, ShowUser};
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_store::{OpenError, Store, StoreOptions};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::open_users;
use crate::cli::RemoteArgs;
use crate::config::{Config, Env};
use crate::console::Console;
use crate::wiring::{self, operator_client};

/// The variable with the API key, which no argument holds: process lists show arguments.
const KEY_VARIABLE: &str = "POSTBELL_OPERATOR_KEY";

/// How long an operation may take: an import of many users is the longest.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The longest answer: a report of an import.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The platform that a command works on.
pub(super) enum Target {
    /// The stores of the configuration. The platform may be running.
    Here {
        operator: Box<Operator>,
        actor: Actor,
        /// The store that the operations are about, for messages.
        store: String,
        /// Whether the configuration has users: a relay alone has none.
        knows_users: bool,
    },
    /// A platform, through its API.
    There {
        client: reqwest::Client,
        url: Url,
        key: SecretString,
    },
}

/// What a command does with the stores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// Reads the users' store.
    Read,
    /// Changes it.
    Write,
    /// Changes it, and creates it if it is missing.
    Create,
    /// Reads the relay's store.
    ReadQueue,
    /// Changes it.
    WriteQueue,
    /// Changes both, if this configuration has a relay's.
    WriteBoth,
}

impl Target {
    /// Opens the stores of the configuration, or reads the key for a platform elsewhere.
    pub(super) fn open(
        remote: &RemoteArgs,
        access: Access,
        env: &Env,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        if let Some(url) = &remote.platform {
            if url.scheme() == "https" {
                postbell_http::require_ca_certificates()?;
            }
            return Ok(Self::There {
                client: postbell_http::client()?,
                url: url.clone(),
                key: key(remote.key_file.as_deref(), env)?,
            });
        }
        let config = env.load()?;
        let actor = actor(&*clock);
        let (ports, client) = ports(&config, access, &clock)?;
        let secret = config.platform.gateway_secret.as_ref();
        Ok(Self::Here {
            operator: Box::new(Operator {
                ports: Arc::clone(&ports),
                queue: queue(&config, access)?,
                client,
                relays: None,
                controllers: controllers(&config, access, &clock)?,
                url: config.platform.url().ok(),
                user_tokens: secret.map(UserTokens::new),
                gateway_tokens: secret.map(GatewayTokens::new),
                random: system_random(),
                clock,
            }),
            actor,
            store: match access {
                Access::ReadQueue | Access::WriteQueue => {
                    format!("relay.inbox {}", config.relay.inbox)
                }
                _ => format!("platform.store {}", config.platform.store),
            },
            knows_users: config.platform.is_configured(),
        })
    }

    /// Whether the platform can tell who is a user.
    pub(super) const fn knows_users(&self) -> bool {
        match self {
            Self::Here { knows_users, .. } => *knows_users,
            Self::There { .. } => true,
        }
    }

    /// Does an operation.
    pub(super) async fn perform<O: Operation>(&self, request: O) -> anyhow::Result<O::Answer>
    where
        Operator: Perform<O>,
    {
        match self {
            Self::Here {
                operator,
                actor,
                store,
                ..
            } => match operator.perform(request, actor).await {
                Err(OperatorError::Store(error)) => {
                    Err(anyhow::Error::from(error).context(store.clone()))
                }
                answer => Ok(answer?),
            },
            Self::There { client, url, key } => post(client, url, key, &request).await,
        }
    }
}

/// Someone on this machine: the user of the operating system, which a process cannot choose.
pub(super) fn actor(clock: &dyn Clock) -> Actor {
    Actor {
        name: format!("uid {}", rustix::process::getuid().as_raw()),
        origin: "command line".to_owned(),
        at: clock.now(),
    }
}

/// The users' store, and the operator's OAuth client if a command may remove users.
type Ports = (Arc<dyn AuditedPorts>, Option<Arc<OperatorClient>>);

fn ports(config: &Config, access: Access, clock: &Arc<dyn Clock>) -> anyhow::Result<Ports> {
    let options = match access {
        Access::Read | Access::ReadQueue | Access::WriteQueue => StoreOptions::read_only(),
        Access::Write | Access::WriteBoth => StoreOptions::read_write(),
        Access::Create => StoreOptions::read_write().create(),
    };
    // A relay alone has no users, and its commands need none.
    let is_queue = matches!(access, Access::ReadQueue | Access::WriteQueue);
    if is_queue && !config.platform.is_configured() {
        return Ok((Arc::new(open_queue(config, options)?), None));
    }
    let users = match open_users(config, options) {
        Err(error) if is_queue && error.is::<OpenError>() => {
            open_queue(config, StoreOptions::read_only())?
        }
        users => users?,
    };
    let client = match access {
        Access::WriteBoth => {
            let key = config.platform.platform_key()?.map(Arc::new);
            let http = postbell_http::client()?;
            operator_client(config, &users, key.as_ref(), &http, clock)?
        }
        _ => None,
    };
    Ok((Arc::new(users), client))
}

/// Reaches the machines of users whom a command removes.
fn controllers(
    config: &Config,
    access: Access,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<Arc<dyn Controllers>>> {
    let is_write = matches!(access, Access::Write | Access::WriteBoth);
    if !is_write || config.platform.gateway_secret.is_none() {
        return Ok(None);
    }
    let client = postbell_http::client()?;
    wiring::controllers(config, &client, clock).map(Some)
}

fn queue(config: &Config, access: Access) -> anyhow::Result<Option<OperatedQueue>> {
    let options = match access {
        Access::Read | Access::Write | Access::Create => return Ok(None),
        Access::ReadQueue => StoreOptions::read_only(),
        Access::WriteQueue | Access::WriteBoth => StoreOptions::read_write(),
    };
    let store = match Store::open(config.relay.inbox.expose(), options) {
        // The relay is remote and stores no data of its own here.
        Err(OpenError::Missing | OpenError::UnknownScheme) if access == Access::WriteBoth => {
            return Ok(None);
        }
        store => store.with_context(|| format!("relay.inbox {}", config.relay.inbox))?,
    };
    Ok(Some(OperatedQueue {
        ports: Arc::new(store),
        arrivals: None,
        has_own_log: config.relay.inbox != config.platform.store,
    }))
}

fn open_queue(config: &Config, options: StoreOptions) -> anyhow::Result<Store> {
    let url = &config.relay.inbox;
    Store::open(url.expose(), options).with_context(|| format!("relay.inbox {url}"))
}

/// Reads the API key from a file or the variable.
fn key(file: Option<&Path>, env: &Env) -> anyhow::Result<SecretString> {
    let named = env.variable("POSTBELL_OPERATOR_KEY_FILE").map(Path::new);
    let key = match (file, env.variable(KEY_VARIABLE), named) {
        (Some(file), ..) | (None, None, Some(file)) => {
            let text = std::fs::read_to_string(file);
            text.with_context(|| format!("the key file {}", file.display()))?
        }
        (None, Some(key), _) => key.to_owned(),
        (None, None, None) => bail!(
            "--platform needs an API key: set {KEY_VARIABLE}, or name a file with --key-file. Beside the platform, \
             `postbell keys create NAME` creates one"
        ),
    };
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("the API key is not one: expected the output of `postbell keys create NAME`");
    }
    Ok(key.into())
}

async fn post<O: Operation>(
    client: &reqwest::Client,
    platform: &Url,
    key: &SecretString,
    request: &O,
) -> anyhow::Result<O::Answer> {
    let shown = platform.as_str().trim_end_matches('/');
    let url = format!("{shown}{}", O::PATH);
    let request = client
        .post(url)
        .bearer_auth(key.expose_secret())
        .json(request);
    let answer = request.timeout(TIMEOUT).send().await;
    let answer = answer.map_err(|error| {
        anyhow::anyhow!(
            "the platform {shown} cannot be reached: {}",
            request_problem(&error)
        )
    })?;
    let status = answer.status();
    let body = read_response(answer, LONGEST_ANSWER).await;
    let body = body.with_context(|| format!("the answer of {shown} cannot be read"))?;
    if status.is_success() {
        let answer = serde_json::from_slice(&body);
        return answer.with_context(|| {
            format!("the answer of {shown} is not understood: is it a postbell platform of this version?")
        });
    }
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let text = problem.map(|problem| postbell_core::printable(&problem.error));
    let text = text.unwrap_or_else(|| format!("it answered {status}"));
    Err(match status {
        StatusCode::NOT_FOUND if text == Problem::NO_USER => RemoteError::UnknownUser.into(),
        StatusCode::UNAUTHORIZED => {
            anyhow::anyhow!(
                "the platform {shown} does not accept the API key: it is wrong, revoked or has expired"
            )
        }
        StatusCode::NOT_FOUND => {
            anyhow::anyhow!("{shown} is no postbell platform, or one of an older version")
        }
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT => RemoteError::Refused(text).into(),
        StatusCode::FORBIDDEN => anyhow::anyhow!("{text}"),
        _ => anyhow::anyhow!("the platform {shown}: {text}"),
    })
}

/// What the platform elsewhere says, if a command acts on it.
#[derive(Debug, thiserror::Error)]
enum RemoteError {
    #[error("there is no such user")]
    UnknownUser,
    /// The request is invalid, or conflicts with what is stored.
    #[error("{0}")]
    Refused(String),
}

/// Whether an error is about the request, so that another one can succeed now.
pub(super) fn is_about_request(error: &anyhow::Error) -> bool {
    error.is::<RemoteError>()
        || matches!(
            error.downcast_ref::<OperatorError>(),
            Some(
                OperatorError::UnknownUser { .. }
                    | OperatorError::Conflict(_)
                    | OperatorError::Invalid(_)
            )
        )
}

/// Turns the answer about a user into `None` if there is no such user, wherever the platform is.
pub(super) fn found<T>(answer: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => {
            let here = error.downcast_ref::<OperatorError>();
            let is_unknown = matches!(here, Some(OperatorError::UnknownUser { .. }))
                || matches!(error.downcast_ref(), Some(RemoteError::UnknownUser));
            if is_unknown { Ok(None) } else { Err(error) }
        }
    }
}

/// Whether there is no such user, as far as the platform can tell.
pub(super) async fn is_unknown(target: &Target, user: &UserId) -> anyhow::Result<bool> {
    let user_id = user.clone();
    Ok(target.knows_users() && found(target.perform(ShowUser { user_id }).await)?.is_none())
}

/// Prints the error for an unknown user.
pub(super) fn missing(user: &UserId, console: &Console) -> ExitCode {
    console.error(&format!(
        "error: there is no user {user}; `postbell users list` lists all users"
    ));
    ExitCode::FAILURE
}
