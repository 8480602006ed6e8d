//! What the variables of the machine say (contract, section 4).

mod problem;

use std::time::Duration;

use postbell_core::HistoryId;
use secrecy::SecretString;
use tracing::warn;
use url::Url;

pub use self::problem::{Problem, Problems};
use crate::Variables;

/// Where the controller listens, unless `PORT` says otherwise.
const DEFAULT_PORT: u16 = 18789;

/// What the controller is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `OPENCLAW_GATEWAY_TOKEN`: what callers must show, and what the watcher is shown.
    pub gateway_token: SecretString,

    /// `REQUIRE_PROXY_TOKEN`: whether whoever wants the gateway must show the token, too.
    pub proxy_token: ProxyToken,

    /// `KILOCLAW_GATEWAY_ARGS`: the gateway's arguments.
    pub gateway_arguments: Vec<String>,

    /// `WS_IDLE_TIMEOUT_MS`, `WS_HANDSHAKE_TIMEOUT_MS`, `MAX_WS_CONNS`.
    pub tunnels: TunnelLimits,

    /// `KILOCLAW_HOOKS_TOKEN`, where it is set: what the bot's hook expects.
    pub hooks_token: Option<SecretString>,

    /// The Google account, where one is connected; or what is wrong with it.
    pub gmail: Result<Option<GmailSettings>, Problem>,

    /// Where to say that the machine is up, where the platform wants to hear of it.
    pub checkin: Option<CheckinSettings>,
}

/// Whether whoever wants the gateway must show the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyToken {
    /// In `x-kiloclaw-proxy-token`.
    Required,
    /// Somebody before the controller has seen to it, or the gateway does.
    NotRequired,
}

/// What WebSockets may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelLimits {
    /// How long nothing may come from either side.
    pub idle: Duration,
    /// How long the gateway may take to answer the handshake.
    pub handshake: Duration,
    /// How many there may be.
    pub most: usize,
}

/// A Google account that is connected.
#[derive(Clone, Debug)]
pub struct GmailSettings {
    /// `KILOCLAW_GOOGLE_ACCOUNT_EMAIL`: its address.
    pub account: String,
    /// `KILOCLAW_GOG_CONFIG_TARBALL`: the folder of `gog`, as base64 of a tar.gz.
    pub tarball: SecretString,
    /// `KILOCLAW_GMAIL_LAST_HISTORY_ID`: how far its mail is known to have been delivered.
    pub last_history_id: Option<HistoryId>,
    /// `GOG_KEYRING_PASSWORD`, where it is set.
    pub keyring_password: Option<SecretString>,
}

/// Where to say that the machine is up.
#[derive(Clone, Debug)]
pub struct CheckinSettings {
    /// `KILOCLAW_CHECKIN_URL`
    pub url: Url,
    /// `KILOCLAW_SANDBOX_ID`: which machine this is.
    pub sandbox_id: String,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            handshake: Duration::from_secs(5),
            most: 100,
        }
    }
}

/// The port to listen on: what `PORT` says, or, where that is none, the usual one, so that health
/// answers all the same and [`Settings::read`] can say what is wrong.
#[must_use]
pub fn port(variables: &Variables) -> u16 {
    read_port(variables).unwrap_or(DEFAULT_PORT)
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// All that is wrong, at once.
    pub fn read(variables: &Variables) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.note(read_port(variables));
        let gateway_token = problems.note(gateway_token(variables));
        let proxy_token = problems.note(proxy_token(variables));
        let gateway_arguments = problems.note(gateway_arguments(variables));
        let tunnels = problems.note(tunnel_limits(variables));
        let (Some(gateway_token), Some(proxy_token), Some(gateway_arguments), Some(tunnels)) =
            (gateway_token, proxy_token, gateway_arguments, tunnels)
        else {
            return Err(problems);
        };
        let settings = Self {
            gateway_token,
            proxy_token,
            gateway_arguments,
            tunnels,
            hooks_token: variables
                .filled("KILOCLAW_HOOKS_TOKEN")
                .map(SecretString::from),
            gmail: gmail(variables),
            checkin: checkin(variables),
        };
        problems.none_or(settings)
    }
}

fn gateway_token(variables: &Variables) -> Result<SecretString, Problem> {
    const NAME: &str = "OPENCLAW_GATEWAY_TOKEN";
    let token = variables.filled(NAME);
    // It must fit into a header.
    let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    let expected = "the token of the gateway, of visible ASCII characters";
    token
        .map(SecretString::from)
        .ok_or_else(|| Problem::of(variables, NAME, expected))
}

