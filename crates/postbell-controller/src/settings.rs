//! The settings of the controller, from environment variables (protocol, section 4).

mod invalid_variable;

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use postbell_core::{EmailAddress, HistoryId, SandboxId};
use postbell_protocol::gateway_token::GatewayToken;
use postbell_protocol::routes;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use url::Url;

pub use self::invalid_variable::{InvalidVariable, InvalidVariables};
use crate::Variables;

/// The default of `PORT`.
const DEFAULT_PORT: u16 = 18789;

/// The settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `OPENCLAW_GATEWAY_TOKEN`: the bearer token of the controller's routes and of the watcher.
    pub gateway_token: GatewayToken,

    /// `REQUIRE_PROXY_TOKEN`: whether requests to the gateway need the token, too.
    pub proxy_token: ProxyToken,

    /// `KILOCLAW_GATEWAY_ARGS`: the gateway's arguments.
    pub gateway_arguments: Vec<String>,

    /// `WS_IDLE_TIMEOUT_MS`, `WS_HANDSHAKE_TIMEOUT_MS`, `MAX_WS_CONNS`.
    pub tunnels: TunnelLimits,

    /// `KILOCLAW_HOOKS_TOKEN`: the token of the bot's webhook.
    pub hooks_token: Option<SecretString>,

    /// The connected Google account. An error affects only mail.
    pub gmail: Result<Option<GmailSettings>, InvalidVariable>,

    /// The platform's check-in route. An error disables check-ins.
    pub checkin: Result<Option<CheckinSettings>, InvalidVariable>,

    /// The platform that the configuration is fetched from, see [`Settings::with_platform`].
    pub platform: Option<PlatformSettings>,
}

/// Whether requests to the gateway need the gateway token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyToken {
    /// In the header `x-kiloclaw-proxy-token`.
    Required,
    /// A proxy before the controller, or the gateway, authenticates callers.
    NotRequired,
}

/// The limits for WebSockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelLimits {
    /// The time after which a silent WebSocket is closed.
    pub idle: Duration,
    /// The time-out of the gateway's handshake, and then of the caller's.
    pub handshake: Duration,
    /// The most open WebSockets.
    pub max_open: usize,
}

/// A connected Google account.
#[derive(Clone)]
pub struct GmailSettings {
    /// `KILOCLAW_GOOGLE_ACCOUNT_EMAIL`: the address.
    pub account: String,
    /// `KILOCLAW_GOG_CONFIG_TARBALL`: the configuration folder of `gog`, as base64 of a tar.gz. `None` if the platform cannot
    /// read it, and this machine does not have it either.
    pub tarball: Option<SecretString>,
    /// `KILOCLAW_GMAIL_LAST_HISTORY_ID`: mail up to here has been delivered. An error is only logged.
    pub last_history_id: Result<Option<HistoryId>, InvalidVariable>,
}

/// The platform's check-in route.
#[derive(Clone, Debug)]
pub struct CheckinSettings {
    /// `KILOCLAW_CHECKIN_URL`
    pub url: Url,
    /// `KILOCLAW_SANDBOX_ID`: the id of this machine.
    pub sandbox_id: SandboxId,
}

/// The platform that the machine fetches its configuration from.
#[derive(Clone, Debug)]
pub struct PlatformSettings {
    /// The route that has the configuration.
    pub url: Url,
    /// `KILOCLAW_SANDBOX_ID`: the id of this machine.
    pub sandbox_id: SandboxId,
}

impl PartialEq for GmailSettings {
    /// The history id does not count: it changes with each mail, and the machine has its own.
    fn eq(&self, other: &Self) -> bool {
        let tarball = |it: &Self| {
            let tarball = it.tarball.as_ref();
            tarball.map(|tarball| tarball.expose_secret().to_owned())
        };
        self.account == other.account && tarball(self) == tarball(other)
    }
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

/// Returns the port to listen on. An invalid `PORT` gives the default, so that the health routes
/// work; [`Settings::read`] reports it.
#[must_use]
pub fn port(variables: &Variables) -> u16 {
    read_port(variables).unwrap_or(DEFAULT_PORT)
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// All invalid variables without which the controller cannot start.
    pub fn read(variables: &Variables) -> Result<Self, InvalidVariables> {
        let mut invalid = InvalidVariables::default();
        invalid.collect(read_port(variables));
        let gateway_token = invalid.collect(gateway_token(variables));
        let proxy_token = invalid.collect(proxy_token(variables));
        let gateway_arguments = invalid.collect(gateway_arguments(variables));
        let tunnels = invalid.collect(tunnel_limits(variables));
        let hooks_token = invalid.collect(hooks_token(variables));
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
            return Err(invalid);
        };
        let settings = Self {
            gateway_token,
            proxy_token,
            gateway_arguments,
            tunnels,
            hooks_token,
            gmail: gmail(variables),
            checkin: checkin(variables),
            platform: None,
        };
        invalid.into_result(settings)
    }

