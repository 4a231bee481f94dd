//! Messages get where they should, in the order of their urgency, and never make anybody wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use quorate_consensus::Target;
use quorate_types::message::Class;
use quorate_types::{Message, ValidatorIndex};

use super::{Node, V0, V1, batch, bulk, cluster, limits, pair, request, vote, within};
use crate::net::{By, Credit, Limits, NetEvent, PerClass, Reason};

/// The next message, with what keeps its room occupied.
async fn message(node: &mut Node) -> (ValidatorIndex, Message, Credit) {
    node.find(|event| match event {
        NetEvent::Message {
            from,
            message,
            credit,
            ..
        } => Some((from, message, credit)),
        _ => None,
    })
    .await
}

async fn exchange_every_class(n: u16) {
    let mut nodes = cluster(n, &limits());
    let others = usize::from(n) - 1;
    for node in &mut nodes {
        for _ in 0..others {
            node.find(|event| matches!(event, NetEvent::Connected(_)).then_some(()))
                .await;
        }
    }
    // One that is decoded off the runtime is among them.
    let sent = [vote(7), batch(3, 1000), request(), bulk(600_000)];
    // Connected on one side is not yet connected on the other; all are, by now.
    for node in &nodes {
        sent.iter().for_each(|m| node.network.send(Target::All, m));
    }
    for node in &mut nodes {
        let mut received: BTreeMap<ValidatorIndex, Vec<Message>> = BTreeMap::new();
        for _ in 0..others * sent.len() {
            let (from, message, _) = message(node).await;
            received.entry(from).or_default().push(message);
        }
        assert_eq!(received.len(), others);
        for messages in received.values() {
            assert!(sent.iter().all(|message| messages.contains(message)));
        }
        let stats = node.network.stats();
        assert_eq!(stats.len(), others);
        for peer in stats {
            assert!(peer.connected && peer.rtt.is_some());
            assert_eq!(peer.software.as_deref(), Some("test 1"));
            assert_eq!(peer.dropped, PerClass::default());
            assert!(peer.received_bytes.batches > 1000 && peer.received_bytes.sync > 600_000);
        }
    }
    for node in nodes {
        node.network.shutdown().await;
    }
}

#[tokio::test]
async fn two_exchange_every_class() {
    exchange_every_class(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_exchange_every_class() {
    exchange_every_class(4).await;
}

#[tokio::test]
async fn one_is_sent_to_one() {
    let mut nodes = cluster(3, &limits());
    for (me, node) in (0..).zip(&mut nodes) {
        for other in (0..3).map(ValidatorIndex).filter(|v| v.0 != me) {
            // In either order.
            while !node
                .network
                .stats()
                .iter()
                .any(|p| p.index == other && p.connected)
            {
                node.next().await;
            }
        }
    }
    nodes[0].network.send(Target::One(V1), &vote(1));
    nodes[0]
        .network
        .send(Target::One(ValidatorIndex(99)), &vote(2));
    nodes[0].network.send(Target::All, &vote(3));
    assert_eq!(message(&mut nodes[1]).await.1, vote(1));
    assert_eq!(message(&mut nodes[1]).await.1, vote(3));
    assert_eq!(message(&mut nodes[2]).await.1, vote(3));
}

/// The receiver has taken one answer and holds it: its sync stream stands still, with megabytes behind. A vote that is
/// sent after all of them arrives, and so does a batch; then the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_delays_no_vote() {
    const ANSWER: usize = 4 * 1024 * 1024;
    let limits = Limits {
        frame_bytes: PerClass {
            sync: ANSWER + 4096,
            ..limits().frame_bytes
        },
        inbound_bytes: PerClass {
            sync: 0,
            ..limits().inbound_bytes
        },
        ..limits()
    };
    let (a, mut b) = pair(&limits).await;
    for _ in 0..8 {
        a.network.send(Target::All, &bulk(ANSWER));
    }
    a.network.send(Target::All, &vote(1));
    a.network.send(Target::All, &batch(1, 100_000));
    // In whichever order the three streams come, everything is there but the bulk.
    let mut held = None;
    let mut urgent = BTreeSet::new();
    while urgent.len() < 2 || held.is_none() {
        let (_, message, credit) = message(&mut b).await;
        match message.class() {
            Class::Sync => assert!(held.replace(credit).is_none(), "room for one only"),
            class => assert!(urgent.insert(class)),
        }
    }
    let stats = b.network.stats();
    assert!(
        stats[0].received_bytes.sync < 8 * 1024 * 1024,
        "the bulk is not through"
    );
    drop(held);
    for _ in 1..8 {
        assert_eq!(message(&mut b).await.1.class(), Class::Sync);
    }
}

/// A receiver that takes nothing: the sender drops what does not fit, counts it, and is not held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_drops_and_never_blocks() {
    let limits = Limits {
        queue_bytes: PerClass::from_fn(|_| 1_000_000),
        inbound_bytes: PerClass::from_fn(|_| 0),
        ..limits()
    };
    let (a, mut b) = pair(&limits).await;
    let mut kept = Vec::new();
    a.network.send(Target::All, &batch(0, 400_000));
    kept.push(message(&mut b).await);
    for sequence in 1..100 {
        a.network.send(Target::All, &batch(sequence, 400_000));
    }
    let stats = a.network.stats();
    let dropped = stats[0].dropped.batches;
    // Not dropped: one received, two in the queue, and what the writer got into QUIC's windows meanwhile.
    assert!((50..=97).contains(&dropped), "{dropped}");
    assert!(stats[0].queued_bytes.batches <= 1_000_000);
    assert_eq!(stats[0].dropped.consensus, 0);
    a.network.send(Target::All, &vote(5));
    kept.push(message(&mut b).await);
    assert_eq!(kept[1].1, vote(5), "votes still go through");
    // Given room again, all that was not dropped arrives, in order.
    kept.clear();
    let mut last = 0;
    for _ in 1..(100 - dropped) {
        let (_, Message::Batch(batch), _credit) = message(&mut b).await else {
            panic!("only batches wait");
        };
        assert!(batch.sequence > last);
        last = batch.sequence;
    }
}

