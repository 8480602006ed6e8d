//! The directory answers the same in this process and over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use postbell_core::{
    Clock, Directory, GoogleConnection, HistoryId, InstanceStatus, MachineLocation, MachineReport,
    ManagedMachine, NewUser, SystemClock, Tasks, Timestamp, UserId, Users,
};
use postbell_http::{HttpClient, serve};
use postbell_platform::{
    ApiKeys, Fleet, HttpControllers, LocalDirectory, MailboxUsers, MailboxUsersParts, Operator,
    Platform, PlatformParts, Reconciler, ReconcilerParts, Relays, Tarballs, UserService,
    UserTokens, system_random,
};
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_relay::HttpDirectory;
use postbell_testkit::{MemorySessions, MemoryStore, MemoryUsers};
use secrecy::ExposeSecret;

use crate::support::free_port;

/// `ann` is connected, and her machine is on Fly; `bob` has one at a URL, and `cid` has nothing.
async fn users(clock: &dyn Clock) -> Arc<MemoryUsers> {
    let users = MemoryUsers::default();
    let on_fly = MachineLocation::Managed(ManagedMachine {
        app: "bot".to_owned(),
        machine: "d8910".to_owned(),
    });
    let at_url = MachineLocation::Url("https://bot.example.com/".parse().unwrap());
    for (name, location) in [
        ("ann", on_fly),
        ("bob", at_url),
        ("cid", MachineLocation::Unknown),
    ] {
        let new = NewUser {
            user: name.parse().unwrap(),
            sandbox_id: format!("sandbox-of-{name}").parse().unwrap(),
            status: InstanceStatus::Stopped,
            location,
            wake_on_mail: true,
        };
        let mut record = users.add(new, clock.now()).await.unwrap();
        if name == "ann" {
            record.connect(GoogleConnection {
                email: Some("ann@example.com".parse().unwrap()),
                push_account: Some("push@p.iam.gserviceaccount.com".parse().unwrap()),
                connected_at: clock.now(),
            });
            users.replace(&record, None, clock.now()).await.unwrap();
        }
    }
    Arc::new(users)
}

/// Everything a directory returns for a user.
async fn answers(directory: &dyn Directory, name: &str) -> String {
    let user: UserId = name.parse().unwrap();
    let token = directory.gateway_token(&user).await.unwrap();
    let found = directory.look_up(&user).await.unwrap();
    let found = found.map(|found| {
        assert_eq!(
            found.token.as_ref().map(ExposeSecret::expose_secret),
            token.as_ref().map(ExposeSecret::expose_secret)
        );
        (found.instance, found.push_account)
    });
    let email = format!("{name}@EXAMPLE.com");
    format!(
        "{found:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        directory.instance(&user).await.unwrap(),
        directory.push_account(&user).await.unwrap(),
        token.map(|token| token.expose_secret().to_owned()),
        directory.users_by_email(&email).await.unwrap(),
        directory
            .users_by_sandbox(&format!("sandbox-of-{name}"))
            .await
            .unwrap(),
        directory.start_machine(&user).await.unwrap(),
        directory.users_by_sandbox("no id").await.unwrap(),
    )
}

/// Google is not asked.
fn mailboxes(store: &Arc<MemoryUsers>, clock: Arc<dyn Clock>) -> MailboxUsers {
    MailboxUsers::new(MailboxUsersParts {
        store: Arc::clone(store) as _,
        credentials: Arc::clone(store) as _,
        key: None,
        client: reqwest::Client::new(),
        gmail_client: HttpClient::from_env(),
        token_url: "http://127.0.0.1:1/token".parse().unwrap(),
        gmail_url: "http://127.0.0.1:1/".parse().unwrap(),
        clock,
    })
}

fn operator(ports: Arc<MemoryStore>, clock: Arc<dyn Clock>) -> Operator {
    Operator {
        ports,
        queue: None,
        client: None,
        relays: None,
        controllers: None,
        url: None,
        user_tokens: None,
        gateway_tokens: None,
        random: system_random(),
        clock,
    }
}

fn no_controllers(gateway_tokens: GatewayTokens) -> HttpControllers {
    HttpControllers::new(
        reqwest::Client::new(),
        Box::new(|_| Err("there is none")),
        gateway_tokens,
    )
}

/// The directory in process, and the routes of a platform on the same store.
fn ports(store: &MemoryUsers) -> Arc<MemoryStore> {
    Arc::new(MemoryStore {
        users: store.clone(),
        ..MemoryStore::default()
    })
}

fn directory_and_platform(store: Arc<MemoryUsers>) -> (LocalDirectory, Router) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let users: Arc<dyn Users> = Arc::clone(&store) as _;
    let (fleet, _starter) = Fleet::new(Arc::clone(&users), None, Arc::clone(&clock), None);
    let gateway_tokens = GatewayTokens::new(&"secret".into());
    let mailboxes = Arc::new(mailboxes(&store, Arc::clone(&clock)));
    let directory = LocalDirectory {
        store: Arc::clone(&users),
        mailboxes: Arc::clone(&mailboxes),
        fleet: Arc::clone(&fleet),
        gateway_tokens: gateway_tokens.clone(),
    };
    let relays: Arc<dyn Relays> = Arc::new(Vec::new());
    let tarballs = Tarballs {
        credentials: Arc::clone(&store) as _,
        key: None,
    };
    let ports = ports(&store);
    let (commands, _reconciler) = Reconciler::new(ReconcilerParts {
        store: Arc::clone(&users),
        ports: Arc::clone(&ports) as _,
        tarballs: tarballs.clone(),
        controllers: Arc::new(no_controllers(gateway_tokens.clone())),
        orphaned_machines: store,
        fleet: Arc::clone(&fleet),
        queue: None,
        random: system_random(),
        relays: Arc::clone(&relays),
        operator_client: None,
        sessions: Arc::new(MemorySessions::default()),
        clock: Arc::clone(&clock),
    });
    let service = UserService {
        store: users,
        ports: Arc::clone(&ports) as _,
        fleet,
        relays,
        clock: Arc::clone(&clock),
        commands,
        operator_client: None,
    };
    let operator = operator(Arc::clone(&ports), clock);
    let platform = Platform::new(PlatformParts {
        users: Arc::new(service),
        mailboxes,
        tarballs,
        watcher_arguments: Vec::new(),
        platform_key: None,
        relay_url: None,
        api_key: "key".into(),
        lookups_fresh_for: std::time::Duration::from_secs(60),
        gateway_tokens,
        user_tokens: UserTokens::new(&"secret".into()),
        api_keys: ApiKeys {
            tokens: Arc::new(ports.tokens.clone()),
            random: system_random(),
        },
        operator: Arc::new(operator),
    });
    (directory, platform.router())
}

