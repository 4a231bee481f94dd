//! Proofs for clients (F1, F2): a key against a state that a quorum vouches for, a receipt, a transaction's place.
//!
//! The tree holds one version of the state, the newest; headers claim it two or three blocks later. So whoever asks for
//! a key is kept at the desk: the path is taken at once and again after each execution, and given out when a committed
//! header claims the root that one of the paths leads to. What is proved is therefore never older than the question.

use quorate_execution::proof::{KeyProof, ReceiptProof};
use quorate_execution::tree;
use quorate_storage::{View, ledger};
use quorate_types::{Cc, Digest, Finality, Header, Height, Instant, Receipt, TransactionId};
use quorate_types::{accumulator, merkle};

use crate::Ticket;
use crate::output::{Reply, SubmitRefusal};
use crate::replica::{Replica, ReplicaError};
use crate::turn::Turn;
use crate::view::StateReader;

/// Questions kept at once.
const MAX_QUESTIONS: usize = 256;
/// Paths kept for a question: more executions than a claim lags behind.
const MAX_CAPTURES: usize = 32;
/// A question is given up after this long: the chain has not moved.
const PATIENCE_NANOS: u64 = 60_000_000_000;
/// Headers looked through for the one that claims a receipt's height.
const MAX_CLAIM_DISTANCE: u64 = 4_096;

/// Questions that wait for a claim.
#[derive(Debug, Default)]
pub(crate) struct ProofDesk {
    questions: Vec<Question>,
}

#[derive(Debug)]
struct Question {
    ticket: Ticket,
    key: Vec<u8>,
    asked: Instant,
    captures: Vec<Capture>,
}

/// A path, as it was at one height.
#[derive(Debug)]
struct Capture {
    root: Digest,
    record: Option<Vec<u8>>,
    proof: tree::Proof,
}

impl Replica {
    /// Somebody asks for a key with a proof.
    pub(crate) fn on_prove(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        key: Vec<u8>,
    ) -> Result<(), ReplicaError> {
        if self.proofs.questions.len() >= MAX_QUESTIONS {
            turn.reply(ticket, Reply::Refused(SubmitRefusal::TooManyWaiting));
            return Ok(());
        }
        let root = self.executor.roots().state;
        if key.len() > tree::MAX_KEY_BYTES {
            turn.reply(ticket, Reply::Refused(SubmitRefusal::NoSuchKey));
            return Ok(());
        }
        let capture = self.path(turn, root, &key)?;
        if let Some((header, finality)) = self.claimed(turn, root)? {
            let proof = key_proof(key, capture, vec![header], finality.cc);
            turn.reply(ticket, Reply::Proof(Box::new(proof)));
            return Ok(());
        }
        self.proofs.questions.push(Question {
            ticket,
            key,
            asked: turn.now.monotonic,
            captures: vec![capture],
        });
        Ok(())
    }

    /// Takes the paths of all questions again, after an execution that changed the state.
    pub(crate) fn capture(&mut self, turn: &Turn<'_>, root: Digest) -> Result<(), ReplicaError> {
        let mut questions = std::mem::take(&mut self.proofs.questions);
        for question in &mut questions {
            let known = question.captures.iter().any(|capture| capture.root == root);
            if !known && question.captures.len() < MAX_CAPTURES {
                let capture = self.path(turn, root, &question.key)?;
                question.captures.push(capture);
            }
        }
        self.proofs.questions = questions;
        Ok(())
    }

    /// Answers the questions that these newly final headers settle.
    pub(crate) fn answer_proofs(&mut self, turn: &mut Turn<'_>, headers: &[Header], cc: &Cc) {
        let now = turn.now.monotonic;
        for mut question in std::mem::take(&mut self.proofs.questions) {
            let settled = headers.iter().enumerate().find_map(|(place, header)| {
                let root = header.claim.roots.state;
                let capture = question.captures.iter().position(|c| c.root == root)?;
                Some((place, capture))
            });
            if let Some((place, capture)) = settled {
                let capture = question.captures.swap_remove(capture);
                let chain = headers[place..].to_vec();
                let proof = key_proof(question.key, capture, chain, cc.clone());
                turn.reply(question.ticket, Reply::Proof(Box::new(proof)));
            } else if now.since(question.asked) < PATIENCE_NANOS {
                self.proofs.questions.push(question);
            } else {
                turn.reply(question.ticket, Reply::Refused(SubmitRefusal::Expired));
            }
        }
    }

    /// The newest path of a key.
    fn path(&mut self, turn: &Turn<'_>, root: Digest, key: &[u8]) -> Result<Capture, ReplicaError> {
        let (record, proof) = self.executor.prove_key(&StateReader(turn.view()), key)?;
        Ok(Capture {
            root,
            record,
            proof,
        })
    }

    /// The newest committed header with its finality, if it claims this state.
    fn claimed(
        &self,
        turn: &Turn<'_>,
        root: Digest,
    ) -> Result<Option<(Header, Finality)>, ReplicaError> {
        let Some(block) = ledger::block_by_id(turn.view(), self.tip.block)? else {
            return Ok(None);
        };
        if block.header.claim.roots.state != root {
            return Ok(None);
        }
        let finality = ledger::finality(turn.view(), self.tip.height)?;
        Ok(finality.map(|finality| (block.header, finality)))
    }
}

fn key_proof(key: Vec<u8>, capture: Capture, headers: Vec<Header>, cc: Cc) -> KeyProof {
    KeyProof::new(key, capture.record, capture.proof, headers, cc)
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
