//! The loopback port that Google redirects the browser to
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

use crate::error::{Blocker, Result, SetupError};

/// A browser sends some kilobytes.
const MAX_HEAD: usize = 32 * 1024;

/// Browsers open connections that they never use.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

const STYLE: &str = ":root{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}\
    main{max-width:30rem;margin:15vh auto;padding:0 1.5rem}h1{font-size:1.3rem}";

pub(super) struct Loopback {
    listener: TcpListener,
    url: Url,
}

impl Loopback {
    pub(super) async fn open() -> Result<Self> {
        let opened = async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            Ok::<_, io::Error>((listener, address))
        };
        let (listener, address) = opened.await.map_err(|error| port_error(&error))?;
        let url = Url::parse(&format!("http://{address}/"));
        let url = url.map_err(|error| port_error(&io::Error::other(error)))?;
        Ok(Self { listener, url })
    }

    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Waits for the redirect that answers `request`. Other requests get a 404, because every local
    /// program can reach the port. Idle connections do not block the redirect.
    pub(super) async fn wait_for_code(&self, request: &ConsentRequest) -> Result<SecretString> {
        let mut heads = JoinSet::new();
        loop {
            let (mut stream, target) = tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.map_err(|error| port_error(&error))?;
                    heads.spawn(timeout(HEAD_TIMEOUT, read_target(stream)));
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
                    let text = "Google's answer has arrived. The terminal says whether everything was \
                                granted: close this page, and go on there.";
                    respond(&mut stream, "200 OK", text).await;
                    return Ok(code);
                }
                Some(Redirected::Refused(code)) => {
                    let text = "Nothing was granted. You can close this page.";
                    respond(&mut stream, "200 OK", text).await;
                    return Err(SetupError::new(Blocker::ConsentRefused(code)));
                }
                Some(Redirected::Stranger) | None => {
                    respond(&mut stream, "404 Not Found", "Not found.").await;
                }
            }
        }
    }
}

fn port_error(error: &io::Error) -> SetupError {
    SetupError::new(Blocker::LoopbackPort(format!(
        "cannot open a port on 127.0.0.1: {error}"
    )))
}

/// Reads the head of a request, and returns its target if it is a GET with a query.
async fn read_target(mut stream: TcpStream) -> io::Result<Option<(TcpStream, String)>> {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        if read == 0 || head.len() > MAX_HEAD {
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

/// Sends a small page that is not cached, because its address contains the code.
async fn respond(stream: &mut TcpStream, status: &str, text: &str) {
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Postbell</title>\
         <meta name=viewport content=\"width=device-width\"><style>{STYLE}</style>\
         <main><h1>Postbell</h1><p>{text}</main></html>"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    // The browser may have closed the connection.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
