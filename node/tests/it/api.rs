//! The HTTP API over a mock: every status and code that a client can meet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::api::{
    CANONICAL, KeyReply, PROBLEM, Problem, RangeReply, State, StatusReply, SubmitReply,
};
use quorate_client::http::{Answer, Call, Http, Method};
use quorate_node::backend::{Check, Health, QueryError, SubmitError};
use quorate_types::{Height, Receipt, Reject, codec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::mock::{Mock, Script, serve, serve_admin, serve_idle, transaction};
use crate::proved;

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
    for (error, status, code) in [
        (invalid(Reject::BadSignature), 400, "bad_signature"),
        (invalid(Reject::WrongChain), 400, "wrong_chain"),
        (invalid(Reject::WrongVersion), 400, "wrong_version"),
        (invalid(Reject::TooLarge), 413, "too_large"),
        (invalid(Reject::Malformed), 400, "malformed"),
        (invalid(Reject::BadPayload), 400, "invalid"),
        (SubmitError::UnknownClient, 403, "unknown_client"),
        (SubmitError::TooLate, 422, "expired"),
        (SubmitError::TooFarAhead, 422, "too_far_ahead"),
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
        (Call::get("/v1/log?to=4".into()), 400, "malformed"),
        (Call::get("/v1/log?from=x".into()), 400, "malformed"),
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
            Call::get("/v1/kv?prefix=a&from=%F".into()),
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
    assert_eq!(range.next.expect("there is more").0, b"x\xff\0");
    let range = get("/v1/kv?prefix=x&from=x%FF%00&limit=1").await;
    let range: RangeReply = serde_json::from_slice(&range.body).expect("a range");
    assert_eq!(range.entries[0].key.0, b"x\xff\0");
    // The names of parameters may be escaped as their values may. Overlooked, the prefix was none, and all keys were listed.
    let range = get("/v1/kv?pre%66ix=x%FF&%66rom=x%FF%00").await;
    let range: RangeReply = serde_json::from_slice(&range.body).expect("a range");
    assert_eq!(range.entries[0].key.0, b"x\xff\0");
    let range = get("/v1/kv?pre%66ix=x%FF").await;
    let range: RangeReply = serde_json::from_slice(&range.body).expect("a range");
    assert_eq!(range.entries[0].key.0, b"x\xff");
    let status: StatusReply =
        serde_json::from_slice(&get("/v1/status").await.body).expect("status");
    assert_eq!(status.validator, "mock");
    assert_eq!(get("/v1/genesis").await.body, proved::genesis_text());
    assert_eq!(get("/v1/validators").await.status, 200);
    assert_eq!(get("/v1/log?from=1&to=9").await.status, 200);
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

/// What is not known was ignored by routes without parameters: a read that was asked to be linearizable was answered with
/// what one validator had.
#[tokio::test]
async fn no_route_takes_a_parameter_that_it_does_not_know() {
    let address = serve(Arc::new(Mock::default())).await;
    let document = serde_json::to_value(quorate_node::http::openapi::openapi()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let read = paths.iter().filter(|(_, item)| item["get"].is_object());
    let key = crate::mock::key().public().to_string();
    let mut asked = 0;
    for (path, _) in read {
        let path = match path.as_str() {
            "/v1/transactions/{id}" => path.replace("{id}", &transaction(1).id().to_string()),
            path => path.replace("{height}", "1").replace("{key}", &key),
        };
        for query in ["x=1", "x", "%78=1"] {
            let answer = call(address, Call::get(format!("{path}?{query}"))).await;
            let refused = (400, String::from("malformed"));
            assert_eq!(problem(&answer), refused, "{path}?{query}");
        }
        asked += 1;
        if path == "/v1/log" {
            continue; // without parameters it has no end
        }
        // That none is meant may be said in two ways.
        let plain = call(address, Call::get(path.clone())).await;
        let empty = call(address, Call::get(format!("{path}?"))).await;
        assert_eq!(empty.status, plain.status, "{path}");
    }
    assert_eq!(asked, 12);
    let client = format!("/v1/clients/{key}");
    assert_eq!(call(address, Call::get(client.clone())).await.status, 200);
    let linearizable = Call::get(client + "?consistency=linearizable");
    assert_eq!(call(address, linearizable).await.status, 400);
}

#[tokio::test]
async fn health_tells_what_is_wrong() {
    let mock = Arc::new(Mock::default());
    let address = serve_admin(Arc::clone(&mock)).await;
    let get = |path: &str| call(address, Call::get(path.to_owned()));
    let set = |turns, caught_up| {
        *mock.health.lock().expect("unpoisoned") = Health {
            loops: vec![Check::new("replica", turns, "no turn for 9 s")],
            conditions: vec![Check::new("caught_up", caught_up, "99 blocks are missing")],
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
            "[-]caught_up failed: 99 blocks are missing"
        };
        assert!(text.contains(mark), "{text}");
        let metrics = get("/metrics").await;
        let metrics = String::from_utf8(metrics.body.to_vec()).expect("text");
        let says = format!("\nquorate_ready {}\n", u8::from(ready == 200));
        assert!(metrics.contains(&says), "{metrics}");
    }
    let level = Call {
        method: Method::PUT,
        ..post("/debug/log-level", "text/plain", b"quorate=loud".to_vec())
    };
    let refused = call(address, level.clone()).await;
    assert_eq!(problem(&refused), (400, String::from("malformed")));
    let body = Some((
        "text/plain",
        Bytes::from_static(b"info,quorate_node=debug\n"),
    ));
    assert_eq!(call(address, Call { body, ..level }).await.status, 200);
    let metrics = get("/metrics").await;
    assert!(metrics.content_type.starts_with("text/plain"));
    assert!(metrics.body.starts_with(b"# HELP"));
}

/// A page in an operator's browser can send a POST to this port, and, if its name leads here all of a sudden, anything.
#[tokio::test]
async fn the_admin_port_does_nothing_for_a_page_of_elsewhere() {
    let address = serve_admin(Arc::new(Mock::default())).await;
    let ask = async |method: &str, path: &str, host: &str| {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let sent = socket.write_all(request.as_bytes()).await;
        sent.expect("writable");
        let mut answer = String::new();
        let read = socket.read_to_string(&mut answer).await;
        read.expect("text");
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status: {answer}"))
    };
    let here = address.to_string();
    for path in ["/snapshots", "/backups"] {
        let status: u16 = ask("POST", path, &here).await;
        assert_eq!(status, 405, "{path}");
        // As a mock answers, that has nothing to copy.
        assert_eq!(ask("PUT", path, &here).await, 503, "{path}");
        assert_eq!(ask("PUT", path, "localhost:7652").await, 503, "{path}");
        assert_eq!(ask("PUT", path, "page.example:7652").await, 400, "{path}");
    }
    let level = "/debug/log-level";
    assert_eq!(ask("GET", level, &here).await, 200);
    assert_eq!(ask("GET", level, "page.example").await, 400);
    // In a cluster these are asked by name.
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(
            ask("GET", path, "validator-0.quorate:7652").await,
            200,
            "{path}"
        );
    }
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

/// Clients that ask for megabytes and read nothing took the validator's memory, connection by connection. They share a
/// budget: who comes late is told so, small answers go on, and what goes gives its part back.
#[tokio::test]
async fn large_answers_that_nobody_reads_take_so_much_memory_and_no_more() {
    let mock = Arc::new(Mock::default());
    // Seven heights of a megabyte each, which is a third more in base64.
    *mock.ledger.batches.lock().expect("unpoisoned") = 32 << 10;
    let address = serve_idle(mock, WITHIN, WITHIN * 10).await;
    let mut silent = Vec::new();
    let refused = loop {
        assert!(silent.len() < 16, "nobody was refused");
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let ask = b"GET /v1/log?from=1&to=7 HTTP/1.1\r\nhost: x\r\n\r\n";
        socket.write_all(ask).await.expect("writable");
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.expect("an answer");
        if head.ends_with(b" 429") {
            break socket;
        }
        assert!(head.ends_with(b" 200"));
        silent.push(socket);
    };
    assert_eq!(silent.len(), 6, "of 9.4 MiB each in 64 MiB");
    drop(refused);
    let large = || call(address, Call::get("/v1/log?from=1&to=7".into()));
    let answer = large().await;
    assert_eq!(problem(&answer), (429, String::from("full")));
    assert!(answer.retry_after.is_some());
    for small in ["/v1/status", "/v1/kv/a", "/openapi.json"] {
        assert_eq!(call(address, Call::get(small.into())).await.status, 200);
    }
    silent.pop();
    let gone = async {
        while large().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(WITHIN, gone).await;
    gone.expect("room, once one of them is gone");
}

/// Such a client need not go by itself.
#[tokio::test]
async fn a_connection_that_does_not_take_its_answer_is_closed() {
    let mock = Arc::new(Mock::default());
    *mock.ledger.batches.lock().expect("unpoisoned") = 32 << 10;
    let address = serve_idle(mock, WITHIN, Duration::from_millis(300)).await;
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let ask = b"GET /v1/log?from=1&to=7 HTTP/1.1\r\nhost: x\r\n\r\n";
    socket.write_all(ask).await.expect("writable");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut answer = Vec::new();
    let end = tokio::time::timeout(WITHIN, socket.read_to_end(&mut answer)).await;
    // Either way it ends before the answer does.
    end.expect("closed within its idle time").ok();
    assert!(answer.len() < 9 << 20, "{} bytes", answer.len());
}

#[tokio::test]
async fn the_document_names_each_problem_of_each_route() {
    let address = serve(Arc::new(Mock::default())).await;
    let answer = call(address, Call::get("/openapi.json".into())).await;
    assert_eq!(answer.content_type, "application/json");
    let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    let mut documented = std::collections::BTreeSet::new();
    for operation in paths
        .values()
        .flat_map(|p| p.as_object().expect("one").values())
    {
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let schema = &response["content"][PROBLEM]["schema"]["allOf"];
            let codes = schema[1]["properties"]["code"]["enum"].as_array();
            for code in codes.into_iter().flatten() {
                let code = code.as_str().expect("a code").to_owned();
                documented.insert((status.parse::<u16>().expect("a status"), code));
            }
        }
    }
    // Whatever else is asked for is not there, and belongs to no route.
    documented.insert((404, String::from("not_found")));
    let all = quorate_node::http::CODES.iter();
    let all = all.map(|(code, status, _)| (*status, (*code).to_owned()));
    assert_eq!(documented, all.collect());
}

#[tokio::test]
async fn the_explorer_is_served_with_a_policy_that_lets_nothing_else_in() {
    let address = serve(Arc::new(Mock::default())).await;
    for (path, media) in [
        ("/explorer", "text/html; charset=utf-8"),
        ("/explorer/style.css", "text/css; charset=utf-8"),
        ("/explorer/app.js", "text/javascript; charset=utf-8"),
        ("/explorer/icon.svg", "image/svg+xml"),
    ] {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let sent = socket.write_all(request.as_bytes()).await;
        sent.expect("writable");
        let mut answer = String::new();
        let read = socket.read_to_string(&mut answer).await;
        read.expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains(&format!("content-type: {media}")), "{head}");
        let policy = head
            .lines()
            .find_map(|line| line.strip_prefix("content-security-policy: "));
        let policy = policy.expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
        assert!(!policy.contains("unsafe"));
        // Nothing is loaded from elsewhere, and no script or style stands in the page itself.
        for foreign in [
            "src=\"http",
            "href=\"http",
            "@import",
            "<style",
            " style=",
            "onclick=",
            "onload=",
        ] {
            assert!(!body.contains(foreign), "{path}: {foreign}");
        }
    }
    assert_eq!(call(address, Call::get("/".into())).await.status, 307);
}

#[tokio::test]
async fn what_is_no_text_in_a_path_is_refused_as_any_other_mistake() {
    let address = serve(Arc::new(Mock::default())).await;
    for path in ["/v1/transactions/%ff", "/v1/blocks/%ff", "/v1/clients/%ff"] {
        let answer = call(address, Call::get(path.into())).await;
        assert_eq!(problem(&answer), (400, String::from("malformed")), "{path}");
    }
}
