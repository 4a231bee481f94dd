//! The OpenAPI document, made from the routes' own types: `GET /openapi.json`.
//!
//! Paths, parameters and bodies come from the handlers. Which problems a route answers with is the table below, from
//! which the document gets one answer a status, with the codes that a program may meet there.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::response::Response;
use bytes::Bytes;
use quorate_client::api::{
    BlockReply, BlocksReply, ClientReply, KeyReply, LogEntry, PROBLEM, Problem, RangeReply,
    ReceiptsReply, StatusReply, SubmissionReply, SubmitReply, SubmitRequest, ValidatorsReply,
};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AllOf, Object, Type};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::openapi::{HeaderBuilder, OpenApi as Document, Required};
use utoipa::{Modify, OpenApi};

use super::problem::CODES;
use super::sending::shared;
use super::{explorer, reads, submissions, transactions};

/// What every route may answer.
const ANY: &[&str] = &["method_not_allowed", "timed_out"];
/// What a read may answer.
const READ: &[&str] = &["not_serving", "full", "damaged"];

/// The problems of each route beside [`ANY`].
const PROBLEMS: [(&str, &[&[&str]]); 14] = [
    (
        "/v1/transactions",
        &[
            &["malformed", "bad_signature", "wrong_chain", "wrong_version"],
            &["invalid", "unknown_client", "too_large", "expired", "full"],
            &["unsupported_media_type", "too_far_ahead", "not_serving"],
        ],
    ),
    (
        "/v1/transactions/{id}",
        &[READ, &["malformed", "unknown_transaction", "not_provable"]],
    ),
    (
        "/v1/submissions",
        &[&["malformed", "unsupported_media_type", "not_serving", "full"]],
    ),
    ("/v1/kv", &[READ, &["malformed", "needs_transaction"]]),
    (
        "/v1/kv/{key}",
        &[READ, &["malformed", "needs_transaction", "not_provable"]],
    ),
    ("/v1/blocks", &[READ, &["malformed", "compacted"]]),
    (
        "/v1/blocks/{height}",
        &[READ, &["malformed", "unknown_height", "compacted"]],
    ),
    (
        "/v1/blocks/{height}/receipts",
        &[READ, &["malformed", "unknown_height", "compacted"]],
    ),
    ("/v1/log", &[READ, &["malformed", "compacted"]]),
    ("/v1/validators", &[READ, &["malformed"]]),
    ("/v1/status", &[READ, &["malformed"]]),
    ("/v1/clients/{key}", &[READ, &["malformed"]]),
    ("/v1/genesis", &[&["malformed"]]),
    ("/openapi.json", &[&["malformed"]]),
];

/// The document's source.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quorate",
        description = "What clients of a Quorate validator may rely on. docs/API.md explains it, with the canonical encoding."
    ),
    paths(
        transactions::submit,
        transactions::show,
        submissions::stream,
        reads::range,
        reads::key,
        explorer::blocks,
        reads::block,
        explorer::receipts,
        reads::log,
        reads::validators,
        reads::status,
        reads::client,
        reads::genesis,
        document,
    ),
    components(schemas(
        Problem, SubmitRequest, SubmitReply, SubmissionReply, KeyReply, RangeReply, BlockReply, BlocksReply,
        ReceiptsReply, LogEntry, ValidatorsReply, StatusReply, ClientReply
    )),
    modifiers(&Problems, &EmptyStream)
)]
struct Source;

/// The document.
#[must_use]
pub fn openapi() -> Document {
    Source::openapi()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
pub(super) async fn document(_: reads::NoQuery) -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| openapi().to_json().expect("a document is JSON").into());
    shared("application/json", text.clone())
}

struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut Document) {
        for (path, lists) in PROBLEMS {
            let item = document.paths.paths.get_mut(path);
            let item = item.expect("every path of the table is a route");
            let codes = || ANY.iter().chain(lists.iter().copied().flatten()).copied();
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                add(operation, codes());
            }
        }
    }
}

/// A stream of submissions may end before its first transaction: there, and only there, a request needs no body.
struct EmptyStream;

impl Modify for EmptyStream {
    fn modify(&self, document: &mut Document) {
        let stream = document.paths.paths.get_mut("/v1/submissions");
        let body = stream.and_then(|item| item.post.as_mut()?.request_body.as_mut());
        let Some(RefOr::T(body)) = body else {
            panic!("a stream of submissions is a body, described where it stands");
        };
        body.required = Some(Required::False);
    }
}

/// One answer a status, with its codes.
fn add(operation: &mut Operation, codes: impl Iterator<Item = &'static str>) {
    let mut by_status: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for code in codes {
        let (_, status, _) = CODES
            .iter()
            .find(|(known, ..)| *known == code)
            .expect("every code of the table is listed");
        by_status.entry(*status).or_default().push(code);
    }
    for (status, codes) in by_status {
        let schema = AllOf::builder()
            .item(Ref::from_schema_name("Problem"))
            .item(with_codes(&codes))
            .build();
        let mut response = ResponseBuilder::new()
            .description(codes.join(", "))
            .content(PROBLEM, Content::new(Some(RefOr::T(Schema::from(schema)))));
        if status == 429 {
            let seconds = HeaderBuilder::new()
                .schema(Some(Object::with_type(Type::Integer)))
                .description(Some("Seconds to wait"));
            response = response.header("Retry-After", seconds.build());
        }
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_string(), response.build().into());
    }
}

/// An object whose `code` is one of these.
fn with_codes(codes: &[&'static str]) -> Object {
    let code = Object::builder()
        .schema_type(Type::String)
        .enum_values(Some(codes.iter().copied()));
    Object::builder().property("code", code).build()
}