fn proxy_token(variables: &Variables) -> Result<ProxyToken, Problem> {
    const NAME: &str = "REQUIRE_PROXY_TOKEN";
    match variables.text(NAME).unwrap_or_default() {
        "1" => Ok(ProxyToken::Required),
        "" | "0" => Ok(ProxyToken::NotRequired),
        text if text.eq_ignore_ascii_case("true") => Ok(ProxyToken::Required),
        text if text.eq_ignore_ascii_case("false") => Ok(ProxyToken::NotRequired),
        _ => Err(Problem::of(variables, NAME, "true or false")),
    }
}

fn gateway_arguments(variables: &Variables) -> Result<Vec<String>, Problem> {
    const NAME: &str = "KILOCLAW_GATEWAY_ARGS";
    let text = variables.filled(NAME).unwrap_or_default();
    let arguments: Result<Vec<String>, _> = serde_json::from_str(text);
    let arguments = arguments
        .ok()
        .filter(|arguments| !arguments.iter().any(|text| text.contains('\0')));
    let expected = r#"a JSON array of strings, such as ["--port","3001"]"#;
    arguments.ok_or_else(|| Problem::of(variables, NAME, expected))
}

fn tunnel_limits(variables: &Variables) -> Result<TunnelLimits, Problem> {
    let usual = TunnelLimits::default();
    let millis = |name| {
        let millis = number(variables, name, "a number of milliseconds, 1 or more")?;
        Ok(millis.map(Duration::from_millis))
    };
    let most = number(
        variables,
        "MAX_WS_CONNS",
        "a number of WebSockets, 1 or more",
    )?;
    // As many as there can be files, and far more than that.
    let most = most.map(|most| usize::try_from(most).unwrap_or(usize::MAX).min(1 << 20));
    Ok(TunnelLimits {
        idle: millis("WS_IDLE_TIMEOUT_MS")?.unwrap_or(usual.idle),
        handshake: millis("WS_HANDSHAKE_TIMEOUT_MS")?.unwrap_or(usual.handshake),
        most: most.unwrap_or(usual.most),
    })
}

fn read_port(variables: &Variables) -> Result<u16, Problem> {
    let expected = "a port, from 1 to 65535";
    let port = number(variables, "PORT", expected)?;
    match port.map(u16::try_from) {
        None => Ok(DEFAULT_PORT),
        Some(Ok(port)) => Ok(port),
        Some(Err(_)) => Err(Problem::of_number(variables, "PORT", expected)),
    }
}

/// A number, 1 or more; `None` where none is set.
fn number(
    variables: &Variables,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<u64>, Problem> {
    if variables.text(name) == Some("") {
        return Ok(None);
    }
    if variables.iter().all(|(set, _)| set != name) {
        return Ok(None);
    }
    let number = variables.text(name).and_then(|text| text.parse().ok());
    match number {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(Problem::of_number(variables, name, expected)),
    }
}

fn gmail(variables: &Variables) -> Result<Option<GmailSettings>, Problem> {
    const ACCOUNT: &str = "KILOCLAW_GOOGLE_ACCOUNT_EMAIL";
    const HISTORY_ID: &str = "KILOCLAW_GMAIL_LAST_HISTORY_ID";
    let Some(tarball) = variables.filled("KILOCLAW_GOG_CONFIG_TARBALL") else {
        return Ok(None);
    };
    let account = variables.text(ACCOUNT).map(str::trim);
    // `gog` takes it as an argument: it must not be taken for a flag.
    let account = account.filter(|account| account.contains('@') && !account.starts_with('-'));
    let expected = "the address of the Google account whose credentials are given";
    let account = account.ok_or_else(|| Problem::of(variables, ACCOUNT, expected))?;
    let last_history_id = variables.filled(HISTORY_ID).and_then(|text| {
        let id = text.parse().ok();
        if id.is_none() {
            let problem = Problem::of_number(variables, HISTORY_ID, "an unsigned 64-bit number");
            warn!(%problem, "The watcher starts where it stopped");
        }
        id
    });
    Ok(Some(GmailSettings {
        account: account.to_owned(),
        tarball: tarball.into(),
        last_history_id,
        keyring_password: variables
            .filled("GOG_KEYRING_PASSWORD")
            .map(SecretString::from),
    }))
}

fn checkin(variables: &Variables) -> Option<CheckinSettings> {
    const NAME: &str = "KILOCLAW_CHECKIN_URL";
    const SANDBOX: &str = "KILOCLAW_SANDBOX_ID";
    let text = variables.filled(NAME)?;
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let sandbox_id = variables.filled(SANDBOX);
    if let (Some(url), Some(sandbox_id)) = (&url, sandbox_id) {
        return Some(CheckinSettings {
            url: url.clone(),
            sandbox_id: sandbox_id.to_owned(),
        });
    }
    let problem = if url.is_none() {
        Problem::of(variables, NAME, "an http or https URL")
    } else {
        Problem::of(variables, SANDBOX, "the id of this machine at the platform")
    };
    warn!(%problem, "The platform is not told that this machine is up");
    None
}

#[cfg(test)]
mod tests;
