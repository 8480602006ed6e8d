//! `postbell watch serve`: pushes in, hooks out.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::{Clock, Tasks};
use postbell_google::{GoogleKeys, IdTokenVerifier};
use postbell_http::serve;
use postbell_watcher::{Oidc, PushAuth, Watcher};
use tokio::net::TcpListener;
use tracing::{error, info};

use super::account::Account;
use super::delivery::{self, TOKEN_VARIABLE};
use crate::cli::ServeArgs;
use crate::config::Env;
use crate::console::Console;
use crate::wiring;

/// How long a look that is under way may take when the process is told to stop.
pub(super) const GRACE: Duration = Duration::from_secs(20);

pub(super) async fn run(
    args: &ServeArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::of(&args.account, env, Arc::clone(&clock))?;
    let keys = GoogleKeys::new(
        account.client.clone(),
        account.config.google.jwks_url.clone(),
        clock,
    );
    let keys = Arc::new(keys);
    let auth = push_auth(args, &keys, env)?;
    let watcher = Arc::new(delivery::watcher(&account, &args.delivery, auth, env)?);
    let address = SocketAddr::new(args.bind, args.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (--bind, --port): is another watcher there?")
    })?;
    let address = listener.local_addr()?;
    console.error(&format!("watch: listening on {address}{}", args.path));
    let tasks = Tasks::new();
    let router = Arc::clone(&watcher).router(&args.path);
    tasks.start("pushes", |stop| serve(listener, router, stop));
    if args.verify_oidc {
        tasks.start("google-keys", |stop| keys.refresh_ahead(stop));
    }
    start_in_background(&watcher, &tasks);
    wiring::run_until_stopped(tasks, GRACE).await
}

/// Starts what a watcher does without being asked: it looks now and then, renews its watch, and
/// ends where the bot wants no more.
pub(super) fn start_in_background(watcher: &Arc<Watcher>, tasks: &Tasks) {
    let [looking, renewing, posting] = [(); 3].map(|()| Arc::clone(watcher));
    tasks.start("catch-up", |stop| looking.catch_up(stop));
    tasks.start("renewal", |stop| renewing.keep_watch(stop, fastrand::f64));
    tasks.start("hook", |stop| async move {
        let wanted = stop.run_until_cancelled(posting.unwanted()).await.is_none();
        if !wanted {
            error!("The bot answered 410: it takes no more mail. Give another --hook-url, or run `postbell watch stop`");
        }
    });
    info!("The watcher works");
}

fn push_auth(args: &ServeArgs, keys: &Arc<GoogleKeys>, env: &Env) -> anyhow::Result<PushAuth> {
    let token = delivery::secret(args.token.as_deref(), TOKEN_VARIABLE, env)?;
    let oidc = match (args.verify_oidc, &args.oidc_email, &args.oidc_audience) {
        (true, Some(email), Some(audience)) => Some(Oidc {
            verifier: Arc::new(IdTokenVerifier::new(Arc::clone(keys))),
            audience: audience.clone(),
            email: email.clone(),
        }),
        _ => None,
    };
    anyhow::ensure!(
        token.is_some() || oidc.is_some(),
        "expected --token, {TOKEN_VARIABLE} or --verify-oidc: otherwise anybody could push"
    );
    Ok(PushAuth { token, oidc })
}
