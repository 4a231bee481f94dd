//! Streams of submissions, over a mock: every transaction is answered once, and a stream takes no more than it may.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_client::Wait;
use quorate_client::api::{JSON_LINES, SubmissionReply};
use quorate_client::http::{Answer, Call, Http, Method};
use quorate_client::raw::ConnectionError;
use quorate_client::submissions::{Answers, Verdict, open};
use quorate_node::backend::SubmitError;
use quorate_node::http::{MAX_SUBMITTERS, MAX_UNDER_WAY};
use quorate_types::codec;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::mock::{Mock, Script, serve, serve_within, transaction};

const WITHIN: Duration = Duration::from_secs(20);

fn bytes(sequence: u64) -> Bytes {
    Bytes::from(codec::encode(&transaction(sequence)))
}

/// The next answers, by place.
async fn take(answers: &mut Answers, count: usize) -> BTreeMap<u64, Verdict> {
    let mut taken = BTreeMap::new();
    for _ in 0..count {
        let next = tokio::time::timeout(WITHIN, answers.next()).await;
        let answer = next.expect("in time").expect("readable").expect("one more");
        let before = taken.insert(answer.number, answer.verdict);
        assert!(before.is_none(), "answered twice");
    }
    taken
}

async fn end(answers: &mut Answers) {
    let next = tokio::time::timeout(WITHIN, answers.next()).await;
    assert_eq!(next.expect("in time").expect("readable"), None);
}

fn code(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Refused { code, .. } => code,
        other => panic!("not refused: {other:?}"),
    }
}

/// Posts a stream that is whole already.
async fn post(address: SocketAddr, media: &'static str, body: Vec<u8>) -> Answer {
    let call = Call {
        method: Method::POST,
        path: String::from("/v1/submissions?wait=executed"),
        accept: "*/*",
        body: Some((media, Bytes::from(body))),
    };
    let endpoint = format!("http://{address}");
    let answer = Http::default().call(&endpoint, &call, WITHIN).await;
    answer.expect("an answer")
}

#[tokio::test]
async fn each_transaction_of_a_stream_is_answered_by_its_place() {
    let address = serve(Arc::new(Mock::default())).await;
    let (submitter, mut answers) = open(address, Wait::Executed).await.expect("a stream");
    for sequence in 1..=3 {
        submitter.submit(bytes(sequence)).expect("open");
    }
    for (number, verdict) in take(&mut answers, 3).await {
        let Verdict::Executed(receipt) = verdict else {
            panic!("not executed: {verdict:?}");
        };
        assert_eq!(receipt.transaction, transaction(number + 1).id());
    }
    // It stays open for what comes later, and ends when the client ends it.
    submitter.submit(bytes(4)).expect("open");
    assert_eq!(take(&mut answers, 1).await.len(), 1);
    drop(submitter);
    end(&mut answers).await;
}

#[tokio::test]
async fn a_stream_is_followed_as_far_as_it_says() {
    let address = serve(Arc::new(Mock::default())).await;
    for wait in [Wait::None, Wait::Committed, Wait::Executed] {
        let (submitter, mut answers) = open(address, wait).await.expect("a stream");
        submitter.submit(bytes(1)).expect("open");
        let verdict = take(&mut answers, 1).await.remove(&0);
        let fits = match verdict.as_ref().expect("the first") {
            Verdict::Accepted => wait == Wait::None,
            Verdict::Committed { .. } => wait == Wait::Committed,
            Verdict::Executed(_) => wait == Wait::Executed,
            Verdict::Refused { .. } => false,
        };
        assert!(fits, "{wait:?}: {verdict:?}");
    }
}