/// Loopback carries more than a datagram may have, so both ends find nearly that.
#[tokio::test]
async fn datagrams_grow_to_what_the_path_carries() {
    let (mut a, mut b) = pair(&limits()).await;
    let bytes = |node: &Node| node.network.stats()[0].datagram_bytes.unwrap();
    let found = 6_400..=6_500;
    let grow = async {
        while ![&a, &b].map(bytes).iter().all(|size| found.contains(size)) {
            a.network.send(Target::All, &vote(1));
            assert_eq!(message(&mut b).await.1, vote(1));
            b.network.send(Target::All, &vote(2));
            assert_eq!(message(&mut a).await.1, vote(2));
        }
    };
    within("longer datagrams", grow).await;
}

#[tokio::test]
async fn what_is_too_long_is_not_sent() {
    let (a, mut b) = pair(&limits()).await;
    a.network.send(Target::All, &batch(1, 2_000_000));
    a.network.send(Target::All, &batch(2, 10));
    assert_eq!(message(&mut b).await.1, batch(2, 10));
    assert_eq!(a.network.stats()[0].dropped.batches, 1);
}

#[tokio::test]
async fn who_is_away_gets_nothing() {
    let mut nodes = cluster(2, &limits());
    let b = nodes.pop().unwrap();
    let mut a = nodes.pop().unwrap();
    a.connected(V1).await;
    b.network.shutdown().await;
    a.disconnected(V1).await;
    a.network.send(Target::All, &vote(1));
    let stats = a.network.stats();
    assert_eq!((stats[0].unsent, stats[0].connected), (1, false));
}

/// With a connected peer and one that does not exist.
#[tokio::test]
async fn shutdown_is_prompt_and_told() {
    let mut nodes = cluster(3, &limits());
    let away = nodes.pop().unwrap();
    drop(away.network);
    let (mut b, mut a) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    a.connected(V1).await;
    b.connected(V0).await;
    let begin = Instant::now();
    a.network.shutdown().await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    let (reason, by) = within("the news", b.disconnected(V0)).await;
    assert_eq!((reason, by), (Reason::Shutdown, By::Peer));
    let mut own = Vec::new();
    while let Ok(event) = a.events.try_recv() {
        own.push(event);
    }
    let told = matches!(
        own[..],
        [NetEvent::Disconnected {
            peer: V1,
            reason: Reason::Shutdown,
            by: By::Us
        }]
    );
    assert!(told, "its own end is told too: {own:?}");
}
