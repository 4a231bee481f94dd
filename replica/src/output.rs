//! What a turn leads to, sealed until it is durable.

use quorate_consensus::{Authorised, Passed, Target};
use quorate_execution::proof::KeyProof;
use quorate_mempool::Refusal;
use quorate_mutants::{Mutant, mutant};
use quorate_storage::{Op, Store, StoreError, Sync, Table, WriteBatch, ledger};
use quorate_types::evidence::EvidenceKind;
use quorate_types::message::VerifiedMessage;
use quorate_types::vote::Signer;
use quorate_types::{BlockTime, ChainId, Height, Message, Receipt, Reject, Roots, Round};
use quorate_types::{TransactionId, ValidatorIndex};

use crate::input::OwnMessage;
use crate::{Input, Ticket};

/// Rounds that the ceiling is raised ahead of use: one synced file write for so many rounds.
const CEILING_STEP: u64 = 1024;

/// Everything a turn decided. Its messages cannot be reached before [`Output::persist`].
#[must_use = "an output that is not persisted is lost"]
#[derive(Debug)]
pub struct Output {
    pub(crate) writes: WriteBatch,
    pub(crate) release: Release,
}

#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) chain: ChainId,
    pub(crate) held: Vec<u64>,
    pub(crate) authorised: Vec<Authorised>,
    pub(crate) sends: Vec<(Target, Message)>,
    pub(crate) replies: Vec<(Ticket, Reply)>,
    pub(crate) notices: Vec<Notice>,
}

impl Output {
    /// Whether something waits for the disk.
    #[must_use]
    pub fn must_sync(&self) -> bool {
        !self.release.authorised.is_empty()
    }

    /// Writes the turn's batch, synced if anything is to be signed (P1–P3), and opens the rest. Before a signature in a
    /// round above the ceiling, the ceiling is raised.
    ///
    /// # Errors
    /// Those of the store. They are fatal: what is on disk is unknown, so the process must stop and start from the disk.
    pub fn persist(self, store: &mut dyn Store) -> Result<Released, StoreError> {
        let highest = self.release.authorised.iter().map(round).max();
        if let Some(round) = highest
            && store.ceiling().is_none_or(|ceiling| ceiling < round)
        {
            store.raise_ceiling(round.plus(CEILING_STEP))?;
        }
        let hidden = mutant(Mutant::SyncedWithRecordOnly) && !has_record(&self.writes);
        if self.must_sync() && !hidden && !mutant(Mutant::SignedBeforeDurable) {
            store.write(self.writes, Sync::Yes)?;
        } else if !self.writes.is_empty() {
            store.write(self.writes, Sync::No)?;
        }
        Ok(Released(self.release))
    }
}

fn has_record(writes: &WriteBatch) -> bool {
    let record =
        |op: &Op| matches!(op, Op::Put(Table::Meta, key, _) if key == ledger::keys::RECORD);
    writes.ops().iter().any(record)
}

fn round(authorised: &Authorised) -> Round {
    match authorised {
        Authorised::Proposal(proposal) => proposal.peek().block.header.round,
        Authorised::Vote(vote) => vote.peek().round,
        Authorised::CommitVote(vote) => vote.peek().round,
        Authorised::Timeout(timeout) => timeout.peek().round,
    }
}

/// What may leave the process: everything that it promises is durable.
#[must_use = "what was released is to be signed and sent"]
#[derive(Debug)]
pub struct Released(Release);

impl Released {
    /// Signs what was authorised.
    pub fn sign(self, signer: &dyn Signer) -> Signed {
        let Release {
            chain,
            held,
            authorised,
            mut sends,
            replies,
            notices,
        } = self.0;
        let mut own = Vec::with_capacity(authorised.len());
        for item in authorised {
            let (message, verified) = sign_one(item, chain, &held, signer);
            sends.push((Target::All, message));
            own.push(Input::Own(OwnMessage(verified)));
        }
        Signed {
            sends,
            own,
            replies,
            notices,
        }
    }
}

