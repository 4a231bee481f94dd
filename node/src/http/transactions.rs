//! Submitting transactions, and asking for them.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use quorate_client::Wait;
use quorate_client::api::{
    Base64, CANONICAL, ReceiptReply, State as Stage, SubmitReply, SubmitRequest,
};
use quorate_types::{Transaction, TransactionId, Unverified, codec};
use serde::Deserialize;

use super::problem::{about, of_query, of_submit};
use super::{Api, problem, typed};
use crate::backend::{Progress, Query, Reply};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitQuery {
    wait: Option<String>,
}

pub(super) async fn submit(
    State(api): State<Api>,
    query: Result<UrlQuery<SubmitQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Ok(UrlQuery(query)) = query else {
        return problem("malformed", "the only parameter is wait");
    };
    let wait = match query.wait.as_deref() {
        None | Some("committed") => Wait::Committed,
        Some("none") => Wait::None,
        Some("executed") => Wait::Executed,
        Some(_) => return problem("malformed", "wait is none, committed or executed"),
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
    let transaction = match decode(&api, &headers, body) {
        Ok(transaction) => transaction,
        Err((code, detail)) => return problem(code, &detail),
    };
    let id = transaction.id();
    let follow = api.backend.submit(Unverified::new(transaction), wait);
    // A little less than the whole request may take: the answer then names the transaction.
    let within = api.request_timeout.mul_f32(0.95);
    let progress = match tokio::time::timeout(within, follow).await {
        Ok(Ok(progress)) => progress,
        Ok(Err(error)) => return of_submit(error, id),
        Err(_) => {
            let detail = "it may have been accepted; submit the same bytes again, or ask for it";
            return about("timed_out", detail, Some(id));
        }
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofQuery {
    #[serde(default)]
    proof: bool,
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Result<UrlQuery<ProofQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<TransactionId>() else {
        return problem("malformed", "an id has 64 hexadecimal digits");
    };
    let Ok(UrlQuery(ProofQuery { proof })) = query else {
        return problem("malformed", "the only parameter is proof, true or false");
    };
    match api.backend.query(Query::Transaction { id, proof }).await {
        Ok(Reply::Transaction(Some((Progress::Executed(receipt), _))))
            if accepts_canonical(&headers) =>
        {
            typed(CANONICAL, codec::encode(&receipt))
        }
        Ok(Reply::Transaction(Some((progress, proof)))) => {
            axum::Json(reply_of(progress, proof)).into_response()
        }
        Ok(_) => about("unknown_transaction", "it has not been seen here", Some(id)),
        Err(error) => of_query(error),
    }
}

/// A problem's code and detail.
type Refusal = (&'static str, String);

fn decode(api: &Api, headers: &HeaderMap, body: Bytes) -> Result<Transaction, Refusal> {
    let media = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = media.map(|value| value.split(';').next().unwrap_or(value).trim());
    let bytes = match media {
        Some(CANONICAL) | None => body,
        Some("application/json") => match serde_json::from_slice::<SubmitRequest>(&body) {
            Ok(request) => Bytes::from(request.transaction.0),
            Err(error) => return Err(("malformed", error.to_string())),
        },
        Some(_) => {
            let detail = "send application/octet-stream or application/json";
            return Err(("unsupported_media_type", detail.to_owned()));
        }
    };
    codec::decode(&bytes, api.max_transaction_bytes).map_err(|error| {
        let code = match error {
            codec::DecodeError::TooLong { .. } => "too_large",
            codec::DecodeError::Malformed | codec::DecodeError::Trailing(_) => "malformed",
        };
        (code, error.to_string())
    })
}

fn accepts_canonical(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|value| value == CANONICAL)
}

fn reply_of(progress: Progress, proof: Option<Vec<u8>>) -> SubmitReply {
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
