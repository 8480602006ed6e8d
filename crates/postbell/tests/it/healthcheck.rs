use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::{TcpListener, UnixListener};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::run;

fn routes() -> Router {
    Router::new()
        .route("/health", get(StatusCode::NO_CONTENT))
        .route("/moved", get(StatusCode::FOUND))
        .route("/ready", get(StatusCode::SERVICE_UNAVAILABLE))
}

async fn healthcheck(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    // As in an image without CA certificates.
    let command = command.env_clear().env("SSL_CERT_FILE", "/nonexistent");
    run(command.arg("healthcheck").args(arguments)).await
}

#[tokio::test]
async fn a_health_check_succeeds_only_with_a_2xx_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(axum::serve(listener, routes()).into_future());

    let healthy = healthcheck(&[&format!("http://{address}/health")]).await;
    assert_eq!(healthy, (Some(0), String::new(), String::new()));
    for (path, status) in [
        ("/ready", "503 Service Unavailable"),
        ("/moved", "302 Found"),
    ] {
        let url = format!("http://user:secret@{address}{path}?token=secret");
        let (code, stdout, stderr) = healthcheck(&[&url]).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        let expected = format!("error: http://{address}{path} answered {status}\n");
        assert_eq!(stderr, expected);
    }
    server.shutdown().await;
    let (code, _, stderr) = healthcheck(&[&format!("http://{address}/health")]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("/health cannot be reached: "), "{stderr}");
}

#[tokio::test]
async fn a_health_check_reaches_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("relay.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut server = JoinSet::new();
    server.spawn(axum::serve(listener, routes()).into_future());
    let socket = socket.to_str().unwrap();

    let healthy = healthcheck(&["--unix-socket", socket, "http://relay/health"]).await;
    assert_eq!(healthy, (Some(0), String::new(), String::new()));
    let (code, _, stderr) = healthcheck(&["--unix-socket", socket, "http://relay/ready"]).await;
    assert_eq!(code, Some(1), "{stderr}");
}

#[tokio::test]
async fn without_ca_certificates_a_command_says_once_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("postbell.db").display());
    let variables = [
        ("POSTBELL_RELAY__AUDIENCE", "https://push.example.com"),
        ("POSTBELL_RELAY__LISTEN", "127.0.0.1:0"),
        ("POSTBELL_RELAY__INBOX", &store),
        ("POSTBELL_PLATFORM__LISTEN", "127.0.0.1:0"),
        ("POSTBELL_PLATFORM__STORE", &store),
        ("POSTBELL_PLATFORM__API_KEY", "the key of the platform"),
        (
            "POSTBELL_PLATFORM__GATEWAY_SECRET",
            "the secret of the platform",
        ),
        ("POSTBELL_PLATFORM__URL", "https://bell.example.com"),
        ("POSTBELL_DIRECTORY__URL", "https://platform.example.com"),
        ("POSTBELL_DIRECTORY__API_KEY", "the key"),
    ];
    for arguments in [
        &["serve"][..],
        &["relay"],
        &["platform"],
        &["doctor", "ann"],
        &["healthcheck", "https://push.example.com/health"],
    ] {
        for (name, missing) in [
            ("SSL_CERT_FILE", "/nonexistent.pem"),
            ("SSL_CERT_DIR", "/nonexistent"),
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
            let command = command.env_clear().envs(variables).env(name, missing);
            let (code, _, stderr) = run(command.args(arguments)).await;
            assert_eq!(code, Some(1), "{arguments:?}: {stderr}");
            let lines: Vec<_> = stderr.lines().collect();
            let [line] = lines[..] else {
                panic!("{arguments:?}: {stderr}");
            };
            for part in [
                "install the package ca-certificates",
                "SSL_CERT_FILE",
                missing,
            ] {
                assert!(line.contains(part), "{arguments:?}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn the_demo_needs_no_ca_certificates() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbell"));
    let command = command.env_clear().env("SSL_CERT_FILE", "/nonexistent.pem");
    let (code, _, stderr) = run(command.args(["demo", "--mails", "1"])).await;
    assert_eq!(code, Some(0), "{stderr}");
}
