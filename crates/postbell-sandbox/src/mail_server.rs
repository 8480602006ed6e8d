//! A mail server that speaks enough SMTP to take a mail (RFC 5321), without TLS and log-in.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest mail that is taken.
const MOST_BYTES: usize = 1024 * 1024;

/// A mail server, until dropped.
#[derive(Debug)]
pub struct MailServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    mails: Mutex<Vec<ReceivedMail>>,
    number: watch::Sender<usize>,
    refusals: Mutex<VecDeque<u16>>,
}

/// A mail that was taken.
#[derive(Clone, Debug, Default)]
pub struct ReceivedMail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Header and body.
    pub text: String,
}

impl MailServer {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let accepting = accept(listener, Arc::clone(&shared), tasks.clone(), stop.clone());
        tasks.spawn(accepting);
        Ok(Self {
            address,
            shared,
            stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All mails, in order.
    #[must_use]
    pub fn mails(&self) -> Vec<ReceivedMail> {
        self.shared.mails.lock().clone()
    }

    /// Waits until `number` mails were taken, and returns them.
    pub async fn wait_for(&self, number: usize) -> Vec<ReceivedMail> {
        let mut taken = self.shared.number.subscribe();
        let _never_closed = taken.wait_for(|taken| *taken >= number).await;
        self.mails()
    }

    /// Answers the next recipient with a code such as 451 or 550.
    pub fn refuse(&self, code: u16) {
        self.shared.refusals.lock().push_back(code);
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move {
            let _ended = stop.run_until_cancelled(session(stream, &shared)).await;
        });
    }
}

async fn session(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.sandbox ESMTP\r\n").await?;
    let mut mail = ReceivedMail::default();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer = match &*verb {
            "EHLO" => "250-mail.sandbox\r\n250-8BITMIME\r\n250 SMTPUTF8",
            "HELO" | "NOOP" => "250 OK",
            "RSET" => {
                mail = ReceivedMail::default();
                "250 OK"
            }
            "MAIL" => {
                mail.from = path(line);
                "250 OK"
            }
            "RCPT" => {
                if let Some(code) = shared.refusals.lock().pop_front() {
                    refused(code)
                } else {
                    mail.to.push(path(line));
                    "250 OK"
                }
            }
            "DATA" => {
                stream.write_all(b"354 Go ahead\r\n").await?;
                mail.text = data(&mut stream).await?;
                shared.mails.lock().push(std::mem::take(&mut mail));
                shared.number.send_modify(|number| *number += 1);
                "250 Queued"
            }
            "QUIT" => {
                stream.write_all(b"221 Bye\r\n").await?;
                return Ok(());
            }
            _ => "502 Not implemented",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

fn refused(code: u16) -> &'static str {
    match code {
        451 => "451 Try again later",
        _ => "550 No such recipient",
    }
}

/// The address between the angle brackets.
fn path(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, it)| it.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}

/// The text up to the line with a single dot; a leading dot is doubled (RFC 5321, section 4.5.2).
async fn data(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || text.len() > MOST_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
