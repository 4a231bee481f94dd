//! Networks on loopback, and a raw QUIC end that misbehaves. No sleeps: tests wait for events, and `within` only keeps a
//! failure from hanging.

mod connections;
mod exchange;
mod misbehaviour;

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use quorate_crypto::{Domain, SecretKey, Signature, hash};
use quorate_types::message::{BatchRequest, BatchResponse};
use quorate_types::{
    Batch, BatchId, BlockId, BlockTime, ChainId, Epoch, FORMAT_VERSION, Message, Parameters, Round,
    Transaction, ValidatorIndex, Vote,
};
use quorate_types::{Blob, transaction::TransactionBody};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{By, Limits, NetConfig, NetEvent, Network, Peer, Reason};

pub(super) const V0: ValidatorIndex = ValidatorIndex(0);
pub(super) const V1: ValidatorIndex = ValidatorIndex(1);

/// Fails a test that would hang.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub(super) fn key(index: ValidatorIndex) -> SecretKey {
    let seed = u8::try_from(index.0).unwrap() + 1;
    SecretKey::from_seed(&[seed; 32])
}

pub(super) fn chain(name: &str) -> ChainId {
    ChainId(hash(Domain::Genesis, &[name.as_bytes()]))
}

/// The defaults, but quick where a test has to wait for it.
pub(super) fn limits() -> Limits {
    Limits {
        keep_alive: Duration::from_millis(50),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Limits::new(&Parameters::default())
    }
}

pub(super) fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub(super) fn peer(index: ValidatorIndex, address: SocketAddr) -> Peer {
    Peer {
        index,
        network_key: key(index).public(),
        address: address.to_string(),
    }
}

/// What the validator `me` on `socket` starts with.
pub(super) fn config(me: ValidatorIndex, socket: UdpSocket, peers: Vec<Peer>) -> NetConfig {
    NetConfig {
        socket,
        key: key(me),
        me,
        chain: chain("here"),
        peers,
        software: String::from("test 1"),
        limits: limits(),
    }
}

pub(super) struct Node {
    pub(super) network: Network,
    pub(super) events: UnboundedReceiver<NetEvent>,
    /// Keeps the port from going to another test when the network is gone.
    _port: UdpSocket,
}

impl Node {
    pub(super) fn start(config: NetConfig) -> Node {
        let (sender, events) = unbounded_channel();
        let port = config.socket.try_clone().unwrap();
        let network = Network::start(config, move |event| {
            // A test that has seen enough no longer listens.
            let _ = sender.send(event);
        })
        .unwrap();
        Node {
            network,
            events,
            _port: port,
        }
    }

    pub(super) async fn next(&mut self) -> NetEvent {
        let event = within("an event", self.events.recv()).await;
        event.expect("the network holds the sender")
    }

    /// The next event that `choose` takes; those before it are dropped.
    pub(super) async fn find<T>(&mut self, choose: impl Fn(NetEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = choose(self.next().await) {
                return found;
            }
        }
    }

    pub(super) async fn connected(&mut self, peer: ValidatorIndex) {
        self.find(|event| matches!(event, NetEvent::Connected(v) if v == peer).then_some(()))
            .await;
    }

    pub(super) async fn disconnected(&mut self, who: ValidatorIndex) -> (Reason, By) {
        self.find(|event| match event {
            NetEvent::Disconnected { peer, reason, by } if peer == who => Some((reason, by)),
            _ => None,
        })
        .await
    }

    pub(super) async fn rejected(&mut self) -> (Option<ValidatorIndex>, Reason, By) {
        self.find(|event| match event {
            NetEvent::Rejected {
                from, reason, by, ..
            } => Some((from, reason, by)),
            _ => None,
        })
        .await
    }
}

/// `n` networks that know each other.
pub(super) fn cluster(n: u16, limits: &Limits) -> Vec<Node> {
    let indices = || (0..n).map(ValidatorIndex);
    let (sockets, addresses): (Vec<_>, Vec<_>) = indices().map(|_| socket()).unzip();
    let all: Vec<Peer> = indices().zip(addresses).map(|(i, a)| peer(i, a)).collect();
    let node = |(me, socket)| {
        let peers = all.iter().filter(|p| p.index != me).cloned().collect();
        Node::start(NetConfig {
            limits: limits.clone(),
            ..config(me, socket, peers)
        })
    };
    indices().zip(sockets).map(node).collect()
}

/// Two networks that are connected; the first dialed.
pub(super) async fn pair(limits: &Limits) -> (Node, Node) {
    let mut nodes = cluster(2, limits);
    let (mut b, mut a) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    a.connected(V1).await;
    b.connected(V0).await;
    (a, b)
}

pub(super) fn vote(number: u64) -> Message {
    Message::Vote(Vote {
        round: Round::new(Epoch::default(), number),
        block: BlockId::default(),
        voter: V0,
        signature: Signature::from_bytes([0; 64]),
        held: Vec::new(),
    })
}

/// A batch of about `bytes` bytes with a signature that is none.
pub(super) fn raw_batch(sequence: u64, bytes: usize) -> Batch {
    let body = TransactionBody {
        version: FORMAT_VERSION,
        chain: chain("here"),
        client: key(V0).public(),
        sequence,
        valid_until: BlockTime(1),
        commands: vec![Blob(vec![7; bytes])],
    };
    Batch {
        version: FORMAT_VERSION,
        epoch: Epoch::default(),
        origin: V0,
        sequence,
        expiry: BlockTime(1),
        transactions: vec![Transaction {
            body,
            signature: Signature::from_bytes([0; 64]),
        }],
    }
}

pub(super) fn batch(sequence: u64, bytes: usize) -> Message {
    Message::Batch(Box::new(raw_batch(sequence, bytes)))
}

/// A sync message of about `bytes` bytes.
pub(super) fn bulk(bytes: usize) -> Message {
    Message::BatchResponse(BatchResponse {
        batches: vec![raw_batch(0, bytes)],
        missing: Vec::new(),
    })
}

pub(super) fn request() -> Message {
    Message::BatchRequest(BatchRequest {
        batches: vec![BatchId::default()],
    })
}
