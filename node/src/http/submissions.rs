//! A stream of transactions over one connection, and a stream of answers back: for who submits for many.
//!
//! A transaction of a stream goes the same way as one in a request of its own, has the same time for it, and is answered
//! once, when there is an answer: in any order, by its place in the stream. What is ready together is written together.
//!
//! The stream is read, never pushed: at [`MAX_UNDER_WAY`] transactions, or [`MAX_BYTES`] of them, it is read on when some
//! are answered; and while the client takes no answers, none of it moves, until its connection is cut off as idle. What
//! answers hold meanwhile is bounded for all clients together, where they are made (`validator/tickets.rs`).

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Query as UrlQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use quorate_client::Wait;
use quorate_client::api::{CANONICAL, JSON_LINES, SubmissionReply};
use quorate_client::frames::{self, Frames, Framing};
use quorate_client::submissions::{Answer, Verdict};
use quorate_types::{HashedTransaction, Transaction, TransactionId, Unverified, codec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::pace::Pace;
use super::problem::{document, full, submit_code};
use super::transactions::{NO_OUTCOME, ONLY_WAIT, SubmitQuery, reply_of, submitted};
use super::{Api, Open, media_of, problem, typed};
use crate::backend::{Progress, SubmitError};

/// Transactions of a stream that have no answer yet, at most.
pub const MAX_UNDER_WAY: usize = 1_024;
/// Bytes of them, at most, and one transaction more.
const MAX_BYTES: usize = 512 << 10;
/// Streams that one validator has at a time. Each may hold some megabytes.
pub const MAX_SUBMITTERS: usize = 64;
/// What is said when a client sends less than [`super::SLOWEST_CLIENT`] of what it has begun.
const TOO_SLOW: &str = "the rest of the transaction did not come in time";
/// What a client is told to wait when all of them are taken, in seconds.
const RETRY_AFTER: u32 = 5;
/// A stream that the validator ends stays open for so long behind the last answer, unless the client ends it too: closed
/// under a client that still sends, a connection would lose what the client has not read yet.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of answers that are written at once, and one answer more.
const MAX_ANSWERS: usize = 64 * 1024;

/// The places of streams of submissions.
#[must_use]
pub fn submitters() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_SUBMITTERS))
}

/// Submit many signed transactions over one connection.
///
/// The request's body is a stream of transactions without an end, the response's body the stream of their answers, each
/// with the transaction's place in the stream, in the order in which they come. In `application/octet-stream`, both are
/// canonical strings of bytes, each a canonical transaction or answer; in `application/jsonl`, lines.
#[utoipa::path(
    post,
    path = "/v1/submissions",
    params(SubmitQuery),
    request_body(content((String = "application/octet-stream"), (String = "application/jsonl"))),
    responses((status = 200, description = "A SubmissionReply a line, or a canonical answer", content(
        (SubmissionReply = "application/jsonl"),
        (String = "application/octet-stream")
    )))
)]
pub(super) async fn stream(
    State(api): State<Api>,
    query: Result<UrlQuery<SubmitQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", ONLY_WAIT);
    };
    let (framing, media, limit) = match media_of(&headers) {
        Some(CANONICAL) | None => (Framing::Canonical, CANONICAL, api.max_transaction_bytes),
        Some(JSON_LINES) => (Framing::Lines, JSON_LINES, api.max_body_bytes()),
        Some(_) => {
            let detail = "send application/octet-stream or application/jsonl";
            return problem("unsupported_media_type", detail);
        }
    };
    if *api.stopping.borrow() {
        return problem("not_serving", "the validator stops; try another one");
    }
    let Ok(place) = Arc::clone(&api.submitters).try_acquire_owned() else {
        let detail = "it has as many streams of submissions as it takes; try another validator";
        return full(RETRY_AFTER, detail);
    };
    let mut stopping = api.stopping.clone();
    let submissions = Submissions {
        open: Open::new(&api.metrics.api_submission_streams),
        wait: query.wait(),
        framing,
        body: body.into_data_stream(),
        stopped: async move { drop(stopping.wait_for(|stop| *stop).await) }.boxed(),
        frames: Frames::new(framing, limit),
        next: 0,
        part: None,
        alarm: None,
        ended: false,
        under_way: FuturesUnordered::new(),
        bytes: 0,
        answers: BytesMut::new(),
        drained: false,
        linger: None,
        api,
        _place: place,
    };
    typed(media, Body::from_stream(submissions))
}

