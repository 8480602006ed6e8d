//! Where services listen.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::ServiceProcess;

async fn health(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_relay_on_a_unix_socket_survives_a_crash_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("relay.sock");
    let variables = [
        (
            "POSTBELL_RELAY__LISTEN",
            format!("unix:{}", socket.display()),
        ),
        (
            "POSTBELL_RELAY__AUDIENCE",
            "https://push.example.com".to_owned(),
        ),
        (
            "POSTBELL_RELAY__INBOX",
            format!("sqlite:{}", folder.path().join("inbox.db").display()),
        ),
        ("POSTBELL_DIRECTORY__URL", "http://127.0.0.1:1".to_owned()),
        ("POSTBELL_DIRECTORY__API_KEY", "key".to_owned()),
    ];
    let relay = ServiceProcess::start(&variables).await;
    relay.kill().await;
    assert!(socket.exists(), "a killed process cannot remove it");
    let relay = ServiceProcess::start(&variables).await;
    assert!(health(&socket).await.starts_with("HTTP/1.1 200"));
    assert_eq!(relay.terminate().await, Some(0));
    assert!(!socket.exists());
}
