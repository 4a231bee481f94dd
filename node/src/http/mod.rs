//! The HTTP API for clients, and the admin port.
//!
//! Owns routes, encodings, status codes and the bounds of every connection and request. It decides nothing about
//! transactions: it decodes, asks the [`Backend`], and encodes. What clients send can be refused, and never crashes.
//!
//! | bound | what happens at it |
//! |---|---|
//! | connections | further ones wait in the kernel's queue |
//! | a connection without a byte for `idle_timeout` | closed |
//! | the head of a request that is not whole within [`LONGEST_HEAD`] or `idle_timeout` | closed |
//! | a request body above the chain's largest transaction | 413 `too_large` |
//! | a request that takes longer than `request_timeout` | 504 `timed_out`; an accepted transaction stays accepted |
//! | [`MAX_UNDER_WAY`] transactions of a stream of submissions, or 512 KiB of them | it is read on when some are answered |
//! | [`MAX_SUBMITTERS`] streams of submissions | 429 `full` with `Retry-After` |
//! | a reader of the log that takes nothing for `idle_timeout` | closed |
//! | [`MAX_STREAMS`] readers of the log | 429 `full` with `Retry-After` |
//! | [`MAX_READING`] long reads that run, and [`MAX_READS_WAITING`] that wait | 429 `full` with `Retry-After` |
//! | [`MAX_SENDING`] bytes of large answers that are not taken yet | 429 `full` with `Retry-After` |
//! | a client that takes less than [`SLOWEST_CLIENT`] bytes a second of what waits for it | closed |
//! | a stream of submissions with less than that of a transaction that it has begun | `malformed`, and its end |
//! | a full queue behind it | 429 `full` with `Retry-After` |

mod admin;
mod events;
mod explorer;
mod listener;
pub mod openapi;
mod pace;
mod pages;
mod problem;
mod reading;
mod reads;
mod requests;
mod sending;
mod submissions;
mod transactions;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use prometheus::IntGauge;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::backend::{Backend, Query, QueryError, Reply};
use crate::metrics::Metrics;
pub use events::{MAX_STREAMS, streams};
pub use listener::{Bounded, LONGEST_HEAD};
pub use pace::SLOWEST_CLIENT;
pub use problem::{CODES, problem};
pub use reading::{MAX_READING, MAX_READS_WAITING, Reading};
pub(crate) use reads::log_entry;
pub use requests::Requests;
pub use sending::{MAX_SENDING, Sending};
pub use submissions::{MAX_SUBMITTERS, MAX_UNDER_WAY, submitters};
pub use transactions::submitted;

/// What the routes work with.
#[derive(Clone)]
pub struct Api {
    /// The validator.
    pub backend: Arc<dyn Backend>,
    /// Counts requests.
    pub metrics: Metrics,
    /// The file's text, served at `/v1/genesis`.
    pub genesis: Bytes,
    /// The chain's largest transaction, in bytes.
    pub max_transaction_bytes: usize,
    /// Longest time for one request.
    pub request_timeout: Duration,
    /// As [`Limits::idle_timeout`]; a transaction of a stream that has arrived in part is looked at so often.
    pub idle_timeout: Duration,
    /// A stream of the log without a block says something at least so often, so that neither end takes the other for
    /// lost.
    pub keep_alive: Duration,
    /// Places of the readers of the log.
    pub streams: Arc<Semaphore>,
    /// Places of streams of submissions.
    pub submitters: Arc<Semaphore>,
    /// Threads for long reads.
    pub reading: Reading,
    /// Memory for large answers.
    pub sending: Sending,
    /// Set once the validator stops: a stream of submissions then takes no more.
    pub stopping: watch::Receiver<bool>,
}

impl Api {
    /// How long a transaction is followed: a little less than the whole request may take, so that the answer names it.
    fn within(&self) -> Duration {
        self.request_timeout.mul_f32(0.95)
    }

    /// Answers a question that takes long, on a thread where that holds up nobody, the encoding of the answer included.
    async fn read(
        &self,
        query: Query,
        encode: impl FnOnce(Result<Reply, QueryError>) -> Response + Send + 'static,
    ) -> Response {
        let backend = Arc::clone(&self.backend);
        let read = move || encode(backend.read(query));
        let answer = self.reading.run_soon(read).await;
        answer.unwrap_or_else(problem::of_query)
    }

    /// Bytes of the largest transaction in JSON: as base64, four bytes for three, and a little around it.
    fn max_body_bytes(&self) -> usize {
        self.max_transaction_bytes.saturating_mul(4) / 3 + 1024
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// The routes for clients.
pub fn router(api: Api) -> Router {
    let body = api.max_body_bytes();
    let routes = routes().into_iter().chain(pages::routes());
    routes
        .fold(Router::new(), |router, (path, method)| {
            router.route(path, method)
        })
        .fallback(|| async { problem("not_found", "no such route") })
        .method_not_allowed_fallback(|| async {
            problem("method_not_allowed", "the route does not take this method")
        })
        .layer(DefaultBodyLimit::max(body))
        .layer(middleware::from_fn_with_state(api.clone(), observe))
        .with_state(api)
}

/// Every route for clients. A test compares them with the OpenAPI document.
fn routes() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/v1/transactions", post(transactions::submit)),
        ("/v1/transactions/{id}", get(transactions::show)),
        ("/v1/submissions", post(submissions::stream)),
        ("/v1/kv", get(reads::range)),
        ("/v1/kv/{*key}", get(reads::key)),
        ("/v1/blocks", get(explorer::blocks)),
        ("/v1/blocks/{height}", get(reads::block)),
        ("/v1/blocks/{height}/receipts", get(explorer::receipts)),
        ("/v1/log", get(reads::log)),
        ("/v1/validators", get(reads::validators)),
        ("/v1/status", get(reads::status)),
        ("/v1/clients/{key}", get(reads::client)),
        ("/v1/genesis", get(reads::genesis)),
        ("/openapi.json", get(openapi::document)),
    ]
}

