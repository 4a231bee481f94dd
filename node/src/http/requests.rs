//! Which requests of a connection are under way, for the socket below to know: whether what arrives on it is the head of
//! another one, and whether anybody waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use http_body_util::BodyExt as _;

use super::listener::Bounded;

/// The requests of one connection.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    /// How many heads have arrived whole.
    pub(super) fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether one has no answer yet, or one that is not all handed to the connection.
    pub(super) fn any(&self) -> bool {
        self.begun() > self.0.ended.load(Ordering::Relaxed)
    }

    fn begin(&self) -> UnderWay {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Requests {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Requests {
        stream.io().requests()
    }
}

/// A request that is under way until this is dropped.
struct UnderWay(Requests);

impl UnderWay {
    /// Keeps what keeps this.
    fn pass<T>(&self, value: T) -> T {
        value
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a request from its head to the end of its answer.
pub(super) async fn follow(
    ConnectInfo(requests): ConnectInfo<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let under_way = requests.begin();
    let response = next.run(request).await;
    // The answer's body takes it along.
    response.map(|body| Body::new(body.map_err(move |error| under_way.pass(error))))
}
