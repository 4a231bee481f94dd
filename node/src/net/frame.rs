//! Messages on a stream: a length in 4 bytes, little-endian, and the canonical encoding.
//!
//! It must never allocate what a peer only claims: the length is checked against its bound, then paid for with credit,
//! and memory grows with what really arrives.

use std::sync::Arc;

use bytes::Bytes;
use quinn::RecvStream;
use quorate_types::message::Class;
use quorate_types::{Message, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::event::{Credit, Reason};

const PREFIX_BYTES: usize = 4;
/// Charged for every frame on top of its bytes, for what surrounds it in memory: bounds the number of small ones.
const OVERHEAD_BYTES: usize = 256;
/// Read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A message as it goes out: encoded once, shared by all peers that get it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) class: Class,
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// `None` if the message is longer than `limit`.
    pub(crate) fn new(message: &Message, limit: usize) -> Option<Frame> {
        Some(Frame {
            class: message.class(),
            bytes: encode(message, limit)?,
        })
    }
}

/// Prefix and encoding in one piece; `None` if the encoding is longer than `limit`.
pub(crate) fn encode<T: Serialize>(value: &T, limit: usize) -> Option<Bytes> {
    let mut bytes = vec![0; PREFIX_BYTES];
    codec::encode_into(value, &mut bytes);
    let length = bytes.len() - PREFIX_BYTES;
    if length > limit {
        return None;
    }
    let prefix = u32::try_from(length).ok()?.to_le_bytes();
    bytes[..PREFIX_BYTES].copy_from_slice(&prefix);
    Some(Bytes::from(bytes))
}

/// Why reading a frame stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFailure {
    /// The connection ended; it knows why.
    Lost,
    /// The peer is at fault.
    Fault(Reason),
}

/// Permits of a budget that always fits one frame of `limit` bytes.
pub(crate) fn budget(bytes: usize, limit: usize) -> usize {
    bytes
        .max(limit.saturating_add(OVERHEAD_BYTES))
        .min(Semaphore::MAX_PERMITS)
}

/// Reads the next frame, at most `limit` bytes, once `budget` has room for it.
pub(crate) async fn read(
    stream: &mut RecvStream,
    limit: usize,
    budget: &Arc<Semaphore>,
) -> Result<(Vec<u8>, Credit), ReadFailure> {
    let mut prefix = [0; PREFIX_BYTES];
    fill(stream, &mut prefix).await?;
    let length = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(ReadFailure::Fault(Reason::OversizeFrame));
    }
    let cost = u32::try_from(length.saturating_add(OVERHEAD_BYTES)).unwrap_or(u32::MAX);
    let permit = Arc::clone(budget)
        .acquire_many_owned(cost)
        .await
        .map_err(|_| ReadFailure::Lost)?;
    let mut bytes = Vec::with_capacity(length.min(CHUNK_BYTES));
    while bytes.len() < length {
        let wanted = (length - bytes.len()).min(CHUNK_BYTES);
        match stream.read_chunk(wanted, true).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err(ReadFailure::Fault(Reason::BadStream)),
            Err(error) => return Err(failure(&error)),
        }
    }
    Ok((bytes, Credit::new(permit)))
}

/// Fills `buffer`, or says why the stream ended before.
pub(crate) async fn fill(stream: &mut RecvStream, buffer: &mut [u8]) -> Result<(), ReadFailure> {
    match stream.read_exact(buffer).await {
        Ok(()) => Ok(()),
        Err(quinn::ReadExactError::FinishedEarly(_)) => Err(ReadFailure::Fault(Reason::BadStream)),
        Err(quinn::ReadExactError::ReadError(error)) => Err(failure(&error)),
    }
}

fn failure(error: &quinn::ReadError) -> ReadFailure {
    match error {
        quinn::ReadError::ConnectionLost(_) => ReadFailure::Lost,
        _ => ReadFailure::Fault(Reason::BadStream),
    }
}

/// Decodes a frame's content, which must be all of it.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadFailure> {
    codec::decode(bytes, bytes.len()).map_err(|_| ReadFailure::Fault(Reason::MalformedFrame))
}
