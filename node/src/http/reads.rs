//! Reads of the local state. None of them is linearizable: a linearizable read is a signed transaction.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query as UrlQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use quorate_client::api::{
    Base64, BlockReply, CANONICAL, ClientReply, EVENT_STREAM, JSON_LINES, KeyReply, LogEntry,
    RangeReply, StatusReply, ValidatorsReply,
};
use quorate_client::kv::key_behind;
use quorate_types::{Height, PublicKey, codec};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::events::{events, resumed};
use super::problem::of_query;
use super::sending::shared;
use super::{Api, accepts, accepts_canonical, problem, typed};
use crate::backend::{BlockState, KeyState, KeyValue, LogBlock, Query, Reply};

/// Entries of a range unless told otherwise.
const DEFAULT_RANGE: u32 = 100;
/// Most entries of a range.
const MAX_RANGE: u32 = 1_000;
/// Bytes of batches of one answer with a stretch of the log.
const LINES_BYTES: usize = 4 << 20;

/// The query of a route without parameters. Ignored, one would seem to be obeyed.
pub(super) struct NoQuery;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<NoQuery, Response> {
        let query = UrlQuery::<Nothing>::from_request_parts(parts, state).await;
        let refused = |_| problem("malformed", "the route has no parameters");
        query.map(|_| NoQuery).map_err(refused)
    }
}

/// Where a read may be answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Consistency {
    /// The state of the validator that is asked, which may be behind.
    Local,
    /// Refused with `needs_transaction`: such a read is a signed transaction.
    Linearizable,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyQuery {
    #[param(inline)]
    consistency: Option<Consistency>,
    /// Whether to prove the answer.
    #[serde(default)]
    proof: bool,
}

/// What a key holds here.
///
/// A key that does not exist has no `value`; that is no error. With `Accept: application/octet-stream` and `proof=true`,
/// the answer is the canonical proof alone.
#[utoipa::path(
    get,
    path = "/v1/kv/{key}",
    params(("key" = String, Path, description = "Percent-encoded bytes"), KeyQuery),
    responses((status = 200, description = "The key", content(
        (KeyReply = "application/json"),
        (String = "application/octet-stream")
    )))
)]
pub(super) async fn key(
    State(api): State<Api>,
    uri: Uri,
    query: Result<UrlQuery<KeyQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        let detail = "parameters are consistency (local or linearizable) and proof (true or false)";
        return problem("malformed", detail);
    };
    if let Some(response) = refused_consistency(query.consistency) {
        return response;
    }
    // From the raw path, since a key is any bytes, and a path parameter is text.
    let name = uri.path().strip_prefix("/v1/kv/").unwrap_or_default();
    let Some(key) = unescape(name) else {
        return problem("malformed", "a % in the key needs two hexadecimal digits");
    };
    let answer = match query.proof {
        true => api.backend.prove(key.clone()).await.map(Reply::Key),
        // One record, as often as not in memory: a thread of its own would cost more than it.
        false => api.backend.read(Query::Key { key: key.clone() }),
    };
    match answer {
        Ok(Reply::Key(KeyState {
            proof: Some(proof), ..
        })) if accepts_canonical(&headers) => typed(CANONICAL, proof),
        Ok(Reply::Key(state)) => {
            let mut reply = key_reply(key, state.value, state.height);
            reply.proof = state.proof.map(Base64);
            axum::Json(reply).into_response()
        }
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeQuery {
    #[param(inline)]
    consistency: Option<Consistency>,
    /// Percent-encoded bytes that the keys begin with.
    // Bytes that are not text are taken from the raw query.
    #[serde(default, rename = "prefix")]
    _prefix: String,
    /// Percent-encoded key at which to begin, if that is behind the prefix: `next` of the answer before.
    #[serde(default, rename = "from")]
    #[param(value_type = Option<String>)]
    _from: String,
    /// Most entries.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// The keys with a prefix, in ascending order.
///
/// An answer holds 4 MiB of keys and values and one entry more, at most. What `more` leaves out begins at `next`, which is
/// the next call's `from`. Each call reads the state of its own height.
#[utoipa::path(
    get,
    path = "/v1/kv",
    params(RangeQuery),
    responses((status = 200, description = "The keys", body = RangeReply))
)]
pub(super) async fn range(
    State(api): State<Api>,
    uri: Uri,
    query: Result<UrlQuery<RangeQuery>, QueryRejection>,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        let detail = "parameters are prefix, from, limit and consistency (local or linearizable)";
        return problem("malformed", detail);
    };
    if let Some(response) = refused_consistency(query.consistency) {
        return response;
    }
    let limit = query.limit.unwrap_or(DEFAULT_RANGE);
    if limit == 0 || limit > MAX_RANGE {
        return problem("malformed", "limit is 1 to 1000");
    }
    let (Some(prefix), Some(from)) = (raw_value(&uri, "prefix"), raw_value(&uri, "from")) else {
        return problem("malformed", "a % in a key needs two hexadecimal digits");
    };
    let range = Query::Range {
        prefix,
        from,
        limit,
    };
    let encode = |answer| match answer {
        Ok(Reply::Range {
            entries,
            more,
            height,
        }) => {
            let entries = entries.into_iter();
            let entries = entries.map(|(key, value)| key_reply(key, Some(value), height));
            let entries: Vec<_> = entries.collect();
            let last = entries.last().filter(|_| more);
            axum::Json(RangeReply {
                next: last.map(|entry| Base64(key_behind(&entry.key.0))),
                entries,
                more,
                height,
            })
            .into_response()
        }
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    };
    api.read(range, encode).await
}

