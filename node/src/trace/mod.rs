//! The way of single transactions through all validators, as OpenTelemetry traces.
//!
//! Off unless `trace.endpoint` names a collector. Costs no message between validators: which transactions are traced, and
//! the ids of traces and spans, follow from the transaction's id, so that what each validator says on its own becomes one
//! trace. The trace's id is the first half of the transaction's.
//!
//! | span | where | from | to |
//! |---|---|---|---|
//! | `quorate.submit` | who was asked | the request's arrival | its answer |
//! | `quorate.queue` | who packed it | admission | the batch is sealed |
//! | `quorate.order` | everybody | the batch is here | a quorum has made its block final |
//! | `quorate.execute` | everybody | that | executed and durable |
//!
//! `quorate.order` and the others hang below `quorate.submit` of whoever packed the batch. What is lost when the collector
//! does not keep up is a trace; nothing waits for it.

mod journey;
mod otlp;
mod submit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use quorate_types::{TransactionId, ValidatorIndex};

pub use journey::Journeys;
pub use otlp::Source;
pub use submit::submitted;

/// Spans that wait to be sent; further ones are dropped, and counted.
const MAX_WAITING: usize = 8_192;

/// What part of a transaction's way a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A client's request.
    Submit,
    /// Waits to be packed.
    Queue,
    /// Waits to be ordered.
    Order,
    /// Is executed and written.
    Execute,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Submit => "quorate.submit",
            Part::Queue => "quorate.queue",
            Part::Order => "quorate.order",
            Part::Execute => "quorate.execute",
        }
    }
}

/// One part of the way of one transaction, at one validator. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of what.
    pub transaction: TransactionId,
    /// Which part.
    pub part: Part,
    /// Whose `quorate.submit` is above it; none for that itself.
    pub below: Option<ValidatorIndex>,
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// What is known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// What happened in between.
    pub events: Vec<(u64, &'static str)>,
    /// Why it came to nothing.
    pub error: Option<String>,
}

/// Names a span within its trace: no two are of one part, transaction and validator, except of a repeated submission.
fn span_id(transaction: &TransactionId, part: Part, at: ValidatorIndex) -> u64 {
    let bytes = transaction.as_bytes().last_chunk::<8>();
    let base = u64::from_be_bytes(*bytes.expect("a digest has 32 bytes"));
    let place = (u64::from(at.0) << 2) | u64::from(part as u8);
    // Zero is no id; the multiplication spreads the few bits over all.
    (base ^ place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1)
}

enum Item {
    Span(Box<Span>),
    Flush(SyncSender<()>),
}

/// Takes spans; the clones are one.
#[derive(Clone)]
pub struct Tracer {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
    one_in: u64,
}

impl Tracer {
    /// Starts the thread that sends to a collector. Of `one_in` transactions, one is traced.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(endpoint: &str, one_in: u64, source: Source) -> std::io::Result<Tracer> {
        let (tracer, queue) = Tracer::new(one_in);
        otlp::start(
            endpoint.to_owned(),
            source,
            queue,
            Arc::clone(&tracer.dropped),
        )?;
        Ok(tracer)
    }

    fn new(one_in: u64) -> (Tracer, Receiver<Item>) {
        let (queue, receiver) = sync_channel(MAX_WAITING);
        let tracer = Tracer {
            queue,
            dropped: Arc::default(),
            one_in: one_in.max(1),
        };
        (tracer, receiver)
    }

    /// Whether a transaction is traced; all validators with the same setting say the same.
    #[must_use]
    pub fn takes(&self, transaction: &TransactionId) -> bool {
        let bytes = transaction.as_bytes().first_chunk::<8>();
        let number = u64::from_be_bytes(*bytes.expect("a digest has 32 bytes"));
        number.is_multiple_of(self.one_in)
    }

    /// Hands over a span. Never waits.
    pub fn send(&self, span: Span) {
        if self.queue.try_send(Item::Span(Box::new(span))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was handed over is sent, or for so long.
    pub fn flush(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::Digest;

    fn id(first: u64) -> TransactionId {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        TransactionId(Digest::from_bytes(bytes))
    }

    #[test]
    fn one_in_so_many_is_traced_and_everywhere_the_same_one() {
        let (tracer, _queue) = Tracer::new(10);
        let (other, _queue) = Tracer::new(10);
        let taken = (0..1_000).filter(|number| tracer.takes(&id(*number)));
        assert_eq!(taken.count(), 100);
        assert!((0..1_000).all(|n| tracer.takes(&id(n)) == other.takes(&id(n))));
        let (all, _queue) = Tracer::new(0);
        assert!((0..10).all(|number| all.takes(&id(number))));
    }

    #[test]
    fn spans_of_one_trace_have_ids_of_their_own() {
        let parts = [Part::Submit, Part::Queue, Part::Order, Part::Execute];
        let mut ids: Vec<u64> = (0..100)
            .flat_map(|at| parts.map(|part| span_id(&id(1), part, ValidatorIndex(at))))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 400);
        assert!(!ids.contains(&0));
    }

    fn span() -> Span {
        Span {
            transaction: id(1),
            part: Part::Submit,
            below: None,
            start: 1,
            end: 2,
            attributes: Vec::new(),
            events: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn a_collector_that_is_not_there_stops_nothing() {
        let source = Source {
            chain: String::from("sample"),
            validator: String::from("validator-0"),
            index: ValidatorIndex(0),
        };
        // Nothing listens there, and nothing can without privileges.
        let tracer = Tracer::start("http://127.0.0.1:1", 1, source).expect("a thread");
        for _ in 0..3 {
            tracer.send(span());
            tracer.flush(Duration::from_secs(60));
        }
        assert_eq!(tracer.dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_nobody_waits() {
        let (tracer, queue) = Tracer::new(1);
        let span = span();
        for _ in 0..MAX_WAITING + 3 {
            tracer.send(span.clone());
        }
        assert_eq!(tracer.dropped.load(Ordering::Relaxed), 3);
        tracer.flush(Duration::ZERO);
        drop(queue);
        tracer.send(span);
        assert_eq!(tracer.dropped.load(Ordering::Relaxed), 4);
    }
}
