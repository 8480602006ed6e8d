mod parts;
mod recording_relays;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use postbell_core::{
    Actor, Changes, Clock, Credentials, InstanceStatus, MachineLocation, ManagedMachine, NewUser,
    SandboxId, SystemClock, Tasks, Timestamp, UserId, UserRecord, Users,
};
use postbell_google::OAuthClient;
use postbell_platform::{
    Fleet, FlyMachines, Machines, MailboxUsers, Operator as Operations, OperatorClient,
    OperatorClientParts, Platform, PlatformParts, Reconciler, Relays, Tarballs, UserService,
    UserTokens, system_random,
};
use postbell_protocol::credential_envelope::PlatformKey;
use postbell_protocol::env_crypto::EnvKey;
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_protocol::gog_keyring::GogCredentials;
use postbell_protocol::tarball;
use postbell_protocol::watch_state::{self, WatchState};
use postbell_sandbox::Sandbox;
use postbell_testkit::{MemoryAlerts, MemoryRevocations, MemoryStore, MemoryUsers};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt;
use url::Url;

use self::parts::{api_keys, mailboxes, operated, operated_by, reconciler_parts};
pub(crate) use self::recording_relays::RecordingRelays;

pub(crate) const API_KEY: &str = "the key of the tests";
pub(crate) const GATEWAY_SECRET: &str = "the gateway secret of the tests";
const KEY: &str = include_str!("../../../postbell-protocol/fixtures/key.pem");
const ENVELOPE: &str = include_str!("../../../postbell-protocol/fixtures/envelope.json");

/// A platform with users in memory, called through its router.
pub(crate) struct TestPlatform {
    pub(crate) store: Arc<MemoryUsers>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) users: Arc<UserService>,
    pub(crate) mailboxes: Arc<MailboxUsers>,
    /// What operators do, and what is stored.
    pub(crate) operator: Arc<Operations>,
    pub(crate) operated: MemoryStore,
    pub(crate) relays: Arc<RecordingRelays>,
    /// Notified of each change, as in `postbell serve`.
    pub(crate) alerts: Arc<MemoryAlerts>,
    pub(crate) changes: Changes,
    pub(crate) router: Router,
    clock: Arc<Hurried>,
    tasks: Tasks,
}

/// The system clock plus an offset.
#[derive(Default)]
struct Hurried {
    clock: SystemClock,
    by: Mutex<Duration>,
}

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        self.clock.now() + *self.by.lock()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed() + *self.by.lock()
    }
}

/// The topic and the push account of an operator.
pub(crate) const OPERATOR_TOPIC: &str = "projects/sandbox-project/topics/postbell-gmail";
pub(crate) const PUSH_ACCOUNT: &str = "postbell-push@sandbox-project.iam.gserviceaccount.com";

/// An operator's OAuth client.
pub(crate) struct Operator {
    pub(crate) client: OAuthClient,
    pub(crate) scopes: Vec<String>,
    pub(crate) google: Url,
    pub(crate) token_url: Url,
    pub(crate) revocations: MemoryRevocations,
}

impl Operator {
    /// The sandbox's first client.
    pub(crate) fn of(sandbox: &Sandbox) -> Self {
        let (id, secret) = sandbox.oauth().first_client();
        let google: Url = sandbox.url().parse().unwrap();
        Self {
            client: OAuthClient {
                id: id.to_owned(),
                secret: secret.into(),
                project_id: None,
            },
            scopes: Vec::new(),
            revocations: MemoryRevocations::default(),
            token_url: google.join("/token").unwrap(),
            google,
        }
    }

