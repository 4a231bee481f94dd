//! Many transactions over one connection: a stream of them to one validator, and a stream of its answers back.
//!
//! For whoever submits for others: a gateway, a load generator. A transaction costs no request of its own, and what is
//! ready together travels together, both ways. Canonical bytes only; no retry: a stream that ends tells nothing of what
//! has no answer, and the same bytes may be sent again on another.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use quorate_types::{Height, Receipt, codec};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::Wait;
use crate::api::CANONICAL;
use crate::frames::{self, Frames, Framing};
use crate::raw::ConnectionError;

/// Where submissions are streamed to.
pub const PATH: &str = "/v1/submissions";
/// Bytes that are sent as one chunk, if more is ready.
const CHUNK: usize = 64 * 1024;

/// What a validator says about one transaction of a stream. It answers each once, in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The transaction's place in the stream, from 0.
    pub number: u64,
    /// How far it has come.
    pub verdict: Verdict,
}

/// How far a transaction of a stream has come, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Queued at this validator.
    Accepted,
    /// It has its place in the ledger.
    Committed {
        /// Its block.
        height: Height,
        /// Its place in the block.
        index: u32,
    },
    /// It was executed, or rejected for good.
    Executed(Receipt),
    /// Not taken, or not followed to the end.
    Refused {
        /// Stable: that of a problem document.
        code: String,
        /// For people.
        detail: String,
        /// When it may be better, in seconds.
        retry_after: Option<u32>,
    },
}

/// Sends transactions into a stream. Dropping it ends the stream behind the last answer.
#[derive(Clone, Debug)]
pub struct Submitter {
    ready: mpsc::UnboundedSender<Bytes>,
}

/// The answers of a stream.
#[derive(Debug)]
pub struct Answers {
    body: Incoming,
    frames: Frames,
}

/// Opens a stream of submissions to one validator, which follows each as far as `wait` says. The caller's runtime drives
/// the connection in a task of its own.
///
/// # Errors
/// [`ConnectionError`]; [`ConnectionError::Refused`] if the validator takes no stream now.
pub async fn open(
    address: SocketAddr,
    wait: Wait,
) -> Result<(Submitter, Answers), ConnectionError> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut sender, driver) = handshake(TokioIo::new(socket)).await?;
    // It ends with an error when the peer goes; whoever reads the answers learns that.
    tokio::spawn(async { driver.await.unwrap_or_default() });
    let (ready, sent) = mpsc::unbounded_channel();
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{PATH}?wait={}", wait.as_str()))
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, CANONICAL)
        .body(Sent(sent))
        .expect("an address and constants are valid");
    let response = sender.send_request(request).await?;
    match response.status() {
        StatusCode::OK => {
            let answers = Answers {
                body: response.into_body(),
                frames: Frames::new(Framing::Canonical, codec::MAX_ENCODED_BYTES),
            };
            Ok((Submitter { ready }, answers))
        }
        status => Err(ConnectionError::Refused(status)),
    }
}

impl Submitter {
    /// Sends a canonical transaction. It is the next of the stream. Never waits: who must not have more than so many under
    /// way counts the answers.
    ///
    /// # Errors
    /// [`ConnectionError::Ended`].
    pub fn submit(&self, transaction: Bytes) -> Result<(), ConnectionError> {
        self.ready
            .send(transaction)
            .map_err(|_| ConnectionError::Ended)
    }
}

impl Answers {
    /// The next answer; none behind the last. A validator also ends a stream when it stops, and when nothing has moved on it
    /// for a while. Nothing is known then, and after an error, of transactions without an answer: the same bytes may be
    /// sent again.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub async fn next(&mut self) -> Result<Option<Answer>, ConnectionError> {
        loop {
            if let Some(piece) = self.frames.pop().map_err(|_| ConnectionError::Body)? {
                let answer = codec::decode(&piece, codec::MAX_ENCODED_BYTES);
                return answer.map(Some).map_err(|_| ConnectionError::Body);
            }
            let Some(frame) = self.body.frame().await else {
                return match self.frames.is_inside() {
                    true => Err(ConnectionError::Body),
                    false => Ok(None),
                };
            };
            if let Some(bytes) = frame?.data_ref() {
                self.frames.push(bytes);
            }
        }
    }
}

/// The body of the request: what was submitted, as it comes.
#[derive(Debug)]
struct Sent(mpsc::UnboundedReceiver<Bytes>);

impl Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK {
            match self.0.poll_recv(cx) {
                Poll::Ready(Some(transaction)) => {
                    frames::put(Framing::Canonical, &transaction, &mut chunk);
                }
                Poll::Ready(None) if chunk.is_empty() => return Poll::Ready(None),
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }
}
