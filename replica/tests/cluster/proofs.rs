//! Keys with a proof: asked for by many at once, and by those who then cannot be answered.

use std::cell::Cell;

use quorate_execution::kv::state_key;
use quorate_replica::{Input, Reply, Setup, SubmitRefusal, Ticket};
use quorate_storage::store::Entry;
use quorate_storage::{MemStore, Order, StoreError, Table, View};

use crate::cluster::Cluster;

/// Counts the records that are read.
struct Counting<'a> {
    store: &'a MemStore,
    records: Cell<usize>,
}

impl View for Counting<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if table == Table::State && key.starts_with(b"kv/") {
            self.records.set(self.records.get() + 1);
        }
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<Entry>, StoreError> {
        self.store.scan(table, from, to, limit, order)
    }
}

fn ask(ticket: u64, sequence: u64) -> Input {
    Input::Prove {
        ticket: Ticket(ticket),
        key: state_key(format!("k{sequence}").as_bytes()),
    }
}

/// A turn of node 0; the records that it read.
fn turn(cluster: &mut Cluster, inputs: Vec<Input>) -> usize {
    let now = cluster.time();
    let node = &mut cluster.nodes[0];
    let view = Counting {
        store: &node.store,
        records: Cell::new(0),
    };
    let output = node.replica.turn(&view, now, inputs).unwrap();
    let read = view.records.get();
    cluster.release(0, output);
    read
}

/// Anybody may ask, and all paths were taken in the turn of the question: 256 of the longest held up consensus for half a
/// second, and again with each block.
#[test]
fn i9_a_turn_takes_a_bounded_part_of_the_paths_and_all_are_answered() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 24, 60_000);
    cluster.run(2_000);
    let questions = (0..96).map(|i| ask(1_000 + i, 1 + i % 24)).collect();
    let read = turn(&mut cluster, questions);
    assert!((1..=12).contains(&read), "{read}");
    let validators = Setup::new(&cluster.genesis, None).unwrap().validators;
    for ticket in 1_000..1_096 {
        let (_, reply) = cluster.answer(ticket, 2_000);
        let Reply::Proof(proof) = reply else {
            panic!("{reply:?}")
        };
        let facts = proof.verify(&validators).unwrap();
        let key = state_key(format!("k{}", 1 + (ticket - 1_000) % 24).as_bytes());
        assert_eq!(facts.key, key);
        assert!(facts.record.is_some_and(|record| record.len() > 60_000));
    }
    assert_eq!(turn(&mut cluster, Vec::new()), 0, "nothing is left");
}

/// The answer of one who waits for a claim while nothing is claimed.
#[test]
fn who_cannot_be_answered_hears_of_it() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 1, 10);
    for node in 1..4 {
        cluster.cut(node);
    }
    // Executed, and claimed by no header.
    turn(&mut cluster, vec![ask(1_000, 1)]);
    let (passed, reply) = cluster.answer(1_000, 61_000);
    assert_eq!(reply, Reply::Refused(SubmitRefusal::Expired));
    assert!((59_900..60_100).contains(&passed), "{passed}");
    turn(&mut cluster, vec![ask(1_001, 1)]);
    let node = cluster.nodes.swap_remove(0);
    let refused = Reply::Refused(SubmitRefusal::NotServing);
    assert!(node.replica.close().contains(&(Ticket(1_001), refused)));
}
