//! Following the log: every height once and in order, from whichever validator is there.
//!
//! Blocks are checked to be a chain: each names its height and the block before it. That they were agreed on is what
//! their certificates say, which `quorate log verify` checks.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use quorate_types::{Block, BlockId, Height, codec};

use crate::api::{EVENT_STREAM, LogEntry, Problem};
use crate::backoff::Backoff;
use crate::client::{Client, bad};
use crate::error::ClientError;
use crate::failover::goes_elsewhere;
use crate::http::Call;
use crate::sse::{Event, Parser};

/// A validator that has sent nothing of a block for so long is left for the next one: it may be gone without a word, or
/// be there and cut off from the others.
const PATIENCE: Duration = Duration::from_secs(10);

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
}

#[derive(Debug)]
struct Source {
    endpoint: String,
    body: Incoming,
    parser: Parser,
    /// When it last sent something of an event.
    heard: Instant,
}

impl Client {
    /// Follows the log from a height on. Nothing is sent before [`Subscription::next`].
    #[must_use]
    pub fn subscribe(&self, from: Height) -> Subscription<'_> {
        Subscription {
            client: self,
            next: from.max(Height(1)),
            parent: None,
            source: None,
            turn: self.preferred(),
            patience: PATIENCE,
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
    /// [`ClientError::Refused`] with code `compacted` if nobody keeps the height any more; [`ClientError::Unreachable`] if no
    /// validator can be read from for the client's timeout (a later call tries again); [`ClientError::BadAnswer`] if a
    /// validator sent what is no continuation.
    pub async fn next(&mut self) -> Result<LogEntry, ClientError> {
        loop {
            if self.source.is_none() {
                self.source = Some(self.connect().await?);
            }
            let Some(event) = self.event().await? else {
                // Cut off, without news, or stopping: go on with another.
                self.source = None;
                self.turn += 1;
                continue;
            };
            match event.name.as_str() {
                "block" => return self.accept(&event.data),
                "problem" => self.problem(&event.data)?,
                // A release that knows more sends more.
                _ => {}
            }
        }
    }

    /// The next event of the validator that is read from; none if it is better to read from another.
    async fn event(&mut self) -> Result<Option<Event>, ClientError> {
        let Some(source) = &mut self.source else {
            return Ok(None);
        };
        loop {
            if let Some(event) = source.parser.pop() {
                return Ok(Some(event));
            }
            let left = self.patience.saturating_sub(source.heard.elapsed());
            let frame = tokio::time::timeout(left, source.body.frame()).await;
            let Ok(Some(Ok(frame))) = frame else {
                return Ok(None);
            };
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            if let Err(error) = source.parser.push(bytes) {
                let error = bad(&source.endpoint, &error.to_string());
                self.source = None;
                self.turn += 1;
                return Err(error);
            }
            // "I am here" is no news; a piece of a large block is.
            if source.parser.is_inside() {
                source.heard = Instant::now();
            }
        }
    }

    fn accept(&mut self, data: &[u8]) -> Result<LogEntry, ClientError> {
        let endpoint = self.source.as_ref().map(|source| source.endpoint.clone());
        let endpoint = endpoint.unwrap_or_default();
        let checked = self.check(data).map_err(|what| bad(&endpoint, &what));
        if checked.is_err() {
            self.source = None;
            self.turn += 1;
        }
        let entry = checked?;
        if let Some(source) = &mut self.source {
            source.heard = Instant::now();
        }
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
        Ok(entry)
    }

    /// What ended the stream: an error, unless another validator may go on with it.
    fn problem(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.source = None;
        self.turn += 1;
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
            let (mut pruned, mut busy) = (None, false);
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
                            heard: Instant::now(),
                        });
                    }
                    Ok(Err(answer)) if answer.status == StatusCode::GONE => {
                        pruned = Some(answer.refusal());
                    }
                    Ok(Err(answer)) if !goes_elsewhere(answer.status) => {
                        return Err(answer.refusal());
                    }
                    Ok(Err(answer)) => {
                        busy = true;
                        backoff.asked(answer.retry_after);
                        last = format!("{endpoint}: {}", answer.refusal());
                    }
                    Err(error) => last = error.to_string(),
                }
                self.turn += 1;
            }
            // It is gone if nobody who is there keeps it, or will say so when there is room.
            if let Some(error) = pruned.filter(|_| !busy) {
                return Err(error);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(backoff.next().min(left)).await;
        }
    }
}
