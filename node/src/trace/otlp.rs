//! Spans to a collector: OTLP over HTTP, in its JSON form (opentelemetry.io/docs/specs/otlp), without a library, since it
//! is one document.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hex::encode as hex;
use quorate_client::http::{Call, Http, Method};
use quorate_types::ValidatorIndex;
use serde_json::{Value, json};

use super::{Item, Part, Span, span_id};

/// Spans of one request.
const MAX_SPANS: usize = 512;
/// A span waits at most so long for others.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where collectors take traces.
const PATH: &str = "/v1/traces";

/// Whose spans they are.
#[derive(Clone, Debug)]
pub struct Source {
    /// The chain's name.
    pub chain: String,
    /// The validator's name.
    pub validator: String,
    /// Its index.
    pub index: ValidatorIndex,
}

/// Starts the thread that sends; it ends with the last sender.
pub(super) fn start(
    endpoint: String,
    source: Source,
    queue: Receiver<Item>,
    dropped: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        let http = Http::default();
        let mut fails = false;
        while let Some((spans, flushed)) = gather(&queue) {
            if !spans.is_empty() {
                let request = send(&http, &endpoint, document(&source, &spans));
                let sent = runtime.block_on(request);
                if let Err(error) = &sent {
                    let lost = u64::try_from(spans.len()).unwrap_or(u64::MAX);
                    let dropped = dropped.fetch_add(lost, Ordering::Relaxed) + lost;
                    // Once, until it takes some again.
                    if !fails {
                        tracing::warn!(
                            event = "traces_not_taken",
                            endpoint,
                            error,
                            dropped,
                            "the collector does not take traces"
                        );
                    }
                }
                fails = sent.is_err();
            }
            for done in flushed {
                // Whoever waited may have gone.
                let _ = done.send(());
            }
        }
    };
    std::thread::Builder::new()
        .name(String::from("traces"))
        .spawn(run)
        .map(drop)
}

type Gathered = (Vec<Span>, Vec<std::sync::mpsc::SyncSender<()>>);

/// Waits for spans, and for more of them; none once nobody can send any.
fn gather(queue: &Receiver<Item>) -> Option<Gathered> {
    let (mut spans, mut flushed) = (Vec::new(), Vec::new());
    let mut next = queue.recv().ok();
    next.as_ref()?;
    let begun = Instant::now();
    while let Some(item) = next.take() {
        match item {
            Item::Span(span) => spans.push(*span),
            Item::Flush(done) => {
                flushed.push(done);
                break;
            }
        }
        if spans.len() < MAX_SPANS {
            let left = PAUSE.saturating_sub(begun.elapsed());
            next = queue.recv_timeout(left).ok();
        }
    }
    Some((spans, flushed))
}

async fn send(http: &Http, endpoint: &str, document: Value) -> Result<(), String> {
    let call = Call {
        method: Method::POST,
        path: String::from(PATH),
        accept: "application/json",
        body: Some(("application/json", Bytes::from(document.to_string()))),
    };
    let answer = http.call(endpoint, &call, PATIENCE).await;
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(format!("{endpoint}{PATH}: HTTP status {}", answer.status)),
    }
}

/// One `ExportTraceServiceRequest`.
fn document(source: &Source, spans: &[Span]) -> Value {
    let resource = [
        ("service.name", "quorate"),
        ("service.namespace", &source.chain),
        ("service.instance.id", &source.validator),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let spans: Vec<Value> = spans.iter().map(|span| of_span(source, span)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource.map(|(key, value)| attribute(key, value)) },
        "scopeSpans": [{ "scope": { "name": "quorate" }, "spans": spans }],
    }] })
}

fn of_span(source: &Source, span: &Span) -> Value {
    let trace = span.transaction.as_bytes().first_chunk::<16>();
    let mut attributes = vec![attribute(
        "quorate.transaction",
        &span.transaction.to_string(),
    )];
    attributes.extend(
        span.attributes
            .iter()
            .map(|(key, value)| attribute(key, value)),
    );
    let events = span.events.iter();
    let events: Vec<Value> = events
        .map(|(time, name)| json!({ "timeUnixNano": time.to_string(), "name": name }))
        .collect();
    let above = span
        .below
        .map(|at| span_id(&span.transaction, Part::Submit, at));
    json!({
        "traceId": hex(trace.expect("a digest has 32 bytes")),
        "spanId": id(span_id(&span.transaction, span.part, source.index)),
        "parentSpanId": above.map_or_else(String::new, id),
        "name": span.part.name(),
        // SERVER and INTERNAL of the specification.
        "kind": if span.part == Part::Submit { 2 } else { 1 },
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes,
        "events": events,
        // ERROR of the specification.
        "status": match &span.error {
            Some(message) => json!({ "code": 2, "message": message }),
            None => json!({}),
        },
    })
}

fn id(number: u64) -> String {
    hex(number.to_be_bytes())
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}
