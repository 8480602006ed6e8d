//! A request without authentication is refused and changes nothing; one with the API key or a user's
//! token is carried out or refused, and never fails.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use postbell_core::{
    Clock, InstanceStatus, MachineLocation, NewUser, SandboxId, SystemClock, UserId, UserRecord,
    Users,
};
use postbell_http::HttpClient;
use postbell_platform::{
    ApiKeys, Fleet, HttpControllers, MailboxUsers, MailboxUsersParts, Operator, Platform,
    PlatformParts, Reconciler, ReconcilerParts, Relays, Tarballs, UserService, UserTokens,
    system_random,
};
use postbell_protocol::gateway_token::GatewayTokens;
use postbell_testkit::{MemorySessions, MemoryStore, MemoryUsers};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use url::Url;

const KEY: &str = "the key of the fuzzer";

struct World {
    runtime: Runtime,
    router: Router,
    instances: Arc<MemoryUsers>,
    user_tokens: UserTokens,
    clock: SystemClock,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let clock = SystemClock::new();
    let shared: Arc<dyn Clock> = Arc::new(clock);
    let memory = Arc::new(MemoryUsers::default());
    let instances = Arc::clone(&memory) as Arc<dyn Users>;
    let runtime = Runtime::new().unwrap();
    let (fleet, starter) = Fleet::new(Arc::clone(&instances), None, Arc::clone(&shared), None);
    let relays: Arc<dyn Relays> = Arc::new(Vec::new());
    let tarballs = Tarballs {
        credentials: Arc::clone(&memory) as _,
        key: None,
    };
    let gateway_tokens = GatewayTokens::new(&"secret".into());
    let controllers = HttpControllers::new(
        reqwest::Client::new(),
        Box::new(|_| Err("there is none")),
        gateway_tokens.clone(),
    );
    let ports = Arc::new(MemoryStore {
        users: (*memory).clone(),
        ..MemoryStore::default()
    });
    let (commands, reconciler) = Reconciler::new(ReconcilerParts {
        store: Arc::clone(&instances),
        ports: Arc::clone(&ports) as _,
        tarballs: tarballs.clone(),
        controllers: Arc::new(controllers),
        orphaned_machines: Arc::clone(&memory) as _,
        fleet: Arc::clone(&fleet),
        queue: None,
        random: system_random(),
        relays: Arc::clone(&relays),
        operator_client: None,
        sessions: Arc::new(MemorySessions::default()),
        clock: Arc::clone(&shared),
    });
    runtime.spawn(reconciler.run(CancellationToken::new()));
    runtime.spawn(starter.run(CancellationToken::new()));
    let nowhere: Url = "http://127.0.0.1:9".parse().unwrap();
    let mailboxes = MailboxUsers::new(MailboxUsersParts {
        store: Arc::clone(&instances),
        credentials: Arc::clone(&memory) as _,
        key: None,
        client: reqwest::Client::new(),
        gmail_client: HttpClient::from_env(),
        token_url: nowhere.clone(),
        gmail_url: nowhere,
        clock: Arc::clone(&shared),
    });
    let users = UserService {
        store: instances,
        ports: Arc::clone(&ports) as _,
        fleet,
        relays,
        clock: shared,
        commands,
        operator_client: None,
    };
    let operated = Arc::new(MemoryStore::default());
    let operator = Operator {
        ports: Arc::clone(&operated) as _,
        queue: None,
        client: None,
        relays: None,
        controllers: None,
        url: None,
        user_tokens: None,
        gateway_tokens: None,
        random: system_random(),
        clock: Arc::new(clock),
    };
    let user_tokens = UserTokens::new(&"secret".into());
    let platform = Platform::new(PlatformParts {
        users: Arc::new(users),
        mailboxes: Arc::new(mailboxes),
        tarballs,
        watcher_arguments: Vec::new(),
        platform_key: None,
        relay_url: None,
        lookups_fresh_for: Duration::from_secs(60),
        api_key: KEY.into(),
        gateway_tokens,
        user_tokens: user_tokens.clone(),
        api_keys: ApiKeys {
            tokens: Arc::new(operated.tokens.clone()),
            random: system_random(),
        },
        operator: Arc::new(operator),
    });
    World {
        runtime,
        router: platform.router(),
        instances: memory,
        user_tokens,
        clock,
    }
});

fn ann() -> UserId {
    "ann".parse().unwrap()
}

/// Returns the record of ann, who is added if she is missing.
fn record_of_ann() -> UserRecord {
    let new = NewUser {
        user: ann(),
        sandbox_id: SandboxId::from(&ann()),
        status: InstanceStatus::Running,
        location: MachineLocation::Unknown,
        wake_on_mail: true,
    };
    WORLD.runtime.block_on(async {
        let _ = WORLD.instances.add(new, WORLD.clock.now()).await;
        WORLD.instances.get(&ann()).await.unwrap().unwrap()
    })
}

fn answer(method: &Method, path: &str, header: (&str, &str), body: &[u8]) -> Option<u16> {
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(header.0, header.1);
    let request = request.body(Body::from(body.to_vec())).ok()?;
    let answer = WORLD.router.clone().oneshot(request);
    Some(WORLD.runtime.block_on(answer).unwrap().status().as_u16())
}

fuzz_target!(|input: (u8, &str, &str, &[u8])| {
    let (method, path, header, body) = input;
    let methods = [Method::GET, Method::POST, Method::DELETE];
    let method = &methods[usize::from(method) % methods.len()];
    let before = record_of_ann().version;
    for name in ["x-internal-api-key", "authorization"] {
        if header != KEY
            && let Some(status) = answer(method, path, (name, header), body)
        {
            let uri: Uri = path.parse().unwrap();
            let is_open = ["/health", "/ready", "/api/openapi.json"].contains(&uri.path());
            assert!(is_open || (400..500).contains(&status), "{path} {status}");
        }
    }
    assert_eq!(record_of_ann().version, before);
    let expires_at = WORLD.clock.now() + Duration::from_secs(60);
    let token = WORLD.user_tokens.issue(&record_of_ann(), expires_at);
    let bearer = format!("Bearer {}", secrecy::ExposeSecret::expose_secret(&token));
    for header in [("x-internal-api-key", KEY), ("authorization", &bearer)] {
        if let Some(status) = answer(method, path, header, body) {
            // 503 is what a platform without a key for credentials says.
            assert!(status < 500 || status == 503, "{path} {status}");
        }
    }
});
