//! Clients that send slowly: a head or a transaction that is begun must come to its end, and nothing else need hurry.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::api::JSON_LINES;
use quorate_client::http::{Answer, Call, Http, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::mock::{Mock, Script, serve_idle, start};

const WITHIN: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_millis(600);

/// Sends a piece every third of an idle time until the server closes. Returns what it answered.
async fn drip(socket: TcpStream, piece: &'static [u8]) -> String {
    let (mut reads, mut writes) = socket.into_split();
    let drips = tokio::spawn(async move {
        while writes.write_all(piece).await.is_ok() {
            tokio::time::sleep(IDLE / 3).await;
        }
    });
    let mut answer = Vec::new();
    let end = tokio::time::timeout(WITHIN, reads.read_to_end(&mut answer)).await;
    drips.abort();
    end.expect("closed, since it never comes to an end").ok();
    String::from_utf8(answer).expect("text")
}

/// A byte now and then kept a connection, and with it one of the places that all clients share, for ever.
#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let address = serve_idle(Arc::new(Mock::default()), WITHIN, IDLE).await;
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(b"GET /").await.expect("writable");
    assert_eq!(drip(socket, b"v").await, "");
    // No more so behind a request that was answered.
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let whole = b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n";
    socket.write_all(whole).await.expect("writable");
    let answer = drip(socket, b"G").await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The time of a head is its own, however long its connection is open.
#[tokio::test]
async fn requests_now_and_then_keep_a_connection() {
    let idle = Duration::from_secs(2);
    let address = serve_idle(Arc::new(Mock::default()), WITHIN, idle).await;
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    for _ in 0..6 {
        let (first, rest) = (&b"GET /v1/validators HT"[..], b"TP/1.1\r\nhost: x\r\n\r\n");
        socket.write_all(first).await.expect("writable");
        tokio::time::sleep(idle / 20).await;
        socket.write_all(rest).await.expect("writable");
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 200");
        tokio::time::sleep(idle / 5).await;
        let mut more = [0; 4096];
        assert!(socket.read(&mut more).await.expect("its rest") > 0);
    }
}

/// So it was with the 64 places of streams of submissions.
#[tokio::test]
async fn a_transaction_of_a_stream_that_does_not_come_to_its_end_ends_the_stream() {
    let served = start(Arc::new(Mock::default()), WITHIN, IDLE).await;
    let mut socket = TcpStream::connect(served.address).await.expect("open");
    let head = format!(
        "POST /v1/submissions HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON_LINES}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("writable");
    let answer = drip(socket, b"1\r\nx\r\n").await;
    assert!(answer.contains("\"number\":0"), "{answer}");
    assert!(answer.contains("did not come in time"), "{answer}");
    assert_eq!(served.metrics.api_submission_streams.get(), 0);
}

/// One that sends nothing, or whole transactions now and then, goes on for as long as something moves.
#[tokio::test]
async fn a_stream_between_two_transactions_need_not_hurry() {
    let idle = Duration::from_secs(2);
    let served = start(Arc::new(Mock::default()), WITHIN, idle).await;
    let mut socket = TcpStream::connect(served.address).await.expect("open");
    let head = format!(
        "POST /v1/submissions HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON_LINES}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("writable");
    let mut answer = String::new();
    for number in 0..8 {
        // The end of a line comes with the beginning of the next.
        socket.write_all(b"3\r\n}\n{\r\n").await.expect("open");
        let mut more = [0; 4096];
        while !answer.contains(&format!("\"number\":{number}")) {
            let read = tokio::time::timeout(WITHIN, socket.read(&mut more)).await;
            let read = read.expect("in time").expect("open");
            assert!(read > 0, "ended: {answer}");
            answer.push_str(std::str::from_utf8(&more[..read]).expect("text"));
        }
        tokio::time::sleep(idle / 5).await;
    }
    assert!(!answer.contains("in time"), "{answer}");
}

/// Half a head held up a stop for all the time that open requests have.
#[tokio::test]
async fn a_stop_waits_for_requests_and_not_for_the_rest_of_a_head() {
    let mock = Arc::new(Mock::default());
    let (release, held) = watch::channel(false);
    mock.set(Script::Hold(held));
    let served = start(Arc::clone(&mock), WITHIN, WITHIN * 10).await;
    let mut half = TcpStream::connect(served.address).await.expect("open");
    half.write_all(b"GET /v1/st").await.expect("writable");
    let call = Call {
        method: Method::POST,
        path: String::from("/v1/transactions"),
        accept: "*/*",
        body: Some((
            "application/octet-stream",
            quorate_types::codec::encode(&crate::mock::transaction(1)).into(),
        )),
    };
    let endpoint = format!("http://{}", served.address);
    let asked = tokio::spawn(async move { Http::default().call(&endpoint, &call, WITHIN).await });
    while mock.seen.lock().expect("unpoisoned").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    served.stop.send_replace(true);
    let mut rest = Vec::new();
    let end = tokio::time::timeout(WITHIN, half.read_to_end(&mut rest)).await;
    end.expect("closed at once").ok();
    assert!(!served.task.is_finished(), "a request is open");
    release.send_replace(true);
    let answer: Answer = asked.await.expect("ran").expect("an answer");
    assert_eq!(answer.status, 200);
    let end = tokio::time::timeout(WITHIN, served.task).await;
    end.expect("nothing is open").expect("ran").expect("served");
}

/// Nobody saw a request whose client had gone: its handler was dropped, and what counts it with it.
#[tokio::test]
async fn a_request_that_its_client_gives_up_is_counted() {
    let mock = Arc::new(Mock::default());
    mock.set(Script::Hang);
    let served = start(Arc::clone(&mock), WITHIN * 10, WITHIN * 10).await;
    let body = quorate_types::codec::encode(&crate::mock::transaction(1));
    let mut socket = TcpStream::connect(served.address).await.expect("open");
    let head = format!(
        "POST /v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    socket.write_all(&request).await.expect("writable");
    while mock.seen.lock().expect("unpoisoned").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let counted = |status| {
        let counter = &served.metrics.api_requests_total;
        counter.with_label_values(&[status]).get()
    };
    assert_eq!(counted("canceled"), 0);
    drop(socket);
    let canceled = async {
        while counted("canceled") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let canceled = tokio::time::timeout(WITHIN, canceled).await;
    canceled.expect("counted when its client is gone");
    assert_eq!(
        (counted("canceled"), counted("2xx"), counted("5xx")),
        (1, 0, 0)
    );
    let times = &served.metrics.api_request_seconds;
    let times = times.with_label_values(&["POST"]);
    assert_eq!(times.get_sample_count(), 1);
}
