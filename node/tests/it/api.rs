//! The HTTP API over a mock: every status and code that a client can meet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::api::{
    CANONICAL, KeyReply, PROBLEM, Problem, RangeReply, State, StatusReply, SubmitReply,
};
use quorate_client::http::{Answer, Call, Http, Method};
use quorate_node::backend::{Health, QueryError, SubmitError};
use quorate_types::{Height, Receipt, Reject, Rejection, codec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::mock::{Mock, Script, serve, serve_admin, transaction};

const WITHIN: Duration = Duration::from_secs(20);

async fn call(address: std::net::SocketAddr, call: Call) -> Answer {
    let endpoint = format!("http://{address}");
    Http::default()
        .call(&endpoint, &call, WITHIN)
        .await
        .expect("an answer")
}

fn post(path: &str, media: &'static str, body: Vec<u8>) -> Call {
    Call {
        method: Method::POST,
        path: path.to_owned(),
        accept: "application/json",
        body: Some((media, Bytes::from(body))),
    }
}

fn submit(wait: &str) -> Call {
    let body = codec::encode(&transaction(1));
    post(&format!("/v1/transactions?wait={wait}"), CANONICAL, body)
}

fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.content_type, PROBLEM);
    let problem: Problem = serde_json::from_slice(&answer.body).expect("a problem");
    assert_eq!(problem.status, answer.status.as_u16());
    assert_eq!(
        problem.kind,
        format!("urn:quorate:problem:{}", problem.code)
    );
    (problem.status, problem.code)
}

#[tokio::test]
async fn a_submission_answers_as_far_as_it_was_to_be_followed() {
    let address = serve(Arc::new(Mock::default())).await;
    let id = transaction(1).id();
    for (wait, status, state) in [
        ("none", 202, State::Accepted),
        ("committed", 200, State::Committed),
        ("executed", 200, State::Executed),
    ] {
        let answer = call(address, submit(wait)).await;
        assert_eq!(answer.status.as_u16(), status);
        let reply: SubmitReply = serde_json::from_slice(&answer.body).expect("a reply");
        assert_eq!((reply.id, reply.state), (id, state));
        assert_eq!(reply.receipt.is_some(), state == State::Executed);
    }
}

