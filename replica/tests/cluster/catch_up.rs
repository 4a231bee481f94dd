//! Who was away asks for blocks and for stretches of the ledger, and takes none that it has no use for.

use quorate_replica::{Input, Setup, Target};
use quorate_storage::ledger;
use quorate_types::message::{BatchRequest, BlockResponse, MAX_BLOCKS};
use quorate_types::{
    Block, Epoch, Header, Height, Justify, Message, Round, Signers, ValidatorIndex,
};

use crate::cluster::{Cluster, STEP};

/// However far behind it starts, it asks, catches up with a tip that goes on moving, and votes. On the chain's own time:
/// what the machine needs for as many blocks comes on top.
#[test]
fn who_was_away_votes_soon_after_its_start() {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    cluster.fill(1, 400, 100);
    let behind = cluster.status(0).height.0 - cluster.status(3).height.0;
    assert!(behind > 300, "{behind} blocks behind");
    cluster.restart(3);
    let start = cluster.now;
    let mut sequence = 401;
    while cluster.voted[3] < start {
        let waited = (cluster.now - start) / STEP;
        assert!(waited < 1_000, "no vote in a second");
        cluster.fill(sequence, 1, 100);
        sequence += 1;
    }
    assert!(cluster.status(0).height.0 <= cluster.status(3).height.0 + 4);
}

/// A peer may answer with more than was asked for: what lies below the tip is passed over, not executed again.
#[test]
fn a_stretch_is_delivered_from_the_tip_on() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 5, 100);
    cluster.run(1_000);
    cluster.crash(3);
    cluster.fill(6, 60, 100);
    cluster.run(1_000);
    cluster.restart(3);
    // The others answer nothing but what is made for it here.
    let (server, from) = loop {
        cluster.now += STEP;
        let now = cluster.time();
        for other in 0..3 {
            let node = &mut cluster.nodes[other];
            let inputs = std::mem::take(&mut node.inbox);
            let output = node.replica.turn(&node.store, now, inputs).unwrap();
            cluster.release(other, output);
        }
        let node = &mut cluster.nodes[3];
        let inputs = std::mem::take(&mut node.inbox);
        let output = node.replica.turn(&node.store, now, inputs).unwrap();
        let signed = output.persist(&mut node.store).unwrap().sign(&node.key);
        node.inbox.splice(0..0, signed.own);
        let asked = signed
            .sends
            .iter()
            .find_map(|(to, message)| match (to, message) {
                (Target::One(peer), Message::LedgerRequest(request)) => Some((*peer, request.from)),
                _ => None,
            });
        if let Some(asked) = asked {
            break asked;
        }
    };
    let before = cluster.status(3).height;
    assert_eq!(from, before.next());
    let below = Height(from.0 - 2);
    let store = &cluster.nodes[usize::from(server.0)].store;
    let answer = ledger::stretch(store, below, 1 << 20).unwrap();
    let end = answer.finality.as_ref().unwrap().cc.height;
    assert!(end > before);
    let message = cluster.verify(Message::LedgerResponse(Box::new(answer)));
    let node = &mut cluster.nodes[3];
    node.inbox = vec![Input::Message {
        from: server,
        message,
    }];
    cluster.run(1);
    assert!(cluster.status(3).height >= end);
    cluster.run(2_000);
    assert!(cluster.agreed());
}

/// Blocks linked by hash, that nobody has ever voted for, high above everything. Whoever was sent a full answer of them
/// took their height for one to catch up to, and never ceased asking everybody for a ledger that nobody has.
#[test]
fn blocks_that_were_not_asked_for_set_no_target() {
    let mut cluster = Cluster::new(4);
    cluster.run(100);
    let setup = Setup::new(&cluster.genesis, None).unwrap();
    let mut parent = setup.genesis_block();
    let mut blocks = Vec::new();
    for place in 0..u64::try_from(MAX_BLOCKS).unwrap() {
        let header = Header {
            round: Round::new(Epoch(0), place + 1),
            height: Height(1 << 40 | place),
            parent: parent.id(),
            justify: Justify {
                round: parent.header.round,
                block: parent.id(),
                signers: Signers::NONE,
            },
            ..parent.header.clone()
        };
        parent = Block {
            header,
            batches: Vec::new(),
        };
        blocks.insert(0, parent.clone());
    }
    let message = cluster.verify(Message::BlockResponse(BlockResponse { blocks }));
    cluster.nodes[0].inbox.push(Input::Message {
        from: ValidatorIndex(1),
        message,
    });
    cluster.run(1);
    let status = cluster.status(0);
    assert_eq!(status.target, status.height);
}

/// With peers that keep everything and have no snapshot, blocks it is, however far behind.
#[test]
fn without_snapshots_blocks_are_fetched() {
    let mut cluster = Cluster::new(4);
    cluster.gap = 3;
    cluster.crash(3);
    cluster.fill(1, 30, 100);
    cluster.restart(3);
    cluster.run(5_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 0);
    // With one that more offer than may be faulty, it is fetched as soon as the gap is wide enough.
    cluster.crash(3);
    cluster.fill(31, 30, 100);
    cluster.snapshot(0, &[1, 2]);
    cluster.fill(61, 5, 100);
    cluster.restart(3);
    cluster.run(5_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
}

/// Nobody's commit votes of a few rounds arrive: their blocks become final together, by the next one's, and are more than one
/// message carries. Who was away asked for them in circles.
#[test]
fn blocks_that_no_answer_can_carry_together_are_fetched_each_by_itself() {
    const RUN: std::ops::Range<u64> = 20..25;
    let mut cluster = Cluster::new(4);
    cluster.answer_bytes = 150_000;
    for node in 0..4 {
        cluster.crash(node);
        cluster.restart(node);
    }
    cluster.on_the_way = |message| {
        if matches!(message, Message::CommitVote(vote) if RUN.contains(&vote.round.number)) {
            let batches = Vec::new();
            *message = Message::BatchRequest(BatchRequest { batches });
        }
    };
    cluster.run(1_000);
    cluster.crash(3);
    // Many are under way at once, so that blocks follow each other without waiting for those before.
    let mut last = 0;
    while cluster.status(0).consensus.round.number < RUN.end {
        for _ in 0..4 {
            last += 1;
            let put = cluster.put_value(last, vec![7; 60_000]);
            cluster.submit(0, last, put);
        }
        cluster.run(3);
    }
    // More follow than are asked for at once by their names.
    cluster.run(1_000);
    cluster.fill(last + 1, 300, 10);
    let store = &cluster.nodes[0].store;
    let next = cluster.status(3).height.next();
    let run = (next.0..).find_map(|height| {
        let stretch = ledger::stretch(store, Height(height), 0).unwrap();
        (stretch.blocks.len() > 1).then_some(Height(height))
    });
    let carried = ledger::stretch_within(store, run.unwrap(), 0, 150_000).unwrap();
    assert_eq!(carried.blocks.len(), 0, "the run is too long for a message");
    cluster.restart(3);
    cluster.run(20_000);
    assert!(cluster.agreed(), "{:?}", cluster.status(3));
}
