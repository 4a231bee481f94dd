//! Judges blocks: V1, V2, V4–V6. Decides nothing about this validator's past, which is `safety.rs`'s.
//!
//! *Never* ([`Reject`]) and *not yet* ([`Wait`]) are different answers: a block of a correct leader is never refused
//! for what time, fetching or execution will still bring.

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Block, BlockId, BlockTime, Header, Parameters, Reject, Round};

use crate::execution::{Execution, Judgement};
use crate::leader::Election;
use crate::tree::{Payload, Tree};

/// Proof that a block passed V1, V2 and V4–V6. Made by [`Judge::votable`] only.
#[derive(Debug)]
pub(crate) struct Votable {
    round: Round,
    block: BlockId,
}

impl Votable {
    pub(crate) fn round(&self) -> Round {
        self.round
    }

    pub(crate) fn block(&self) -> BlockId {
        self.block
    }
}

/// What a vote still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Batches, its own or an ancestor's (V4).
    Payload,
    /// This replica's execution (V5).
    Execution,
    /// The wall clock: the block's time is too far ahead until it shows this (V1).
    Clock(BlockTime),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Never(Reject),
    NotYet(Wait),
}

/// What judging needs to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) election: &'a Election,
    pub(crate) execution: &'a Execution,
    pub(crate) parameters: &'a Parameters,
}

impl Judge<'_> {
    /// V1, V2 and V6, and of V5 what the branch decides: everything that will never change. The header's form and its
    /// agreement with the attached certificates were checked when the proposal was verified; the parent is known.
    ///
    /// # Errors
    /// Each [`Reject`] that the rules name.
    pub(crate) fn structure(&self, block: &Block) -> Result<(), Reject> {
        let header = &block.header;
        header.check_form()?;
        let parent = self.tree.header(header.parent);
        let parent = parent.ok_or(Reject::UnsafeExtension)?;
        // V2: the certificate is of the parent, round included.
        if header.justify.round != parent.round && !mutant(Mutant::ParentNotCertified) {
            return Err(Reject::UnsafeExtension);
        }
        if header.height != parent.height.next() {
            return Err(Reject::Malformed);
        }
        self.leader(header)?;
        // V1
        if header.time <= parent.time && !mutant(Mutant::TimeNotChecked) {
            return Err(Reject::WrongTime);
        }
        // E1 is not part of this release: the set does not change.
        if header.next_validators.is_some() {
            return Err(Reject::Malformed);
        }
        // V5
        let (claim, before) = (&header.claim, &parent.claim);
        let falls = claim.height < before.height;
        if falls || (claim.height == before.height && claim.roots != before.roots) {
            return Err(Reject::WrongClaim);
        }
        // V6
        let lag = header.height.above(claim.height);
        if lag > self.parameters.max_execution_lag && !header.is_empty() {
            return Err(Reject::BadPayload);
        }
        Ok(())
    }

    /// V1: the proposer is the leader for the attached evidence, and `failed` whom the branch had elected.
    fn leader(&self, header: &Header) -> Result<(), Reject> {
        let elected = self.election.elected(self.tree.branch(header.parent));
        let skips = header.round != header.justify.round.next();
        if header.failed != skips.then_some(elected) {
            return Err(Reject::WrongLeader);
        }
        let leader = match header.tc {
            Some(_) => self.election.rotating(header.round), // L2
            None => elected,                                 // L1
        };
        match leader == header.proposer || mutant(Mutant::ProposerNotChecked) {
            true => Ok(()),
            false => Err(Reject::WrongLeader),
        }
    }

    /// The rest: V1's clock, V4, and V5 against this replica's own execution. `id` passed [`Judge::structure`].
    ///
    /// # Errors
    /// [`Refusal::Never`] for a wrong payload or claim, [`Refusal::NotYet`] for what may still come.
    pub(crate) fn votable(&self, id: BlockId, wall: BlockTime) -> Result<Votable, Refusal> {
        let unknown = Refusal::Never(Reject::UnsafeExtension);
        let node = self.tree.node(id).ok_or(unknown)?;
        let header = &node.block.header;
        let parent = self.tree.header(header.parent).ok_or(unknown)?;
        if node.payload == Payload::Invalid {
            return Err(Refusal::Never(Reject::BadPayload));
        }
        // V5
        if header.claim != parent.claim {
            match self.execution.judge(&header.claim) {
                Judgement::Same => {}
                Judgement::Different if mutant(Mutant::ClaimNotChecked) => {}
                Judgement::Different => return Err(Refusal::Never(Reject::WrongClaim)),
                Judgement::NotYet => return Err(Refusal::NotYet(Wait::Execution)),
            }
        }
        // V4
        let held = self.tree.held(id);
        let held = held.ok_or(Refusal::NotYet(Wait::Payload))?;
        // V1: a clock that runs behind the chain's time may always take the smallest step.
        let latest = wall.plus_nanos(self.parameters.max_clock_drift_ns);
        let ahead = header.time > latest && !mutant(Mutant::TimeNotChecked);
        if ahead && header.time != parent.time.plus_nanos(1) {
            let drift = self.parameters.max_clock_drift_ns;
            if mutant(Mutant::ClockRefusesForEver) {
                return Err(Refusal::Never(Reject::WrongTime));
            }
            let at = BlockTime(header.time.0.saturating_sub(drift));
            return Err(Refusal::NotYet(Wait::Clock(at)));
        }
        Ok(Votable {
            round: held.round(),
            block: held.block(),
        })
    }
}
