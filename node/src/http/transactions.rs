//! Submitting transactions, and asking for them.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use quorate_client::Wait;
use quorate_client::api::{
    Base64, CANONICAL, ReceiptReply, State as Stage, SubmitReply, SubmitRequest,
};
use quorate_types::{HashedTransaction, Transaction, TransactionId, Unverified, codec};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::problem::{about, of_query, of_submit};
use super::{Api, accepts_canonical, media_of, problem, typed};
use crate::backend::{Progress, Query, Reply};

/// How far a submission is followed before it is answered.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Until {
    None,
    Committed,
    Executed,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitQuery {
    /// How far it is followed before it is answered; `committed` unless told otherwise.
    #[param(inline)]
    wait: Option<Until>,
}

impl SubmitQuery {
    /// How far the client wants to wait.
    pub(super) fn wait(&self) -> Wait {
        match self.wait.unwrap_or(Until::Committed) {
            Until::None => Wait::None,
            Until::Committed => Wait::Committed,
            Until::Executed => Wait::Executed,
        }
    }
}

/// What is said about any other parameter.
pub(super) const ONLY_WAIT: &str = "the only parameter is wait: none, committed or executed";
/// What is said when [`Api::within`] is over.
pub(super) const NO_OUTCOME: &str =
    "it may have been accepted; submit the same bytes again, or ask for it";

/// Submit a signed transaction.
///
/// A repeat of the same bytes is answered with the first one's receipt. With `Accept: application/octet-stream`, the
/// answer to an executed transaction is its canonical receipt alone.
#[utoipa::path(
    post,
    path = "/v1/transactions",
    params(SubmitQuery),
    request_body(content((SubmitRequest = "application/json"), (String = "application/octet-stream"))),
    responses(
        (status = 200, description = "It has its place in the ledger", content(
            (SubmitReply = "application/json"),
            (String = "application/octet-stream")
        )),
        (status = 202, description = "It is queued at this validator", body = SubmitReply)
    )
)]
pub(super) async fn submit(
    State(api): State<Api>,
    query: Result<UrlQuery<SubmitQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", ONLY_WAIT);
    };
    let body = match body {
        Ok(body) => body,
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return problem(
                "too_large",
                "the body is larger than any transaction may be",
            );
        }
        Err(_) => return problem("malformed", "the body broke off"),
    };
    let transaction = match submitted(media_of(&headers), &body, api.max_transaction_bytes) {
        Ok(transaction) => transaction,
        Err((code, detail)) => return problem(code, &detail),
    };
    let transaction = HashedTransaction::new(transaction);
    let id = transaction.id();
    let follow = api
        .backend
        .submit(Unverified::new(transaction), query.wait());
    let progress = match tokio::time::timeout(api.within(), follow).await {
        Ok(Ok(progress)) => progress,
        Ok(Err(error)) => return of_submit(error, id),
        Err(_) => return about("timed_out", NO_OUTCOME, Some(id)),
    };
    // The shortest answer, for programs: the canonical receipt and nothing else.
    if accepts_canonical(&headers)
        && let Progress::Executed(receipt) = &progress
    {
        return typed(CANONICAL, codec::encode(receipt));
    }
    let reply = reply_of(progress, None);
    let status = match reply.state {
        Stage::Accepted => StatusCode::ACCEPTED,
        Stage::Committed | Stage::Executed => StatusCode::OK,
    };
    (status, axum::Json(reply)).into_response()
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofQuery {
    /// Whether to prove the receipt.
    #[serde(default)]
    proof: bool,
}

/// Where a transaction stands.
#[utoipa::path(
    get,
    path = "/v1/transactions/{id}",
    params(
        ("id" = String, Path, description = "The transaction's id, in hexadecimal", pattern = "^[0-9a-f]{64}$"),
        ProofQuery
    ),
    responses((status = 200, description = "Its receipt", content(
        (SubmitReply = "application/json"),
        (String = "application/octet-stream")
    )))
)]
pub(super) async fn show(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    query: Result<UrlQuery<ProofQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Some(id) = id
        .ok()
        .and_then(|Path(id)| id.parse::<TransactionId>().ok())
    else {
        return problem("malformed", "an id has 64 hexadecimal digits");
    };
    let Ok(UrlQuery(ProofQuery { proof })) = query else {
        return problem("malformed", "the only parameter is proof, true or false");
    };
    let canonical = accepts_canonical(&headers);
    let query = Query::Transaction { id, proof };
    let encode = move |answer| match answer {
        Ok(Reply::Transaction(Some((Progress::Executed(receipt), _)))) if canonical => {
            typed(CANONICAL, codec::encode(&receipt))
        }
        Ok(Reply::Transaction(Some((progress, proof)))) => {
            axum::Json(reply_of(progress, proof)).into_response()
        }
        Ok(_) => about("unknown_transaction", "it has not been seen here", Some(id)),
        Err(error) => of_query(error),
    };
    match proof {
        true => api.read(query, encode).await,
        // Two records, as often as not in memory: a thread of its own would cost more than they do.
        false => encode(api.backend.read(query)),
    }
}

/// The transaction in a request's body, of a media type; none is the canonical encoding.
///
/// # Errors
/// A problem's code and its detail: a body is anybody's.
pub fn submitted(
    media: Option<&str>,
    body: &[u8],
    limit: usize,
) -> Result<Transaction, (&'static str, String)> {
    let json;
    let bytes = match media {
        Some(CANONICAL) | None => body,
        Some("application/json") => {
            let request = serde_json::from_slice::<SubmitRequest>(body);
            json = request.map_err(|error| ("malformed", error.to_string()))?;
            &json.transaction.0
        }
        Some(_) => {
            let detail = "send application/octet-stream or application/json";
            return Err(("unsupported_media_type", detail.to_owned()));
        }
    };
    codec::decode(bytes, limit).map_err(|error| {
        let code = match error {
            codec::DecodeError::TooLong { .. } => "too_large",
            codec::DecodeError::Malformed | codec::DecodeError::Trailing(_) => "malformed",
        };
        (code, error.to_string())
    })
}

pub(super) fn reply_of(progress: Progress, proof: Option<Vec<u8>>) -> SubmitReply {
    let mut reply = SubmitReply {
        id: TransactionId::default(),
        state: Stage::Accepted,
        height: None,
        index: None,
        receipt: None,
        proof: proof.map(Base64),
    };
    match progress {
        Progress::Accepted(id) => reply.id = id,
        Progress::Committed { id, height, index } => {
            reply.id = id;
            reply.state = Stage::Committed;
            (reply.height, reply.index) = (Some(height), Some(index));
        }
        Progress::Executed(receipt) => {
            reply.id = receipt.transaction;
            reply.state = Stage::Executed;
            (reply.height, reply.index) = (Some(receipt.height), Some(receipt.index));
            reply.receipt = Some(ReceiptReply::from(&receipt));
        }
    }
    reply
}
