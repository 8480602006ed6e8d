use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use postbell_core::{Clock, SystemClock, Tasks};
use postbell_sandbox::{IdTokenClaims, PlatformInstance, Sandbox};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use crate::support::{ServiceProcess, free_port};

const AUDIENCE: &str = "https://push.example.com";
const ACCOUNT: &str = "push@demo.iam.gserviceaccount.com";
const USERS: usize = 12;
const DEADLOCK: Duration = Duration::from_secs(60);

/// By user, the greatest history id.
type Greatest = HashMap<String, u64>;

/// Machines that know what was delivered to them.
#[derive(Clone)]
struct Machines {
    delivered: Arc<watch::Sender<Greatest>>,
    /// Whether they answer no delivery, and that one has begun.
    hold: Arc<AtomicBool>,
    begun: Arc<Notify>,
}

/// A relay in a process of its own, with Google, the directory and the machines around it.
struct World {
    sandbox: Sandbox,
    machines: Machines,
    machines_url: String,
    relay_url: String,
    folder: TempDir,
    tasks: Tasks,
}

async fn take(State(machines): State<Machines>, headers: HeaderMap, body: Bytes) {
    machines.begun.notify_one();
    if machines.hold.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    // The machine's id is the user's name here.
    let user = headers["fly-force-instance-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let history_id = body["message"]["messageId"].as_str().unwrap();
    let history_id: u64 = history_id.parse().unwrap();
    machines.delivered.send_modify(|delivered| {
        let greatest = delivered.entry(user).or_default();
        *greatest = history_id.max(*greatest);
    });
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::start(free_port().await).await.unwrap();
        for number in 0..USERS {
            sandbox.platform().put(instance(&user(number)));
        }
        let machines = Machines {
            delivered: Arc::new(watch::Sender::default()),
            hold: Arc::default(),
            begun: Arc::default(),
        };
        let listener = free_port().await;
        let machines_url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/_kilo/gmail-pubsub", post(take))
            .with_state(machines.clone());
        let tasks = Tasks::new();
        tasks.start("machines", |stop| {
            postbell_http::serve(listener, router, stop)
        });
        let relay = free_port().await.local_addr().unwrap();
        Self {
            sandbox,
            machines,
            machines_url,
            relay_url: format!("http://{relay}"),
            folder: tempfile::tempdir().unwrap(),
            tasks,
        }
    }

    async fn ready(&self) -> u16 {
        let answer = reqwest::get(format!("{}/ready", self.relay_url)).await;
        answer.unwrap().status().as_u16()
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let url = self.sandbox.url();
        let inbox = self.folder.path().join("inbox.db");
        let listen = self.relay_url.trim_start_matches("http://");
        let pairs = [
            ("POSTBELL_RELAY__LISTEN", listen.to_owned()),
            ("POSTBELL_RELAY__AUDIENCE", AUDIENCE.to_owned()),
            (
                "POSTBELL_RELAY__INBOX",
                format!("sqlite:{}", inbox.display()),
            ),
            ("POSTBELL_RELAY__MACHINE_URL", self.machines_url.clone()),
            (
                "POSTBELL_RELAY__RATE_PER_USER__PER_SECOND",
                "100000".to_owned(),
            ),
            ("POSTBELL_RELAY__RETRY__ATTEMPTS", "100000".to_owned()),
            ("POSTBELL_RELAY__RETRY__FIRST", "20ms".to_owned()),
            ("POSTBELL_RELAY__RETRY__FACTOR", "1.0".to_owned()),
            ("POSTBELL_DIRECTORY__URL", url.to_owned()),
            (
                "POSTBELL_DIRECTORY__API_KEY",
                self.sandbox.platform().api_key().to_owned(),
            ),
            (
                "POSTBELL_GOOGLE__JWKS_URL",
                format!("{url}/oauth2/v3/certs"),
            ),
        ];
        pairs.to_vec()
    }

    fn pusher(&self, number: usize) -> Pusher {
        let path = format!("/push/user/{}", user(number));
        let now = SystemClock::new().now().as_secs();
        let claims = IdTokenClaims::of(ACCOUNT, &format!("{AUDIENCE}{path}"), now);
        Pusher {
            client: Client::new(),
            url: format!("{}{path}", self.relay_url),
            token: self.sandbox.oauth().id_token(&claims),
        }
    }

    /// Waits until the machines have what was acknowledged, or something later.
    async fn reconcile(&self, acknowledged: &Greatest) {
        let mut delivered = self.machines.delivered.subscribe();
        let is_all = |delivered: &Greatest| {
            let mut promised = acknowledged.iter();
            promised.all(|(user, history_id)| delivered.get(user) >= Some(history_id))
        };
        let all = timeout(DEADLOCK, delivered.wait_for(is_all)).await;
        let problem = "something was acknowledged and not delivered";
        drop(all.expect(problem).unwrap());
    }

    async fn stop(self) {
        self.sandbox.stop().await;
        self.tasks.stop(DEADLOCK).await.unwrap();
    }
}

/// Sends one user's pushes.
struct Pusher {
    client: Client,
    url: String,
    token: String,
}

