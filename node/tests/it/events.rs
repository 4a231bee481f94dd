//! The log as server-sent events, and the client that follows it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use quorate_client::api::{Base64, EVENT_STREAM, LogEntry, Problem};
use quorate_client::http::{Answer, Call, Http};
use quorate_client::{Client, ClientError, Profile};
use quorate_node::http::MAX_STREAMS;
use quorate_types::{Batch, Block, Height, codec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::mock::{Mock, chain, serve, transaction};

const WITHIN: Duration = Duration::from_secs(20);

fn client(endpoints: &[SocketAddr]) -> Client {
    let profile = Profile {
        endpoints: endpoints.iter().map(|a| format!("http://{a}")).collect(),
        chain: chain(),
        genesis: None,
        keys: None,
    };
    Client::new(profile, WITHIN).expect("endpoints")
}

async fn answer(address: SocketAddr, path: &str) -> Answer {
    let mut call = Call::get(path.to_owned());
    call.accept = EVENT_STREAM;
    let endpoint = format!("http://{address}");
    let answer = Http::default().call(&endpoint, &call, WITHIN).await;
    answer.expect("an answer")
}

/// A connection that has asked for the log, by hand.
async fn ask(address: SocketAddr, query: &str, headers: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /v1/log{query} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    socket
        .write_all(request.as_bytes())
        .await
        .expect("writable");
    socket
}

/// What arrives until `end` does.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains(end) {
        let read = tokio::time::timeout(WITHIN, socket.read(&mut bytes)).await;
        let count = read.expect("in time").expect("readable");
        assert!(count > 0, "ended before {end:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

fn ids(text: &str) -> Vec<u64> {
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| id.trim().parse().expect("a height")).collect()
}

#[tokio::test]
async fn a_stretch_has_every_height_once_and_then_ends() {
    let address = serve(Arc::new(Mock::default())).await;
    let events = answer(address, "/v1/log?from=2&to=5").await;
    assert_eq!(events.content_type, EVENT_STREAM);
    let text = String::from_utf8(events.body.to_vec()).expect("text");
    assert_eq!(ids(&text), [2, 3, 4, 5]);
    assert_eq!(text.matches("event: block").count(), 4);
}

#[tokio::test]
async fn a_stream_goes_on_when_blocks_are_committed_and_says_why_it_ends() {
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    let mut socket = ask(address, "?from=6", "").await;
    let text = read_until(&mut socket, "id: 7").await;
    assert!(
        text.contains("content-type: text/event-stream\r\n"),
        "{text}"
    );
    assert_eq!(ids(&text), [6, 7]);
    // While nothing is committed, it says that it is there.
    read_until(&mut socket, ":\n\n").await;
    mock.ledger.commit(9);
    let text = read_until(&mut socket, "id: 9").await;
    assert_eq!(ids(&text), [8, 9]);
    mock.ledger.stop();
    let text = read_until(&mut socket, "event: problem").await;
    assert!(!text.contains("id: "), "{text}");
}

#[tokio::test]
async fn who_names_its_last_event_goes_on_behind_it() {
    let mock = Arc::new(Mock::default());
    let address = serve(Arc::clone(&mock)).await;
    let mut socket = ask(address, "?from=1", "last-event-id: 6\r\n").await;
    assert_eq!(ids(&read_until(&mut socket, "id: 7").await), [7]);
    // Without a start, it is what comes from now on.
    let mut socket = ask(address, "", "").await;
    read_until(&mut socket, ":\n\n").await;
    mock.ledger.commit(8);
    assert_eq!(ids(&read_until(&mut socket, "id: 8").await), [8]);
    // A browser that has all it asked for is told not to come again.
    let mut socket = ask(
        address,
        "?from=1&to=3",
        "accept: text/event-stream\r\nlast-event-id: 3\r\n",
    )
    .await;
    read_until(&mut socket, "HTTP/1.1 204").await;
    let mut socket = ask(address, "?from=1", "last-event-id: x\r\n").await;
    read_until(&mut socket, "malformed").await;
}

#[tokio::test]
async fn a_compacted_start_is_an_error_and_so_is_one_that_compaction_overtakes() {
    let mock = Arc::new(Mock::default());
    mock.ledger.compact(5);
    let address = serve(Arc::clone(&mock)).await;
    let refused = answer(address, "/v1/log?from=4").await;
    assert_eq!(refused.status.as_u16(), 410);
    let problem: Problem = serde_json::from_slice(&refused.body).expect("a problem");
    assert_eq!(problem.code, "compacted");
    let mut socket = ask(address, "?from=5", "").await;
    read_until(&mut socket, "id: 7").await;
    mock.ledger.compact(20);
    mock.ledger.commit(30);
    let text = read_until(&mut socket, "\"code\":\"compacted\"").await;
    assert!(text.contains("event: problem"), "{text}");
    assert_eq!(ids(&text), Vec::<u64>::new());

    let client = client(&[address]);
    let error = client.subscribe(Height(4)).next().await.expect_err("gone");
    let compacted =
        matches!(&error, ClientError::Refused { status: 410, code, .. } if code == "compacted");
    assert!(compacted, "{error}");
}

#[tokio::test]
async fn the_places_of_readers_are_counted() {
    let address = serve(Arc::new(Mock::default())).await;
    let mut readers = Vec::new();
    for _ in 0..MAX_STREAMS {
        let mut socket = ask(address, "?from=7", "").await;
        read_until(&mut socket, "id: 7").await;
        readers.push(socket);
    }
    let full = answer(address, "/v1/log?from=7").await;
    assert_eq!(full.status.as_u16(), 429);
    assert!(full.retry_after.is_some());
}

#[tokio::test]
async fn a_reader_that_reads_nothing_is_cut_off() {
    let mock = Arc::new(Mock::default());
    *mock.ledger.batches.lock().expect("unpoisoned") = 4_000;
    mock.ledger.commit(400);
    let address = serve(Arc::clone(&mock)).await;
    let mut socket = ask(address, "?from=1", "").await;
    // Nothing is read until the place is free again: that takes the idle time, and bytes that fill the buffers.
    let gone = async {
        while mock.ledger.heads.receiver_count() > 0 || mock.ledger.opened() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, gone).await.expect("cut off");
    let mut all = Vec::new();
    // Cut off in the middle: an error, or an end without the last heights.
    let _ = socket.read_to_end(&mut all).await;
    let text = String::from_utf8_lossy(&all);
    assert!(!ids_of_whole(&text).contains(&400));
}

fn ids_of_whole(text: &str) -> Vec<u64> {
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.filter_map(|id| id.trim().parse().ok()).collect()
}

#[tokio::test]
async fn the_client_follows_the_log_from_one_validator_to_the_next() {
    let (first, second) = (Arc::new(Mock::default()), Arc::new(Mock::default()));
    let endpoints = [
        serve(Arc::clone(&first)).await,
        serve(Arc::clone(&second)).await,
    ];
    second.ledger.commit(12);
    let client = client(&endpoints);
    let mut log = client.subscribe(Height(5));
    for height in 5..=7 {
        let entry = log.next().await.expect("an entry");
        assert_eq!(entry.height, Height(height));
    }
    first.ledger.stop();
    for height in 8..=12 {
        let entry = log.next().await.expect("an entry");
        assert_eq!(entry.height, Height(height));
    }
    assert_eq!(log.position(), Height(13));
}

/// A validator that sends this much of a stream, and is gone.
async fn breaks_off(stream: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("somebody connects");
        let mut request = [0; 1024];
        let _ = socket.read(&mut request).await.expect("a request");
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let answer = format!("{head}{stream}");
        socket.write_all(answer.as_bytes()).await.expect("writable");
    });
    address
}

