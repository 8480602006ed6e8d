//! Machines that fetch their configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::FutureExt;
use parking_lot::Mutex;
use postbell_core::{
    AccessTokens, Actor, AlertTargets, AuditLog, AuditedPorts, DeliveryLog, MachineLocation,
    Sessions, SystemClock, UserRecord, Users,
};
use postbell_platform::{
    Notifications, Operator as Operations, Perform, SyncOutcome, system_random,
};
use postbell_protocol::api::operator::{
    AddUser, ChangeUser, ImportUsers, Invite, Operation, RemoveUser,
};
use postbell_testkit::MemoryStore;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::test_platform::{Answer, TestPlatform, gateway_token, olga, sandbox};

const CONFIG: &str = "/api/controller/config";
const BEFORE_THE_HEADER: &str = "/api/controller/config?sandboxId=sandbox-of-ann";

/// What a controller answers to a reload, and how often it was asked.
type Answers = Arc<Mutex<(u16, Value, u32)>>;

/// A controller that answers a reload as the test says. Returns its URL.
async fn controller(answers: &Answers) -> (String, JoinSet<()>) {
    let reload = async |State(answers): State<Answers>, headers: HeaderMap| {
        assert_eq!(headers["content-length"], "0", "a proxy may want it");
        let mut answers = answers.lock();
        answers.2 += 1;
        let status = StatusCode::from_u16(answers.0).unwrap();
        (status, Json(answers.1.clone())).into_response()
    };
    let router = Router::new()
        .route("/bot/_kilo/reload", post(reload))
        .with_state(Arc::clone(answers));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/bot/", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, serving)
}

async fn move_to(world: &TestPlatform, url: &str) {
    let location = MachineLocation::Url(url.parse().unwrap());
    let change = |record: &mut UserRecord| record.location = location.clone();
    world.change("ann", change).await;
}

/// Fetches the configuration of Ann's machine, with its token or another.
async fn fetch(world: &TestPlatform, token: Option<&str>) -> Answer {
    let own = gateway_token("sandbox-of-ann");
    fetch_as(world, "sandbox-of-ann", token.unwrap_or(&own)).await
}

async fn fetch_as(world: &TestPlatform, sandbox_id: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", &*bearer),
        ("x-postbell-sandbox-id", sandbox_id),
    ];
    world.send(Method::GET, CONFIG, &headers, "").await
}

#[tokio::test]
async fn a_machine_gets_its_account_with_its_own_token_only() {
    let world = TestPlatform::new().await;
    let config = async |token: Option<&str>| fetch(&world, token).await;
    let nothing = json!({
        "account": null,
        "gmailNotificationsEnabled": false,
        "watcherArguments": ["--per-message"],
    });
    assert_eq!(config(None).await, (200, nothing));
    assert_eq!(world.connect("ann").await.0, 200);
    let account = json!({
        "email": "ann@example.com",
        "gogConfigTarball": "H4sIAAAA",
        "lastHistoryId": null,
    });
    let (status, found) = config(None).await;
    assert_eq!((status, &found["account"]), (200, &account));
    assert_eq!(found["gmailNotificationsEnabled"], true);
    let record = world.record("ann").await;
    assert!(record.config_fetched_at.is_some());
    for wrong in ["", "0".repeat(64).as_str(), "hunter2"] {
        assert_eq!(config(Some(wrong)).await.0, 401, "{wrong}");
    }
    let (status, _) = world.ask(Method::GET, BEFORE_THE_HEADER, Value::Null).await;
    assert_eq!(status, 401, "the API key is no machine's");
    let bearer = format!("Bearer {}", gateway_token("sandbox-of-ann"));
    let token = [("authorization", &*bearer)];
    let before = world.send(Method::GET, BEFORE_THE_HEADER, &token, "");
    assert_eq!(before.await.0, 200);
    assert_eq!(world.send(Method::GET, CONFIG, &token, "").await.0, 400);
}

