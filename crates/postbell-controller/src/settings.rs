//! What the variables of the machine say (contract, section 4).

mod problem;

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use postbell_core::{HistoryId, SandboxId};
use postbell_protocol::gateway_token::GatewayToken;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use url::Url;

pub use self::problem::{Problem, Problems};
use crate::Variables;

/// Where the controller listens, unless `PORT` says otherwise.
const DEFAULT_PORT: u16 = 18789;

/// What the controller is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `OPENCLAW_GATEWAY_TOKEN`: what callers must show, and what the watcher is shown.
    pub gateway_token: GatewayToken,

    /// `REQUIRE_PROXY_TOKEN`: whether whoever wants the gateway must show the token, too.
    pub proxy_token: ProxyToken,

    /// `KILOCLAW_GATEWAY_ARGS`: the gateway's arguments.
    pub gateway_arguments: Vec<String>,

    /// `WS_IDLE_TIMEOUT_MS`, `WS_HANDSHAKE_TIMEOUT_MS`, `MAX_WS_CONNS`.
    pub tunnels: TunnelLimits,

    /// `KILOCLAW_HOOKS_TOKEN`, where it is set: what the bot's hook expects.
    pub hooks_token: Option<SecretString>,

    /// The Google account, where one is connected; or what is wrong with it, which concerns Gmail
    /// alone.
    pub gmail: Result<Option<GmailSettings>, Problem>,

    /// Where to say that the machine is up, where the platform wants to hear of it; or what is
    /// wrong with that, which keeps nothing from starting.
    pub checkin: Result<Option<CheckinSettings>, Problem>,
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
    /// How long the gateway may take to answer the handshake, and then the caller to take the
    /// answer.
    pub handshake: Duration,
    /// How many may be open.
    pub max_open: usize,
}

/// A Google account that is connected.
#[derive(Clone)]
pub struct GmailSettings {
    /// `KILOCLAW_GOOGLE_ACCOUNT_EMAIL`: its address.
    pub account: String,
    /// `KILOCLAW_GOG_CONFIG_TARBALL`: the folder of `gog`, as base64 of a tar.gz.
    pub tarball: SecretString,
    /// `KILOCLAW_GMAIL_LAST_HISTORY_ID`: how far its mail is known to have been delivered; or what
    /// is wrong with that, which keeps nothing from starting.
    pub last_history_id: Result<Option<HistoryId>, Problem>,
}

/// Where to say that the machine is up.
#[derive(Clone, Debug)]
pub struct CheckinSettings {
    /// `KILOCLAW_CHECKIN_URL`
    pub url: Url,
    /// `KILOCLAW_SANDBOX_ID`: which machine this is.
    pub sandbox_id: SandboxId,
}

impl fmt::Debug for GmailSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GmailSettings").finish_non_exhaustive()
    }
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            handshake: Duration::from_secs(5),
            max_open: 100,
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
    /// All that is wrong with those that must be right, at once.
    pub fn read(variables: &Variables) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        problems.note(read_port(variables));
        let gateway_token = problems.note(gateway_token(variables));
        let proxy_token = problems.note(proxy_token(variables));
        let gateway_arguments = problems.note(gateway_arguments(variables));
        let tunnels = problems.note(tunnel_limits(variables));
        let hooks_token = problems.note(hooks_token(variables));
        let (
            Some(gateway_token),
            Some(proxy_token),
            Some(gateway_arguments),
            Some(tunnels),
            Some(hooks_token),
        ) = (
            gateway_token,
            proxy_token,
            gateway_arguments,
            tunnels,
            hooks_token,
        )
        else {
            return Err(problems);
        };
        let settings = Self {
            gateway_token,
            proxy_token,
            gateway_arguments,
            tunnels,
            hooks_token,
            gmail: gmail(variables),
            checkin: checkin(variables),
        };
        problems.none_or(settings)
    }
}

/// The text of a variable; `None` where it is not set, or is empty.
fn text<'a>(
    variables: &'a Variables,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<&'a str>, Problem> {
    let text = variables.get(name).map(OsStr::to_str);
    match text {
        Some(None) => Err(Problem::of(variables, name, expected)),
        Some(Some("")) | None => Ok(None),
        Some(text) => Ok(text),
    }
}

fn gateway_token(variables: &Variables) -> Result<GatewayToken, Problem> {
    const NAME: &str = "OPENCLAW_GATEWAY_TOKEN";
    let expected = "the token of the gateway, of visible ASCII characters";
    let token = text(variables, NAME, expected)?.unwrap_or_default();
    GatewayToken::try_from(token).map_err(|_| Problem::of(variables, NAME, expected))
}