#[tokio::test]
async fn a_relay_gets_the_same_answers_in_process_and_over_http() {
    let users = users(&SystemClock::new()).await;
    let (local, router) = directory_and_platform(Arc::clone(&users));
    let listener = free_port().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tasks = Tasks::new();
    tasks.start("platform", |stop| serve(listener, router, stop));
    let remote = HttpDirectory::new(reqwest::Client::new(), url.parse().unwrap(), "key".into());

    for name in ["ann", "bob", "cid", "nobody"] {
        assert_eq!(
            answers(&local, name).await,
            answers(&remote, name).await,
            "{name}"
        );
    }
    let ann: UserId = "ann".parse().unwrap();
    let directories: [&dyn Directory; 2] = [&local, &remote];
    for (directory, history_id) in directories.into_iter().zip([u64::MAX - 1, u64::MAX]) {
        let history_id = HistoryId::new(history_id);
        directory.report_history_id(&ann, history_id).await.unwrap();
        // A later check-in reports a later end.
        let watch_expires_at = Some(Timestamp::from_millis(history_id.get().cast_signed() + 3));
        let report = MachineReport {
            watch_expires_at,
            ..MachineReport::default()
        };
        directory.report_running(&ann, report, None).await.unwrap();
        let record = users.get(&ann).await.unwrap().unwrap();
        assert_eq!(record.last_history_id, Some(history_id));
        assert_eq!(record.status, InstanceStatus::Running);
        assert_eq!(record.watch_expires_at, watch_expires_at);
    }
    let nobody = "nobody".parse().unwrap();
    for directory in directories {
        directory
            .report_running(&nobody, MachineReport::default(), None)
            .await
            .unwrap();
    }
    tasks.stop(Duration::from_secs(10)).await.unwrap();
}

/// A relay that asks a platform over HTTP, with the paths of its requests. An older platform does not know
/// the question for everything.
async fn ask_platform(is_older: bool) -> (HttpDirectory, Arc<Mutex<Vec<String>>>, Tasks) {
    let users = users(&SystemClock::new()).await;
    let (_, router) = directory_and_platform(users);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let paths = Arc::clone(&asked);
    let router = router.layer(from_fn(move |request: Request, next: Next| {
        let path = request.uri().path().to_owned();
        let hidden = is_older && path == "/api/platform/lookup";
        paths.lock().push(path);
        async move {
            if hidden {
                return StatusCode::NOT_FOUND.into_response();
            }
            let response: Response = next.run(request).await;
            response
        }
    }));
    let listener = free_port().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tasks = Tasks::new();
    tasks.start("platform", |stop| serve(listener, router, stop));
    let client = reqwest::Client::new();
    let directory = HttpDirectory::new(client, url.parse().unwrap(), "key".into());
    (directory, asked, tasks)
}

#[tokio::test]
async fn a_look_up_over_http_is_one_request() {
    let (directory, asked, tasks) = ask_platform(false).await;
    let ann: UserId = "ann".parse().unwrap();
    let nobody: UserId = "nobody".parse().unwrap();
    for (user, exists) in [(&ann, true), (&nobody, false)] {
        asked.lock().clear();
        let found = directory.look_up(user).await.unwrap();
        assert_eq!(found.is_some(), exists);
        assert!(found.is_none_or(|found| found.fresh_for == Duration::from_secs(60)));
        assert_eq!(*asked.lock(), ["/api/platform/lookup"]);
    }
    tasks.stop(Duration::from_secs(10)).await.unwrap();
}

/// As KiloClaw's. It revokes nothing, so its answers are remembered for a few seconds only.
#[tokio::test]
async fn a_platform_without_the_look_up_is_asked_the_older_questions() {
    let (directory, asked, tasks) = ask_platform(true).await;
    let ann: UserId = "ann".parse().unwrap();
    for is_first in [true, false] {
        asked.lock().clear();
        let found = directory.look_up(&ann).await.unwrap().unwrap();
        let account = found.push_account.as_deref();
        assert_eq!(account, Some("push@p.iam.gserviceaccount.com"));
        assert!(found.instance.wants_notifications() || !found.instance.notifications_enabled);
        assert!(found.token.is_none() && found.fresh_for <= Duration::from_secs(5));
        let mut asked = asked.lock().clone();
        asked.sort();
        let older = ["/api/platform/gmail-oidc-email", "/api/platform/status"];
        assert_eq!(asked.len(), if is_first { 3 } else { 2 });
        assert!(older.iter().all(|path| asked.iter().any(|it| it == path)));
    }
    tasks.stop(Duration::from_secs(10)).await.unwrap();
}