    fn build(
        &self,
        store: &Arc<MemoryUsers>,
        key: Arc<PlatformKey>,
        clock: Arc<dyn Clock>,
    ) -> OperatorClient {
        OperatorClient::new(OperatorClientParts {
            client: self.client.clone(),
            topic: OPERATOR_TOPIC.to_owned(),
            push_account: PUSH_ACCOUNT.parse().unwrap(),
            scopes: self.scopes.clone(),
            http: reqwest::Client::new(),
            auth_url: self.google.join("/o/oauth2/v2/auth").unwrap(),
            token_url: self.token_url.clone(),
            gmail_url: self.google.clone(),
            key,
            users: Arc::clone(store) as _,
            credentials: Arc::clone(store) as _,
            revocations: Arc::new(self.revocations.clone()),
            random: system_random(),
            clock,
        })
    }
}

/// Who changes something, if a test does not care.
pub(crate) fn olga() -> Actor {
    Actor {
        name: "olga".to_owned(),
        origin: "command line".to_owned(),
        at: SystemClock::new().now(),
    }
}

/// The status and the JSON body of a response.
pub(crate) type Answer = (u16, Value);

impl TestPlatform {
    /// With the user `ann`, whose machine is running and not managed.
    pub(crate) async fn new() -> Self {
        Self::with(Arc::new(MemoryUsers::default()), None, true).await
    }

    /// The same, with the machines of a sandbox.
    pub(crate) async fn on_fly(sandbox: &Sandbox) -> Self {
        Self::with(
            Arc::new(MemoryUsers::default()),
            Some(Arc::new(machines(sandbox, None))),
            true,
        )
        .await
    }

    pub(crate) async fn with(
        store: Arc<MemoryUsers>,
        machines: Option<Arc<dyn Machines>>,
        has_key: bool,
    ) -> Self {
        let world = Self::over(store, machines, has_key);
        world.add("ann").await;
        world
    }

    /// The same, with the Google of a sandbox.
    pub(crate) async fn with_google(sandbox: &Sandbox) -> Self {
        let google = sandbox.url().parse().unwrap();
        let world = Self::over_google(Arc::default(), None, true, &google, None);
        world.add("ann").await;
        world
    }

    /// The same, with an operator's OAuth client. Nobody manages ann's machine.
    pub(crate) async fn with_operator(operator: &Operator) -> Self {
        let google = operator.google.clone();
        let world = Self::over_google(Arc::default(), None, true, &google, Some(operator));
        world.add("ann").await;
        world
    }

    /// A platform over existing users.
    pub(crate) fn over(
        store: Arc<MemoryUsers>,
        machines: Option<Arc<dyn Machines>>,
        has_key: bool,
    ) -> Self {
        let nowhere = "http://127.0.0.1:1/".parse().unwrap();
        Self::over_google(store, machines, has_key, &nowhere, None)
    }

    fn over_google(
        store: Arc<MemoryUsers>,
        machines: Option<Arc<dyn Machines>>,
        has_key: bool,
        google: &Url,
        operator: Option<&Operator>,
    ) -> Self {
        let hurried = Arc::new(Hurried::default());
        let clock = Arc::clone(&hurried) as Arc<dyn Clock>;
        let (fleet, starter) =
            Fleet::new(Arc::clone(&store) as _, machines, Arc::clone(&clock), None);
        let key = has_key.then(|| Arc::new(PlatformKey::from_pem(&KEY.into()).unwrap()));
        let relays = Arc::new(RecordingRelays::default());
        let tarballs = Tarballs {
            credentials: Arc::clone(&store) as _,
            key: key.clone(),
        };
        let secret = SecretString::from(GATEWAY_SECRET);
        let operator_client = operator
            .zip(key.clone())
            .map(|(operator, key)| Arc::new(operator.build(&store, key, Arc::clone(&clock))));
        let client = operator_client.as_ref();
        let operated = operated(&store);
        let parts = reconciler_parts(&operated, &tarballs, &fleet, &relays, client, &clock);
        let (commands, reconciler) = Reconciler::new(parts);
        let mailboxes = Arc::new(mailboxes(&store, key.clone(), google, Arc::clone(&clock)));
        let users = Arc::new(UserService {
            store: Arc::clone(&store) as _,
            ports: Arc::new(operated.clone()),
            fleet: Arc::clone(&fleet),
            relays: Arc::clone(&relays) as Arc<dyn Relays>,
            operator_client: operator_client.clone(),
            clock: Arc::clone(&clock),
            commands,
        });
        let operator = Arc::new(operated_by(&operated, operator_client, &relays, clock));
        let platform = Platform::new(PlatformParts {
            users: Arc::clone(&users),
            mailboxes: Arc::clone(&mailboxes),
            tarballs,
            watcher_arguments: vec!["--per-message".to_owned()],
            platform_key: key,
            relay_url: None,
            api_key: API_KEY.into(),
            lookups_fresh_for: std::time::Duration::from_secs(60),
            gateway_tokens: GatewayTokens::new(&secret),
            user_tokens: UserTokens::new(&secret),
            api_keys: api_keys(&operated),
            operator: Arc::clone(&operator),
        });
        let tasks = Tasks::new();
        tasks.start("reconciler", |stop| reconciler.run(stop));
        tasks.start("machine-starter", |stop| starter.run(stop));
        Self {
            changes: store.changes.clone(),
            store,
            fleet,
            users,
            mailboxes,
            operator,
            alerts: Arc::clone(&operated.alerts),
            operated,
            relays,
            router: platform.router(),
            clock: hurried,
            tasks,
        }
    }