fn hooks_token(variables: &Variables) -> Result<Option<SecretString>, Problem> {
    let expected = "the token that the bot's hook expects, a text";
    let token = text(variables, "KILOCLAW_HOOKS_TOKEN", expected)?;
    Ok(token.map(SecretString::from))
}

fn proxy_token(variables: &Variables) -> Result<ProxyToken, Problem> {
    const NAME: &str = "REQUIRE_PROXY_TOKEN";
    let expected = "true or false";
    match text(variables, NAME, expected)? {
        None | Some("0") => Ok(ProxyToken::NotRequired),
        Some("1") => Ok(ProxyToken::Required),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(ProxyToken::Required),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(ProxyToken::NotRequired),
        Some(_) => Err(Problem::of(variables, NAME, expected)),
    }
}

fn gateway_arguments(variables: &Variables) -> Result<Vec<String>, Problem> {
    const NAME: &str = "KILOCLAW_GATEWAY_ARGS";
    let expected = r#"a JSON array of strings, such as ["--port","3001"]"#;
    let text = text(variables, NAME, expected)?.unwrap_or_default();
    let arguments: Option<Vec<String>> = serde_json::from_str(text).ok();
    // No argument can hold it.
    let holds_zero = |arguments: &Vec<String>| arguments.iter().any(|text| text.contains('\0'));
    let arguments = arguments.filter(|arguments| !holds_zero(arguments));
    arguments.ok_or_else(|| Problem::of(variables, NAME, expected))
}

fn tunnel_limits(variables: &Variables) -> Result<TunnelLimits, Problem> {
    let usual = TunnelLimits::default();
    let millis = |name| {
        let millis = number(variables, name, "a number of milliseconds, 1 or more")?;
        Ok(millis.map(Duration::from_millis))
    };
    let max_open = number(
        variables,
        "MAX_WS_CONNS",
        "a number of WebSockets, 1 or more",
    )?;
    // A semaphore counts no further.
    let most = Semaphore::MAX_PERMITS;
    let max_open = max_open.map(|max| usize::try_from(max).map_or(most, |max| max.min(most)));
    Ok(TunnelLimits {
        idle: millis("WS_IDLE_TIMEOUT_MS")?.unwrap_or(usual.idle),
        handshake: millis("WS_HANDSHAKE_TIMEOUT_MS")?.unwrap_or(usual.handshake),
        max_open: max_open.unwrap_or(usual.max_open),
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
    let Some(text) = text(variables, name, expected)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Problem::of_number(variables, name, expected)),
    }
}

fn gmail(variables: &Variables) -> Result<Option<GmailSettings>, Problem> {
    const ACCOUNT: &str = "KILOCLAW_GOOGLE_ACCOUNT_EMAIL";
    const TARBALL: &str = "KILOCLAW_GOG_CONFIG_TARBALL";
    let expected = "base64 of a tar.gz";
    let Some(tarball) = text(variables, TARBALL, expected)? else {
        return Ok(None);
    };
    let expected = "the address of the Google account whose credentials are given";
    let account = text(variables, ACCOUNT, expected)?.map(str::trim);
    // `gog` takes it as an argument: it must not be taken for a flag.
    let account = account.filter(|account| account.contains('@') && !account.starts_with('-'));
    let account = account.ok_or_else(|| Problem::of(variables, ACCOUNT, expected))?;
    Ok(Some(GmailSettings {
        account: account.to_owned(),
        tarball: tarball.into(),
        last_history_id: last_history_id(variables),
    }))
}

fn last_history_id(variables: &Variables) -> Result<Option<HistoryId>, Problem> {
    const NAME: &str = "KILOCLAW_GMAIL_LAST_HISTORY_ID";
    let expected = "an unsigned 64-bit number";
    let id = text(variables, NAME, expected)?.map(str::parse).transpose();
    id.map_err(|_| Problem::of_number(variables, NAME, expected))
}

fn checkin(variables: &Variables) -> Result<Option<CheckinSettings>, Problem> {
    const URL: &str = "KILOCLAW_CHECKIN_URL";
    const SANDBOX: &str = "KILOCLAW_SANDBOX_ID";
    let expected = "an http or https URL";
    let Some(url) = text(variables, URL, expected)? else {
        return Ok(None);
    };
    let url = Url::parse(url).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| Problem::of(variables, URL, expected))?;
    let expected = "the id of this machine at the platform";
    let sandbox_id = text(variables, SANDBOX, expected)?.map(str::parse);
    match sandbox_id {
        Some(Ok(sandbox_id)) => Ok(Some(CheckinSettings { url, sandbox_id })),
        _ => Err(Problem::of(variables, SANDBOX, expected)),
    }
}

#[cfg(test)]
mod tests;
