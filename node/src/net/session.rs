//! The life of one connection after its hello: three streams out, three in, until something ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::{Connection, RecvStream};
use quorate_types::Message;
use quorate_types::message::Class;
use tokio::task::JoinSet;

use super::config::{CLASSES, PerClass};
use super::event::{By, NetEvent, Reason, cause};
use super::frame::{self, ReadFailure};
use super::outbox::Outbox;
use super::peer::{Link, close};
use super::shared::Shared;

/// Longer frames are decoded off the runtime's own threads, which have votes to carry.
const DECODE_INLINE_BYTES: usize = 256 * 1024;

/// The first byte of a stream says what it carries.
fn tag(class: Class) -> u8 {
    match class {
        Class::Consensus => 0,
        Class::Batches => 1,
        Class::Sync => 2,
    }
}

/// Higher goes first: bulk never delays a vote.
fn priority(class: Class) -> i32 {
    match class {
        Class::Consensus => 2,
        Class::Batches => 1,
        Class::Sync => 0,
    }
}

/// Runs a connection to its end, and tells it.
pub(crate) async fn run(
    shared: Arc<Shared>,
    link: Arc<Link>,
    connection: Connection,
    software: String,
) -> (Reason, By) {
    let installed = link.install(&connection, software, &*shared.sink);
    let Some((generation, outbox)) = installed else {
        close(&connection, Reason::Removed);
        return (Reason::Removed, By::Us);
    };
    let failure = carry(&shared, &link, &connection, &outbox).await;
    let (reason, by) = match failure {
        ReadFailure::Fault(reason) => {
            close(&connection, reason);
            (reason, By::Us)
        }
        ReadFailure::Lost => connection
            .close_reason()
            .as_ref()
            .map_or((Reason::Transport, By::Us), cause),
    };
    link.remove(generation, reason, by, &*shared.sink);
    (reason, by)
}

/// Returns what ended the connection first; all its tasks end with it.
async fn carry(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    connection: &Connection,
    outbox: &Arc<Outbox>,
) -> ReadFailure {
    let mut tasks = JoinSet::new();
    for class in CLASSES {
        tasks.spawn(write(
            connection.clone(),
            class,
            Arc::clone(outbox),
            Arc::clone(link),
        ));
    }
    let claimed = Arc::new(PerClass::<AtomicBool>::default());
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    let (shared, link) = (Arc::clone(shared), Arc::clone(link));
                    tasks.spawn(read(shared, link, stream, Arc::clone(&claimed)));
                }
                Err(_) => return ReadFailure::Lost,
            },
            Some(ended) = tasks.join_next() => {
                return ended.unwrap_or(ReadFailure::Fault(Reason::Transport));
            }
        }
    }
}

/// Sends what is queued of one class.
async fn write(
    connection: Connection,
    class: Class,
    outbox: Arc<Outbox>,
    link: Arc<Link>,
) -> ReadFailure {
    let Ok(mut stream) = connection.open_uni().await else {
        return ReadFailure::Lost;
    };
    // Fails only on a stream that was closed, which the first write finds.
    let _ = stream.set_priority(priority(class));
    if stream.write_all(&[tag(class)]).await.is_err() {
        return ReadFailure::Lost;
    }
    loop {
        let frame = outbox.next(class).await;
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        match stream.write_chunk(frame).await {
            Ok(()) => {}
            Err(quinn::WriteError::Stopped(_)) => return ReadFailure::Fault(Reason::BadStream),
            Err(_) => return ReadFailure::Lost,
        }
        let sent = link.counters.sent_bytes.get(class);
        sent.fetch_add(length, Ordering::Relaxed);
    }
}

/// Hands on what arrives on one stream.
async fn read(
    shared: Arc<Shared>,
    link: Arc<Link>,
    stream: RecvStream,
    claimed: Arc<PerClass<AtomicBool>>,
) -> ReadFailure {
    match try_read(&shared, &link, stream, &claimed).await {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

async fn try_read(
    shared: &Shared,
    link: &Link,
    mut stream: RecvStream,
    claimed: &PerClass<AtomicBool>,
) -> Result<std::convert::Infallible, ReadFailure> {
    let bad = ReadFailure::Fault(Reason::BadStream);
    let mut first = [0];
    frame::fill(&mut stream, &mut first).await?;
    let class = CLASSES.into_iter().find(|class| tag(*class) == first[0]);
    let class = class.ok_or(bad)?;
    if claimed.get(class).swap(true, Ordering::Relaxed) {
        return Err(bad);
    }
    let limit = *shared.limits.frame_bytes.get(class);
    let budget = link.budgets.get(class);
    loop {
        let (encoded, credit) = frame::read(&mut stream, limit, budget).await?;
        let bytes = encoded.len();
        let message = decode(encoded).await?;
        if message.class() != class {
            return Err(ReadFailure::Fault(Reason::WrongClass));
        }
        let received = link.counters.received_bytes.get(class);
        received.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        (shared.sink)(NetEvent::Message {
            from: link.index(),
            message,
            bytes,
            credit,
        });
    }
}

async fn decode(bytes: Vec<u8>) -> Result<Message, ReadFailure> {
    if bytes.len() <= DECODE_INLINE_BYTES {
        return frame::decode(&bytes);
    }
    tokio::task::spawn_blocking(move || frame::decode(&bytes))
        .await
        .unwrap_or(Err(ReadFailure::Lost))
}
