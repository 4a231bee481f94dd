//! Who misses what nobody keeps any more takes the state from those who have a snapshot of it, however some of them lie.

use quorate_replica::{Input, Reply, Setup};
use quorate_storage::{Order, Table, View, ledger};
use quorate_types::{Batch, Height, Manifest, Message, Outcome, ValidatorIndex};

use crate::cluster::{Cluster, executed, genesis};
use crate::shelf::Mischief;

/// One of four with an empty store, the others without the blocks that it misses: 60 values of 60 KB, four chunks.
fn newcomer() -> (Cluster, Height) {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    cluster.fill(1, 60, 60_000);
    let height = cluster.snapshot(0, &[0, 1, 2]);
    cluster.fill(61, 5, 1_000);
    for node in 0..3 {
        cluster.truncate(node, height);
    }
    (cluster, height)
}

#[test]
fn who_misses_what_nobody_keeps_joins_by_snapshot() {
    let (mut cluster, height) = newcomer();
    cluster.restart(3);
    cluster.run(3_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
    assert!(
        cluster.chunks[..3].iter().all(|chunks| *chunks > 0),
        "{:?}",
        cluster.chunks
    );
    // It takes part: with it, and without another, commits go on.
    cluster.crash(0);
    let put = cluster.put(100);
    cluster.submit(3, 100, put);
    assert!(executed(&cluster.answer(100, 5_000).1));
    // What was executed before the snapshot is a duplicate still, although its receipt is nowhere.
    let put = cluster.put_value(3, vec![7; 60_000]);
    cluster.submit(3, 101, put);
    let Reply::Executed(receipt) = cluster.answer(101, 5_000).1 else {
        panic!("it is known");
    };
    assert!(matches!(
        receipt.outcome,
        Outcome::Duplicate { .. } | Outcome::Rejected(_)
    ));
    assert_eq!(
        ledger::first(&cluster.nodes[3].store).unwrap(),
        height.next()
    );
}

/// What it had executed and not settled cannot be worked out again once another state takes the place of its own.
#[test]
fn who_dies_before_it_starts_from_a_snapshot_keeps_its_places() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 3, 100);
    cluster.run(100);
    let places = |cluster: &Cluster| {
        let store = &cluster.nodes[3].store;
        let all = store.scan(Table::Places, b"", None, usize::MAX, Order::Ascending);
        all.unwrap()
    };
    let before = places(&cluster);
    assert_eq!(before.len(), 3);
    cluster.cut(3);
    cluster.fill(4, 60, 60_000);
    let height = cluster.snapshot(0, &[0, 1, 2]);
    cluster.fill(64, 5, 1_000);
    for node in 0..3 {
        cluster.truncate(node, height);
    }
    cluster.dies_when_ready = true;
    cluster.mend(3);
    cluster.run(3_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
    let after = places(&cluster);
    assert!(before.iter().all(|place| after.contains(place)));
}