impl Pusher {
    /// The status of the answer; `None` where there was none.
    async fn push(&self, history_id: u64) -> Option<u16> {
        let data = json!({ "emailAddress": "ann@example.com", "historyId": history_id });
        let data = BASE64_STANDARD.encode(data.to_string());
        let id = history_id.to_string();
        let body = json!({ "message": { "data": data, "messageId": id } }).to_string();
        let request = self.client.post(&self.url).bearer_auth(&self.token);
        let answer = request.body(body).timeout(DEADLOCK).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

fn instance(user: &str) -> PlatformInstance {
    PlatformInstance {
        user_id: user.to_owned(),
        sandbox_id: format!("sandbox-of-{user}"),
        status: "running".to_owned(),
        fly_app_name: "bot".to_owned(),
        fly_machine_id: user.to_owned(),
        google_connected: true,
        gmail_notifications_enabled: true,
        gmail_push_oidc_email: Some(ACCOUNT.to_owned()),
        email: None,
        gmail_last_history_id: None,
    }
}

/// Pushes for all users concurrently until stopped, and counts the acknowledged pushes.
fn push_without_end(
    world: &World,
    acknowledged: &Arc<Mutex<Greatest>>,
    count: &Arc<watch::Sender<u64>>,
) -> JoinSet<()> {
    let mut pushing = JoinSet::new();
    let next = Arc::new(AtomicU64::new(1));
    for number in 0..USERS {
        let pusher = world.pusher(number);
        let (acknowledged, count) = (Arc::clone(acknowledged), Arc::clone(count));
        let next = Arc::clone(&next);
        pushing.spawn(async move {
            loop {
                let history_id = next.fetch_add(1, Ordering::Relaxed);
                if pusher.push(history_id).await == Some(204) {
                    acknowledged.lock().insert(user(number), history_id);
                    count.send_modify(|count| *count += 1);
                } else {
                    // There is no relay at the moment.
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    pushing
}

#[tokio::test]
async fn what_was_acknowledged_is_delivered_however_often_the_relay_is_killed_under_load() {
    let world = World::new().await;
    let acknowledged = Arc::new(Mutex::new(Greatest::new()));
    let count = Arc::new(watch::Sender::new(0));
    let mut relay = ServiceProcess::start(&world.variables()).await;
    let mut pushing = push_without_end(&world, &acknowledged, &count);
    let mut rng = fastrand::Rng::with_seed(20_261_124);
    for _ in 0..8 {
        // At a random moment: the load does not stop for it.
        let until = *count.borrow() + rng.u64(1..400);
        let mut counted = count.subscribe();
        let reached = timeout(DEADLOCK, counted.wait_for(|count| *count >= until)).await;
        drop(reached.expect("the relay takes nothing").unwrap());
        relay.kill().await;
        relay = ServiceProcess::start(&world.variables()).await;
    }
    pushing.shutdown().await;
    let promised = acknowledged.lock().clone();
    assert_eq!(promised.len(), USERS);
    world.reconcile(&promised).await;
    relay.kill().await;
    world.stop().await;
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_loses_nothing() {
    let world = World::new().await;
    let acknowledged = Arc::new(Mutex::new(Greatest::new()));
    // The system refuses to let any file of this process grow beyond 400 KiB.
    let relay = ServiceProcess::start_with_small_files("relay", &world.variables()).await;
    let pusher = world.pusher(0);
    let mut refused = 0;
    for history_id in 1..2000 {
        match pusher.push(history_id).await {
            Some(204) => drop(acknowledged.lock().insert(user(0), history_id)),
            Some(503) => refused += 1,
            other => panic!("expected 204 or 503, got {other:?}"),
        }
        if refused > 3 {
            break;
        }
    }
    assert!(refused > 3, "the disk was never full");
    assert_eq!(world.ready().await, 503);
    relay.kill().await;

    let relay = ServiceProcess::start(&world.variables()).await;
    assert_eq!(pusher.push(5000).await, Some(204), "there is room again");
    assert_eq!(world.ready().await, 200);
    acknowledged.lock().insert(user(0), 5000);
    let promised = acknowledged.lock().clone();
    world.reconcile(&promised).await;
    relay.kill().await;
    world.stop().await;
}

#[tokio::test]
async fn a_relay_that_is_told_to_stop_ends_well_and_loses_nothing() {
    let world = World::new().await;
    let acknowledged = Arc::new(Mutex::new(Greatest::new()));
    let count = Arc::new(watch::Sender::new(0));
    let relay = ServiceProcess::start(&world.variables()).await;
    let mut pushing = push_without_end(&world, &acknowledged, &count);
    let mut counted = count.subscribe();
    let reached = timeout(DEADLOCK, counted.wait_for(|count| *count >= 200)).await;
    drop(reached.expect("the relay takes nothing").unwrap());
    assert_eq!(relay.terminate().await, Some(0));
    pushing.shutdown().await;

    let relay = ServiceProcess::start(&world.variables()).await;
    let promised = acknowledged.lock().clone();
    world.reconcile(&promised).await;
    relay.kill().await;
    world.stop().await;
}

/// Long before the lease of the delivery would end.
#[tokio::test]
async fn a_relay_delivers_what_another_one_on_the_same_store_had_begun_when_it_was_killed() {
    let world = World::new().await;
    let mut variables = world.variables();
    variables.push(("POSTBELL_RELAY__DELIVERY_TIMEOUT", "10m".to_owned()));
    world.machines.hold.store(true, Ordering::SeqCst);
    let killed = ServiceProcess::start(&variables).await;
    assert_eq!(world.pusher(0).push(7).await, Some(204));
    let begun = timeout(DEADLOCK, world.machines.begun.notified());
    begun.await.expect("the delivery did not begin");
    world.machines.hold.store(false, Ordering::SeqCst);

    let listen = free_port().await.local_addr().unwrap().to_string();
    variables.retain(|(name, _)| *name != "POSTBELL_RELAY__LISTEN");
    variables.push(("POSTBELL_RELAY__LISTEN", listen));
    let other = ServiceProcess::start(&variables).await;
    killed.kill().await;
    world.reconcile(&Greatest::from([(user(0), 7)])).await;
    assert_eq!(other.terminate().await, Some(0));
    world.stop().await;
}