#[tokio::test]
async fn a_stream_that_breaks_off_in_the_middle_of_a_block_is_gone_on_with_elsewhere() {
    let whole = serve(Arc::new(Mock::default())).await;
    let stretch = answer(whole, "/v1/log?from=3&to=5").await;
    let text = String::from_utf8(stretch.body.to_vec()).expect("text");
    // At any place: in the first block, between two, behind the last.
    for cut in (0..text.len()).step_by(97) {
        let first = breaks_off(text[..cut].to_owned()).await;
        let client = client(&[first, whole]);
        let mut log = client.subscribe(Height(3));
        for height in 3..=7 {
            let entry = log.next().await.expect("an entry");
            assert_eq!(entry.height, Height(height), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_validator_without_news_is_left_for_one_that_has_some() {
    let (behind, ahead) = (Arc::new(Mock::default()), Arc::new(Mock::default()));
    ahead.ledger.commit(9);
    let client = client(&[serve(behind).await, serve(ahead).await]);
    let mut log = client.subscribe(Height(6));
    log.set_patience(Duration::from_millis(250));
    // The first is there, says so all the time, and has nothing above height 7.
    for height in 6..=9 {
        let entry = log.next().await.expect("an entry");
        assert_eq!(entry.height, Height(height));
    }
}

/// A validator that is stopped takes connections, and says nothing: it had the whole timeout.
#[tokio::test]
async fn who_says_nothing_and_who_has_pruned_are_passed_over() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let pruned = Arc::new(Mock::default());
    pruned.ledger.compact(7);
    let endpoints = [
        silent.local_addr().expect("bound"),
        serve(pruned).await,
        serve(Arc::new(Mock::default())).await,
    ];
    let client = client(&endpoints);
    let mut log = client.subscribe(Height(5));
    for height in 5..=7 {
        let entry = log.next().await.expect("an entry");
        assert_eq!(entry.height, Height(height));
    }
}

#[tokio::test]
async fn what_compaction_took_from_under_a_reader_is_read_elsewhere() {
    let (first, second) = (Arc::new(Mock::default()), Arc::new(Mock::default()));
    let endpoints = [
        serve(Arc::clone(&first)).await,
        serve(Arc::clone(&second)).await,
    ];
    second.ledger.commit(9);
    let client = client(&endpoints);
    let mut log = client.subscribe(Height(7));
    assert_eq!(log.next().await.expect("an entry").height, Height(7));
    first.ledger.compact(20);
    first.ledger.commit(30);
    for height in 8..=9 {
        let entry = log.next().await.expect("an entry");
        assert_eq!(entry.height, Height(height));
    }
}

/// Whatever listened there first had the reader for itself, for ever.
#[tokio::test]
async fn an_endpoint_that_is_none_is_passed_over() {
    let other = async |status: u16| {
        let status = StatusCode::from_u16(status).expect("valid");
        let router = axum::Router::new().fallback(move || async move { status });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async { axum::serve(listener, router).await.expect("for ever") });
        address
    };
    let (missing, moved) = (other(404).await, other(301).await);
    let whole = serve(Arc::new(Mock::default())).await;
    let client_of = client(&[missing, moved, whole]);
    let mut log = client_of.subscribe(Height(6));
    for height in 6..=7 {
        let entry = log.next().await.expect("an entry");
        assert_eq!(entry.height, Height(height));
    }
    // When there is nobody else, it is said.
    let client = client(&[missing, moved]);
    let error = client.subscribe(Height(6)).next().await.expect_err("none");
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
}

/// Answers every request with a stream of these pieces, the last one over and over if it goes on. Counts the requests.
async fn streams(pieces: &'static [&'static str], goes_on: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("somebody connects");
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = socket.read(&mut request).await.expect("a request");
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let mut sent = socket.write_all(head.as_bytes()).await;
                for piece in pieces {
                    sent = sent.and(socket.write_all(piece.as_bytes()).await);
                }
                while let Some(last) = pieces.last().filter(|_| goes_on && sent.is_ok()) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    sent = socket.write_all(last.as_bytes()).await;
                }
            });
        }
    });
    (address, count)
}