/// Adds, changes or removes a user.
async fn operate<O: Operation>(world: &TestPlatform, body: Value) -> O::Answer
where
    Operations: Perform<O>,
{
    let by = Actor {
        name: "test".to_owned(),
        origin: "here".to_owned(),
        at: world.now(),
    };
    let request = serde_json::from_value(body).unwrap();
    world.operator.perform(request, &by).await.unwrap()
}

/// The token is derived from the sandbox id, and that is the user id unless an operator chooses one.
#[tokio::test]
async fn the_machine_of_a_removed_user_has_no_access_to_the_next_one_with_the_id() {
    let world = TestPlatform::new().await;
    let eve = json!({ "userId": "eve" });
    let first = operate::<AddUser>(&world, eve.clone()).await;
    assert_eq!(first.sandbox_id, "eve");
    assert_eq!(fetch_as(&world, "eve", &gateway_token("eve")).await.0, 200);
    operate::<RemoveUser>(&world, eve.clone()).await;
    let (status, answer) = fetch_as(&world, "eve", &gateway_token("eve")).await;
    assert_eq!(status, 410, "{answer}");

    let mut ids = vec![first.sandbox_id];
    for request in ["add", "invite", "import"] {
        match request {
            "add" => drop(operate::<AddUser>(&world, eve.clone()).await),
            "invite" => drop(operate::<Invite>(&world, eve.clone()).await),
            _ => drop(operate::<ImportUsers>(&world, json!({ "csv": "user\neve\n" })).await),
        }
        let id = world.record("eve").await.sandbox_id.to_string();
        assert!(id.starts_with("eve.") && !ids.contains(&id), "{id}");
        for former in &ids {
            let token = gateway_token(former);
            assert_eq!(fetch_as(&world, former, &token).await.0, 410, "{former}");
        }
        assert_eq!(fetch_as(&world, &id, &gateway_token(&id)).await.0, 200);
        ids.push(id);
        operate::<RemoveUser>(&world, eve.clone()).await;
    }
    // An operator may insist, also on the former id.
    for id in ["mine", "eve"] {
        let chosen = json!({ "userId": "eve", "sandboxId": id });
        assert_eq!(
            operate::<AddUser>(&world, chosen.clone()).await.sandbox_id,
            id
        );
        operate::<RemoveUser>(&world, eve.clone()).await;
        operate::<Invite>(&world, chosen).await;
        assert_eq!(world.record("eve").await.sandbox_id.as_str(), id);
        operate::<RemoveUser>(&world, eve.clone()).await;
    }
    let csv = json!({ "csv": "user,sandbox_id\neve,eve\n" });
    operate::<ImportUsers>(&world, csv).await;
    assert_eq!(world.record("eve").await.sandbox_id.as_str(), "eve");
}

#[tokio::test]
async fn a_machine_that_an_operator_named_like_a_later_user_has_no_access_to_that_user() {
    let world = TestPlatform::new().await;
    for (user, later, end) in [("bob", "dave", "rename"), ("cid", "fay", "remove")] {
        let named = json!({ "userId": user, "sandboxId": later });
        operate::<AddUser>(&world, named).await;
        match end {
            "rename" => {
                let renamed = json!({ "userId": user, "newSandboxId": true });
                drop(operate::<ChangeUser>(&world, renamed).await);
            }
            _ => drop(operate::<RemoveUser>(&world, json!({ "userId": user })).await),
        }
        let added = operate::<AddUser>(&world, json!({ "userId": later })).await;
        assert_ne!(added.sandbox_id, later);
        let (status, answer) = fetch_as(&world, later, &gateway_token(later)).await;
        assert_eq!(status, 410, "{answer}");
    }
}

/// The stores of a platform, on which another operator renames the machine of `bob` to `fay` before the first entry.
struct Interrupted {
    stores: MemoryStore,
    is_over: AtomicBool,
}

impl AuditedPorts for Interrupted {
    fn users(&self, by: &Actor) -> Arc<dyn Users> {
        self.stores.users(by)
    }

    fn sessions(&self, by: &Actor) -> Arc<dyn Sessions> {
        self.stores.sessions(by)
    }

    fn tokens(&self, by: &Actor) -> Arc<dyn AccessTokens> {
        self.stores.tokens(by)
    }

