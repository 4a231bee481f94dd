//! Following the log: every height once and in order, from whichever validator is there.
//!
//! Blocks are checked to be a chain: each names its height, the block before it, and the batches that come with it. That
//! they were agreed on is what their certificates say, which `quorate log verify` checks.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use quorate_types::{Batch, BatchId, Block, BlockId, Height, codec};

use crate::api::{Base64, EVENT_STREAM, LogEntry, Problem};
use crate::backoff::{Backoff, MAX_PAUSE};
use crate::client::{Client, bad};
use crate::error::ClientError;
use crate::failover::goes_elsewhere;
use crate::http::Call;
use crate::sse::{Event, Parser};

/// A validator that has sent nothing of a block for so long is left for the next one: it may be gone without a word, or
/// be there and cut off from the others.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a block that have to come in each millisecond beyond that: validators cut off whoever takes less.
const LEAST_RATE: usize = 8;

/// The log from some height on, without an end.
#[derive(Debug)]
pub struct Subscription<'a> {
    client: &'a Client,
    next: Height,
    /// Identity of the block below `next`, once one was seen.
    parent: Option<BlockId>,
    source: Option<Source>,
    /// Which endpoint is asked next.
    turn: usize,
    patience: Duration,
    /// Streams in a row that ended before they had brought a block.
    fruitless: Fruitless,
}

/// Streams that end at once would be opened anew without a pause, and for ever.
#[derive(Debug, Default)]
struct Fruitless {
    count: usize,
    backoff: Backoff,
    /// When the first of them ended.
    since: Option<Instant>,
    /// When the next may be opened.
    pause_until: Option<Instant>,
}

/// Why a stream brings nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is there, and has nothing new.
    Quiet,
    /// It has ended at once.
    Cut,
}

#[derive(Debug)]
struct Source {
    endpoint: String,
    body: Incoming,
    parser: Parser,
    /// Since when the next block is waited for.
    since: Option<Instant>,
}

impl Client {
    /// Follows the log from a height on. Nothing is sent before [`Subscription::next`].
    #[must_use]
    pub fn subscribe(&self, from: Height) -> Subscription<'_> {
        self.subscription(from.max(Height(1)), None)
    }

    /// Follows the log behind a block that was read before: one that does not follow upon it is of another ledger (a fork,
    /// a chain that was made anew on the same ports), and is refused with [`ClientError::BadAnswer`].
    #[must_use]
    pub fn subscribe_after(&self, height: Height, id: BlockId) -> Subscription<'_> {
        self.subscription(height.next(), Some(id))
    }

    fn subscription(&self, next: Height, parent: Option<BlockId>) -> Subscription<'_> {
        Subscription {
            client: self,
            next,
            parent,
            source: None,
            turn: self.preferred(),
            patience: PATIENCE,
            fruitless: Fruitless::default(),
        }
    }
}

