//! I1, P1–P3, V1: what a correct validator signs, it signs once a round, and holds what that promises.

use quorate_storage::{MemStore, Table, ledger};
use quorate_types::{BatchId, BlockId, Header, Height, Message, Round};

use super::{Checker, Violation};

impl Checker {
    /// I1 and P1–P3.
    pub(super) fn on_send(
        &mut self,
        node: usize,
        store: &MemStore,
        message: &Message,
    ) -> Result<(), Violation> {
        let (kind, signer, round, block) = match message {
            Message::Proposal(p) => {
                let header = &p.block.header;
                ("proposal", header.proposer, header.round, p.block.id())
            }
            Message::Vote(v) => ("vote", v.voter, v.round, v.block),
            Message::CommitVote(v) => ("commit vote", v.voter, v.round, v.block),
            // Its content may differ from one time to the next; only the promise must be durable.
            Message::Timeout(t) => ("timeout", t.voter, t.round, BlockId::default()),
            _ => return Ok(()),
        };
        if signer.as_usize() != node {
            return Ok(());
        }
        if self.unknowing.contains(&node) {
            return Err(Violation::SignedUnknowing(kind, round));
        }
        if !self.signed.contains_key(&(node, kind, round)) {
            self.on_first(node, store, message, (kind, round))?;
        }
        let first = *self.signed.entry((node, kind, round)).or_insert(block);
        if first != block {
            return Err(Violation::SignedTwice(kind, round));
        }
        let durable = &self.seen[node].durable;
        let promised = match message {
            Message::CommitVote(_) => durable.high_qc,
            Message::Timeout(_) => durable.highest_timeout,
            _ => durable.round,
        };
        let kept = match message {
            Message::Vote(_) | Message::CommitVote(_) => self.holds(node, store, round, block)?,
            _ => true,
        };
        if matches!(message, Message::Vote(_) | Message::CommitVote(_)) {
            self.promise(node, round, block);
        }
        match promised >= round && kept {
            true => Ok(()),
            false => Err(Violation::NotDurable(kind, round)),
        }
    }

    /// Whether a block above the tip is stored with its batches and would survive a power cut now (P1, C3). At or below a tip
    /// that would, the ledger answers for it.
    pub(super) fn holds(
        &mut self,
        node: usize,
        store: &MemStore,
        round: Round,
        id: BlockId,
    ) -> Result<bool, Violation> {
        let tip = match store.unsynced() {
            0 => Some(ledger::tip(store)?.round),
            _ => {
                let height = self.seen[node].durable_height;
                self.chain.get(&height).map(|last| last.round)
            }
        };
        if tip.is_some_and(|tip| tip >= round) {
            return Ok(true);
        }
        let Some(block) = self.shelf.block(store, id)? else {
            // A vote that is sent again: what was left out went with a commit, and comes back if a power cut undoes that.
            return Ok(ledger::tip(store)?.round >= round);
        };
        let durable = |batch: &BatchId| store.is_durable(Table::Batches, batch.as_bytes());
        let there = store.is_durable(Table::Blocks, id.as_bytes());
        Ok(there && block.batches.iter().all(durable))
    }

    /// V1: its time is after its parent's, and by the smallest step or not far ahead of the voter's clock.
    fn time(&mut self, node: usize, store: &MemStore, header: &Header) -> Result<(), Violation> {
        let parent = match header.height {
            Height(1) => Some(self.terms.began),
            _ => {
                let parent = self.shelf.block(store, header.parent)?;
                parent.map(|parent| parent.header.time)
            }
        };
        let latest = self.seen[node].wall.plus_nanos(self.terms.drift);
        let right = parent.is_some_and(|parent| {
            header.time > parent && (header.time <= latest || header.time == parent.plus_nanos(1))
        });
        match right {
            true => Ok(()),
            false => Err(Violation::WrongTime(header.round)),
        }
    }

    /// V1–V3, C2: a vote that was never sent before.
    fn on_first(
        &mut self,
        node: usize,
        store: &MemStore,
        message: &Message,
        (kind, round): (&'static str, Round),
    ) -> Result<(), Violation> {
        if !matches!(message, Message::Vote(_) | Message::CommitVote(_)) {
            return Ok(());
        }
        self.rules.after_timeout(node, kind, round)?;
        if let Message::Vote(vote) = message
            && let Some(block) = self.shelf.block(store, vote.block)?
        {
            self.rules.extension(&block.header)?;
            self.time(node, store, &block.header)?;
        }
        Ok(())
    }
}