#[tokio::test]
async fn what_is_no_transaction_is_refused_and_the_stream_goes_on() {
    let address = serve(Arc::new(Mock::default())).await;
    let (submitter, mut answers) = open(address, Wait::Executed).await.expect("a stream");
    submitter.submit(bytes(1)).expect("open");
    submitter.submit(Bytes::from_static(b"none")).expect("open");
    submitter.submit(bytes(2)).expect("open");
    let verdicts = take(&mut answers, 3).await;
    assert!(matches!(verdicts[&0], Verdict::Executed(_)));
    assert_eq!(code(&verdicts[&1]), "malformed");
    assert!(matches!(verdicts[&2], Verdict::Executed(_)));
    // Where the next one begins is not known behind one that is too long.
    submitter
        .submit(Bytes::from(vec![0; 4_097]))
        .expect("open still");
    assert_eq!(code(&take(&mut answers, 1).await[&3]), "too_large");
    end(&mut answers).await;
}

#[tokio::test]
async fn a_stream_of_nothing_is_answered_with_nothing_and_the_document_says_that_it_may_be() {
    let address = serve(Arc::new(Mock::default())).await;
    let answer = post(address, "application/octet-stream", Vec::new()).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    let document = serde_json::to_value(quorate_node::http::openapi::openapi()).expect("JSON");
    let needs_body =
        |path: &str| document["paths"][path]["post"]["requestBody"]["required"].clone();
    assert_eq!(needs_body("/v1/submissions"), false);
    assert_eq!(needs_body("/v1/transactions"), true);
}

#[tokio::test]
async fn a_stream_that_breaks_off_within_a_transaction_is_told_so() {
    let address = serve(Arc::new(Mock::default())).await;
    let mut body = 8u64.to_le_bytes().to_vec();
    body.extend_from_slice(b"half");
    let answer = post(address, "application/octet-stream", body).await;
    let piece = answer.body.get(8..).expect("an answer behind its length");
    let answer: quorate_client::submissions::Answer =
        codec::decode(piece, 1_000).expect("canonical");
    assert_eq!((answer.number, code(&answer.verdict)), (0, "malformed"));
}

#[tokio::test]
async fn refusals_say_when_to_come_back() {
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    mock.set(Script::Refuse(SubmitError::Full {
        retry_after_seconds: 7,
    }));
    let (submitter, mut answers) = open(address, Wait::Executed).await.expect("a stream");
    submitter.submit(bytes(1)).expect("open");
    let verdicts = take(&mut answers, 1).await;
    let Verdict::Refused {
        code, retry_after, ..
    } = &verdicts[&0]
    else {
        panic!("not refused");
    };
    assert_eq!((code.as_str(), *retry_after), ("full", Some(7)));
    // The refused stream is open still.
    mock.set(Script::Execute);
    submitter.submit(bytes(2)).expect("open");
    let verdicts = take(&mut answers, 1).await;
    assert!(matches!(verdicts[&1], Verdict::Executed(_)));
}

#[tokio::test]
async fn lines_of_json_are_answered_by_lines_of_json() {
    let address = serve(Arc::new(Mock::default())).await;
    let line = |sequence| {
        let text = STANDARD.encode(bytes(sequence));
        format!("{{\"transaction\":\"{text}\"}}\n")
    };
    let last = line(2);
    let body = format!("{}\r\n{{}}\n{}", line(1), last.trim_end());
    let answer = post(address, JSON_LINES, body.into_bytes()).await;
    assert_eq!(answer.content_type, JSON_LINES);
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let replies = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a reply"));
    let replies: BTreeMap<u64, SubmissionReply> = replies
        .map(|reply: SubmissionReply| (reply.number, reply))
        .collect();
    assert_eq!(replies.len(), 3);
    for (number, sequence) in [(0, 1), (2, 2)] {
        let reply = replies[&number].reply.as_ref().expect("executed");
        assert_eq!(reply.id, transaction(sequence).id());
        assert!(reply.receipt.is_some());
    }
    let problem = replies[&1].problem.as_ref().expect("no transaction");
    assert_eq!(problem.code, "malformed");
}

#[tokio::test]
async fn other_media_and_parameters_are_refused_before_the_stream_begins() {
    let address = serve(Arc::new(Mock::default())).await;
    let answer = post(address, "application/json", Vec::new()).await;
    assert_eq!(answer.status, 415);
    let call = Call {
        method: Method::POST,
        path: String::from("/v1/submissions?weight=executed"),
        accept: "*/*",
        body: None,
    };
    let endpoint = format!("http://{address}");
    let answer = Http::default().call(&endpoint, &call, WITHIN).await;
    assert_eq!(answer.expect("an answer").status, 400);
}

