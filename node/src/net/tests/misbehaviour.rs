//! A member that speaks QUIC by hand and breaks each rule of the wire.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime};
use quorate_types::{ValidatorIndex, codec};

use super::{Node, V0, V1, batch, chain, config, key, limits, peer, socket, vote, within};
use crate::net::hello::{Hello, WIRE_VERSIONS};
use crate::net::tls::{Identity, SERVER_NAME};
use crate::net::{By, Limits, NetConfig, NetEvent, Reason, frame, transport};

/// Dials `node`, which is validator 1, with the key of `as_index`; says nothing.
async fn dial(node: &Node, as_index: ValidatorIndex) -> (Endpoint, Connection) {
    let endpoint = Endpoint::new(
        EndpointConfig::default(),
        None,
        socket().0,
        Arc::new(TokioRuntime),
    )
    .unwrap();
    let identity = Identity::new(&key(as_index)).unwrap();
    let tls = identity.client(key(V1).public()).unwrap();
    let address = node.network.local_address().unwrap();
    let connecting = endpoint.connect_with(transport::client(tls, &limits()), address, SERVER_NAME);
    let connection = within("a handshake", connecting.unwrap()).await.unwrap();
    (endpoint, connection)
}

fn hello() -> Hello {
    Hello {
        versions: WIRE_VERSIONS.to_vec(),
        chain: chain("here"),
        from: V0,
        software: String::from("by hand"),
    }
}

/// Validator 1, with 0 and 2 as members; 0 is played by hand and 2 does not exist.
fn victim(limits: Limits) -> Node {
    let nobody = "127.0.0.1:1".parse().unwrap();
    let peers = vec![peer(V0, nobody), peer(ValidatorIndex(2), nobody)];
    Node::start(NetConfig {
        limits,
        ..config(V1, socket().0, peers)
    })
}

/// Sends a first frame and returns how the connection was closed, as seen from here.
async fn greet(connection: &Connection, bytes: &[u8]) -> ConnectionError {
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
    within("the close", connection.closed()).await
}

fn code(error: &ConnectionError) -> Option<quinn::VarInt> {
    match error {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code),
        _ => None,
    }
}

#[tokio::test]
async fn each_bad_hello_has_its_answer() {
    let encode = |hello: Hello| frame::encode(&hello, 100_000).unwrap().to_vec();
    let future = Hello {
        versions: vec![WIRE_VERSIONS[0] + 1, WIRE_VERSIONS[0] + 2],
        ..hello()
    };
    let elsewhere = Hello {
        chain: chain("elsewhere"),
        ..hello()
    };
    let other = Hello {
        from: ValidatorIndex(2),
        ..hello()
    };
    let long = Hello {
        software: "x".repeat(5000),
        ..hello()
    };
    let mut trailing = encode(hello());
    trailing[0] += 1;
    trailing.push(0);
    for (bytes, reason) in [
        (encode(future), Reason::NoCommonVersion),
        (encode(elsewhere), Reason::WrongChain),
        (encode(other), Reason::WrongIndex),
        (encode(long), Reason::BadHello),
        (trailing, Reason::BadHello),
        (vec![9, 0, 0, 0, 1], Reason::BadHello),
        (Vec::new(), Reason::BadHello),
    ] {
        let mut node = victim(limits());
        let (_endpoint, connection) = dial(&node, V0).await;
        let error = greet(&connection, &bytes).await;
        assert_eq!(code(&error), Some(reason.code()), "{reason:?}");
        assert_eq!(node.rejected().await, (Some(V0), reason, By::Us));
    }
}

#[tokio::test]
async fn the_higher_index_does_not_dial() {
    let mut node = victim(limits());
    let v2 = ValidatorIndex(2);
    let (_endpoint, connection) = dial(&node, v2).await;
    let error = within("the close", connection.closed()).await;
    assert_eq!(code(&error), Some(Reason::WrongDirection.code()));
    let refused = node.rejected().await;
    assert_eq!(refused, (Some(v2), Reason::WrongDirection, By::Us));
}

/// Says nothing after the handshake, and does not keep its place for ever.
#[tokio::test]
async fn silence_is_no_hello() {
    let node = victim(Limits {
        handshake_timeout: Duration::from_millis(100),
        ..limits()
    });
    let (_endpoint, connection) = dial(&node, V0).await;
    let error = within("the close", connection.closed()).await;
    assert!(
        matches!(error, ConnectionError::ApplicationClosed(_)),
        "{error}"
    );
}

/// Past the hello.
async fn member(node: &mut Node) -> (Endpoint, Connection) {
    let (endpoint, connection) = dial(node, V0).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let bytes = frame::encode(&hello(), 1024).unwrap();
    send.write_all(&bytes).await.unwrap();
    let answer = within("the answer", receive.read_to_end(1024))
        .await
        .unwrap();
    let theirs: Hello = codec::decode(&answer[4..], 1024).unwrap();
    assert_eq!((theirs.from, theirs.chain), (V1, chain("here")));
    node.connected(V0).await;
    (endpoint, connection)
}