    fn delivery_log(&self, by: &Actor) -> Arc<dyn DeliveryLog> {
        self.stores.delivery_log(by)
    }

    fn alert_targets(&self, by: &Actor) -> Arc<dyn AlertTargets> {
        self.stores.alert_targets(by)
    }

    fn audit_log(&self) -> Arc<dyn AuditLog> {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            let renamed = async {
                let bob = "bob".parse().unwrap();
                let mut record = self.stores.users.get(&bob).await.unwrap().unwrap();
                record.rename_machine("fay".parse().unwrap());
                let now = record.updated_at;
                self.stores.users.replace(&record, None, now).await.unwrap();
            };
            renamed.now_or_never().unwrap();
        }
        self.stores.audit_log()
    }
}

#[tokio::test]
async fn a_sandbox_id_that_was_given_for_a_moment_opens_no_later_user() {
    let mut world = TestPlatform::new().await;
    operate::<AddUser>(&world, json!({ "userId": "bob", "sandboxId": "dave" })).await;
    let ports = Arc::new(Interrupted {
        stores: world.operated.clone(),
        is_over: AtomicBool::new(false),
    });
    world.operator = Arc::new(Operations {
        ports,
        queue: None,
        client: None,
        relays: None,
        controllers: None,
        url: None,
        user_tokens: None,
        gateway_tokens: None,
        random: system_random(),
        clock: Arc::new(SystemClock::new()),
    });
    let renamed = json!({ "userId": "bob", "newSandboxId": true });
    operate::<ChangeUser>(&world, renamed).await;
    for later in ["dave", "fay"] {
        let added = operate::<AddUser>(&world, json!({ "userId": later })).await;
        assert_ne!(added.sandbox_id, later);
    }
}

/// It removes the credentials at once, in place of asking for its configuration within an hour.
#[tokio::test]
async fn a_machine_that_loses_its_user_or_its_id_is_told() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let answers: Answers = Arc::new(Mutex::new((200, json!({"ok": true}), 0)));
    let (url, _serving) = controller(&answers).await;
    move_to(&world, &url).await;
    let renamed = json!({ "userId": "ann", "sandboxId": "sandbox-2" });
    operate::<ChangeUser>(&world, renamed).await;
    assert_eq!(answers.lock().2, 0, "it does not fetch its configuration");
    let token = gateway_token("sandbox-2");
    assert_eq!(fetch_as(&world, "sandbox-2", &token).await.0, 200);
    for (number, renamed) in [
        (1, json!({ "userId": "ann", "sandboxId": "sandbox-3" })),
        (1, json!({ "userId": "ann", "wakeOnMail": true })),
    ] {
        operate::<ChangeUser>(&world, renamed).await;
        assert_eq!(answers.lock().2, number);
    }
    operate::<RemoveUser>(&world, json!({ "userId": "ann" })).await;
    assert_eq!(answers.lock().2, 2);
}

#[tokio::test]
async fn an_import_compares_the_sandbox_ids_that_users_get() {
    let world = TestPlatform::new().await;
    let eve = json!({ "userId": "eve" });
    operate::<AddUser>(&world, eve.clone()).await;
    operate::<RemoveUser>(&world, eve).await;
    let csv = json!({ "csv": "user,sandbox_id\neve,\nfay,eve\n", "dryRun": true });
    let report = operate::<ImportUsers>(&world, csv).await;
    assert_eq!((report.added, report.refused), (2, 0), "{report:?}");
}

#[tokio::test]
async fn a_new_sandbox_id_ends_the_token_of_the_machine() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    assert_eq!(fetch(&world, None).await.0, 200);
    let drawn = json!({ "userId": "ann", "newSandboxId": true });
    let id = operate::<ChangeUser>(&world, drawn).await.sandbox_id;
    assert!(id.starts_with("ann."), "{id}");
    assert_eq!(fetch(&world, None).await.0, 410);
    assert_eq!(fetch_as(&world, &id, &gateway_token(&id)).await.0, 200);
    assert!(
        world
            .relays
            .0
            .lock()
            .contains(&"ann has changed".to_owned())
    );
    let given = json!({ "userId": "ann", "sandboxId": "box-2" });
    operate::<ChangeUser>(&world, given).await;
    assert_eq!(fetch_as(&world, &id, &gateway_token(&id)).await.0, 410);
}

