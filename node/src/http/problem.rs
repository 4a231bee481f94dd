//! Errors of the API: problem documents (RFC 9457) with a stable code.

use std::borrow::Cow;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use quorate_client::api::{PROBLEM, Problem};
use quorate_types::{Reject, TransactionId};

use crate::backend::{QueryError, SubmitError};

/// Every code that the API answers with: its HTTP status and title.
pub const CODES: [(&str, u16, &str); 21] = [
    ("malformed", 400, "The request cannot be read"),
    ("bad_signature", 400, "The signature does not verify"),
    ("wrong_chain", 400, "The transaction is for another chain"),
    (
        "wrong_version",
        400,
        "The transaction has an unknown format",
    ),
    (
        "needs_transaction",
        400,
        "A linearizable read is a signed transaction",
    ),
    (
        "unknown_client",
        403,
        "The key belongs to no registered client",
    ),
    ("not_found", 404, "There is no such thing here"),
    (
        "method_not_allowed",
        405,
        "The route does not take this method",
    ),
    ("not_provable", 409, "No certified claim covers it yet"),
    ("compacted", 410, "The history was pruned"),
    ("too_large", 413, "It is larger than the chain allows"),
    (
        "unsupported_media_type",
        415,
        "The media type is not understood",
    ),
    ("expired", 422, "The transaction's validity is over"),
    (
        "too_far_ahead",
        422,
        "The transaction is valid for too long",
    ),
    ("full", 429, "A queue is full"),
    ("damaged", 500, "Stored data is damaged"),
    ("not_serving", 503, "The validator does not serve now"),
    ("timed_out", 504, "There is no outcome yet"),
    ("invalid", 400, "The transaction is invalid"),
    ("unknown_height", 404, "The height is above the head"),
    (
        "unknown_transaction",
        404,
        "The transaction is not known here",
    ),
];

/// A problem document as a response.
///
/// # Panics
/// For a code that is not in [`CODES`]: a mistake in this program.
pub fn problem(code: &'static str, detail: &str) -> Response {
    about(code, detail, None)
}

/// As [`problem`], about a transaction.
pub(super) fn about(
    code: &'static str,
    detail: &str,
    transaction: Option<TransactionId>,
) -> Response {
    let problem = document(code, detail, transaction);
    let body = serde_json::to_vec(&problem).expect("strings are JSON");
    let status = StatusCode::from_u16(problem.status).expect("listed statuses are valid");
    (status, [(CONTENT_TYPE, PROBLEM)], body).into_response()
}

/// A problem document.
pub(super) fn document(
    code: &'static str,
    detail: &str,
    transaction: Option<TransactionId>,
) -> Problem {
    let found = CODES.iter().find(|(known, ..)| *known == code);
    let (_, status, title) = found.expect("every code is listed");
    Problem {
        kind: format!("urn:quorate:problem:{code}"),
        title: (*title).to_owned(),
        status: *status,
        code: code.to_owned(),
        detail: detail.to_owned(),
        transaction,
    }
}

/// 429, with the time to wait.
pub(super) fn full(retry_after_seconds: u32, detail: &str) -> Response {
    let mut response = problem("full", detail);
    let seconds = HeaderValue::from(retry_after_seconds);
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

const QUEUE_FULL: &str = "the validator's queue is full; try again, or another one";
const NOT_SERVING: &str =
    "it starts, stops, catches up, has diverged, or its disk is nearly full; try another one";

/// A submission's failure.
pub(super) fn of_submit(error: SubmitError, id: TransactionId) -> Response {
    let (code, detail) = submit_code(error);
    match error {
        SubmitError::Full {
            retry_after_seconds,
        } => full(retry_after_seconds, &detail),
        SubmitError::NotServing => problem(code, &detail),
        SubmitError::Invalid(_)
        | SubmitError::TooLate
        | SubmitError::TooFarAhead
        | SubmitError::UnknownClient
        | SubmitError::Expired(_) => about(code, &detail, Some(id)),
    }
}

/// The code and detail of a submission's failure.
pub(super) fn submit_code(error: SubmitError) -> (&'static str, Cow<'static, str>) {
    match error {
        SubmitError::Invalid(reject) => (code_of(reject), reject.to_string().into()),
        SubmitError::TooLate => ("expired", "its valid_until is over".into()),
        SubmitError::TooFarAhead => (
            "too_far_ahead",
            "its valid_until is further ahead than the chain allows".into(),
        ),
        SubmitError::UnknownClient => (
            "unknown_client",
            "the key belongs to no client of the genesis".into(),
        ),
        SubmitError::Full { .. } => ("full", QUEUE_FULL.into()),
        SubmitError::NotServing => ("not_serving", NOT_SERVING.into()),
        SubmitError::Expired(_) => (
            "expired",
            "it was accepted, and not ordered before its valid_until".into(),
        ),
    }
}

/// A query's failure.
pub(super) fn of_query(error: QueryError) -> Response {
    if let QueryError::Full {
        retry_after_seconds,
    } = error
    {
        return full(retry_after_seconds, QUEUE_FULL);
    }
    let (code, detail) = query_code(error);
    problem(code, &detail)
}

/// The code and detail of a query's failure.
pub(super) fn query_code(error: QueryError) -> (&'static str, Cow<'static, str>) {
    match error {
        QueryError::NotServing => ("not_serving", NOT_SERVING.into()),
        QueryError::Full { .. } => ("full", QUEUE_FULL.into()),
        QueryError::NotProvable => (
            "not_provable",
            "no certified claim covers it yet; try again soon".into(),
        ),
        QueryError::Compacted { first } => (
            "compacted",
            format!("the history here begins at height {first}").into(),
        ),
        QueryError::Damaged => ("damaged", "the validator's log says where".into()),
    }
}

fn code_of(reject: Reject) -> &'static str {
    match reject {
        Reject::WrongVersion => "wrong_version",
        Reject::WrongChain => "wrong_chain",
        Reject::TooLarge => "too_large",
        Reject::BadSignature => "bad_signature",
        Reject::Malformed => "malformed",
        _ => "invalid",
    }
}
