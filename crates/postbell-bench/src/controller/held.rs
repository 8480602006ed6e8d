//! Measures memory of open WebSockets.

use std::time::Duration;

use anyhow::ensure;
use postbell_core::{Clock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::machine::Machine;
use crate::report::{Line, Promise, say};

/// The controller's default maximum.
const HELD: usize = 100;

/// Interval between messages on each.
const SAID_EVERY: Duration = Duration::from_secs(20);

/// A minimal client message (RFC 6455, section 5.2).
const MESSAGE: [u8; 6] = [0x89, 0x80, 1, 2, 3, 4];

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

const ANSWER: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

pub(crate) async fn all(hold: Duration) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let machine = Machine::with_gateway(listener.local_addr()?.port()).await?;
    let mut serving = JoinSet::new();
    serving.spawn(echo(listener));
    let controller = machine.start()?;
    while !machine.push().await {
        tokio::task::yield_now().await;
    }
    say(&format!("  holding {HELD} WebSockets for {hold:?}"))?;
    let mut held = Vec::new();
    for _ in 0..HELD {
        held.push(open(&machine).await?);
    }
    // The first messages allocate once.
    say_on_all(&mut held).await?;
    let before = controller.own_memory()?;
    let clock = SystemClock::new();
    while clock.elapsed() < hold {
        sleep(SAID_EVERY.min(hold)).await;
        say_on_all(&mut held).await?;
    }
    let after = controller.own_memory()?;
    say(&format!("  {before:.1} MB before, {after:.1} MB after"))?;
    controller.terminate().await?;
    let line = Line {
        what: "growth of the controller while 100 WebSockets are held",
        measured: after - before,
        promised: Promise::AtMost(0.5),
        unit: "MB",
    };
    Ok(line.print()?)
}

async fn open(machine: &Machine) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(machine.address).await?;
    stream.write_all(HANDSHAKE.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "no WebSocket");
    Ok(stream)
}

async fn say_on_all(held: &mut [TcpStream]) -> anyhow::Result<()> {
    for stream in held {
        stream.write_all(&MESSAGE).await?;
        let mut heard = [0; MESSAGE.len()];
        stream.read_exact(&mut heard).await?;
        ensure!(heard == MESSAGE, "something else was heard");
    }
    Ok(())
}

/// A gateway that accepts every handshake and echoes.
async fn echo(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut piece = vec![0; 4096];
            let mut answer = ANSWER.as_bytes().to_vec();
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                // The first read is the handshake.
                let said = std::mem::take(&mut answer);
                let said = if said.is_empty() {
                    &piece[..length]
                } else {
                    &said
                };
                if stream.write_all(said).await.is_err() {
                    break;
                }
            }
        });
    }
}