/// The reader came again at once, as often as it could, for ever.
#[tokio::test]
async fn streams_that_end_at_once_are_opened_with_pauses_and_given_up() {
    for pieces in [&[][..], &["event: problem\ndata: {}\n\n"]] {
        let (address, count) = streams(pieces, false).await;
        let profile = Profile {
            endpoints: vec![format!("http://{address}")],
            chain: chain(),
            genesis: None,
            keys: None,
        };
        let client = Client::new(profile, Duration::from_millis(500)).expect("endpoints");
        let mut log = client.subscribe(Height(6));
        let next = tokio::time::timeout(WITHIN, log.next()).await;
        let error = next.expect("in time").expect_err("no block");
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        // 50 ms, 100 ms, and so on.
        assert!(count.load(Ordering::SeqCst) <= 10);
    }
}

/// Half a comment, and data by drops, were news: who sent them was waited for.
#[tokio::test]
async fn who_trickles_is_left_for_one_that_has_blocks() {
    let trickles: [&[&str]; 3] = [
        &[": a", "a"],
        &["event: block\ndata: {", " "],
        &["event: future\ndata: 1\n\n"],
    ];
    for trickle in trickles {
        let (slow, _) = streams(trickle, true).await;
        let client = client(&[slow, serve(Arc::new(Mock::default())).await]);
        let mut log = client.subscribe(Height(7));
        log.set_patience(Duration::from_millis(250));
        let next = tokio::time::timeout(WITHIN, log.next()).await;
        let entry = next.expect("in time").expect("an entry");
        assert_eq!(entry.height, Height(7));
    }
}

