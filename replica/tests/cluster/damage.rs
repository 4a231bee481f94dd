//! What cannot be read any more is not handed out, and is mended from the others.

use quorate_replica::{Input, Notice, Target};
use quorate_storage::{Table, ledger};
use quorate_types::message::{BatchRequest, BlockRequest, LedgerRequest};
use quorate_types::{Height, Message, ValidatorIndex};

use crate::cluster::Cluster;

/// What a peer asks for cannot be read: it is not served, it is fetched from the others, and nobody ends. One validator
/// could end another before by asking for what rotted on its disk.
#[test]
fn damaged_entries_are_refused_to_peers_and_mended_by_others() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 5, 100);
    cluster.run(1_000);
    let store = &cluster.nodes[0].store;
    let stored = |height| ledger::block_by_height(store, Height(height)).unwrap();
    let height = (1..).find(|h| stored(*h).is_some_and(|block| !block.batches.is_empty()));
    let block = stored(height.unwrap()).unwrap();
    let batch = block.batches[0];
    let entries = [
        (Table::Blocks, *block.id().as_bytes()),
        (Table::Batches, *batch.as_bytes()),
    ];
    // After a restart the pool does not hold the batch any more.
    cluster.crash(0);
    cluster.restart(0);
    cluster.run(100);
    // A bit flips, where the database notices nothing.
    for (table, key) in entries {
        assert!(cluster.nodes[0].store.rot(table, &key, 40));
    }
    let questions = [
        Message::BlockRequest(BlockRequest {
            block: block.id(),
            count: 1,
            above: Height(0),
        }),
        Message::BatchRequest(BatchRequest {
            batches: vec![batch],
        }),
        Message::LedgerRequest(LedgerRequest {
            from: block.header.height,
            max_bytes: 1 << 20,
        }),
    ];
    for question in &questions {
        let message = cluster.verify(question.clone());
        let from = ValidatorIndex(3);
        let inputs = vec![Input::Message { from, message }];
        let now = cluster.time();
        let node = &mut cluster.nodes[0];
        let output = node.replica.turn(&node.store, now, inputs).unwrap();
        let signed = output.persist(&mut node.store).unwrap().sign(&node.key);
        let to_asker = signed
            .sends
            .iter()
            .filter(|(to, _)| *to == Target::One(from));
        for (_, answer) in to_asker {
            match answer {
                Message::BlockResponse(answer) => assert_eq!(answer.blocks, []),
                Message::BatchResponse(answer) => assert_eq!(answer.missing, [batch]),
                Message::LedgerResponse(answer) => assert_eq!(answer.blocks, []),
                _ => {}
            }
        }
        let told = |notice: &Notice| matches!(notice, Notice::Damaged(_));
        let ledger = matches!(question, Message::LedgerRequest(_));
        assert_eq!(signed.notices.iter().any(told), !ledger, "each entry once");
    }
    cluster.run(1_000);
    let store = &cluster.nodes[0].store;
    assert_eq!(ledger::block_by_id(store, block.id()).unwrap(), Some(block));
    assert!(ledger::batch(store, batch).unwrap().is_some());
    cluster.fill(6, 2, 100);
    cluster.run(1_000);
    assert!(cluster.agreed());
}

/// A stretch of the ledger ends before what is damaged, at a block that is proved final.
#[test]
fn a_stretch_ends_before_the_damage() {
    let mut cluster = Cluster::new(1);
    cluster.fill(1, 5, 100);
    let store = &mut cluster.nodes[0].store;
    let whole = ledger::stretch(store, Height(1), 1 << 20).unwrap();
    let damaged = whole.blocks[2].block.id();
    assert!(store.rot(Table::Blocks, damaged.as_bytes(), 40));
    let part = ledger::stretch(store, Height(1), 1 << 20).unwrap();
    assert_eq!(part.blocks, whole.blocks[..2]);
    assert_eq!(part.finality.map(|f| f.cc.height), Some(Height(2)));
    assert!(ledger::stretch(store, Height(3), 1 << 20).is_err());
}