impl Subscription<'_> {
    /// The height that comes next.
    #[must_use]
    pub fn position(&self) -> Height {
        self.next
    }

    /// Sets how long one validator may have nothing new before the next is asked; 10 s unless told otherwise. On a chain
    /// that commits less often, it costs a request each time, and no height.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The next height, once it is committed; reconnects as often as it takes. May be dropped and called again: nothing
    /// is lost, and nothing comes twice.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `compacted` if nobody keeps the height any more, or with what all
    /// refuse it with; [`ClientError::Unreachable`] if no validator can be read from for the client's timeout (a later call
    /// tries again); [`ClientError::BadAnswer`] if a validator sent what is no continuation.
    pub async fn next(&mut self) -> Result<LogEntry, ClientError> {
        loop {
            if self.source.is_none() {
                if let Some(until) = self.fruitless.pause_until {
                    tokio::time::sleep_until(until.into()).await;
                }
                self.source = Some(self.connect().await?);
            }
            let event = match self.event().await? {
                Ok(event) => event,
                // Cut off, without news, or stopping: go on with another.
                Err(end) => {
                    self.leave();
                    self.paced(end)?;
                    continue;
                }
            };
            match event.name.as_str() {
                "block" => return self.accept(&event.data),
                "problem" => {
                    self.problem(&event.data)?;
                    self.paced(End::Cut)?;
                }
                // A release that knows more sends more.
                _ => {}
            }
        }
    }

    /// Reads from another validator from now on.
    fn leave(&mut self) {
        self.source = None;
        self.turn += 1;
    }

    /// Pauses after each pass over all validators whose streams have all ended, and gives up when the client's timeout has
    /// gone by so.
    fn paced(&mut self, end: End) -> Result<(), ClientError> {
        let fruitless = &mut self.fruitless;
        if end == End::Quiet {
            *fruitless = Fruitless::default();
            return Ok(());
        }
        let now = Instant::now();
        let since = *fruitless.since.get_or_insert(now);
        if now.duration_since(since) >= self.client.timeout() {
            *fruitless = Fruitless::default();
            let last = String::from("every stream of the log ends before its first block");
            return Err(ClientError::Unreachable { last });
        }
        fruitless.count += 1;
        let pass = self.client.profile().endpoints.len();
        fruitless.pause_until = fruitless
            .count
            .is_multiple_of(pass)
            .then(|| now + fruitless.backoff.next());
        Ok(())
    }

    /// The next event of the validator that is read from, or why there is none.
    async fn event(&mut self) -> Result<Result<Event, End>, ClientError> {
        let Some(source) = &mut self.source else {
            return Ok(Err(End::Cut));
        };
        let since = *source.since.get_or_insert_with(Instant::now);
        loop {
            if let Some(event) = source.parser.pop() {
                return Ok(Ok(event));
            }
            // "I am here" is no news; a piece of a large block is, if it does not come by drops.
            let arriving = u64::try_from(source.parser.arrived() / LEAST_RATE).unwrap_or_default();
            let within = self.patience + Duration::from_millis(arriving);
            let left = within.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(Err(End::Quiet));
            }
            let frame = match tokio::time::timeout(left, source.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                // One that was there for a while, and is gone, is no reason to pause.
                Ok(_) if since.elapsed() >= MAX_PAUSE => return Ok(Err(End::Quiet)),
                Ok(_) => return Ok(Err(End::Cut)),
                Err(_) => return Ok(Err(End::Quiet)),
            };
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            if let Err(error) = source.parser.push(bytes) {
                let error = bad(&source.endpoint, &error.to_string());
                self.leave();
                return Err(error);
            }
        }
    }

    fn accept(&mut self, data: &[u8]) -> Result<LogEntry, ClientError> {
        let endpoint = self.source.as_ref().map(|source| source.endpoint.clone());
        let endpoint = endpoint.unwrap_or_default();
        let checked = self.check(data).map_err(|what| bad(&endpoint, &what));
        if checked.is_err() {
            self.leave();
        }
        let entry = checked?;
        if let Some(source) = &mut self.source {
            // How long the caller is busy with this one is not the validator's fault.
            source.since = None;
        }
        self.fruitless = Fruitless::default();
        self.next = entry.height.next();
        self.parent = Some(entry.id);
        Ok(entry)
    }

    fn check(&self, data: &[u8]) -> Result<LogEntry, String> {
        let entry: LogEntry = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        let block: Block = codec::decode(&entry.block.0, codec::MAX_ENCODED_BYTES)
            .map_err(|error| error.to_string())?;
        if block.header.height != self.next || entry.height != self.next {
            let found = block.header.height;
            return Err(format!("height {found} where {} follows", self.next));
        }
        if block.id() != entry.id || self.parent.is_some_and(|id| id != block.header.parent) {
            return Err(format!("height {} is no continuation", self.next));
        }
        if !is_content(&entry, &block) {
            let next = self.next;
            return Err(format!("height {next} comes with what is not in its block"));
        }
        Ok(entry)
    }

    /// What ended the stream: an error, unless another validator may go on with it.
    fn problem(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.leave();
        // What this one has pruned, another may keep.
        let goes_on = |status| matches!(status, 410 | 429 | 500..);
        match serde_json::from_slice::<Problem>(data) {
            Ok(problem) if !goes_on(problem.status) => Err(ClientError::Refused {
                status: problem.status,
                code: problem.code,
                detail: problem.detail,
            }),
            _ => Ok(()),
        }
    }

    async fn connect(&mut self) -> Result<Source, ClientError> {
        let mut call = Call::get(format!("/v1/log?from={}", self.next));
        call.accept = EVENT_STREAM;
        let endpoints = &self.client.profile().endpoints;
        let deadline = Instant::now() + self.client.timeout();
        let mut backoff = Backoff::default();
        let mut last = String::new();
        loop {
            let (mut pruned, mut refused) = (None, None);
            let (mut busy, mut absent) = (false, false);
            for _ in endpoints {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(pruned.unwrap_or(ClientError::Unreachable { last }));
                }
                let endpoint = &endpoints[self.turn % endpoints.len()];
                let within = left.min(backoff.patience());
                match self.client.http().open(endpoint, &call, within).await {
                    Ok(Ok(body)) => {
                        return Ok(Source {
                            endpoint: endpoint.clone(),
                            body,
                            parser: Parser::default(),
                            since: None,
                        });
                    }
                    Ok(Err(answer)) if answer.status == StatusCode::GONE => {
                        pruned = Some(answer.refusal());
                    }
                    Ok(Err(answer)) if !goes_elsewhere(answer.status) => {
                        // Something else may listen there.
                        last = format!("{endpoint}: {}", answer.refusal());
                        refused = Some(answer.refusal());
                    }
                    Ok(Err(answer)) => {
                        busy = true;
                        backoff.asked(answer.retry_after);
                        last = format!("{endpoint}: {}", answer.refusal());
                    }
                    Err(error) => {
                        absent = true;
                        last = error.to_string();
                    }
                }
                self.turn += 1;
            }
            // It is gone if nobody who is there keeps it, or will say so when there is room. Something else that listens
            // at an endpoint says nothing of those who are not there just now.
            let refused = refused.filter(|_| !absent);
            if let Some(error) = pruned.or(refused).filter(|_| !busy) {
                return Err(error);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(backoff.next().min(left)).await;
        }
    }
}

/// Whether an entry's batches are those that its block names, and the block's those that its header does.
fn is_content(entry: &LogEntry, block: &Block) -> bool {
    let named = |(bytes, id): (&Base64, &BatchId)| {
        let batch = codec::decode::<Batch>(&bytes.0, codec::MAX_ENCODED_BYTES);
        batch.is_ok_and(|batch| batch.id() == *id)
    };
    block.check_payload().is_ok()
        && entry.batches.len() == block.batches.len()
        && entry.batches.iter().zip(&block.batches).all(named)
}