#[tokio::test]
async fn a_machine_that_asks_too_often_is_refused() {
    let world = TestPlatform::new().await;
    let mut last = 200;
    for _ in 0..31 {
        (last, _) = fetch(&world, None).await;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn a_change_is_fetched_by_a_machine_at_a_url_without_a_restart() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let answers: Answers = Arc::new(Mutex::new((200, json!({"ok": true, "changed": true}), 0)));
    let (url, _serving) = controller(&answers).await;
    move_to(&world, &url).await;
    assert_eq!(fetch(&world, None).await.0, 200);
    let ann = "ann".parse().unwrap();
    let switch = async |wanted| {
        world
            .users
            .set_notifications(&ann, wanted, &olga())
            .await
            .unwrap()
    };
    assert_eq!(
        switch(Notifications::Off).await.machine,
        SyncOutcome::Reloaded
    );
    assert_eq!(world.record("ann").await.pending_sync, None);

    for status in [502, 411, 429] {
        *answers.lock() = (status, json!({"error": "of a proxy"}), 0);
        assert_eq!(switch(Notifications::On).await.machine, SyncOutcome::Failed);
        assert!(world.record("ann").await.pending_sync.is_some());
    }
    // A machine that could not be told, and starts later, has it.
    assert_eq!(fetch(&world, None).await.0, 200);
    assert_eq!(world.record("ann").await.pending_sync, None);

    // One that its owner configures.
    for (status, body) in [
        (404, json!({"error": "no"})),
        (405, json!(null)),
        (200, json!("hello")),
    ] {
        *answers.lock() = (status, body, 0);
        let changed = switch(Notifications::Off).await;
        assert_eq!(changed.machine, SyncOutcome::UpToDate, "{status}");
        assert_eq!(answers.lock().2, 1);
        assert_eq!(world.record("ann").await.pending_sync, None);
    }
}

#[tokio::test]
async fn a_machine_that_cannot_apply_what_it_has_fetched_stays_pending() {
    let world = TestPlatform::new().await;
    world.connect("ann").await;
    let answers: Answers = Arc::new(Mutex::new((500, json!({"error": "no"}), 0)));
    let (url, _serving) = controller(&answers).await;
    move_to(&world, &url).await;
    assert_eq!(fetch(&world, None).await.0, 200);
    let ann = "ann".parse().unwrap();
    let changed = world
        .users
        .set_notifications(&ann, Notifications::Off, &olga())
        .await;
    assert_eq!(changed.unwrap().machine, SyncOutcome::Failed);
    assert!(world.record("ann").await.pending_sync.is_some());
}

#[tokio::test]
async fn a_machine_on_fly_that_fetches_is_not_restarted_again() {
    let sandbox = sandbox().await;
    let world = TestPlatform::on_fly(&sandbox).await;
    let url = (
        "POSTBELL_CONTROLLER__PLATFORM_URL",
        "https://bell.example.com",
    );
    sandbox.fly().put("bot", "m", "stopped", &[url]);
    assert_eq!(world.connect("ann").await.0, 200);
    let env = sandbox.fly().env("bot", "m");
    assert_eq!(env.len(), 1, "it has no credentials: {env:?}");
    assert_eq!(world.record("ann").await.pending_sync, None);

    // What was written before is removed once, which restarts it.
    let old = ("KILOCLAW_GOG_CONFIG_TARBALL", "H4sI");
    sandbox.fly().put("bot", "m", "started", &[url, old]);
    world.toggle("ann", false).await;
    assert_eq!(sandbox.fly().env("bot", "m").len(), 1);
    // The test reaches no controller on Fly.
    world.toggle("ann", true).await;
    assert!(world.record("ann").await.pending_sync.is_some());
    sandbox.stop().await;
}
