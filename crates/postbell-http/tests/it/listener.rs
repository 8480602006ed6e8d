//! Addresses that servers listen on.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use axum::Router;
use axum::routing::get;
use futures_util::future::join_all;
use postbell_core::Tasks;
use postbell_http::{ListenAddress, Listener, serve};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use crate::server::GRACE;

fn unix(path: &Path) -> ListenAddress {
    format!("unix:{}", path.display()).parse().unwrap()
}

fn socket_in(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("server.sock")
}

fn start(listener: Listener) -> Tasks {
    let router = Router::new().route("/", get(async || "hello"));
    let tasks = Tasks::new();
    tasks.start("server", |stop| serve(listener, router, stop));
    tasks
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn refusal(address: &ListenAddress) -> String {
    Listener::bind(address).await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_unspecified_address_of_ipv6_serves_ipv4_too() {
    let listener = Listener::bind(&"[::]:0".parse().unwrap()).await.unwrap();
    let port = listener.address().unwrap().tcp().unwrap().port();
    let tasks = start(listener);
    let mut clients: Vec<SocketAddr> = vec![([127, 0, 0, 1], port).into()];
    if Path::new("/proc/net/if_inet6").exists() {
        clients.push(format!("[::1]:{port}").parse().unwrap());
    }
    for client in clients {
        let answer = ask(TcpStream::connect(client).await.unwrap()).await;
        assert!(answer.ends_with("hello"), "{client}: {answer}");
    }
    tasks.stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_serves_its_group_and_is_removed_when_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket_in(&folder);
    let listener = Listener::bind(&unix(&path)).await.unwrap();
    assert_eq!(listener.address().unwrap(), unix(&path));
    let tasks = start(listener);
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let answer = ask(UnixStream::connect(&path).await.unwrap()).await;
    assert!(answer.ends_with("hello"), "{answer}");
    tasks.stop(GRACE).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced_by_one_of_many_that_start_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket_in(&folder);
    // A listener of the standard library leaves its file behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let address = unix(&path);
    let bound = join_all((0..8).map(|_| Listener::bind(&address))).await;
    let (listening, refused): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
    assert_eq!((listening.len(), refused.len()), (1, 7));
    for refused in refused {
        let problem = refused.unwrap_err().to_string();
        assert!(
            problem.contains("the socket is in use; stop the other process"),
            "{problem}"
        );
    }
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_of_something_else_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket_in(&folder);
    fs::write(&path, "precious").unwrap();
    let problem = refusal(&unix(&path)).await;
    assert!(
        problem.ends_with("there is a file of another kind; remove it"),
        "{problem}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    // The file of the process that has replaced ours stays, too.
    let ours = Listener::bind(&unix(&path)).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    drop(ours);
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
}

#[tokio::test]
async fn a_refusal_says_why_and_what_to_do() {
    let first = Listener::bind(&"127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = first.address().unwrap();
    let problem = refusal(&address).await;
    assert_eq!(
        problem,
        format!(
            "cannot listen on {address}: the address is in use; stop the other process \
             (`ss -ltnp` lists them) or set another address"
        )
    );
    // RFC 5737: no machine has this address.
    let problem = refusal(&"192.0.2.1:8080".parse().unwrap()).await;
    assert!(
        problem.contains("this machine has no address 192.0.2.1"),
        "{problem}"
    );
    let problem = refusal(&unix(Path::new("/no/such/server.sock"))).await;
    assert!(
        problem.contains("cannot open the directory /no/such"),
        "{problem}"
    );
}