    /// Has the configuration fetched from the platform at `base`, which also gets the check-ins unless
    /// `KILOCLAW_CHECKIN_URL` names another route.
    ///
    /// # Errors
    ///
    /// `KILOCLAW_SANDBOX_ID` is invalid.
    pub fn with_platform(
        mut self,
        base: &Url,
        variables: &Variables,
    ) -> Result<Self, InvalidVariables> {
        let mut invalid = InvalidVariables::default();
        let sandbox_id = invalid.collect(sandbox_id(variables));
        let Some(sandbox_id) = sandbox_id else {
            return Err(invalid);
        };
        let route = |path: &str| {
            let mut url = base.clone();
            url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
            url
        };
        if let Ok(checkin @ None) = &mut self.checkin {
            *checkin = Some(CheckinSettings {
                url: route(routes::CHECK_IN),
                sandbox_id: sandbox_id.clone(),
            });
        }
        self.platform = Some(PlatformSettings {
            url: route(routes::MACHINE_CONFIG),
            sandbox_id,
        });
        Ok(self)
    }
}

/// Returns the text of a variable, or `None` if it is not set or empty.
fn text<'a>(
    variables: &'a Variables,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<&'a str>, InvalidVariable> {
    let text = variables.get(name).map(OsStr::to_str);
    match text {
        Some(None) => Err(InvalidVariable::new(variables, name, expected)),
        Some(Some("")) | None => Ok(None),
        Some(text) => Ok(text),
    }
}

fn gateway_token(variables: &Variables) -> Result<GatewayToken, InvalidVariable> {
    const NAME: &str = "OPENCLAW_GATEWAY_TOKEN";
    let expected = "the token of the gateway, of visible ASCII characters";
    let token = text(variables, NAME, expected)?.unwrap_or_default();
    GatewayToken::try_from(token).map_err(|_| InvalidVariable::new(variables, NAME, expected))
}

fn hooks_token(variables: &Variables) -> Result<Option<SecretString>, InvalidVariable> {
    let expected = "the token of the bot's webhook, a text";
    let token = text(variables, "KILOCLAW_HOOKS_TOKEN", expected)?;
    Ok(token.map(SecretString::from))
}

fn proxy_token(variables: &Variables) -> Result<ProxyToken, InvalidVariable> {
    const NAME: &str = "REQUIRE_PROXY_TOKEN";
    let expected = "true or false";
    match text(variables, NAME, expected)? {
        None | Some("0") => Ok(ProxyToken::NotRequired),
        Some("1") => Ok(ProxyToken::Required),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(ProxyToken::Required),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(ProxyToken::NotRequired),
        Some(_) => Err(InvalidVariable::new(variables, NAME, expected)),
    }
}

fn gateway_arguments(variables: &Variables) -> Result<Vec<String>, InvalidVariable> {
    const NAME: &str = "KILOCLAW_GATEWAY_ARGS";
    let expected = r#"a JSON array of strings, such as ["--port","3001"]"#;
    let text = text(variables, NAME, expected)?.unwrap_or_default();
    let arguments: Option<Vec<String>> = serde_json::from_str(text).ok();
    // An argument cannot contain a NUL.
    let has_nul = |arguments: &Vec<String>| arguments.iter().any(|text| text.contains('\0'));
    let arguments = arguments.filter(|arguments| !has_nul(arguments));
    arguments.ok_or_else(|| InvalidVariable::new(variables, NAME, expected))
}

