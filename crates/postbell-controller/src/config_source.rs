//! Fetches the machine's configuration from the platform.

use std::sync::Arc;
use std::time::Duration;

use postbell_core::BoxError;
use postbell_http::{drain, read_response};
use postbell_protocol::api::{MachineAccount, MachineConfig};
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes;
use reqwest::{Response, StatusCode};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::sealed_config::SealedConfig;
use crate::settings::{PlatformSettings, is_same_mailbox};
use crate::shared_client::SharedClient;

/// The time-out of a request. The bot's gateway waits for the first one.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer: credentials of an account have some kilobytes.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// The platform's route with the configuration of this machine.
pub(crate) struct ConfigSource {
    pub(crate) client: Arc<SharedClient>,
    pub(crate) settings: PlatformSettings,
    pub(crate) gateway_token: GatewayToken,
    /// `None` without a home.
    pub(crate) sealed: Option<Arc<SealedConfig>>,
    /// Whether the watcher can watch several accounts.
    pub(crate) takes_several: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The platform knows this machine's token, and no user has the machine.
    #[error(
        "no user has a machine with this KILOCLAW_SANDBOX_ID any more: `postbell users show` has the present one"
    )]
    FormerMachine,

    /// It was not fetched; it may be later.
    #[error(transparent)]
    Failed(#[from] BoxError),
}

impl ConfigSource {
    /// Fetches the configuration.
    pub(crate) async fn fetch(&self) -> Result<MachineConfig, FetchError> {
        let client = self.client.get().await;
        let client = client.ok_or_else(|| BoxError::from("there is no HTTP client"))?;
        let mut request = client
            .get(self.settings.url.clone())
            .timeout(TIMEOUT)
            .bearer_auth(self.gateway_token.expose())
            .header(routes::MACHINE_TOKEN, self.gateway_token.expose())
            .header(routes::SANDBOX_ID, self.settings.sandbox_id.as_str());
        if self.takes_several {
            request = request.header(routes::ACCOUNTS, routes::SEVERAL);
        }
        let response = request.send().await;
        let response = response.map_err(|error| BoxError::from(error.without_url()))?;
        let status = response.status();
        if status == StatusCode::GONE && self.is_of_platform(&response) {
            drain(response).await;
            return Err(FetchError::FormerMachine);
        }
        let mut config = config_in(response).await?;
        if !self.takes_several {
            config.further_accounts = Some(Vec::new());
        }
        if is_incomplete(&config)
            && let Some(former) = self.stored().await
        {
            complete(&mut config, former);
        }
        Ok(config)
    }

    /// Whether a refusal is the platform's. A server in between may answer 410 for reasons of its own, and credentials
    /// that are removed do not come back with the right answer.
    fn is_of_platform(&self, refusal: &Response) -> bool {
        let named = refusal.headers().get(routes::SANDBOX_ID);
        named.is_some_and(|named| named.as_bytes() == self.settings.sandbox_id.as_str().as_bytes())
    }

    /// Returns the configuration that was fetched by an earlier process or before.
    pub(crate) async fn stored(&self) -> Option<MachineConfig> {
        let sealed = self.sealed.clone()?;
        spawn_blocking(move || sealed.read()).await.ok().flatten()
    }

    /// Stores the configuration for a start without the platform.
    pub(crate) async fn store(&self, config: MachineConfig) {
        let Some(sealed) = self.sealed.clone() else {
            return;
        };
        let error: BoxError = match spawn_blocking(move || sealed.write(&config)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.into(),
            Err(panic) => panic.into(),
        };
        warn!(
            error = &*error as &dyn std::error::Error,
            "Could not store the configuration: a start needs the platform"
        );
    }

    /// Removes the stored configuration.
    pub(crate) async fn forget(&self) -> Result<(), BoxError> {
        match self.sealed.clone() {
            Some(sealed) => Ok(spawn_blocking(move || sealed.remove()).await??),
            None => Ok(()),
        }
    }
}

/// Whether the platform leaves something to what the machine has.
fn is_incomplete(config: &MachineConfig) -> bool {
    let further = config.further_accounts.as_ref();
    further.is_none() || accounts(config).any(|account| account.gog_config_tarball.is_none())
}

fn accounts(config: &MachineConfig) -> impl Iterator<Item = &MachineAccount> {
    let further = config.further_accounts.iter().flatten();
    config.account.iter().chain(further.map(|it| &it.account))
}

/// Takes what a platform has left to the machine from the configuration before: accounts if the platform does not know of
/// further ones, and credentials that it cannot read.
fn complete(config: &mut MachineConfig, mut former: MachineConfig) {
    let known: Vec<_> = accounts(&former).cloned().collect();
    if config.further_accounts.is_none() {
        let first = config.account.as_ref();
        let is_first =
            |email: &str| first.is_some_and(|first| is_same_mailbox(&first.email, email));
        let mut further = former.further_accounts.take();
        if let Some(further) = &mut further {
            further.retain(|it| !is_first(&it.account.email));
        }
        config.further_accounts = further;
    }
    let further = config.further_accounts.iter_mut().flatten();
    let all = config
        .account
        .iter_mut()
        .chain(further.map(|it| &mut it.account));
    for account in all.filter(|account| account.gog_config_tarball.is_none()) {
        let mut known = known.iter();
        let same = known.find(|known| is_same_mailbox(&known.email, &account.email));
        account.gog_config_tarball = same.and_then(|same| same.gog_config_tarball.clone());
    }
}

async fn config_in(response: Response) -> Result<MachineConfig, BoxError> {
    let status = response.status();
    if !status.is_success() {
        drain(response).await;
        return Err(match status.as_u16() {
            401 => "it does not know this machine: KILOCLAW_SANDBOX_ID or OPENCLAW_GATEWAY_TOKEN is wrong".into(),
            status => format!("it answered {status}").into(),
        });
    }
    let body = read_response(response, MAX_BODY).await?;
    serde_json::from_slice(&body).map_err(|_| "its answer is no configuration".into())
}
