//! The port that the browser is sent back to
//! (<https://developers.google.com/identity/protocols/oauth2/native-app>; RFC 8252, section 7.3).

use std::io;
use std::time::Duration;

use postbell_google::{ConsentRequest, Redirected};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

use super::refused;
use crate::trouble::{Trouble, Wall};

/// The longest head of a request; a browser's has some kilobytes.
const LONGEST_HEAD: usize = 32 * 1024;

/// How long a browser may take to send one. It opens connections ahead that it never uses.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// A port of this machine that the browser is sent back to.
pub(super) struct Loopback {
    listener: TcpListener,
    url: Url,
}

impl Loopback {
    pub(super) async fn open() -> Result<Self, Trouble> {
        let opened = async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            Ok::<_, io::Error>((listener, address))
        };
        let (listener, address) = opened.await.map_err(|error| no_port(&error))?;
        let url = Url::parse(&format!("http://{address}/"));
        let url = url.map_err(|error| no_port(&io::Error::other(error)))?;
        Ok(Self { listener, url })
    }

    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Waits for the browser with an answer to the request. Whoever else comes is sent away: other
    /// programs can reach this port, too. A connection that a browser opens ahead, and never uses,
    /// keeps nobody waiting.
    pub(super) async fn answer(&self, request: &ConsentRequest) -> Result<SecretString, Trouble> {
        let mut heads = JoinSet::new();
        loop {
            let (mut stream, target) = tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.map_err(|error| no_port(&error))?;
                    heads.spawn(timeout(HEAD_WAIT, head(stream)));
                    continue;
                }
                Some(read) = heads.join_next() => match read {
                    Ok(Ok(Ok(Some(read)))) => read,
                    _ => continue,
                },
            };
            let url = self.url.join(&target).ok();
            match url.map(|url| request.read(&url)) {
                Some(Redirected::Code(code)) => {
                    let told = "That is all here. Close this page and go back to the terminal.";
                    say(&mut stream, "200 OK", told).await;
                    return Ok(code);
                }
                Some(Redirected::Refused(word)) => {
                    let told = "Nothing was granted. You can close this page.";
                    say(&mut stream, "200 OK", told).await;
                    return Err(refused(word));
                }
                Some(Redirected::Stranger) | None => {
                    say(&mut stream, "404 Not Found", "There is nothing here.").await;
                }
            }
        }
    }
}

fn no_port(error: &io::Error) -> Trouble {
    Trouble::new(Wall::File(format!(
        "a port of 127.0.0.1 cannot be opened: {error}"
    )))
}

/// Reads the head of a request, and returns what it asks for, where it is a GET.
async fn head(mut stream: TcpStream) -> io::Result<Option<(TcpStream, String)>> {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        if read == 0 || head.len() > LONGEST_HEAD {
            return Ok(None);
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let is_get = words.next() == Some("GET");
    let target = words.next().filter(|target| target.starts_with("/?"));
    let target = target.filter(|_| is_get).map(str::to_owned);
    Ok(target.map(|target| (stream, target)))
}

/// Answers with a small page, which nobody is to keep: its address holds the code.
async fn say(stream: &mut TcpStream, status: &str, text: &str) {
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Postbell</title><p>{text}</html>"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    // A browser that has gone has its answer.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
