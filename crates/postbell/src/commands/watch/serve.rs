//! `postbell watch serve`: receives pushes and posts new mail to the webhook.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use postbell_core::{Clock, Tasks};
use postbell_google::{IdTokenVerifier, SigningKeys};
use postbell_http::{ListenAddress, Listener, serve};
use postbell_watcher::{Monitors, Oidc, PushAuth, Watcher};
use tracing::info;

use super::accounts::{self, Opener};
use super::delivery::TOKEN_VARIABLE;
use super::mailboxes::{self, Opening};
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
    let config = env.load()?;
    let tls = &config.tls;
    anyhow::ensure!(
        tls.is_configured() || !args.tls,
        BadSetting::new(format!(
            "expected [tls] in the configuration ({}), for --tls",
            env.file_name()
        ))
    );
    let accounts = accounts::given(&args.account, env)?;
    let planned = match &accounts {
        Some(_) => Vec::new(),
        None => mailboxes::planned(&args.account, &args.delivery, None, &config)?,
    };
    postbell_http::require_ca_certificates()?;
    let jwks_url = config.google.jwks_url.clone();
    let keys = SigningKeys::of_google(postbell_http::client()?, jwks_url, Arc::clone(&clock));
    let keys = Arc::new(keys);
    let telemetry = Telemetry::new(&config.telemetry, "postbell-watcher", &clock)?;
    let opening = Opening {
        push_auth: push_auth(args, &keys, env)?,
        tracer: telemetry.tracer.clone(),
    };
    let opened = match &accounts {
        Some(_) => None,
        None => Some(mailboxes::open(planned, &opening, console, env, &clock).await?),
    };
    let service = Service::new(GRACE)?;
    let tasks = Tasks::new();
    let mut listener = listener(args, console).await?;
    if args.tls {
        listener = TlsListeners::start(tls, &clock, &tasks)?.secure(listener);
    }
    let (router, monitors) = if let Some(opened) = opened {
        let monitors = mailboxes::monitors(&opened, clock.now());
        let router = mailboxes::servers(&opened.watched, &opened).router(&args.path);
        mailboxes::start(&opened.watched, env, &tasks)?;
        (router.merge(monitors.router()), monitors)
    } else {
        let accounts = accounts.unwrap_or_default();
        let opener = Opener::new(opening, &args.delivery, *console, env, clock);
        let routes = opener.start(accounts, &tasks).await;
        (routes.router(&args.path), routes.monitors())
    };
    tasks.start("pushes", |stop| serve(listener, router, stop));
    if args.verify_oidc {
        tasks.start("google-keys", |stop| keys.refresh_ahead(stop));
    }
    telemetry.start(&tasks);
    Ok(run_until_stopped(service, tasks, monitors).await)
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

/// Starts the background tasks of a watcher: polling and renewal.
pub(super) fn start_in_background(watcher: &Watcher, tasks: &Tasks) {
    let polling = Arc::clone(&watcher.sync);
    let renewal = Arc::clone(&watcher.renewal);
    tasks.start("poll", |stop| polling.run(stop));
    tasks.start("renewal", |stop| renewal.run(stop, fastrand::f64));
    info!("The watcher is running");
}

/// Runs until a stop is requested or a task ends, with the watcher's problem as the status.
pub(super) async fn run_until_stopped(
    service: Service,
    tasks: Tasks,
    monitors: Monitors,
) -> ExitCode {
    let problem = async || {
        let (code, mailbox) = monitors.problem().await?;
        let mailbox = mailbox.map(|name| format!(" of mailbox {name}"));
        let mailbox = mailbox.unwrap_or_default();
        Some(format!("mail{mailbox} does not get through: {code}"))
    };
    let status = "posting new mail to the webhook".to_owned();
    service.run(tasks, status, problem).await
}

fn push_auth(args: &ServeArgs, keys: &Arc<SigningKeys>, env: &Env) -> anyhow::Result<PushAuth> {
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