#[tokio::test]
async fn canonical_bytes_and_json_are_the_same_transaction() {
    use base64::Engine as _;
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    let bytes = codec::encode(&transaction(1));
    let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let json = format!("{{\"transaction\":\"{text}\"}}").into_bytes();
    let path = "/v1/transactions?wait=executed";
    assert_eq!(
        call(address, post(path, "application/json", json))
            .await
            .status,
        200
    );
    let mut canonical = post(path, CANONICAL, bytes);
    canonical.accept = CANONICAL;
    let answer = call(address, canonical).await;
    assert_eq!(answer.content_type, CANONICAL);
    let receipt: Receipt = codec::decode(&answer.body, 10_000).expect("a receipt");
    assert_eq!(receipt.transaction, transaction(1).id());
    let seen = mock.seen.lock().expect("unpoisoned");
    assert_eq!(seen.as_slice(), [transaction(1), transaction(1)]);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_code() {
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    let invalid = SubmitError::Invalid;
    let refused = SubmitError::Refused;
    for (error, status, code) in [
        (invalid(Reject::BadSignature), 400, "bad_signature"),
        (invalid(Reject::WrongChain), 400, "wrong_chain"),
        (invalid(Reject::WrongVersion), 400, "wrong_version"),
        (invalid(Reject::TooLarge), 413, "too_large"),
        (invalid(Reject::Malformed), 400, "malformed"),
        (invalid(Reject::BadPayload), 400, "invalid"),
        (refused(Rejection::UnknownClient), 403, "unknown_client"),
        (refused(Rejection::Forbidden), 403, "forbidden"),
        (refused(Rejection::Expired), 422, "expired"),
        (refused(Rejection::TooFarAhead), 422, "too_far_ahead"),
        (refused(Rejection::TooOld), 409, "too_old"),
        (refused(Rejection::SequenceReused), 409, "sequence_reused"),
        (refused(Rejection::CostExceeded), 422, "cost_exceeded"),
        (refused(Rejection::ResultTooLarge), 422, "result_too_large"),
        (refused(Rejection::BadCommand(0)), 422, "bad_command"),
        (
            SubmitError::Full {
                retry_after_seconds: 3,
            },
            429,
            "full",
        ),
        (SubmitError::NotServing, 503, "not_serving"),
        (SubmitError::Expired(transaction(1).id()), 422, "expired"),
    ] {
        mock.set(Script::Refuse(error));
        let answer = call(address, submit("executed")).await;
        assert_eq!(problem(&answer), (status, code.to_owned()));
        let wait = (status == 429).then_some(Duration::from_secs(3));
        assert_eq!(answer.retry_after, wait);
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_names_its_transaction() {
    let mock = Arc::new(Mock::default());
    mock.set(Script::Hang);
    let answer = call(serve(mock).await, submit("executed")).await;
    assert_eq!(problem(&answer), (504, String::from("timed_out")));
    let problem: Problem = serde_json::from_slice(&answer.body).expect("a problem");
    assert_eq!(problem.transaction, Some(transaction(1).id()));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_before_the_core_sees_it() {
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    let whole = codec::encode(&transaction(1));
    let trailing = [whole.as_slice(), &[0]].concat();
    let path = "/v1/transactions";
    for (bad, status, code) in [
        (
            post(path, CANONICAL, whole[..50].to_vec()),
            400,
            "malformed",
        ),
        (post(path, CANONICAL, trailing), 400, "malformed"),
        (post(path, CANONICAL, Vec::new()), 400, "malformed"),
        (post(path, CANONICAL, vec![0; 5_000]), 413, "too_large"),
        (post(path, CANONICAL, vec![0; 50_000]), 413, "too_large"),
        (
            post(path, "application/json", b"{}".to_vec()),
            400,
            "malformed",
        ),
        (
            post(path, "text/plain", whole.clone()),
            415,
            "unsupported_media_type",
        ),
        (
            post("/v1/transactions?wait=ever", CANONICAL, whole.clone()),
            400,
            "malformed",
        ),
        (
            post("/v1/transactions?weight=1", CANONICAL, whole),
            400,
            "malformed",
        ),
        (
            Call::get("/v1/transactions".into()),
            405,
            "method_not_allowed",
        ),
        (Call::get("/v1/transactions/12".into()), 400, "malformed"),
        (Call::get("/v1/nothing".into()), 404, "not_found"),
        (Call::get("/v1/blocks/x".into()), 400, "malformed"),
        (Call::get("/v1/blocks/9".into()), 404, "unknown_height"),
        (
            Call::get(format!("/v1/transactions/{}", transaction(2).id())),
            404,
            "unknown_transaction",
        ),
        (Call::get("/v1/log".into()), 400, "malformed"),
        (Call::get("/v1/log?from=5&to=4".into()), 400, "malformed"),
        (Call::get("/v1/clients/zz".into()), 400, "malformed"),
        (
            Call::get("/v1/kv/a?consistency=linearizable".into()),
            400,
            "needs_transaction",
        ),
        (
            Call::get("/v1/kv/a?consistency=most".into()),
            400,
            "malformed",
        ),
        (Call::get("/v1/kv/%zz".into()), 400, "malformed"),
        (
            Call::get("/v1/kv?prefix=a&limit=0".into()),
            400,
            "malformed",
        ),
        (
            Call::get("/v1/kv?prefix=a&limit=1001".into()),
            400,
            "malformed",
        ),
    ] {
        let shown = format!("{bad:?}");
        assert_eq!(
            problem(&call(address, bad).await),
            (status, code.to_owned()),
            "{shown}"
        );
    }
    assert!(mock.seen.lock().expect("unpoisoned").is_empty());
}

#[tokio::test]
async fn reads_answer_and_their_failures_have_codes() {
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    let get = |path: &str| call(address, Call::get(path.to_owned()));
    let key: KeyReply = serde_json::from_slice(&get("/v1/kv/a%2Fb%FF").await.body).expect("a key");
    assert_eq!(key.key.0, b"a/b\xff");
    assert_eq!(key.value.expect("there").0, b"a/b\xff");
    let absent: KeyReply = serde_json::from_slice(&get("/v1/kv/absent").await.body).expect("a key");
    assert!(absent.value.is_none());
    let range = get("/v1/kv?prefix=x%FF&limit=1").await;
    let range: RangeReply = serde_json::from_slice(&range.body).expect("a range");
    assert_eq!(
        (range.entries[0].key.0.as_slice(), range.more),
        (b"x\xff".as_slice(), true)
    );
    let status: StatusReply =
        serde_json::from_slice(&get("/v1/status").await.body).expect("status");
    assert_eq!(status.validator, "mock");
    assert_eq!(get("/v1/genesis").await.body, "{}");
    assert_eq!(get("/v1/validators").await.status, 200);
    assert_eq!(get("/v1/log?from=1").await.status, 200);
    for (error, status, code) in [
        (QueryError::NotServing, 503, "not_serving"),
        (
            QueryError::Full {
                retry_after_seconds: 1,
            },
            429,
            "full",
        ),
        (QueryError::NotProvable, 409, "not_provable"),
        (QueryError::Compacted { first: Height(5) }, 410, "compacted"),
        (QueryError::Damaged, 500, "damaged"),
    ] {
        *mock.queries.lock().expect("unpoisoned") = Some(error);
        assert_eq!(problem(&get("/v1/kv/a").await), (status, code.to_owned()));
    }
}

#[tokio::test]
async fn health_tells_what_is_wrong() {
    let mock = Arc::new(Mock::default());
    let address = serve_admin(Arc::clone(&mock)).await;
    let get = |path: &str| call(address, Call::get(path.to_owned()));
    let set = |turns, caught_up| {
        *mock.health.lock().expect("unpoisoned") = Health {
            loops: vec![("replica", turns)],
            conditions: vec![("caught_up", caught_up)],
        };
    };
    for (turns, caught_up, live, ready) in [
        (true, true, 200, 200),
        (true, false, 200, 503),
        (false, true, 503, 503),
    ] {
        set(turns, caught_up);
        assert_eq!(get("/livez").await.status, live);
        let answer = get("/readyz?verbose").await;
        assert_eq!(answer.status, ready);
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        let mark = if caught_up {
            "[+]caught_up ok"
        } else {
            "[-]caught_up failed"
        };
        assert!(text.contains(mark), "{text}");
    }
    let metrics = get("/metrics").await;
    assert!(metrics.content_type.starts_with("text/plain"));
    assert!(metrics.body.starts_with(b"# HELP"));
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let address = serve(Arc::new(Mock::default())).await;
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(b"POST /v1/tr").await.expect("writable");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(WITHIN, socket.read_to_end(&mut rest)).await;
    end.expect("closed within its idle time").ok();
}