/// A block without its transactions.
///
/// With `Accept: application/octet-stream`, the canonical block.
#[utoipa::path(
    get,
    path = "/v1/blocks/{height}",
    params(("height" = u64, Path, description = "Position in the ledger, from 1")),
    responses((status = 200, description = "The block", content(
        (BlockReply = "application/json"),
        (String = "application/octet-stream")
    )))
)]
pub(super) async fn block(
    State(api): State<Api>,
    _: NoQuery,
    height: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Some(height) = height_of(height) else {
        return problem("malformed", "a height is a number");
    };
    let canonical = accepts_canonical(&headers);
    let encode = move |answer| match answer {
        Ok(Reply::Block(Some(block))) if canonical => typed(CANONICAL, codec::encode(&block.block)),
        Ok(Reply::Block(Some(block))) => axum::Json(block_reply(&block)).into_response(),
        Ok(_) => problem("unknown_height", "no block is committed at this height yet"),
        Err(error) => of_query(error),
    };
    api.read(Query::Block { height }, encode).await
}

/// A height in a path.
pub(super) fn height_of(path: Result<Path<String>, PathRejection>) -> Option<Height> {
    let Path(height) = path.ok()?;
    height.parse().ok().and_then(height_from)
}

/// A height that a client names: what the document's `int64` takes.
pub(super) fn height_from(number: u64) -> Option<Height> {
    i64::try_from(number).is_ok().then_some(Height(number))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// The first height. A stream without it begins with the next one that is committed.
    #[param(minimum = 0)]
    from: Option<u64>,
    /// The last height. A stream without it has no end.
    #[param(minimum = 0)]
    to: Option<u64>,
}

/// The log from a height on, as server-sent events or, a stretch of it, as JSON Lines.
///
/// `Accept` chooses between `text/event-stream` and `application/jsonl`; without it, a request with `to` gets lines and
/// one without gets events. An event `block` has the height as its id and a `LogEntry` as its data; an event `problem`,
/// whose data is a `Problem`, ends a stream.
#[utoipa::path(
    get,
    path = "/v1/log",
    params(LogQuery, ("Last-Event-ID" = Option<u64>, Header, description = "The last height that the reader has")),
    responses(
        (status = 200, description = "One height each", content(
            (String = "application/jsonl"),
            (String = "text/event-stream")
        )),
        (status = 204, description = "A resumed stream has nothing more to say")
    )
)]
pub(super) async fn log(
    State(api): State<Api>,
    query: Result<UrlQuery<LogQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", "parameters are from (a height) and to");
    };
    let Ok(resumed) = resumed(&headers) else {
        return problem("malformed", "Last-Event-ID is a height");
    };
    let streamed = is_streamed(&headers, query.to);
    let from = match streamed {
        // A browser that comes back asks for the same address again, and says what it has.
        true => resumed.or(query.from.map(Height)),
        false => query.from.map(Height),
    };
    // The genesis is no entry of the log.
    let from = from.map(|from| from.max(Height(1)));
    let to = Height(query.to.unwrap_or(u64::MAX));
    match from {
        // Resumed behind its last height: 204 tells a browser not to come again.
        Some(from) if from > to && streamed && resumed.is_some() => {
            StatusCode::NO_CONTENT.into_response()
        }
        Some(from) if from > to => problem("malformed", "from is above to"),
        from if streamed => events(api, from, to).await,
        Some(from) => lines(&api, from, to).await,
        None => problem("malformed", "from, the first height, is missing"),
    }
}

/// Server-sent events or JSON Lines: what is asked for, else lines for a stretch with an end.
fn is_streamed(headers: &HeaderMap, to: Option<u64>) -> bool {
    let (events, lines) = (accepts(headers, EVENT_STREAM), accepts(headers, JSON_LINES));
    match (events, lines) {
        (true, _) => true,
        (false, true) => false,
        (false, false) => to.is_none(),
    }
}

async fn lines(api: &Api, from: Height, to: Height) -> Response {
    let bytes = LINES_BYTES;
    let encode = |answer| match answer {
        Ok(Reply::Log(blocks)) => {
            let mut text = Vec::new();
            for block in &blocks {
                serde_json::to_writer(&mut text, &log_entry(block)).expect("memory");
                text.push(b'\n');
            }
            typed(JSON_LINES, text)
        }
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    };
    api.read(Query::Log { from, to, bytes }, encode).await
}