#[tokio::test]
async fn a_transaction_without_an_outcome_is_told_so_in_time() {
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    mock.set(Script::Hang);
    let (submitter, mut answers) = open(address, Wait::Executed).await.expect("a stream");
    submitter.submit(bytes(1)).expect("open");
    assert_eq!(code(&take(&mut answers, 1).await[&0]), "timed_out");
}

#[tokio::test]
async fn a_stream_is_read_on_only_when_something_was_answered() {
    let mock = Arc::new(Mock::default());
    let address = serve_within(Arc::clone(&mock), WITHIN).await;
    let (release, held) = watch::channel(false);
    mock.set(Script::Hold(held));
    let (submitter, mut answers) = open(address, Wait::Executed).await.expect("a stream");
    let count = MAX_UNDER_WAY + 10;
    for _ in 0..count {
        submitter.submit(bytes(1)).expect("open");
    }
    let seen = || mock.seen.lock().expect("unpoisoned").len();
    while seen() < MAX_UNDER_WAY {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Others are served meanwhile, and it takes no more.
    for _ in 0..10 {
        let (other, mut theirs) = open(address, Wait::Executed).await.expect("a stream");
        drop(other);
        end(&mut theirs).await;
    }
    assert_eq!(seen(), MAX_UNDER_WAY);
    release.send_replace(true);
    assert_eq!(take(&mut answers, count).await.len(), count);
    assert_eq!(seen(), count);
}

#[tokio::test]
async fn a_validator_that_stops_answers_what_it_took_and_takes_no_more() {
    let mock = Arc::new(Mock::default());
    let address = serve_within(Arc::clone(&mock), WITHIN).await;
    let (release, held) = watch::channel(false);
    mock.set(Script::Hold(held));
    let (submitter, mut answers) = open(address, Wait::Executed).await.expect("a stream");
    submitter.submit(bytes(1)).expect("open");
    while mock.seen.lock().expect("unpoisoned").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    mock.stopping.send_replace(true);
    // What the client still sends is not taken, and does not cut off the answers either.
    for _ in 0..100 {
        let _ = submitter.submit(Bytes::from(vec![0; 4_096]));
    }
    release.send_replace(true);
    let verdicts = take(&mut answers, 1).await;
    assert!(matches!(verdicts[&0], Verdict::Executed(_)));
    end(&mut answers).await;
    let refused = open(address, Wait::Executed).await;
    let error = refused.expect_err("it stops");
    assert!(
        matches!(error, ConnectionError::Refused(status) if status == 503),
        "{error}"
    );
}

#[tokio::test]
async fn who_takes_no_answers_is_cut_off() {
    let address = serve(Arc::new(Mock::default())).await;
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let head = "POST /v1/submissions HTTP/1.1\r\nhost: x\r\ncontent-type: application/jsonl\r\n\
                content-length: 1000000000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("writable");
    // Each line is refused with a longer one, so that the answers fill every buffer on their way, and then so do the lines.
    let lines = "{}\n".repeat(10_000);
    let flood = async { while socket.write_all(lines.as_bytes()).await.is_ok() {} };
    let cut_off = tokio::time::timeout(WITHIN, flood).await;
    cut_off.expect("the validator closes the connection");
}

#[tokio::test]
async fn streams_have_a_bounded_number_of_places() {
    let address = serve_within(Arc::new(Mock::default()), WITHIN).await;
    let mut streams = Vec::new();
    for _ in 0..MAX_SUBMITTERS {
        streams.push(open(address, Wait::Executed).await.expect("a stream"));
    }
    let error = open(address, Wait::Executed).await.expect_err("no place");
    assert!(
        matches!(error, ConnectionError::Refused(status) if status == 429),
        "{error}"
    );
    // A stream that ends leaves its place.
    let (submitter, mut answers) = streams.pop().expect("there are some");
    drop(submitter);
    end(&mut answers).await;
    open(address, Wait::Executed).await.expect("a place");
}
