//! What must hold in every world, whatever happens in it, asserted without asking an engine: I1, I4, I5, and P1–P3, C1
//! and C2 at every signature.

use std::collections::BTreeMap;

use quorate_consensus::Event;
use quorate_types::{Block, BlockId, Height, Round, SafetyRecord};

use super::Disk;

/// What was signed and what is final, in the whole world.
#[derive(Default)]
pub(crate) struct Invariants {
    /// Everything final, by height.
    pub(crate) ledger: BTreeMap<Height, BlockId>,
    /// What was signed: (validator, kind, round) to block.
    signed: BTreeMap<(usize, u8, Round), BlockId>,
}

impl Invariants {
    /// A validator signed this, with that on its disk.
    pub(super) fn on_signed(&mut self, i: usize, disk: &Disk, event: &Event) {
        assert_durable(disk, event);
        let (kind, round, block) = match event {
            Event::Proposal(proposal) => (0, proposal.block.header.round, proposal.block.id()),
            Event::Vote(vote) => (1, vote.round, vote.block),
            Event::CommitVote(vote) => (2, vote.round, vote.block),
            // It may be signed again, with a higher QC (T1).
            _ => return,
        };
        let before = self.signed.insert((i, kind, round), block);
        assert!(
            before.is_none_or(|before| before == block),
            "I1: {i} {kind} {round}"
        );
    }

    /// A validator commits a block on top of its ledger.
    pub(super) fn on_commit(&mut self, disk: &Disk, block: &Block) {
        let (height, id) = (block.header.height, block.id());
        let agreed = *self.ledger.entry(height).or_insert(id);
        assert_eq!(agreed, id, "I5 at {height}");
        let tip = disk.committed.last().unwrap();
        assert_eq!(
            (tip.height.next(), tip.id()),
            (height, block.header.parent),
            "I4"
        );
    }
}

/// Without a record nobody signs anything, liars included.
pub(super) fn assert_recorded(disk: &Disk) -> &SafetyRecord {
    let record = disk.record.as_ref();
    record.expect("P1–P3: a record is durable")
}

fn assert_durable(disk: &Disk, event: &Event) {
    let record = assert_recorded(disk);
    match event {
        Event::Proposal(signed) => assert_eq!(record.round, signed.block.header.round, "P2"),
        Event::Vote(signed) => {
            assert_eq!(record.round, signed.round, "P1: the record");
            assert!(disk.blocks.contains_key(&signed.block), "P1: the block");
        }
        Event::CommitVote(signed) => {
            assert!(record.high_qc.round >= signed.round, "P2, C1");
            assert!(record.highest_timeout < signed.round, "C2");
        }
        Event::Timeout(signed) => assert_eq!(record.highest_timeout, signed.round, "P3"),
        other => panic!("nobody signs {other:?}"),
    }
}
