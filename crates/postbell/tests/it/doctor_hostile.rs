//! Whatever answers along the path: doctor ends, says so, and gives nothing away.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::doctor::{DoctorOutput, doctor};
use crate::platform::OurPlatform;
use crate::support::free_port;

const SECRETS: [&str; 5] = [
    "ya29.hunter2",
    "1//hunter2",
    "GOCSPX-hunter2",
    "hook-hunter2",
    "user-hunter2",
];

/// What a stranger answers to everything.
#[derive(Clone, Copy, Debug)]
enum Answers {
    /// This, and the end.
    Once(&'static str),
    /// The head of an answer that goes on for ever.
    Endless,
    /// One header after the other, for ever.
    EndlessHead,
    /// Nothing, for ever.
    Nothing,
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n";

struct Stranger {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Stranger {
    async fn new(answers: Answers) -> Self {
        let listener = free_port().await;
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, answers));
            }
        });
        Self {
            address,
            _serving: serving,
        }
    }
}

async fn answer(mut stream: TcpStream, answers: Answers) {
    let _ = stream.read(&mut [0; 16 * 1024]).await;
    let endless = match answers {
        Answers::Once(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
            return;
        }
        Answers::Nothing => return std::future::pending().await,
        Answers::Endless => {
            let _ = stream.write_all(format!("{PLAIN}\r\n").as_bytes()).await;
            "x".repeat(64 * 1024)
        }
        Answers::EndlessHead => {
            let _ = stream.write_all(PLAIN.as_bytes()).await;
            format!("x: {}\r\n", "y".repeat(1000))
        }
    };
    while stream.write_all(endless.as_bytes()).await.is_ok() {}
}

/// A home in which setup has run.
fn home(destination: &Value) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let google = json!({
        "type": "authorized_user", "client_id": "1-x.apps.googleusercontent.com",
        "client_secret": SECRETS[2], "refresh_token": SECRETS[1],
    });
    fs::write(home.path().join("google.json"), google.to_string()).unwrap();
    let mut destination = destination.clone();
    if destination["kind"] != "platform" {
        destination["credentials"] = json!(home.path().join("google.json"));
    }
    let progress = json!({
        "project": "p", "mailbox": "ann@example.com", "destination": destination,
    });
    let folder = home.path().join(".local/state/postbell");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("setup.json"), progress.to_string()).unwrap();
    home
}

fn variables(home: &TempDir, url: &str) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("HOME", home.path().display().to_string()),
        ("POSTBELL_SETUP_ACCESS_TOKEN", SECRETS[0].to_owned()),
        ("POSTBELL_WATCH_HOOK_TOKEN", SECRETS[3].to_owned()),
        ("POSTBELL_USER_TOKEN", SECRETS[4].to_owned()),
        ("POSTBELL_LOG", "debug".to_owned()),
    ];
    for name in [
        "POSTBELL_GOOGLE__TOKEN_URL",
        "POSTBELL_GOOGLE__AUTH_URL",
        "POSTBELL_GOOGLE__GMAIL_URL",
        "POSTBELL_GOOGLE__PUBSUB_URL",
        "POSTBELL_GOOGLE__IAM_URL",
        "POSTBELL_GOOGLE__RESOURCE_MANAGER_URL",
        "POSTBELL_GOOGLE__SERVICE_USAGE_URL",
    ] {
        variables.push((name, url.to_owned()));
    }
    variables
}

