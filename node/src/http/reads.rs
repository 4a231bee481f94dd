//! Reads of the local state. None of them is linearizable: a linearizable read is a signed transaction.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use quorate_client::api::{Base64, BlockReply, JSON_LINES, KeyReply, LogEntry, RangeReply};
use quorate_types::{Block, Height, PublicKey, codec};
use serde::Deserialize;

use super::problem::of_query;
use super::{Api, problem, typed};
use crate::backend::{KeyValue, LogBlock, Query, Reply};

/// Entries of a range unless told otherwise.
const DEFAULT_RANGE: u32 = 100;
/// Most entries of a range.
const MAX_RANGE: u32 = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyQuery {
    consistency: Option<String>,
    #[serde(default)]
    proof: bool,
}

pub(super) async fn key(
    State(api): State<Api>,
    uri: Uri,
    query: Result<UrlQuery<KeyQuery>, QueryRejection>,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", "parameters are consistency and proof");
    };
    if let Some(response) = refused_consistency(query.consistency.as_deref()) {
        return response;
    }
    // From the raw path, since a key is any bytes, and a path parameter is text.
    let name = uri.path().strip_prefix("/v1/kv/").unwrap_or_default();
    let Some(key) = unescape(name) else {
        return problem("malformed", "a % in the key needs two hexadecimal digits");
    };
    let proof = query.proof;
    match api
        .backend
        .query(Query::Key {
            key: key.clone(),
            proof,
        })
        .await
    {
        Ok(Reply::Key(state)) => {
            let mut reply = key_reply(key, state.value, state.height);
            reply.proof = state.proof.map(Base64);
            axum::Json(reply).into_response()
        }
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeQuery {
    consistency: Option<String>,
    // Bytes that are not text are taken from the raw query.
    #[serde(default, rename = "prefix")]
    _prefix: String,
    limit: Option<u32>,
}

pub(super) async fn range(
    State(api): State<Api>,
    uri: Uri,
    query: Result<UrlQuery<RangeQuery>, QueryRejection>,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", "parameters are prefix, limit and consistency");
    };
    if let Some(response) = refused_consistency(query.consistency.as_deref()) {
        return response;
    }
    let limit = query.limit.unwrap_or(DEFAULT_RANGE);
    if limit == 0 || limit > MAX_RANGE {
        return problem("malformed", "limit is 1 to 1000");
    }
    let raw = uri.query().unwrap_or_default().split('&');
    let prefix = raw.filter_map(|part| part.strip_prefix("prefix=")).next();
    let prefix = prefix.unwrap_or_default().replace('+', " ");
    let Some(prefix) = unescape(&prefix) else {
        return problem(
            "malformed",
            "a % in the prefix needs two hexadecimal digits",
        );
    };
    match api.backend.query(Query::Range { prefix, limit }).await {
        Ok(Reply::Range {
            entries,
            more,
            height,
        }) => {
            let entries = entries.into_iter();
            let entries = entries.map(|(key, value)| key_reply(key, Some(value), height));
            let entries = entries.collect();
            axum::Json(RangeReply {
                entries,
                more,
                height,
            })
            .into_response()
        }
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

pub(super) async fn block(State(api): State<Api>, Path(height): Path<String>) -> Response {
    let Ok(height) = height.parse().map(Height) else {
        return problem("malformed", "a height is a number");
    };
    match api.backend.query(Query::Block { height }).await {
        Ok(Reply::Block(Some(block))) => axum::Json(block_reply(&block)).into_response(),
        Ok(_) => problem("unknown_height", "no block is committed at this height yet"),
        Err(error) => of_query(error),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    from: u64,
    to: Option<u64>,
}

pub(super) async fn log(
    State(api): State<Api>,
    query: Result<UrlQuery<LogQuery>, QueryRejection>,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", "parameters are from (a height) and to");
    };
    let from = Height(query.from);
    let to = Height(query.to.unwrap_or(u64::MAX));
    if from > to {
        return problem("malformed", "from is above to");
    }
    match api.backend.query(Query::Log { from, to }).await {
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
    }
}

pub(super) async fn status(State(api): State<Api>) -> Response {
    match api.backend.query(Query::Status).await {
        Ok(Reply::Status(status)) => axum::Json(*status).into_response(),
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

pub(super) async fn validators(State(api): State<Api>) -> Response {
    match api.backend.query(Query::Validators).await {
        Ok(Reply::Validators(validators)) => axum::Json(validators).into_response(),
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

pub(super) async fn client(State(api): State<Api>, Path(key): Path<String>) -> Response {
    let Ok(key) = key.parse::<PublicKey>() else {
        return problem("malformed", "a key has 64 hexadecimal digits");
    };
    match api.backend.query(Query::Client { key }).await {
        Ok(Reply::Client(client)) => axum::Json(client).into_response(),
        Ok(_) => not_serving(),
        Err(error) => of_query(error),
    }
}

pub(super) async fn genesis(State(api): State<Api>) -> Response {
    typed("application/json", api.genesis.to_string())
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
            .map(|batch| Base64(codec::encode(batch.as_ref())))
            .collect(),
        finality: block.finality.as_ref().map(|f| Base64(codec::encode(f))),
        roots: block.roots,
    }
}

/// Why a level of consistency cannot be had here, if so.
fn refused_consistency(consistency: Option<&str>) -> Option<Response> {
    match consistency {
        None | Some("local") => None,
        Some("linearizable") => Some(problem(
            "needs_transaction",
            "a linearizable read goes through the log: submit a signed get",
        )),
        Some(_) => Some(problem("malformed", "consistency is local or linearizable")),
    }
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

fn block_reply(block: &Block) -> BlockReply {
    let header = &block.header;
    BlockReply {
        height: header.height,
        id: header.id(),
        parent: header.parent,
        epoch: header.round.epoch.0,
        round: header.round.number,
        proposer: header.proposer.0,
        time: header.time,
        claim_height: header.claim.height,
        claim: header.claim.roots,
        batches: block.batches.iter().map(ToString::to_string).collect(),
        canonical: Base64(codec::encode(block)),
    }
}

/// The backend answered another question: a mistake in this program, which must not become a wrong answer.
fn not_serving() -> Response {
    tracing::error!("the core answered another question than it was asked");
    problem("not_serving", "the validator cannot answer now")
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
