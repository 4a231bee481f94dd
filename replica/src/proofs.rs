//! Proofs for clients (F1, F2): a key against a state that a quorum vouches for, a receipt, a transaction's place.
//!
//! The tree holds one version of the state, the newest; headers claim it two or three blocks later. So whoever asks for
//! a key is kept at the desk (`desk.rs`): at the end of the turn the path is taken, and again after executions, and given out when a
//! committed header claims the root that one of the paths leads to. What is proved is therefore never older than the
//! question. Whoever there is no room for has an answer a little later, each key in turn.

use std::sync::Arc;

use quorate_execution::proof::ReceiptProof;
use quorate_execution::tree;
use quorate_storage::{View, ledger};
use quorate_types::{Digest, Finality, Header, Height, Receipt, TransactionId};
use quorate_types::{accumulator, merkle};

use crate::Ticket;
use crate::desk::{Answers, Capture, Finals};
use crate::output::{Reply, SubmitRefusal};
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;
use crate::view::StateReader;

/// Headers looked through for the one that claims a receipt's height.
const MAX_CLAIM_DISTANCE: u64 = 4_096;

impl Replica {
    /// Somebody asks for a key with a proof.
    pub(crate) fn on_prove(&mut self, turn: &mut Turn<'_>, ticket: Ticket, key: Vec<u8>) {
        if key.len() > tree::MAX_KEY_BYTES {
            turn.reply(ticket, Reply::Refused(SubmitRefusal::NoSuchKey));
            return;
        }
        let state = (self.tip.height, self.executor.roots().state);
        let now = turn.now.monotonic;
        if !self.proofs.ask((ticket, key), now, state) {
            turn.reply(ticket, Reply::Refused(SubmitRefusal::TooManyWaiting));
        }
    }

    /// Gives out what is due, and takes the paths in the newest state of the keys that are asked for, as many as their time
    /// allows. If that state is claimed already they are answers.
    pub(crate) fn take_paths(&mut self, turn: &mut Turn<'_>) -> Result<(), ReplicaError> {
        if self.proofs.is_empty() {
            return Ok(()); // as in most turns
        }
        let now = turn.now.monotonic;
        for question in self.proofs.expire(now) {
            turn.reply(question.ticket, Reply::Refused(SubmitRefusal::Expired));
        }
        let root = self.executor.roots().state;
        let claimed = self.claimed(turn, root)?.map(Arc::new);
        let mut answers = Answers::default();
        // What is given out makes room for paths.
        self.proofs.give_out(now, &mut answers);
        while let Some(key) = self.proofs.next(now, root, claimed.is_none()) {
            let capture = self.path(turn, root, &key)?;
            self.proofs.count(now, &capture);
            match &claimed {
                Some(finals) => self.proofs.prove(&key, capture, finals),
                None => self.proofs.keep(&key, capture),
            }
        }
        self.proofs.give_out(now, &mut answers);
        for (ticket, reply) in answers.replies {
            turn.reply(ticket, reply);
        }
        Ok(())
    }

    /// The newest path of a key.
    fn path(&mut self, turn: &Turn<'_>, root: Digest, key: &[u8]) -> Result<Capture, ReplicaError> {
        let (record, proof) = self.executor.prove_key(&StateReader(turn.view()), key)?;
        Ok(Capture {
            height: self.tip.height,
            root,
            record,
            proof,
        })
    }

    /// The newest committed header with its certificate, if it claims this state.
    fn claimed(&self, turn: &Turn<'_>, root: Digest) -> Result<Option<Finals>, ReplicaError> {
        let Some(block) = ledger::block_by_id(turn.view(), self.tip.block)? else {
            return Ok(None);
        };
        if block.header.claim.roots.state != root {
            return Ok(None);
        }
        let finality = ledger::finality(turn.view(), self.tip.height)?;
        Ok(finality.map(|finality| Finals {
            headers: vec![block.header],
            cc: finality.cc,
        }))
    }
}

/// A receipt with its proof, from the store alone (F2). `None` while no final header claims its height.
///
/// # Errors
/// [`ReplicaError`]: the disk, or what is on it.
pub fn receipt_proof(
    view: &dyn View,
    transaction: TransactionId,
) -> Result<Option<ReceiptProof>, ReplicaError> {
    let Some((height, index)) = ledger::place(view, transaction)? else {
        return Ok(None);
    };
    let receipts = ledger::receipts(view, height)?;
    let Some(receipt) = usize::try_from(index).ok().and_then(|i| receipts.get(i)) else {
        return Ok(None);
    };
    let Some((headers, finality)) = claim_above(view, height)? else {
        return Ok(None);
    };
    let leaves: Vec<Digest> = receipts.iter().map(Receipt::leaf).collect();
    let in_block = merkle::path(
        &leaves,
        usize::try_from(index).expect("an index of the list"),
    );
    let count = headers[0].claim.height.0;
    let place = height.0.saturating_sub(1);
    let Some(in_chain) = accumulator::path(place, count, |node| {
        ledger::accumulator_node(view, node).map(Option::unwrap_or_default)
    })?
    else {
        return Ok(None);
    };
    Ok(Some(ReceiptProof::new(
        receipt.clone(),
        in_block,
        in_chain,
        headers,
        finality.cc,
    )))
}

/// Headers from the first that claims `height` or more up to the first that has its own finality proof.
fn claim_above(
    view: &dyn View,
    height: Height,
) -> Result<Option<(Vec<Header>, Finality)>, ReplicaError> {
    let tip = ledger::tip(view)?.height;
    let mut first = height.next();
    let last = Height(tip.0.min(first.0.saturating_add(MAX_CLAIM_DISTANCE)));
    while first <= last {
        let Some(block) = ledger::block_by_height(view, first)? else {
            return Ok(None);
        };
        if block.header.claim.height >= height {
            let Some(finality) = ledger::finality_at_or_above(view, first)? else {
                return Ok(None);
            };
            let headers = ledger::headers(view, first, finality.cc.height)?;
            return Ok(Some((headers, finality)));
        }
        first = first.next();
    }
    Ok(None)
}
