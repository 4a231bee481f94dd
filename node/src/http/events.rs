//! The log as server-sent events: one `block` event a height, in order, without a gap, for as long as the reader stays.
//!
//! The event's id is the height, so that a reader that was cut off resumes behind it with `Last-Event-ID`. What ends a
//! stream is said in a last event, `problem`, whose data is a problem document; a start that cannot be had is refused
//! before the first byte.
//!
//! A reader is asked, never pushed to: the next stretch of the log is read when the socket has taken the one before. So
//! a slow reader costs one stretch of memory and one of [`MAX_STREAMS`] places, and one that takes nothing for the idle
//! time is cut off by its connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use quorate_client::api::EVENT_STREAM;
use quorate_types::Height;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::problem::{document, of_query, query_code};
use super::reads::log_entry;
use super::{Api, Open, problem};
use crate::backend::{LogBlock, Query, QueryError, Reply};

/// Readers that one validator has at a time. Each holds a stretch, encoded.
pub const MAX_STREAMS: usize = 64;
/// Heights that are read at once for a stream.
const STRETCH: u64 = 32;
/// Bytes of their batches, and what the last height has beyond them.
const STRETCH_BYTES: usize = 1 << 20;
/// Where a reader says what it has.
const LAST_EVENT_ID: &str = "last-event-id";

/// The places of readers.
#[must_use]
pub fn streams() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_STREAMS))
}

/// The height behind the one that the reader names as its last.
///
/// # Errors
/// If it is no height.
pub(super) fn resumed(headers: &HeaderMap) -> Result<Option<Height>, ()> {
    let Some(last) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let last = last.to_str().ok().and_then(|text| text.parse().ok());
    last.map(|height| Some(Height(height).next())).ok_or(())
}

/// Streams the heights `from` to `to`; without `from`, those that are committed from now on.
pub(super) async fn events(api: Api, from: Option<Height>, to: Height) -> Response {
    let Ok(place) = Arc::clone(&api.streams).try_acquire_owned() else {
        return super::problem::full(
            RETRY_AFTER,
            "it has as many readers of the log as it takes; try another validator",
        );
    };
    let mut heads = api.backend.heads();
    let Some(head) = *heads.borrow_and_update() else {
        return problem("not_serving", "the validator stops; try another one");
    };
    let next = from.unwrap_or_else(|| head.next());
    let keep_alive = KeepAlive::new().interval(api.keep_alive);
    let mut reader = Reader {
        open: Open::new(&api.metrics.api_streams),
        api,
        heads,
        next,
        to,
        read: VecDeque::new(),
        ended: false,
        _place: place,
    };
    // The first stretch before the answer: what cannot be had is then a refusal, with a status.
    if next <= head
        && let Err(error) = reader.fetch().await
    {
        return of_query(error);
    }
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.event().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    let media = axum::http::HeaderValue::from_static(EVENT_STREAM);
    let headers = response.headers_mut();
    headers.insert(axum::http::header::CONTENT_TYPE, media);
    // A proxy that collects an answer before it hands it on would hand on nothing.
    headers.insert(
        "x-accel-buffering",
        axum::http::HeaderValue::from_static("no"),
    );
    response
}

/// What a reader is told to wait when all places are taken, in seconds.
const RETRY_AFTER: u32 = 5;

/// A height as the event that tells it.
fn event_of(block: &LogBlock) -> (Height, Event) {
    let entry = log_entry(block);
    let event = Event::default().event("block");
    let event = event.id(entry.height.to_string()).json_data(&entry);
    (entry.height, event.expect("an entry is JSON"))
}

/// Where one reader stands.
struct Reader {
    api: Api,
    heads: watch::Receiver<Option<Height>>,
    /// The height that is sent next.
    next: Height,
    to: Height,
    /// Read and encoded, and not sent yet.
    read: VecDeque<(Height, Event)>,
    ended: bool,
    #[expect(dead_code, reason = "held for its Drop")]
    open: Open,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event; none behind the last.
    async fn event(&mut self) -> Option<Event> {
        while !self.ended && self.next <= self.to {
            if let Some((height, event)) = self.read.pop_front() {
                self.next = height.next();
                return Some(event);
            }
            let Some(head) = *self.heads.borrow_and_update() else {
                return Some(self.end("not_serving", "the validator stops; go on with another"));
            };
            if head < self.next {
                if self.heads.changed().await.is_err() {
                    return Some(self.end("not_serving", "the validator has stopped"));
                }
                continue;
            }
            if let Err(error) = self.fetch().await {
                let (code, detail) = query_code(error);
                return Some(self.end(code, &detail));
            }
        }
        None
    }

    /// Reads a stretch from `next` on.
    async fn fetch(&mut self) -> Result<(), QueryError> {
        let last = self.next.0.saturating_add(STRETCH - 1).min(self.to.0);
        let query = Query::Log {
            from: self.next,
            to: Height(last),
            bytes: STRETCH_BYTES,
        };
        let backend = Arc::clone(&self.api.backend);
        let read = move || match backend.read(query)? {
            // The head is there, so its block is too.
            Reply::Log(blocks) if blocks.is_empty() => Err(QueryError::Damaged),
            Reply::Log(blocks) => Ok(blocks.iter().map(event_of).collect()),
            _ => Err(QueryError::NotServing),
        };
        // A reader has its place already, and is not sent away for others who read.
        self.read = self.api.reading.run(read).await??;
        Ok(())
    }

    fn end(&mut self, code: &'static str, detail: &str) -> Event {
        self.ended = true;
        let problem = document(code, detail, None);
        let event = Event::default().event("problem").json_data(&problem);
        event.expect("a problem is JSON")
    }
}
