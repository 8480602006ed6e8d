//! `postbell watch serve`: receives pushes and posts new mail to the webhook.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Tasks};
use postbell_google::{GoogleKeys, IdTokenVerifier};
use postbell_http::{ListenAddress, Listener, serve};
use postbell_watcher::{Monitor, Oidc, PushAuth, Watcher};
use tracing::{error, info};

use super::account::Account;
use super::alerts;
use super::delivery::{self, Source, TOKEN_VARIABLE};
use crate::cli::ServeArgs;
use crate::commands::listen;
use crate::commands::secrets::secret;
use crate::config::{BadSetting, Env};
use crate::console::Console;
use crate::wiring::{Service, Telemetry, TlsListeners};

/// How long a stopping watcher waits for a sync in progress.
pub(super) const GRACE: Duration = Duration::from_secs(20);

pub(super) async fn run(
    args: &ServeArgs,
    console: &Console,
    env: &Env,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<ExitCode> {
    let account = Account::new(&args.account, env, Arc::clone(&clock))?;
    let tls = &account.config.tls;
    anyhow::ensure!(
        tls.is_configured() || !args.tls,
        BadSetting::new(format!(
            "expected [tls] in the configuration ({}), for --tls",
            env.file_name()
        ))
    );
    let identity = account.confirm(console).await?;
    let keys = GoogleKeys::new(
        account.client.clone(),
        account.config.google.jwks_url.clone(),
        clock,
    );
    let keys = Arc::new(keys);
    let telemetry = Telemetry::new(
        &account.config.telemetry,
        "postbell-watcher",
        &account.clock,
    )?;
    let source = Source {
        tracer: telemetry.tracer.clone(),
        subscription: String::new(),
        push_auth: push_auth(args, &keys, env)?,
    };
    let watcher = delivery::watcher(&account, identity, source, &args.delivery, env)?;
    let service = Service::new(GRACE)?;
    let tasks = Tasks::new();
    let mut listener = listener(args, console).await?;
    if args.tls {
        listener = TlsListeners::start(tls, &account.clock, &tasks)?.secure(listener);
    }
    let router = watcher.server.router(&args.path);
    let router = router.merge(watcher.monitor.router());
    tasks.start("pushes", |stop| serve(listener, router, stop));
    if args.verify_oidc {
        tasks.start("google-keys", |stop| keys.refresh_ahead(stop));
    }
    alerts::start(&watcher, &account, &args.delivery.alerts, env, &tasks)?;
    telemetry.start(&tasks);
    start_in_background(&watcher, &tasks);
    Ok(run_until_stopped(service, tasks, watcher.monitor).await)
}

async fn listener(args: &ServeArgs, console: &Console) -> anyhow::Result<Listener> {
    let listener = match &args.listen {
        Some(address) => listen(address, "--listen").await?,
        None => {
            let address = SocketAddr::new(args.bind, args.port);
            listen(&address.into(), "--bind and --port").await?
        }
    };
    let address = match listener.address()? {
        ListenAddress::Tcp(address) => address.to_string(),
        other => format!("{other}:"),
    };
    console.error(&format!("watch: listening on {address}{}", args.path));
    Ok(listener)
}

/// Starts the background tasks of a watcher: polling, renewal, and the end of the process when the
/// bot answers 410.
pub(super) fn start_in_background(watcher: &Watcher, tasks: &Tasks) {
    let [polling, posting] = [(); 2].map(|()| Arc::clone(&watcher.sync));
    let renewal = Arc::clone(&watcher.renewal);
    tasks.start("poll", |stop| polling.run(stop));
    tasks.start("renewal", |stop| renewal.run(stop, fastrand::f64));
    tasks.start("hook", |stop| async move {
        let is_gone = stop.run_until_cancelled(posting.gone()).await.is_some();
        if is_gone {
            error!("The webhook answered 410: it is gone. Set another --hook-url, or run `postbell watch stop`");
        }
    });
    info!("The watcher is running");
}

/// Runs until a stop is requested or a task ends, with the watcher's problem as the status.
pub(super) async fn run_until_stopped(
    service: Service,
    tasks: Tasks,
    monitor: Monitor,
) -> ExitCode {
    let problem = async || {
        let code = monitor.problem().await?;
        Some(format!("mail does not get through: {code}"))
    };
    let status = "posting new mail to the webhook".to_owned();
    service.run(tasks, status, problem).await
}

fn push_auth(args: &ServeArgs, keys: &Arc<GoogleKeys>, env: &Env) -> anyhow::Result<PushAuth> {
    check_push_auth(args, env)?;
    let token = secret(args.token.as_deref(), TOKEN_VARIABLE, env)?;
    let oidc = match (args.verify_oidc, &args.oidc_email, &args.oidc_audience) {
        (true, Some(email), Some(audience)) => Some(Oidc {
            verifier: Arc::new(IdTokenVerifier::new(Arc::clone(keys))),
            audience: audience.clone(),
            email: email.clone(),
        }),
        _ => None,
    };
    Ok(PushAuth { token, oidc })
}

/// Fails if no push would be authenticated.
pub(super) fn check_push_auth(args: &ServeArgs, env: &Env) -> anyhow::Result<()> {
    let token = secret(args.token.as_deref(), TOKEN_VARIABLE, env)?;
    anyhow::ensure!(
        token.is_some() || args.verify_oidc,
        BadSetting::new(format!(
            "expected --token, {TOKEN_VARIABLE} or --verify-oidc: without them, the endpoint would accept every push"
        ))
    );
    Ok(())
}