    /// Adds a user whose machine `bot`/`m` on Fly is running.
    pub(crate) async fn add(&self, name: &str) -> UserRecord {
        let user: UserId = name.parse().unwrap();
        let new = NewUser {
            sandbox_id: format!("sandbox-of-{name}").parse().unwrap(),
            user,
            status: InstanceStatus::Running,
            location: MachineLocation::Managed(ManagedMachine {
                app: "bot".to_owned(),
                machine: "m".to_owned(),
            }),
            wake_on_mail: false,
        };
        self.store.add(new, self.now()).await.unwrap()
    }

    /// Adds a user whose machine has no location.
    pub(crate) async fn add_another(&self, name: &str) {
        self.add_at(name, self.now()).await;
    }

    /// Adds a user with a creation time in a minute.
    pub(crate) async fn add_later(&self, name: &str) {
        self.add_at(name, self.now() + Duration::from_secs(60))
            .await;
    }

    async fn add_at(&self, name: &str, now: Timestamp) {
        let new = NewUser {
            user: name.parse().unwrap(),
            sandbox_id: format!("sandbox-of-{name}").parse().unwrap(),
            status: InstanceStatus::Running,
            location: MachineLocation::Unknown,
            wake_on_mail: false,
        };
        self.store.add(new, now).await.unwrap();
    }

    /// Changes a record.
    pub(crate) async fn change(&self, name: &str, mut change: impl FnMut(&mut UserRecord) + Send) {
        let user = name.parse().unwrap();
        let changed = postbell_core::update_user(&*self.store, &user, None, &*self.clock, |it| {
            change(it);
            Ok::<_, postbell_core::UsersError>(())
        });
        changed.await.unwrap().unwrap();
    }

    /// Removes a user.
    pub(crate) async fn remove(&self, name: &str) {
        let record = self.record(name).await;
        assert!(self.store.remove(&record).await.unwrap());
    }

    pub(crate) async fn record(&self, name: &str) -> UserRecord {
        let user = name.parse().unwrap();
        self.store.get(&user).await.unwrap().unwrap()
    }

    /// Advances the clock.
    pub(crate) fn pass(&self, time: Duration) {
        *self.clock.by.lock() += time;
    }

    /// By how much the clock was advanced.
    pub(crate) fn passed(&self) -> Duration {
        *self.clock.by.lock()
    }

    /// The stored credentials of a user, as the machine unpacks them.
    pub(crate) async fn credentials(&self, name: &str, account: &str) -> Option<GogCredentials> {
        tarball::gog_credentials(&self.tarball(name).await, account)
    }