#[test]
fn a_peer_that_lies_and_one_that_stalls_are_left() {
    let (mut cluster, _) = newcomer();
    cluster.nodes[1].mischief = Mischief::Flips(1);
    cluster.nodes[2].mischief = Mischief::Stalls;
    cluster.restart(3);
    cluster.run(10_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
}

/// One of four is behind, and another has only a snapshot, which it hands out as slowly as it may.
fn one_that_drips() -> Cluster {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    cluster.fill(1, 60, 60_000);
    let height = cluster.snapshot(0, &[0]);
    cluster.truncate(0, height);
    cluster.nodes[0].mischief = Mischief::Drips;
    cluster
}

/// One says that the blocks are gone, and hands out its snapshot as slowly as it may. The others have the blocks; they were
/// not asked for them any more.
#[test]
fn a_peer_that_says_blocks_are_gone_keeps_nobody_from_those_who_have_them() {
    let mut cluster = one_that_drips();
    cluster.restart(3);
    cluster.run(10_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 0);
}

/// More say so than may be faulty, or all who are there: then it is so, and a snapshot that only one has is fetched while
/// blocks are still asked for.
#[test]
fn a_snapshot_that_one_offers_is_fetched_beside_blocks_that_come_first() {
    let mut cluster = one_that_drips();
    cluster.cut(1);
    cluster.cut(2);
    cluster.restart(3);
    while cluster.status(3).transfer.is_none() {
        cluster.step();
    }
    cluster.mend(1);
    cluster.mend(2);
    cluster.run(10_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 0);
    assert_eq!(cluster.status(3).transfer, None);
}

/// Two have snapshots, of different heights, so that none is had by more than the other; the newer is never handed out.
#[test]
fn who_offers_what_it_does_not_hand_out_is_not_chosen_for_ever() {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    cluster.fill(1, 20, 60_000);
    let height = cluster.snapshot(0, &[1]);
    cluster.fill(21, 5, 1_000);
    assert!(cluster.snapshot(0, &[2]) > height);
    for node in 0..3 {
        cluster.truncate(node, height);
    }
    cluster.nodes[2].mischief = Mischief::Stalls;
    cluster.restart(3);
    cluster.run(60_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
    assert!(cluster.chunks[2] > 0, "it was tried first");
}

/// Peers that make snapshots faster than this one fetched them took each off the shelf while it was being fetched. It then
/// waited half a minute for what nobody had, and while it did the next one went, too.
#[test]
fn a_snapshot_that_nobody_has_any_more_is_given_up_soon() {
    let (mut cluster, height) = newcomer();
    for node in 0..3 {
        cluster.nodes[node].mischief = Mischief::Empty;
    }
    cluster.restart(3);
    while cluster.status(3).transfer.is_none() {
        cluster.step();
    }
    cluster.fill(66, 20, 1_000);
    assert!(cluster.snapshot(0, &[0, 1, 2]) > height);
    assert!(cluster.status(3).transfer.is_some(), "of the one before");
    for node in 0..3 {
        cluster.nodes[node].mischief = Mischief::None;
    }
    cluster.run(12_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
}

/// Whatever is wrong with a chunk, it is refused, its sender is not asked again, and the others have it.
#[test]
fn a_wrong_chunk_marks_its_sender_and_comes_from_another() {
    let flips = [0, 1, 50, 99, 100].map(Mischief::Flips);
    let others = [Mischief::Cuts, Mischief::Swaps, Mischief::Old];
    for mischief in flips.into_iter().chain(others) {
        let (mut cluster, _) = newcomer();
        if mischief == Mischief::Old {
            // A little later and with as many chunks.
            cluster.fill(66, 20, 1_000);
            cluster.snapshot(0, &[0, 1, 2]);
        }
        cluster.nodes[1].mischief = mischief;
        cluster.restart(3);
        cluster.run(10_000);
        assert!(cluster.agreed(), "{mischief:?}");
        assert_eq!(cluster.installed, 1, "{mischief:?}");
        // What was under way already is refused, too, but nothing further is asked for.
        let refused = cluster.refused.len();
        assert!(
            (1..=4).contains(&refused),
            "{mischief:?}: {refused} refused"
        );
        assert!(cluster.refused.iter().all(|from| from.0 == 1));
        assert_eq!(cluster.chunks[1], refused, "{mischief:?}");
    }
}

/// Whatever part of a transfer is on disk when the power goes, it is gone on with.
#[test]
fn a_transfer_survives_power_cuts() {
    let (mut cluster, _) = newcomer();
    cluster.restart(3);
    for cut in 0..40 {
        cluster.run(1);
        if cut % 3 == 0 {
            let unsynced = cluster.nodes[3].store.unsynced();
            cluster.crash(3);
            cluster.nodes[3].store.crash(unsynced.saturating_sub(1));
            cluster.restart(3);
        }
    }
    cluster.run(3_000);
    assert!(cluster.agreed());
    assert!(cluster.installed >= 1);
}

#[test]
fn a_manifest_spans_what_consensus_starts_from() {
    let setup = Setup::new(&genesis(4), None).unwrap();
    let headers = quorate_consensus::committed_headers(&setup.validators);
    assert_eq!(Manifest::span(&setup.validators), headers);
}

/// The pool forgets what was committed long ago, and takes it when its origin streams it again. It was written then, and went
/// with the block that had ordered it: a later block that ordered it again was voted for without it on the disk (P1).
#[test]
fn a_batch_that_is_held_again_does_not_go_with_its_block() {
    let (mut cluster, node) = (Cluster::new(4), 1);
    cluster.fill(1, 1, 10);
    let store = &cluster.nodes[node].store;
    let stored = |height| ledger::block_by_height(store, Height(height)).unwrap();
    let ordered = |height: &u64| stored(*height).is_some_and(|block| !block.batches.is_empty());
    let height = (1..).find(ordered).unwrap();
    let id = stored(height).unwrap().batches[0];
    let batch = ledger::batch(store, id).unwrap().unwrap();
    cluster.fill(2, 30, 10);
    // What a start remembers are the batches of the latest blocks.
    cluster.crash(node);
    cluster.restart(node);
    cluster.run(1_000);
    let origin = batch.origin;
    let message = cluster.verify(Message::Batch(Box::new(Batch::clone(&batch))));
    let again = Input::Message {
        from: origin,
        message,
    };
    // A leader would order it at once, and its block would keep it.
    while cluster.status(node).consensus.leader == Some(ValidatorIndex(1)) {
        cluster.step();
    }
    cluster.nodes[node].inbox.push(again);
    cluster.step();
    let beside = cluster.nodes[node].store.clone();
    cluster.truncate(node, Height(height + 1));
    let store = &cluster.nodes[node].store;
    assert!(
        ledger::block_by_height(store, Height(height))
            .unwrap()
            .is_none()
    );
    assert!(ledger::has_batch(store, id).unwrap());
    assert_eq!(ledger::ordered_at(store, id).unwrap(), None);
    assert_eq!(
        ledger::ordered_at(&beside, id).unwrap(),
        Some(Height(height))
    );
    // This validator orders it itself when it leads, since it holds it: what comes of that outlives a crash.
    cluster.run(30_000);
    let at = ledger::ordered_at(&cluster.nodes[node].store, id).unwrap();
    assert!(at.is_some_and(|at| at > Height(height)), "{at:?}");
    cluster.crash(node);
    cluster.restart(node);
    cluster.run(1_000);
    assert!(cluster.agreed());
}
