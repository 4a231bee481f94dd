//! A stream of submissions that many clients share, and who waits for which answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use quorate_client::Wait;
use quorate_client::raw::ConnectionError;
use quorate_client::submissions::{self, Answers, Submitter, Verdict};
use tokio::sync::{Mutex, oneshot};

use super::drive::{CANNOT_CONNECT, CONNECTION_LOST, Load, Sent, executed};

/// All the streams that a validator has room for are in use.
const STREAMS_TAKEN: &str = "streams_taken";

/// A stream that is opened again, to the next validator, when it ends.
pub(super) struct Trunk {
    target: Cell<usize>,
    open: Mutex<Option<Rc<Stream>>>,
}

/// A stream that was opened.
struct Stream {
    submitter: Submitter,
    next: Cell<u64>,
    /// When it was opened, or answered last.
    heard: Cell<Instant>,
    /// By place in the stream; none once it has ended.
    waiting: RefCell<Option<BTreeMap<u64, oneshot::Sender<Sent>>>>,
}

impl Trunk {
    /// A trunk whose first stream goes to the validator of this place.
    pub(super) fn new(target: usize) -> Trunk {
        Trunk {
            target: Cell::new(target),
            open: Mutex::new(None),
        }
    }

    /// Opens a stream, unless there is one. A failure shows again with the first transaction.
    pub(super) async fn open(&self, load: &Load) {
        let _ = tokio::time::timeout(load.timeout, self.stream(load)).await;
    }

    /// Gives the stream up if nothing has come on it since then: its validator may be gone without a word. Who waits on
    /// it goes on with the next.
    pub(super) async fn give_up(&self, since: Instant) {
        let mut open = self.open.lock().await;
        if let Some(stream) = open.take_if(|stream| stream.heard.get() < since) {
            stream.end();
        }
    }

    /// Submits a transaction, and waits for its outcome.
    ///
    /// # Errors
    /// Why no validator has answered.
    pub(super) async fn submit(
        &self,
        load: &Load,
        transaction: Bytes,
    ) -> Result<Sent, &'static str> {
        let stream = self.stream(load).await?;
        let answer = stream.submit(transaction).ok_or(CONNECTION_LOST)?;
        answer.await.map_err(|_| CONNECTION_LOST)
    }

    /// The stream, opened if need be by the first who wants it.
    async fn stream(&self, load: &Load) -> Result<Rc<Stream>, &'static str> {
        let mut open = self.open.lock().await;
        if let Some(stream) = open.as_ref().filter(|stream| !stream.has_ended()) {
            return Ok(Rc::clone(stream));
        }
        let target = self.target.replace(self.target.get() + 1);
        let address = load.addresses[target % load.addresses.len()];
        let opened = submissions::open(address, Wait::Executed).await;
        let (submitter, answers) = opened.map_err(|error| match error {
            ConnectionError::Refused(status) if status.as_u16() == 429 => STREAMS_TAKEN,
            _ => CANNOT_CONNECT,
        })?;
        let stream = Rc::new(Stream {
            submitter,
            next: Cell::new(0),
            heard: Cell::new(Instant::now()),
            waiting: RefCell::new(Some(BTreeMap::new())),
        });
        tokio::task::spawn_local(deliver(answers, Rc::clone(&stream)));
        *open = Some(Rc::clone(&stream));
        Ok(stream)
    }
}

impl Stream {
    /// Sends a transaction; where its outcome arrives, unless the stream has ended.
    fn submit(&self, transaction: Bytes) -> Option<oneshot::Receiver<Sent>> {
        if self.submitter.submit(transaction).is_err() {
            self.end();
        }
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.as_mut()?;
        let (outcome, wait) = oneshot::channel();
        let number = self.next.replace(self.next.get() + 1);
        waiting.insert(number, outcome);
        Some(wait)
    }

    fn has_ended(&self) -> bool {
        self.waiting.borrow().is_none()
    }

    /// Who waits learns that there will be no answer.
    fn end(&self) {
        *self.waiting.borrow_mut() = None;
    }
}

/// Hands out the answers of a stream until it ends; who waits then learns that it has.
async fn deliver(mut answers: Answers, stream: Rc<Stream>) {
    while let Ok(Some(answer)) = answers.next().await {
        stream.heard.set(Instant::now());
        let sent = match answer.verdict {
            Verdict::Executed(receipt) => executed(&receipt),
            Verdict::Refused { code, .. } => Err(code),
            Verdict::Accepted | Verdict::Committed { .. } => Err(String::from("no_receipt")),
        };
        let mut waiting = stream.waiting.borrow_mut();
        let Some(waiting) = waiting.as_mut() else {
            return;
        };
        if let Some(outcome) = waiting.remove(&answer.number) {
            // Who has timed out no longer wants to know.
            let _ = outcome.send(sent);
        }
    }
    stream.end();
}