/// A stream with tag and bytes, as a peer would send them.
async fn stream(connection: &Connection, bytes: &[u8]) -> quinn::SendStream {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

fn framed(tag: u8, message: &quorate_types::Message) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&frame::encode(message, 1 << 20).unwrap());
    bytes
}

#[tokio::test]
async fn each_bad_frame_closes_the_connection() {
    let limit = u32::try_from(limits().frame_bytes.consensus).unwrap();
    let over = [vec![0], (limit + 1).to_le_bytes().to_vec()].concat();
    let huge = [vec![2], u32::MAX.to_le_bytes().to_vec()].concat();
    let garbage = [vec![0, 8, 0, 0, 0], vec![0xff; 8]].concat();
    let mut trailing = framed(0, &vote(1));
    trailing[1] += 1;
    trailing.push(0);
    for (what, bytes, reason) in [
        ("one byte too long", over, Reason::OversizeFrame),
        ("four gigabytes", huge, Reason::OversizeFrame),
        ("garbage", garbage, Reason::MalformedFrame),
        ("nothing in it", vec![0, 0, 0, 0, 0], Reason::MalformedFrame),
        ("trailing byte", trailing, Reason::MalformedFrame),
        (
            "batch among votes",
            framed(0, &batch(1, 10)),
            Reason::WrongClass,
        ),
        (
            "vote among batches",
            framed(1, &vote(1)),
            Reason::WrongClass,
        ),
        ("no such class", framed(3, &vote(1)), Reason::BadStream),
    ] {
        let mut node = victim(limits());
        let (_endpoint, connection) = member(&mut node).await;
        let _stream = stream(&connection, &bytes).await;
        let told = node.disconnected(V0).await;
        assert_eq!(told, (reason, By::Us), "{what}");
        let error = within("the close", connection.closed()).await;
        assert_eq!(code(&error), Some(reason.code()), "{what}");
    }
}

#[tokio::test]
async fn streams_keep_their_order() {
    // Two of one class.
    let mut node = victim(limits());
    let (_endpoint, connection) = member(&mut node).await;
    let _first = stream(&connection, &framed(0, &vote(1))).await;
    let _second = stream(&connection, &framed(0, &vote(2))).await;
    assert_eq!(node.disconnected(V0).await, (Reason::BadStream, By::Us));

    // One that ends, in the middle of a frame or between two.
    for cut in [3, 20, usize::MAX] {
        let mut node = victim(limits());
        let (_endpoint, connection) = member(&mut node).await;
        let bytes = framed(0, &vote(1));
        let mut stream = stream(&connection, &bytes[..cut.min(bytes.len())]).await;
        stream.finish().unwrap();
        assert_eq!(node.disconnected(V0).await, (Reason::BadStream, By::Us));
    }

    // One that is reset, and one of ours that is refused.
    let mut node = victim(limits());
    let (_endpoint, connection) = member(&mut node).await;
    let mut reset = stream(&connection, &framed(0, &vote(1))[..9]).await;
    reset.reset(quinn::VarInt::from_u32(1)).unwrap();
    assert_eq!(node.disconnected(V0).await, (Reason::BadStream, By::Us));
}

/// Claims the longest frame there may be and sends a little of it: costs the little.
#[tokio::test]
async fn a_claimed_length_allocates_nothing() {
    let mut node = victim(limits());
    let (_endpoint, connection) = member(&mut node).await;
    let length = u32::try_from(limits().frame_bytes.sync).unwrap();
    let claim = [vec![2], length.to_le_bytes().to_vec(), vec![0; 100]].concat();
    let _stalled = stream(&connection, &claim).await;
    // The other classes go on.
    let _votes = stream(&connection, &framed(0, &vote(1))).await;
    node.find(|event| matches!(event, NetEvent::Message { .. }).then_some(()))
        .await;
}

/// The same key again, elsewhere: the newer one stays.
#[tokio::test]
async fn a_twin_replaces_the_first() {
    let mut node = victim(limits());
    let (_e1, first) = member(&mut node).await;
    let (_e2, second) = dial(&node, V0).await;
    let (mut send, _receive) = second.open_bi().await.unwrap();
    let bytes = frame::encode(&hello(), 1024).unwrap();
    send.write_all(&bytes).await.unwrap();
    assert_eq!(node.disconnected(V0).await, (Reason::Replaced, By::Us));
    node.connected(V0).await;
    let error = within("the close", first.closed()).await;
    assert_eq!(code(&error), Some(Reason::Replaced.code()));
    assert!(second.close_reason().is_none());
}
