//! `postbell sandbox`

use std::process::ExitCode;

use anyhow::Context;
use postbell_sandbox::Sandbox;
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::SandboxArgs;
use crate::console::Console;
use crate::wiring;

/// Prints the URLs, then serves until the process is told to stop.
pub(crate) async fn run(args: &SandboxArgs, console: &Console) -> anyhow::Result<ExitCode> {
    let listen = args.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} (--listen): is another process there?")
    })?;
    let sandbox = Sandbox::start(listener).await?;
    if args.json {
        console.data(&urls(&sandbox).to_string())?;
    } else {
        console.data(&in_words(&sandbox))?;
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

/// The same as a configuration for a relay beside it, which a person can read.
fn in_words(sandbox: &Sandbox) -> String {
    let url = sandbox.url();
    let hook = sandbox.bot().hook_url();
    let hook_token = sandbox.bot().token();
    let api_key = sandbox.platform().api_key();
    format!(
        "# The sandbox serves on {url} until it is stopped. This is a postbell.toml for it.
# What it can be told to do: {url}/sandbox
# The bot's hook: {hook}, with authorization: Bearer {hook_token}

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
pubsub_url = \"{url}\""
    )
}