fn tunnel_limits(variables: &Variables) -> Result<TunnelLimits, InvalidVariable> {
    let default = TunnelLimits::default();
    let millis = |name| {
        let millis = number(variables, name, "a number of milliseconds, 1 or more")?;
        Ok(millis.map(Duration::from_millis))
    };
    let max_open = number(
        variables,
        "MAX_WS_CONNS",
        "a number of WebSockets, 1 or more",
    )?;
    let limit = Semaphore::MAX_PERMITS;
    let max_open = max_open.map(|max| usize::try_from(max).map_or(limit, |max| max.min(limit)));
    Ok(TunnelLimits {
        idle: millis("WS_IDLE_TIMEOUT_MS")?.unwrap_or(default.idle),
        handshake: millis("WS_HANDSHAKE_TIMEOUT_MS")?.unwrap_or(default.handshake),
        max_open: max_open.unwrap_or(default.max_open),
    })
}

fn read_port(variables: &Variables) -> Result<u16, InvalidVariable> {
    let expected = "a port, from 1 to 65535";
    let port = number(variables, "PORT", expected)?;
    match port.map(u16::try_from) {
        None => Ok(DEFAULT_PORT),
        Some(Ok(port)) => Ok(port),
        Some(Err(_)) => Err(InvalidVariable::number(variables, "PORT", expected)),
    }
}

/// Returns a number of at least 1, or `None` if the variable is not set.
fn number(
    variables: &Variables,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<u64>, InvalidVariable> {
    let Some(text) = text(variables, name, expected)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(InvalidVariable::number(variables, name, expected)),
    }
}

fn gmail(variables: &Variables) -> Result<Option<GmailSettings>, InvalidVariable> {
    const ACCOUNT: &str = "KILOCLAW_GOOGLE_ACCOUNT_EMAIL";
    const TARBALL: &str = "KILOCLAW_GOG_CONFIG_TARBALL";
    let expected = "base64 of a tar.gz";
    let Some(tarball) = text(variables, TARBALL, expected)? else {
        return Ok(None);
    };
    let expected = "the address of the Google account whose credentials are given";
    let account = text(variables, ACCOUNT, expected)?.map(str::trim);
    let account = account.filter(|account| is_account(account));
    let account = account.ok_or_else(|| InvalidVariable::new(variables, ACCOUNT, expected))?;
    Ok(Some(GmailSettings {
        account: account.to_owned(),
        tarball: Some(tarball.into()),
        last_history_id: last_history_id(variables),
    }))
}

fn last_history_id(variables: &Variables) -> Result<Option<HistoryId>, InvalidVariable> {
    const NAME: &str = "KILOCLAW_GMAIL_LAST_HISTORY_ID";
    let expected = "an unsigned 64-bit number";
    let id = text(variables, NAME, expected)?.map(str::parse).transpose();
    id.map_err(|_| InvalidVariable::number(variables, NAME, expected))
}

fn checkin(variables: &Variables) -> Result<Option<CheckinSettings>, InvalidVariable> {
    const URL: &str = "KILOCLAW_CHECKIN_URL";
    let expected = "an http or https URL";
    let Some(url) = text(variables, URL, expected)? else {
        return Ok(None);
    };
    let url = Url::parse(url).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| InvalidVariable::new(variables, URL, expected))?;
    let sandbox_id = sandbox_id(variables)?;
    Ok(Some(CheckinSettings { url, sandbox_id }))
}

fn sandbox_id(variables: &Variables) -> Result<SandboxId, InvalidVariable> {
    const NAME: &str = "KILOCLAW_SANDBOX_ID";
    let expected = "the id of this machine at the platform";
    match text(variables, NAME, expected)?.map(str::parse) {
        Some(Ok(sandbox_id)) => Ok(sandbox_id),
        _ => Err(InvalidVariable::new(variables, NAME, expected)),
    }
}

/// Whether a text can be the address of an account. It is an argument of `gog` and must not look like a flag.
pub(crate) fn is_account(text: &str) -> bool {
    text.contains('@') && !text.starts_with('-')
}

/// Whether two addresses are of the same mailbox.
pub(crate) fn is_same_mailbox(one: &str, other: &str) -> bool {
    let one = one.parse::<EmailAddress>();
    one.is_ok_and(|one| one.is_same_mailbox(other))
}

#[cfg(test)]
mod tests;
