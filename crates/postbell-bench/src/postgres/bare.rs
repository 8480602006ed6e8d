//! What the server makes of the same notifications without a queue: rows in a table without an index.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use postbell_core::{EmailAddress, Notification, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_postgres::Statement;

use super::load::{Pushes, closed_loop};
use super::server::{Database, Session, connect};
use crate::load::Throughput;

/// As many as the queue has.
const CONNECTIONS: usize = 4;

/// Waiting notifications of a connection.
const QUEUED: usize = 1024;

const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS bare (user_id text, message_id text, history_id int8, address text,
        published_at int8, accepted_at int8, body bytea);
    TRUNCATE bare";

const INSERT: &str = "
    INSERT INTO bare SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::text[], $5::int8[],
        $6::int8[], $7::bytea[])";

type Queued = (Notification, Timestamp, oneshot::Sender<()>);

/// Inserts notifications; a statement takes what has arrived, up to `most`.
pub(super) async fn insert(
    database: &Database,
    pushes: &Arc<Pushes>,
    time: Duration,
    most: usize,
) -> anyhow::Result<Throughput> {
    database.session.batch_execute(CREATE).await?;
    let mut lanes = JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        let session = connect(&database.url).await?;
        let insert = session.prepare(INSERT).await?;
        let (sender, queued) = mpsc::channel(QUEUED);
        lanes.spawn(lane(session, insert, most, queued));
        senders.push(sender);
    }
    let senders: Arc<[_]> = senders.into();
    let accept = move |notification: Notification, now| {
        let senders = Arc::clone(&senders);
        async move {
            let turn = usize::try_from(notification.history_id.get() % CONNECTIONS as u64)?;
            let (reply, answer) = oneshot::channel();
            let queued = (notification, now, reply);
            senders[turn].send(queued).await.context("a lane ended")?;
            answer.await.context("an insert failed")
        }
    };
    let throughput = closed_loop(pushes, time, accept).await;
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    throughput
}

async fn lane(
    session: Session,
    insert: Statement,
    most: usize,
    mut queued: mpsc::Receiver<Queued>,
) -> anyhow::Result<()> {
    let mut group = Vec::new();
    while queued.recv_many(&mut group, most).await > 0 {
        let rows = || group.iter().map(|(one, ..)| one);
        let users: Vec<_> = rows().map(|one| one.user.as_str()).collect();
        let messages: Vec<_> = rows().map(|one| one.message_id.as_str()).collect();
        let history_ids: Vec<_> = rows()
            .map(|one| one.history_id.get().cast_signed())
            .collect();
        let addresses: Vec<_> = rows()
            .map(|one| one.address.as_ref().map(EmailAddress::as_str))
            .collect();
        let published: Vec<_> = rows()
            .map(|one| one.published_at.map(Timestamp::as_millis))
            .collect();
        let accepted: Vec<_> = group.iter().map(|(_, at, _)| at.as_millis()).collect();
        let bodies: Vec<_> = rows().map(|one| &*one.body).collect();
        session
            .execute(
                &insert,
                &[
                    &users,
                    &messages,
                    &history_ids,
                    &addresses,
                    &published,
                    &accepted,
                    &bodies,
                ],
            )
            .await?;
        for (.., reply) in group.drain(..) {
            // The caller waits for it.
            let _ = reply.send(());
        }
    }
    Ok(())
}