/// That it has ended by itself with something to say, and nothing secret in it.
fn assert_well_formed(output: &DoctorOutput, answers: Answers) {
    assert!(
        matches!(output.code, Some(0 | 1)),
        "{answers:?}: {}",
        output.stderr
    );
    let all: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(all["hops"].as_array().unwrap().len(), 18, "{answers:?}");
    // Otherwise no other hop would be checked.
    assert_eq!(output.hop("configuration").0, "ok", "{}", output.stdout);
    assert!(
        output.stdout.len() < 32 * 1024,
        "{answers:?}: {}",
        output.stdout.len()
    );
    for secret in SECRETS {
        let seen = output.stdout.contains(secret) || output.stderr.contains(secret);
        assert!(!seen, "{secret} is shown, {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_answers_doctor_ends_and_tells() {
    let ours = OurPlatform::new().await;
    ours.add_ada(&[]).await;
    for answers in [
        Answers::Once("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"version\":[[[["),
        Answers::Once(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ndate: never\r\n\r\n[\"\\u001b[2J\"]",
        ),
        Answers::Once(
            "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: http://127.0.0.1:9/\r\n\r\n",
        ),
        Answers::Once(
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n{\"error\":\"invalid_grant\"}",
        ),
        Answers::Once("SSH-2.0-OpenSSH_9.2\r\n"),
        Answers::Once(""),
        Answers::Endless,
        Answers::EndlessHead,
        Answers::Nothing,
    ] {
        let stranger = Stranger::new(answers).await;
        let url = format!("http://{}/", stranger.address);
        let arguments = ["--json", "--wait", "1s", "--hook-url", &url];

        let endpoint = json!({ "kind": "serve", "endpoint": url });
        let local = home(&endpoint);
        let output = doctor(&arguments, &variables(&local, &url), local.path()).await;
        assert_well_formed(&output, answers);
        assert_ne!(output.hop("address").0, "ok", "{answers:?}");
        assert_ne!(output.hop("grant").0, "ok", "{answers:?}");

        let platform = json!({ "kind": "platform", "platform": url, "relay": url, "user": "ada" });
        let user = home(&platform);
        let output = doctor(&arguments, &variables(&user, &url), user.path()).await;
        assert_well_formed(&output, answers);
        assert_ne!(output.hop("user").0, "ok", "{answers:?}");

        ours.command(&[
            "users",
            "change",
            "ada",
            "--url",
            &url,
            "--machine-status",
            "running",
        ])
        .await;
        let mut operator = ours.variables();
        operator.extend(variables(&user, &url));
        let output = doctor(&["ada", "--json", "--wait", "1s"], &operator, user.path()).await;
        assert_well_formed(&output, answers);
        assert_ne!(output.hop("controller").0, "ok", "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_user_is_no_answer_about_the_one_that_was_set_up() {
    let connected = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"googleConnected\":true,\
                     \"email\":\"ann@example.com\",\"gmailNotificationsEnabled\":true}";
    let stranger = Stranger::new(Answers::Once(connected)).await;
    let url = format!("http://{}/", stranger.address);
    let platform = json!({ "kind": "platform", "platform": url, "relay": url, "user": "anne" });
    let home = home(&platform);
    let mut variables = variables(&home, &url);
    variables.retain(|(name, _)| *name != "POSTBELL_USER_TOKEN");
    // Its second part is {"sub":"ann"}.
    let token = "postbell3.eyJzdWIiOiJhbm4ifQ.00".to_owned();
    variables.push(("POSTBELL_USER_TOKEN", token));
    let output = doctor(&["--json", "--wait", "1s"], &variables, home.path()).await;
    let (status, detail) = output.hop("user");
    assert_eq!(status, "failed", "{}", output.stdout);
    assert!(detail.contains("the user token is for ann"), "{detail}");
}

/// A controller that answers each route so.
async fn controller(answers: &'static [(&'static str, &'static str)]) -> (SocketAddr, JoinSet<()>) {
    let listener = free_port().await;
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let answer = answers.iter().find(|(route, _)| *route == path);
            let answer = answer.map_or(
                "404 Not Found\r\nconnection: close\r\n\r\n",
                |(_, answer)| answer,
            );
            let _ = stream
                .write_all(format!("HTTP/1.1 {answer}").as_bytes())
                .await;
            let _ = stream.shutdown().await;
        }
    });
    (address, serving)
}

const OK: &str = "200 OK\r\nconnection: close\r\n\r\n{}";
const DEGRADED: &str = "200 OK\r\nconnection: close\r\n\r\n{\"version\":\"9.9\\u001b[2J\",\"controllerState\":{\"state\":\"degraded\"}}";
const READY: &str = "200 OK\r\nconnection: close\r\n\r\n{\"version\":\"9.9\",\"controllerState\":{\"state\":\"ready\"}}";
const REVOKED: &str = "200 OK\r\nconnection: close\r\n\r\n{\"version\":\"9.9\",\"watcher\":{\"problem\":{\"code\":\"grant_revoked\",\"since\":1790000000000,\"detail\":\"x\"}}}";
const UNAUTHORIZED: &str = "401 Unauthorized\r\nconnection: close\r\n\r\n";
const FAILED: &str = "500 Failed\r\nconnection: close\r\n\r\n";
const BAD_GATEWAY: &str = "502 Bad Gateway\r\nconnection: close\r\n\r\n";
const UNAVAILABLE: &str = "503 Unavailable\r\nconnection: close\r\n\r\n";

const VERSION: &str = "/_kilo/version";
const PUSH: &str = "/_kilo/gmail-pubsub";
const GATEWAY: &str = "/_kilo/gateway/ready";
const HEALTH: (&str, &str) = ("/health", OK);

/// What a controller answers on its routes, which hop fails of it, and what is detail of that.
type Case = (
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

const CASES: [Case; 9] = [
    (
        &[HEALTH, (VERSION, REVOKED), (PUSH, OK)],
        "watcher",
        "grant_revoked since 2026-09-21",
    ),
    (
        &[("/health", UNAVAILABLE)],
        "machine",
        "/health answers 503",
    ),
    (
        &[HEALTH, (VERSION, DEGRADED)],
        "controller",
        "version 9.9[2J, and its start failed",
    ),
    (
        &[HEALTH, (VERSION, UNAUTHORIZED)],
        "controller",
        "rejects the platform's token",
    ),
    (
        &[HEALTH, (VERSION, READY), (PUSH, UNAVAILABLE)],
        "watcher",
        "it is not running",
    ),
    (
        &[HEALTH, (VERSION, READY), (PUSH, FAILED)],
        "watcher",
        "it is running, but does not answer",
    ),
    (
        &[HEALTH, (VERSION, READY)],
        "watcher",
        "it has no Google account",
    ),
    (
        &[HEALTH, (GATEWAY, BAD_GATEWAY)],
        "hook",
        "the bot's gateway does not answer",
    ),
    (
        &[HEALTH, (GATEWAY, UNAVAILABLE)],
        "hook",
        "gateway is not ready",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_controller_says_of_itself_its_watcher_and_its_gateway_is_told() {
    let ours = OurPlatform::new().await;
    ours.add_ada(&[]).await;
    let home = tempfile::tempdir().unwrap();
    for (answers, hop, words) in CASES {
        let (address, _serving) = controller(answers).await;
        let url = format!("http://{address}/");
        let change = [
            "users",
            "change",
            "ada",
            "--url",
            &url,
            "--machine-status",
            "running",
        ];
        ours.command(&change).await;
        let mut operator = ours.variables();
        operator.extend(variables(&home, &url));
        let output = doctor(&["ada", "--json", "--wait", "5s"], &operator, home.path()).await;
        let (state, detail) = output.hop(hop);
        assert_eq!(state, "failed", "{hop}: {}", output.stdout);
        assert!(detail.contains(words), "{words}: {detail}");
    }
}