/// The routes of the admin port.
pub fn admin_router(backend: Arc<dyn Backend>, metrics: Metrics) -> Router {
    admin::router(backend, metrics)
}

/// Serves routes until `stop` resolves, and then until the open requests are answered; a request whose head is not whole
/// by then is none. `connections` counts those that are open.
///
/// # Errors
/// Those of the listening socket.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    connections: Option<IntGauge>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopped, stopping) = watch::channel(false);
    let bounded = Bounded::new(listener, limits, connections, stopping);
    let routes = router.layer(middleware::from_fn(requests::follow));
    let stop = async move {
        stop.await;
        stopped.send_replace(true);
    };
    axum::serve(
        bounded,
        routes.into_make_service_with_connect_info::<Requests>(),
    )
    .with_graceful_shutdown(stop)
    .await
}

/// Bounds of a listening socket.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub max_connections: usize,
    /// A connection without a byte for this long is closed.
    pub idle_timeout: Duration,
}

/// Bounds the time of a request, and counts it.
async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut counted = Counted::new(&api.metrics, request.method());
    let response = match tokio::time::timeout(api.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem("timed_out", "no outcome within the time of a request"),
    };
    let response = api.sending.admit(response).await;
    counted.class = class_of(response.status());
    response
}

/// Counts a request when it ends, answered or not: a handler whose client goes away is dropped.
struct Counted {
    metrics: Metrics,
    method: &'static str,
    class: &'static str,
    started: Instant,
}

impl Counted {
    fn new(metrics: &Metrics, method: &Method) -> Counted {
        Counted {
            metrics: metrics.clone(),
            method: match method.as_str() {
                "GET" => "GET",
                "POST" => "POST",
                _ => "other", // a label's values are bounded
            },
            class: "canceled",
            started: Instant::now(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let metrics = &self.metrics;
        let requests = &metrics.api_requests_total;
        requests.with_label_values(&[self.class]).inc();
        metrics
            .api_request_seconds
            .with_label_values(&[self.method])
            .observe(self.started.elapsed().as_secs_f64());
    }
}

fn class_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "3xx",
        429 => "429",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "2xx",
    }
}

/// The media type of a request's body, without its parameters.
fn media_of(headers: &HeaderMap) -> Option<&str> {
    let media = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(media.split(';').next().unwrap_or(media).trim())
}

/// Counts a stream or a connection while it is there.
#[derive(Debug)]
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Open {
        gauge.inc();
        Open(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether canonical bytes are asked for instead of JSON.
fn accepts_canonical(headers: &HeaderMap) -> bool {
    accepts(headers, quorate_client::api::CANONICAL)
}

/// Whether a media type is asked for by its name. Weights make no difference, except zero, which refuses it.
fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let values = headers.get_all(ACCEPT).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|one| one.eq_ignore_ascii_case(media));
        named && !parts.any(is_refusal)
    })
}

/// Whether a parameter of a media range is a weight of zero.
fn is_refusal(parameter: &str) -> bool {
    let weight = parameter.strip_prefix(['q', 'Q']);
    let weight = weight.and_then(|rest| rest.trim_start().strip_prefix('='));
    weight.is_some_and(|weight| weight.trim().parse() == Ok(0f32))
}

/// A body with its media type.
fn typed(media: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let body: axum::body::Body = body.into();
    ([(CONTENT_TYPE, media)], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::header::ACCEPT;
    use axum::http::{HeaderMap, HeaderValue};

    /// A list, as browsers and libraries send it, was taken for something else.
    #[test]
    fn canonical_bytes_may_be_asked_for_in_a_list() {
        let accepts = |lines: &[&'static str]| {
            let lines = lines.iter().copied().map(HeaderValue::from_static);
            let headers: HeaderMap = lines.map(|line| (ACCEPT, line)).collect();
            super::accepts_canonical(&headers)
        };
        for asked in [
            "application/octet-stream",
            "application/octet-stream, */*",
            "application/json;q=0.5,Application/Octet-Stream ; q=1.0",
        ] {
            assert!(accepts(&[asked]), "{asked}");
        }
        assert!(accepts(&["application/json", "application/octet-stream"]));
        for other in [
            "*/*",
            "application/*",
            "application/json",
            "application/octet-stream-2",
            "application/octet-stream;q=0, */*",
            "application/octet-stream; Q = 0.000",
        ] {
            assert!(!accepts(&[other]), "{other}");
        }
        assert!(!accepts(&[]));
    }

    #[test]
    fn every_route_is_documented_and_every_documented_path_is_a_route() {
        let routes = super::routes().into_iter();
        let routes: BTreeSet<String> = routes.map(|(path, _)| path.replace("{*", "{")).collect();
        let documented = super::openapi::openapi().paths.paths;
        let documented: BTreeSet<String> = documented.into_keys().collect();
        assert_eq!(routes, documented);
    }
}