fn sign_one(
    item: Authorised,
    chain: ChainId,
    held: &[u64],
    signer: &dyn Signer,
) -> (Message, VerifiedMessage) {
    match item {
        Authorised::Proposal(proposal) => {
            let signed = proposal.sign(chain, signer);
            (
                Message::Proposal(Box::new(signed.clone().into_inner())),
                // The engine has no use for what travels inside, and the pool has it.
                VerifiedMessage::Proposal(Box::new(signed), Vec::new()),
            )
        }
        Authorised::Vote(vote) => {
            let signed = vote.with_held(held.to_vec()).sign(chain, signer);
            (
                Message::Vote(signed.clone().into_inner()),
                VerifiedMessage::Vote(signed),
            )
        }
        Authorised::CommitVote(vote) => {
            let signed = vote.with_held(held.to_vec()).sign(chain, signer);
            (
                Message::CommitVote(signed.clone().into_inner()),
                VerifiedMessage::CommitVote(signed),
            )
        }
        Authorised::Timeout(timeout) => {
            let signed = timeout.sign(chain, signer);
            (
                Message::Timeout(Box::new(signed.clone().into_inner())),
                VerifiedMessage::Timeout(Box::new(signed)),
            )
        }
    }
}

/// What a turn hands to its driver.
#[derive(Debug)]
pub struct Signed {
    /// To be sent, in order.
    pub sends: Vec<(Target, Message)>,
    /// To be given to the next turn, before anything else.
    pub own: Vec<Input>,
    /// Answers to those who wait.
    pub replies: Vec<(Ticket, Reply)>,
    /// For metrics and logs.
    pub notices: Vec<Notice>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Queued; no promise.
    Admitted(TransactionId),
    /// Final and executed, here and by every correct replica.
    Executed(Box<Receipt>),
    /// Not admitted, or given up; it may have been ordered through another validator all the same.
    Refused(SubmitRefusal),
    /// A key's value with its proof.
    Proof(Box<KeyProof>),
}

/// Why a submission has no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitRefusal {
    /// The pool refused it.
    #[error(transparent)]
    Pool(Refusal),
    /// The client is not registered on this chain.
    #[error("the signing key belongs to no registered client")]
    UnknownClient,
    /// It was queued, and its `valid_until` passed before it was ordered.
    #[error("it was not ordered before its valid_until")]
    Expired,
    /// Too many wait already.
    #[error("too many clients wait for answers")]
    TooManyWaiting,
    /// The key is longer than any key can be: there is nothing to prove.
    #[error("no key is that long")]
    NoSuchKey,
    /// This validator only observes, or has stopped because it diverged.
    #[error("this validator does not accept transactions now")]
    NotServing,
}

/// Something that happened, for metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A block is final and executed.
    Committed {
        /// Its height.
        height: Height,
        /// Its round.
        round: Round,
        /// Its time.
        time: BlockTime,
        /// Transactions executed, rejected, and executed before.
        executed: u64,
        /// See `executed`.
        rejected: u64,
        /// See `executed`.
        duplicates: u64,
        /// Whether it came by synchronisation.
        synced: bool,
    },
    /// This validator voted in a round; the vote is durable and sent.
    Voted(Round),
    /// This validator gave up a round.
    TimedOut(Round),
    /// Somebody signed twice.
    Evidence {
        /// What.
        kind: EvidenceKind,
        /// Who.
        signer: ValidatorIndex,
        /// When.
        round: Round,
    },
    /// This replica's execution contradicts a quorum's: it has stopped.
    Diverged {
        /// Where.
        height: Height,
        /// Executed here.
        ours: Roots,
        /// Certified by the others.
        certified: Roots,
    },
    /// This validator has learnt what it may have signed before it started, and takes part from now on (P5).
    Passed(Passed),
    /// Somebody else signs with this validator's key, in this round.
    Twin(Round),
    /// Something was refused for ever.
    Refused {
        /// Whose fault, where known.
        from: Option<ValidatorIndex>,
        /// Why.
        reject: Reject,
    },
    /// Whose votes the certificate of the last committed block does not hold.
    VotesMissing(Vec<ValidatorIndex>),
    /// Transactions left the pool because their time had passed.
    Expired(u64),
    /// An entry of this table, which a peer asked for, cannot be read or is not what was written. It was not served.
    Damaged(Table),
    /// Such an entry was fetched from a peer and written anew.
    Mended(Table),
}

impl Notice {
    pub(crate) fn evidence(evidence: &quorate_types::Evidence) -> Notice {
        Notice::Evidence {
            kind: evidence.kind,
            signer: evidence.signer,
            round: evidence.round,
        }
    }
}