/// A transaction of a stream with its outcome.
struct Done {
    number: u64,
    /// Unless it could not be read.
    id: Option<TransactionId>,
    bytes: usize,
    outcome: Outcome,
}

type Outcome = Result<Progress, Refused>;

/// Why a transaction was not taken, or not followed to the end.
struct Refused {
    code: &'static str,
    detail: String,
    retry_after: Option<u32>,
}

impl Refused {
    fn new(code: &'static str, detail: impl Into<String>) -> Refused {
        Refused {
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }
}

impl From<SubmitError> for Refused {
    fn from(error: SubmitError) -> Refused {
        let (code, detail) = submit_code(error);
        let retry_after = match error {
            SubmitError::Full {
                retry_after_seconds,
            } => Some(retry_after_seconds),
            _ => None,
        };
        Refused {
            code,
            detail: detail.into_owned(),
            retry_after,
        }
    }
}

/// What has arrived of a transaction: its place, and how fast the rest comes.
struct Part {
    number: u64,
    pace: Pace,
}

/// One stream, as the body of its response.
struct Submissions {
    api: Api,
    wait: Wait,
    framing: Framing,
    body: BodyDataStream,
    stopped: BoxFuture<'static, ()>,
    frames: Frames,
    /// Place of the next transaction.
    next: u64,
    /// The transaction that has arrived in part, while its rest is waited for.
    part: Option<Part>,
    /// Rings when a part must be looked at, or before.
    alarm: Option<Pin<Box<Sleep>>>,
    /// No further transaction is taken.
    ended: bool,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Bytes of what is under way.
    bytes: usize,
    /// Not written yet.
    answers: BytesMut,
    /// Nothing more will arrive.
    drained: bool,
    /// Until when the stream stays open behind its last answer.
    linger: Option<Pin<Box<Sleep>>>,
    #[expect(dead_code, reason = "held for its Drop")]
    open: Open,
    _place: OwnedSemaphorePermit,
}

impl Stream for Submissions {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // What was taken is polled, and so begun, before this waits for anything but room for answers.
        let backend = Arc::clone(&this.api.backend);
        backend.together(&mut || while this.gather(cx) | this.take(cx) {});
        if this.ended {
            this.drain(cx);
        }
        if !this.answers.is_empty() {
            return Poll::Ready(Some(Ok(this.answers.split().freeze())));
        }
        if !this.ended || !this.under_way.is_empty() {
            return Poll::Pending;
        }
        if this.drained || this.has_lingered(cx) {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

impl Submissions {
    /// Collects the answers that are there. Tells whether there were any.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.answers.len();
        while self.answers.len() < MAX_ANSWERS
            && let Poll::Ready(Some(done)) = self.under_way.poll_next_unpin(cx)
        {
            self.bytes -= done.bytes;
            self.answer(done);
        }
        self.answers.len() > before
    }

    /// Takes what has arrived, as far as there is room. Tells whether there was anything.
    fn take(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.next;
        while self.has_room() {
            match self.frames.pop() {
                Ok(Some(piece)) => self.submit(&piece),
                Ok(None) => {
                    if self.stopped.poll_unpin(cx).is_ready() {
                        self.ended = true;
                        break;
                    }
                    match self.body.poll_next_unpin(cx) {
                        Poll::Ready(Some(Ok(bytes))) => {
                            if let Some(part) = &mut self.part {
                                part.pace.add(bytes.len());
                            }
                            self.frames.push(&bytes);
                        }
                        Poll::Ready(None) => self.end(),
                        // The client broke off, and will not read why.
                        Poll::Ready(Some(Err(_))) => (self.ended, self.drained) = (true, true),
                        Poll::Pending if self.is_too_slow(cx) => {
                            self.refuse(Refused::new("malformed", TOO_SLOW));
                            self.ended = true;
                        }
                        Poll::Pending => return self.next > before,
                    }
                }
                Err(error) => {
                    self.refuse(Refused::new("too_large", error.to_string()));
                    self.ended = true;
                }
            }
        }
        // It does not read, so the client cannot send.
        self.part = None;
        self.next > before
    }

    /// Whether a transaction has arrived in part, and its rest comes more slowly than it must.
    fn is_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.frames.is_inside() {
            self.part = None;
            return false;
        }
        let (number, idle) = (self.next, self.api.idle_timeout);
        self.part.take_if(|part| part.number != number);
        let part = self.part.get_or_insert_with(|| Part {
            number,
            pace: Pace::begun(Instant::now()),
        });
        let alarm = &mut self.alarm;
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(part.pace.due(idle))));
        while alarm.as_mut().poll(cx).is_ready() {
            if part.pace.is_slow(Instant::now(), idle) {
                return true;
            }
            alarm.as_mut().reset(part.pace.due(idle));
        }
        false
    }

    fn has_room(&self) -> bool {
        !self.ended
            && self.under_way.len() < MAX_UNDER_WAY
            && self.bytes < MAX_BYTES
            && self.answers.len() < MAX_ANSWERS
    }

    /// The client has ended its stream.
    fn end(&mut self) {
        (self.ended, self.drained) = (true, true);
        if let Some(line) = self.frames.pop_last() {
            self.submit(&line);
        }
        if self.frames.is_inside() {
            self.refuse(Refused::new(
                "malformed",
                "the stream ends within a transaction",
            ));
        }
    }

    /// Drops what still arrives behind the end.
    fn drain(&mut self, cx: &mut Context<'_>) {
        while !self.drained {
            match self.body.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None | Some(Err(_))) => self.drained = true,
                Poll::Pending => break,
            }
        }
    }

    fn has_lingered(&mut self, cx: &mut Context<'_>) -> bool {
        let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        linger.as_mut().poll(cx).is_ready()
    }

    fn submit(&mut self, piece: &[u8]) {
        let media = match self.framing {
            Framing::Canonical => CANONICAL,
            Framing::Lines => "application/json",
        };
        match submitted(Some(media), piece, self.api.max_transaction_bytes) {
            Ok(transaction) => self.follow(transaction, piece.len()),
            Err((code, detail)) => self.refuse(Refused::new(code, detail)),
        }
    }

    fn follow(&mut self, transaction: Transaction, bytes: usize) {
        let (backend, wait) = (Arc::clone(&self.api.backend), self.wait);
        let transaction = HashedTransaction::new(transaction);
        let (number, id) = (self.number(), transaction.id());
        let within = self.api.within();
        let followed = async move {
            let follow = backend.submit(Unverified::new(transaction), wait);
            let outcome = match tokio::time::timeout(within, follow).await {
                Ok(result) => result.map_err(Refused::from),
                Err(_) => Err(Refused::new("timed_out", NO_OUTCOME)),
            };
            Done {
                number,
                id: Some(id),
                bytes,
                outcome,
            }
        };
        self.bytes += bytes;
        self.under_way.push(followed.boxed());
    }

    /// Answers for the next transaction, which cannot be read.
    fn refuse(&mut self, refused: Refused) {
        let number = self.number();
        self.answer(Done {
            number,
            id: None,
            bytes: 0,
            outcome: Err(refused),
        });
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn answer(&mut self, done: Done) {
        let piece = match self.framing {
            Framing::Canonical => codec::encode(&canonical(done)),
            Framing::Lines => serde_json::to_vec(&line(done)).expect("an answer is JSON"),
        };
        frames::put(self.framing, &piece, &mut self.answers);
    }
}

fn canonical(done: Done) -> Answer {
    let verdict = match done.outcome {
        Ok(Progress::Accepted(_)) => Verdict::Accepted,
        Ok(Progress::Committed { height, index, .. }) => Verdict::Committed { height, index },
        Ok(Progress::Executed(receipt)) => Verdict::Executed(receipt),
        Err(refused) => Verdict::Refused {
            code: String::from(refused.code),
            detail: refused.detail,
            retry_after: refused.retry_after,
        },
    };
    Answer {
        number: done.number,
        verdict,
    }
}

fn line(done: Done) -> SubmissionReply {
    let mut line = SubmissionReply {
        number: done.number,
        reply: None,
        problem: None,
        retry_after: None,
    };
    match done.outcome {
        Ok(progress) => line.reply = Some(reply_of(progress, None)),
        Err(refused) => {
            line.problem = Some(document(refused.code, &refused.detail, done.id));
            line.retry_after = refused.retry_after;
        }
    }
    line
}
