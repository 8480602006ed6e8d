//! `postbell sandbox`

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context;
use postbell_sandbox::Sandbox;
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::{SandboxArgs, SandboxPart};
use crate::config::Env;
use crate::console::Console;
use crate::wiring;

/// Variable that contains the bearer token of webhook calls, set by the controller.
const HOOKS_TOKEN_VARIABLE: &str = "KILOCLAW_HOOKS_TOKEN";

pub(crate) async fn run(
    args: &SandboxArgs,
    console: &Console,
    env: &Env,
) -> anyhow::Result<ExitCode> {
    match args.part {
        None => run_all(args, console).await,
        Some(SandboxPart::Gateway { port }) => run_gateway(port, console, env).await,
    }
}

/// Serves as the bot's gateway until the process receives a stop signal.
async fn run_gateway(port: u16, console: &Console, env: &Env) -> anyhow::Result<ExitCode> {
    let hooks_token = env.variable(HOOKS_TOKEN_VARIABLE);
    let hooks_token = hooks_token.with_context(|| {
        format!("expected the bearer token of the bot's webhooks in {HOOKS_TOKEN_VARIABLE}")
    })?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (--port): is another gateway running?")
    })?;
    console.data(&format!("Stand-in for the gateway listening on {address}"))?;
    let serving = postbell_sandbox::run_gateway(listener, hooks_token.to_owned());
    tokio::select! {
        served = serving => served?,
        signal = wiring::stop_signal() => signal?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the URLs, then serves until the process receives a stop signal.
async fn run_all(args: &SandboxArgs, console: &Console) -> anyhow::Result<ExitCode> {
    let listen = args.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} (--listen): is another process listening there?")
    })?;
    let sandbox = Sandbox::start(listener).await?;
    if args.json {
        console.data(&urls(&sandbox).to_string())?;
    } else {
        console.data(&as_config(&sandbox))?;
    }
    wiring::stop_signal().await?;
    sandbox.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn urls(sandbox: &Sandbox) -> serde_json::Value {
    let url = sandbox.url();
    json!({
        "url": url,
        "control": format!("{url}/sandbox"),
        "hookUrl": sandbox.bot().hook_url(),
        "hookToken": sandbox.bot().token(),
        "directoryUrl": url,
        "directoryApiKey": sandbox.platform().api_key(),
        "flyUrl": url,
        "flyToken": sandbox.fly().token(),
    })
}

/// Formats the URLs as a configuration for a relay.
fn as_config(sandbox: &Sandbox) -> String {
    let url = sandbox.url();
    let hook = sandbox.bot().hook_url();
    let hook_token = sandbox.bot().token();
    let api_key = sandbox.platform().api_key();
    format!(
        "# The sandbox serves on {url}. This is a postbell.toml for a relay that uses it.
# Control API: {url}/sandbox
# The bot's webhook: {hook}, with authorization: Bearer {hook_token}

[relay]
audience = \"http://127.0.0.1:8080\"

[directory]
url = \"{url}\"
api_key = \"{api_key}\"

[google]
jwks_url = \"{url}/oauth2/v3/certs\"
token_url = \"{url}/token\"
auth_url = \"{url}/o/oauth2/v2/auth\"
gmail_url = \"{url}\"
pubsub_url = \"{url}\"
iam_url = \"{url}\"
resource_manager_url = \"{url}\"
service_usage_url = \"{url}\""
    )
}