/// A genuine header came with any transactions.
#[tokio::test]
async fn what_is_not_in_the_block_is_no_content() {
    let mock = Arc::new(Mock::default());
    for (height, sequence) in [(3, 1), (4, 2)] {
        let mut contents = mock.ledger.contents.lock().expect("unpoisoned");
        contents.insert(height, vec![transaction(sequence)]);
    }
    let whole = serve(Arc::clone(&mock)).await;
    let genuine = client(&[whole]);
    let stretch = genuine.log(Height(3), Height(4)).await.expect("both");
    let other = || stretch[1].batches.clone();
    let swap: fn(&mut LogEntry, Vec<Base64>) = |entry, other| entry.batches = other;
    let drop_all: fn(&mut LogEntry, Vec<Base64>) = |entry, _| entry.batches.clear();
    // The list agrees with the batches, and not with the header.
    let list: fn(&mut LogEntry, Vec<Base64>) = |entry, other| {
        let decode = |bytes: &Base64| codec::decode::<Batch>(&bytes.0, 1 << 20).expect("canonical");
        let ids = other.iter().map(|batch| decode(batch).id()).collect();
        let mut block: Block = codec::decode(&entry.block.0, 1 << 20).expect("canonical");
        block.batches = ids;
        entry.block = Base64(codec::encode(&block));
        entry.batches = other;
    };
    for change in [swap, drop_all, list] {
        let mut entry = stretch[0].clone();
        change(&mut entry, other());
        let json = serde_json::to_string(&entry).expect("JSON");
        let liar = breaks_off(format!("event: block\ndata: {json}\n\n")).await;
        let client = client(&[liar, whole]);
        let mut log = client.subscribe(Height(3));
        let error = log.next().await.expect_err("another content");
        assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
        let entry = log.next().await.expect("the second's");
        assert_eq!(entry, stretch[0]);
    }
}

/// Heights alone do not tell a ledger from another one on the same ports.
#[tokio::test]
async fn a_reader_goes_on_behind_its_own_block_only() {
    let client = client(&[serve(Arc::new(Mock::default())).await]);
    let read = client.subscribe(Height(4)).next().await.expect("an entry");
    let mut log = client.subscribe_after(read.height, read.id);
    assert_eq!(log.next().await.expect("an entry").height, Height(5));
    let mut log = client.subscribe_after(Height(3), read.id);
    let error = log.next().await.expect_err("another ledger");
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
}
