//! The memory of large answers on their way: bounded for all clients together.
//!
//! An answer lies in memory until its client has taken it, and a client may take nothing. So a large one needs room in a
//! budget, which it gives back with its last byte or with its connection. Small ones need none: connections are bounded.
//! Streams have their own bounds.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::full;
use super::reads::not_serving;
use super::typed;

/// Bytes of large answers that were made and not taken, for all clients together.
pub const MAX_SENDING: usize = 64 << 20;
/// An answer of fewer bytes needs no room.
const SMALL: usize = 64 << 10;
/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;
/// What a client is told to wait when there is no room, in seconds.
const RETRY_AFTER: u32 = 1;

/// The room for large answers.
#[derive(Clone, Debug)]
pub struct Sending(Arc<Semaphore>);

impl Default for Sending {
    fn default() -> Sending {
        Sending(Arc::new(Semaphore::new(MAX_SENDING / UNIT)))
    }
}

/// Marks an answer whose bytes are in memory once, whoever asks for them.
#[derive(Clone, Copy, Debug)]
struct Shared;

/// An answer that takes no room, since its bytes are there anyway.
pub(super) fn shared(media: &'static str, bytes: Bytes) -> Response {
    let mut response = typed(media, bytes);
    response.extensions_mut().insert(Shared);
    response
}

/// Bytes of an answer with their room.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Sending {
    /// The answer, if there is room for it; otherwise 429.
    pub(super) async fn admit(&self, response: Response) -> Response {
        let exact = response.body().size_hint().exact();
        let size = exact.map_or(0, |size| usize::try_from(size).unwrap_or(usize::MAX));
        if size < SMALL || response.extensions().get::<Shared>().is_some() {
            return response;
        }
        // One that is larger than the whole budget goes alone.
        let units = u32::try_from(size.min(MAX_SENDING) / UNIT).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.0).try_acquire_many_owned(units) else {
            let detail = "too many large answers are on their way; try again, or another validator";
            return full(RETRY_AFTER, detail);
        };
        let (head, body) = response.into_parts();
        // It is whole already, so this waits for nothing.
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
            return not_serving();
        };
        // The room goes with the bytes, not with the body, which ends when they are handed to the connection.
        let bytes = Bytes::from_owner(Held { bytes, _room: room });
        Response::from_parts(head, Body::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![0; bytes]))
    }

    #[tokio::test]
    async fn large_answers_share_the_budget_until_their_last_byte_is_gone() {
        let sending = Sending::default();
        let first = sending.admit(answer(MAX_SENDING - SMALL)).await;
        let second = sending.admit(answer(SMALL)).await;
        assert_eq!(second.status(), StatusCode::OK);
        let refused = sending.admit(answer(SMALL)).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        // Small ones, and those that are in memory once, go on.
        let small = sending.admit(answer(SMALL - 1)).await;
        assert_eq!(small.status(), StatusCode::OK);
        let text = shared("text/plain", Bytes::from(vec![0; SMALL]));
        assert_eq!(sending.admit(text).await.status(), StatusCode::OK);
        // The body is gone and its bytes are not: they still take room.
        let bytes = axum::body::to_bytes(first.into_body(), usize::MAX).await;
        let mut bytes = bytes.expect("memory");
        assert_eq!(bytes.len(), MAX_SENDING - SMALL);
        let rest = bytes.split_off(SMALL);
        drop(bytes);
        let refused = sending.admit(answer(SMALL)).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(rest);
        assert_eq!(sending.admit(answer(SMALL)).await.status(), StatusCode::OK);
        drop(second);
        let alone = sending.admit(answer(2 * MAX_SENDING)).await;
        assert_eq!(alone.status(), StatusCode::OK);
    }
}
