//! Errors of the API: problem documents (RFC 9457) with a stable code.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use quorate_client::api::{PROBLEM, Problem};
use quorate_types::{Reject, Rejection, TransactionId};

use crate::backend::{QueryError, SubmitError};

/// Every code that the API answers with: its HTTP status and title.
pub const CODES: [(&str, u16, &str); 27] = [
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
    ("forbidden", 403, "The client's role does not allow it"),
    ("not_found", 404, "There is no such thing here"),
    (
        "method_not_allowed",
        405,
        "The route does not take this method",
    ),
    (
        "sequence_reused",
        409,
        "Another transaction has the sequence number",
    ),
    (
        "too_old",
        409,
        "The sequence number is below the client's window",
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
    ("cost_exceeded", 422, "The transaction costs too much"),
    (
        "result_too_large",
        422,
        "A result is larger than the chain allows",
    ),
    (
        "bad_command",
        422,
        "A command is none of the state machine's",
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
    let found = CODES.iter().find(|(known, ..)| *known == code);
    let (_, status, title) = found.expect("every code is listed");
    let problem = Problem {
        kind: format!("urn:quorate:problem:{code}"),
        title: (*title).to_owned(),
        status: *status,
        code: code.to_owned(),
        detail: detail.to_owned(),
        transaction,
    };
    let body = serde_json::to_vec(&problem).expect("strings are JSON");
    let status = StatusCode::from_u16(*status).expect("listed statuses are valid");
    (status, [(CONTENT_TYPE, PROBLEM)], body).into_response()
}

fn full(retry_after_seconds: u32) -> Response {
    let mut response = problem(
        "full",
        "the validator's queue is full; try again, or another one",
    );
    let seconds = HeaderValue::from(retry_after_seconds);
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

fn not_serving() -> Response {
    problem(
        "not_serving",
        "it starts, stops, catches up or has diverged; try another one",
    )
}

/// A submission's failure.
pub(super) fn of_submit(error: SubmitError, id: TransactionId) -> Response {
    match error {
        SubmitError::Invalid(reject) => about(code_of(reject), &reject.to_string(), Some(id)),
        // The receipt's words speak of a place in the ledger, which this one never got.
        SubmitError::Refused(Rejection::Expired) => {
            about("expired", "its valid_until is over", Some(id))
        }
        SubmitError::Refused(rejection) => about(
            code_of_rejection(rejection),
            &rejection.to_string(),
            Some(id),
        ),
        SubmitError::Full {
            retry_after_seconds,
        } => full(retry_after_seconds),
        SubmitError::NotServing => not_serving(),
        SubmitError::Expired(id) => about(
            "expired",
            "it was accepted, and not ordered before its valid_until",
            Some(id),
        ),
    }
}

/// A query's failure.
pub(super) fn of_query(error: QueryError) -> Response {
    match error {
        QueryError::NotServing => not_serving(),
        QueryError::Full {
            retry_after_seconds,
        } => full(retry_after_seconds),
        QueryError::NotProvable => problem(
            "not_provable",
            "no certified claim covers it yet; try again soon",
        ),
        QueryError::Compacted { first } => problem(
            "compacted",
            &format!("the history here begins at height {first}"),
        ),
        QueryError::Damaged => problem("damaged", "the validator's log says where"),
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

fn code_of_rejection(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::UnknownClient => "unknown_client",
        Rejection::Forbidden => "forbidden",
        Rejection::Expired => "expired",
        Rejection::TooFarAhead => "too_far_ahead",
        Rejection::TooOld => "too_old",
        Rejection::SequenceReused => "sequence_reused",
        Rejection::CostExceeded => "cost_exceeded",
        Rejection::ResultTooLarge => "result_too_large",
        Rejection::BadCommand(_) => "bad_command",
    }
}
