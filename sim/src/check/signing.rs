//! I1, P1–P3: what a correct validator signs, it signs once a round, and holds what that promises.

use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::{MemStore, Table, View};
use quorate_types::{BlockId, Message, Round};

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
            Message::Vote(_) | Message::CommitVote(_) => self.holds(store, round, block)?,
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

    /// Whether a block above the tip is stored with its batches (P1, C3). At or below it, the ledger answers for it.
    pub(super) fn holds(
        &mut self,
        store: &MemStore,
        round: Round,
        block: BlockId,
    ) -> Result<bool, Violation> {
        if ledger::tip(store)?.round >= round {
            return Ok(true);
        }
        let Some(block) = self.shelf.block(store, block)? else {
            return Ok(false);
        };
        let mut all = true;
        for batch in &block.batches {
            all &= store
                .contains(Table::Batches, batch.as_bytes())
                .map_err(LedgerError::from)?;
        }
        Ok(all)
    }

    /// V2, V3, C2: a vote that was never sent before.
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
        }
        Ok(())
    }
}
