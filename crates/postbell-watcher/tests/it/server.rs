use std::time::Duration;

use axum::Router;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use postbell_core::HistoryId;
use postbell_sandbox::{FaultPoint, Frequency, Kind, Sandbox};
use postbell_watcher::{MailboxIdentity, PushServers, WatcherSettings};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::{EMAIL, Limits, NEVER, TOKEN, TestWatcher, watcher};

/// A watcher's server on a port of its own.
struct Server {
    world: TestWatcher,
    url: String,
    client: Client,
    _serving: JoinSet<()>,
}

impl Server {
    async fn new() -> Self {
        Self::of(TestWatcher::new().await).await
    }

    async fn of(world: TestWatcher) -> Self {
        Self::at("/gmail-pubsub", world).await
    }

    async fn at(path: &str, world: TestWatcher) -> Self {
        let router = world.watcher.server.router(path);
        let router = router.merge(world.watcher.monitor.router());
        let (url, serving) = serve(router).await;
        Self {
            world,
            url: format!("{url}{path}"),
            client: Client::new(),
            _serving: serving,
        }
    }

    fn push(&self, account: &str) -> RequestBuilder {
        let body = push(account, self.world.present());
        self.client.post(&self.url).json(&body)
    }
}

/// Serves on a port, and returns the URL of the server.
async fn serve(router: Router) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, serving)
}

fn push(account: &str, at: HistoryId) -> Value {
    let data = json!({ "emailAddress": account, "historyId": at.get() });
    let data = BASE64_STANDARD.encode(data.to_string());
    json!({ "message": { "data": data, "messageId": "m1" } })
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn each_answer_has_the_status_of_the_protocol() {
    // The second look after "nothing new" would take the failure that is meant for a push.
    let no_second_look = |settings: &mut WatcherSettings| settings.fetch_delay = NEVER;
    let server = Server::of(TestWatcher::with(no_second_look).await).await;
    let push = |account: &str| server.push(account).header("x-gog-token", TOKEN);
    server.world.deliver_many(1);
    assert_eq!(status(push("Ann@Example.com")).await, 200);
    assert_eq!(status(push(EMAIL)).await, 202, "nothing new");
    server.world.deliver_many(1);
    assert_eq!(status(push("bob@example.com")).await, 202, "another's");

    server
        .world
        .sandbox
        .faults()
        .add(FaultPoint::Hook, Kind::refuse(500), Frequency::Times(1));
    assert_eq!(status(push(EMAIL)).await, 502);
    assert_eq!(status(push(EMAIL)).await, 200);
    let authorized = |request: RequestBuilder| request.header("x-gog-token", TOKEN);
    assert_eq!(
        status(authorized(server.client.post(&server.url)).body("{")).await,
        400
    );
    assert_eq!(
        status(authorized(server.client.get(&server.url))).await,
        405
    );
    let long = "x".repeat(64 * 1024 + 1);
    assert_eq!(
        status(authorized(server.client.post(&server.url)).body(long)).await,
        413
    );
}

#[tokio::test]
async fn a_push_whose_sync_takes_too_long_is_answered_503_with_retry_after() {
    let world = TestWatcher::with(|settings| settings.times.push_wait = Duration::from_millis(20));
    let server = Server::of(world.await).await;
    server.world.deliver_many(1);
    let slow = Kind::delay(Duration::from_millis(400));
    let faults = server.world.sandbox.faults();
    faults.add(FaultPoint::Hook, slow, Frequency::Times(1));
    let push = server.push(EMAIL).header("x-gog-token", TOKEN);
    let answer = push.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let delivered = |world: &TestWatcher, _: &serde_json::Value| world.hooks().len() == 1;
    server.world.until(delivered).await;
}

/// A push whose sync does not end, and one for a mailbox that could not be opened.
#[tokio::test]
async fn several_watchers_accept_only_pushes_that_none_of_them_can_lose() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::start(listener).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let with_cursor = json!({ "account": "bob@example.com", "historyId": "5" });
    let state = folder.path().join("bob_example_com.json");
    std::fs::write(state, with_cursor.to_string()).unwrap();
    // Nothing runs them.
    let servers = [EMAIL, "bob@example.com"].map(|email| {
        let waits = |settings: &mut WatcherSettings| {
            settings.times.push_wait = Duration::from_millis(5);
        };
        watcher(&sandbox, email, folder.path(), &waits, &Limits::none()).server
    });
    let unwatched = vec!["cid@example.com".to_owned()];
    let router = PushServers::beside(servers.to_vec(), unwatched).router("/");
    let (url, _serving) = serve(router).await;
    let client = Client::new();
    for (account, has_header, expected) in [
        (EMAIL, true, 503),
        (EMAIL, false, 503),
        ("bob@example.com", true, 202),
        ("bob@example.com", false, 202),
        ("Cid@example.com", true, 503),
        // Pub/Sub would delay the pushes for the others.
        ("Cid@example.com", false, 202),
        ("dan@example.com", true, 202),
    ] {
        let request = client.post(&url).json(&push(account, HistoryId::new(7)));
        let request = if has_header {
            request.header("x-gog-token", TOKEN)
        } else {
            request.query(&[("token", TOKEN)])
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{account} {has_header}");
        let repeats = answer.headers().contains_key("retry-after");
        assert_eq!(repeats, expected == 503, "{account} {has_header}");
    }
}

#[tokio::test]
async fn gmail_may_spell_the_account_in_its_own_way() {
    for spelled in ["firstlast@gmail.com", "First.Last@googlemail.com"] {
        let world = TestWatcher::with(|settings| {
            settings.account = "First.Last@gmail.com".to_owned();
            settings.identity = MailboxIdentity::trusted(&settings.account);
        });
        let server = Server::of(world.await).await;
        let push = |account: &str| server.push(account).header("x-gog-token", TOKEN);
        server.world.deliver_many(1);
        let other = push("firstlast@example.com");
        assert_eq!(status(other).await, 202, "another's");
        assert_eq!(status(push(spelled)).await, 200, "{spelled}");
    }
}

/// `openclaw webhooks gmail setup` makes a subscription whose URL has the token. Tailscale removes the path.
#[tokio::test]
async fn a_subscription_of_openclaw_reaches_the_watcher_behind_tailscale() {
    let mut server = Server::at("/", TestWatcher::new().await).await;
    server.url += &format!("?token={TOKEN}");
    server.world.deliver_many(1);
    assert_eq!(status(server.push(EMAIL)).await, 200);
    server.url = server.url.replace(TOKEN, "wrong");
    assert_eq!(status(server.push(EMAIL)).await, 401);
}

#[tokio::test]
async fn the_token_is_accepted_in_header_or_url_only() {
    let server = Server::new().await;
    server.world.deliver_many(1);
    assert_eq!(status(server.push(EMAIL)).await, 401);
    for wrong in ["", "x", &TOKEN[1..], &format!("{TOKEN}x")] {
        assert_eq!(
            status(server.push(EMAIL).header("x-gog-token", wrong)).await,
            401,
            "{wrong}"
        );
        assert_eq!(
            status(server.push(EMAIL).query(&[("token", wrong)])).await,
            401,
            "{wrong}"
        );
    }
    assert_eq!(
        status(server.push(EMAIL).query(&[("token", TOKEN)])).await,
        200
    );
}