/// How this validator is.
#[utoipa::path(
    get,
    path = "/v1/status",
    responses((status = 200, description = "How it is", body = StatusReply))
)]
pub(super) async fn status(State(api): State<Api>, _: NoQuery) -> Response {
    match api.backend.read(Query::Status) {
        Ok(Reply::Status(status)) => axum::Json(*status).into_response(),
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

/// The validator set, and who is connected.
#[utoipa::path(
    get,
    path = "/v1/validators",
    responses((status = 200, description = "The set", body = ValidatorsReply))
)]
pub(super) async fn validators(State(api): State<Api>, _: NoQuery) -> Response {
    match api.backend.read(Query::Validators) {
        Ok(Reply::Validators(validators)) => axum::Json(validators).into_response(),
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

/// Whether a client key is registered, and its next sequence number.
#[utoipa::path(
    get,
    path = "/v1/clients/{key}",
    params(("key" = String, Path, description = "The public key, in hexadecimal", pattern = "^[0-9a-f]{64}$")),
    responses((status = 200, description = "The client", body = ClientReply))
)]
pub(super) async fn client(
    State(api): State<Api>,
    _: NoQuery,
    key: Result<Path<String>, PathRejection>,
) -> Response {
    let Some(key) = key.ok().and_then(|Path(key)| key.parse::<PublicKey>().ok()) else {
        return problem("malformed", "a key has 64 hexadecimal digits");
    };
    match api.backend.read(Query::Client { key }) {
        Ok(Reply::Client(client)) => axum::Json(client).into_response(),
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

/// The genesis file.
#[utoipa::path(
    get,
    path = "/v1/genesis",
    responses((status = 200, description = "The file", content_type = "application/json"))
)]
pub(super) async fn genesis(State(api): State<Api>, _: NoQuery) -> Response {
    shared("application/json", api.genesis.clone())
}

/// One height as a line of the log.
#[must_use]
pub(crate) fn log_entry(block: &LogBlock) -> LogEntry {
    LogEntry {
        height: block.block.header.height,
        id: block.block.id(),
        block: Base64(codec::encode(&block.block)),
        batches: block
            .batches
            .iter()
            .map(|batch| Base64(codec::encode(&**batch)))
            .collect(),
        finality: block.finality.as_ref().map(|f| Base64(codec::encode(f))),
        roots: block.roots,
    }
}

/// Why a level of consistency cannot be had here, if so.
fn refused_consistency(consistency: Option<Consistency>) -> Option<Response> {
    let detail = "a linearizable read goes through the log: submit a signed get";
    (consistency == Some(Consistency::Linearizable)).then(|| problem("needs_transaction", detail))
}

fn key_reply(key: Vec<u8>, value: Option<KeyValue>, height: Height) -> KeyReply {
    let (create, modify, version) = value.as_ref().map_or((None, None, None), |value| {
        (
            Some(value.create_revision),
            Some(value.modify_revision),
            Some(value.version),
        )
    });
    KeyReply {
        key: Base64(key),
        value: value.map(|value| Base64(value.value)),
        create_revision: create,
        modify_revision: modify,
        version,
        height,
        proof: None,
    }
}

pub(super) fn block_reply(state: &BlockState) -> BlockReply {
    let block = &state.block;
    let header = &block.header;
    BlockReply {
        height: header.height,
        id: header.id(),
        parent: header.parent,
        epoch: header.round.epoch.0,
        round: header.round.number,
        proposer: header.proposer.0,
        voters: header.justify.signers.iter().map(|index| index.0).collect(),
        transactions: state.transactions,
        time: header.time,
        claim_height: header.claim.height,
        claim: header.claim.roots,
        batches: block.batches.iter().map(ToString::to_string).collect(),
        canonical: Base64(codec::encode(block)),
    }
}

/// The backend answered another question: a mistake in this program, which must not become a wrong answer.
pub(super) fn not_serving() -> Response {
    tracing::error!(
        event = "wrong_answer",
        "the core answered another question than it was asked"
    );
    problem("not_serving", "the validator cannot answer now")
}

/// The bytes that a parameter of the query stands for, text or not; none if it is not there. `None` if it is malformed.
/// Its name may be escaped, too.
fn raw_value(uri: &Uri, name: &str) -> Option<Vec<u8>> {
    let mut parts = uri.query().unwrap_or_default().split('&');
    let value = parts.find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (unescape(key)? == name.as_bytes()).then_some(value)
    });
    unescape(&value.unwrap_or_default().replace('+', " "))
}

/// The bytes that a percent-encoded text stands for.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).ok()?;
        bytes.push(byte[0]);
        rest = tail;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_client::client::percent;

    #[test]
    fn every_key_survives_its_way_through_a_path() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&percent(&all)), Some(all));
        assert_eq!(unescape("%4"), None);
        assert_eq!(unescape("%zz"), None);
        assert_eq!(unescape(""), Some(Vec::new()));
    }
}