    /// The state of the watch in the stored credentials of a user.
    pub(crate) async fn watch_state(&self, name: &str, account: &str) -> WatchState {
        let folder = tempfile::tempdir().unwrap();
        tarball::unpack(&self.tarball(name).await, folder.path(), tarball::FOLDER).unwrap();
        let file = watch_state::file_name(account);
        let state = folder
            .path()
            .join(tarball::FOLDER)
            .join(watch_state::FOLDER);
        serde_json::from_slice(&std::fs::read(state.join(file)).unwrap()).unwrap()
    }

    async fn tarball(&self, name: &str) -> SecretString {
        let user = name.parse().unwrap();
        let stored = self.store.credentials(&user).await.unwrap().unwrap();
        let key = PlatformKey::from_pem(&KEY.into()).unwrap();
        key.decrypt_tarball(stored.expose()).unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sends a request as it is.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Gets a text without authentication.
    pub(crate) async fn text(&self, uri: &str) -> String {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// Sends a request with the internal key.
    pub(crate) async fn ask(&self, method: Method, uri: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(method, uri, &[("x-internal-api-key", API_KEY)], body)
            .await
    }

    /// Sends a request with a token of `name`'s.
    pub(crate) async fn ask_as(
        &self,
        name: &str,
        method: Method,
        uri: &str,
        body: Value,
    ) -> Answer {
        let token = self.user_token(name, Duration::from_secs(60)).await;
        let bearer = format!("Bearer {token}");
        self.send(method, uri, &[("authorization", &bearer)], body.to_string())
            .await
    }

    pub(crate) async fn user_token(&self, name: &str, good_for: Duration) -> String {
        let tokens = UserTokens::new(&GATEWAY_SECRET.into());
        let token = tokens.issue(&self.record(name).await, self.now() + good_for);
        token.expose_secret().to_owned()
    }

    /// Connects `name`'s account as a setup tool does.
    pub(crate) async fn ask_as_setup_tool(&self, name: &str) {
        let offer = json!({ "googleCredentials": google_credentials() });
        let answer = self.ask_as(name, Method::POST, "/api/admin/google-credentials", offer);
        assert_eq!(answer.await.0, 200);
    }

    /// Connects `name`'s account over the API.
    pub(crate) async fn connect(&self, name: &str) -> Answer {
        let body = json!({ "userId": name, "googleCredentials": google_credentials() });
        self.ask(Method::POST, "/api/platform/google-credentials", body)
            .await
    }

    /// Turns `name`'s notifications on or off over the API.
    pub(crate) async fn toggle(&self, name: &str, on: bool) -> Answer {
        const ROUTE: &str = "/api/platform/gmail-notifications";
        if on {
            let body = json!({ "userId": name });
            self.ask(Method::POST, ROUTE, body).await
        } else {
            let uri = format!("{ROUTE}?userId={name}");
            self.ask(Method::DELETE, &uri, Value::Null).await
        }
    }

    pub(crate) async fn stop(self) {
        self.tasks.stop(Duration::from_secs(10)).await.unwrap();
    }
}

/// The credentials that a setup tool sends, encrypted for the tests' key.
pub(crate) fn google_credentials() -> Value {
    let envelope: Value = serde_json::from_str(ENVELOPE).unwrap();
    json!({
        "gogConfigTarball": envelope,
        "email": "Ann@Example.com",
        "gmailPushOidcEmail": "push@p.iam.gserviceaccount.com",
    })
}

/// The token of a machine.
pub(crate) fn gateway_token(sandbox_id: &str) -> String {
    let sandbox_id: SandboxId = sandbox_id.parse().unwrap();
    let token = GatewayTokens::new(&GATEWAY_SECRET.into()).token(&sandbox_id);
    token.expose_secret().to_owned()
}

pub(crate) async fn sandbox() -> Sandbox {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::start(listener).await.unwrap()
}

pub(crate) fn machines(sandbox: &Sandbox, env_key: Option<EnvKey>) -> FlyMachines {
    FlyMachines::new(
        reqwest::Client::new(),
        sandbox.url().parse().unwrap(),
        sandbox.fly().token().into(),
        env_key,
        Arc::new(SystemClock::new()),
    )
}
