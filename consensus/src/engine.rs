//! The engine: what it is made of, and which event goes where. The handlers are in the modules below, by idea.
//!
//! Every step ends in `settle`, which tries each rule that might have become applicable: a rule is never forgotten
//! because the event that enabled it came in an unusual order.

mod certify;
mod fencing;
mod propose;
mod sync;
mod voting;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

use quorate_types::{
    Block, BlockId, Cc, Claim, CommitVote, Entry, Finality, Header, Height, Instant, Now,
};
use quorate_types::{
    Message, Parameters, Proposal, Qc, Reject, Roots, Round, SafetyRecord, Timeout,
};
use quorate_types::{Unverified, ValidatorIndex, Validators, Verified, Vote};

use crate::execution::{Divergence, Execution};
use crate::fence::{Fence, Start};
use crate::leader::Election;
use crate::pacemaker::Pacemaker;
use crate::safety::Safety;
use crate::tree::{Payload, Tree};
use crate::validate::Judge;
use crate::votes::Tally;
use crate::{Effect, Event, Target};

use fencing::Witness;
use propose::Plan;

/// What an engine starts from: all of it read from this validator's own durable store.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The epoch's set.
    pub validators: Arc<Validators>,
    /// This validator's place in it; `None` only observes.
    pub me: Option<ValidatorIndex>,
    /// Of the chain.
    pub parameters: Parameters,
    /// `None` for a validator that has never signed (fresh genesis), or that lost its record.
    pub record: Option<SafetyRecord>,
    /// Whether all that it signed is in there.
    pub start: Start,
    /// The committed block and up to [`committed_headers`] − 1 before it, newest last; never empty.
    pub committed: Vec<Header>,
    /// Of the last of them, or the anchor's.
    pub finality: Finality,
    /// Stored above it, in any order, with durable payloads.
    pub blocks: Vec<Block>,
    /// Recent executions, ascending; the last is the highest. They reach down to the height that the committed block
    /// claims, or to the highest executed one if that is lower.
    pub executed: Vec<(Height, Roots)>,
    /// The highest executed block that was not empty; 0 if none.
    pub executed_nonempty: Height,
}

/// How many committed headers, the newest included, a [`Boot`] or [`Event::Synced`] should bring: leaders are elected
/// from the last 2n (L1).
#[must_use]
pub fn committed_headers(validators: &Validators) -> usize {
    validators.count().saturating_mul(2).saturating_add(8)
}

/// Where an engine stands, for metrics and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current round.
    pub round: Round,
    /// Its leader for the evidence that entered it, where that can be told.
    pub leader: Option<ValidatorIndex>,
    /// Of the highest QC.
    pub high_qc: Round,
    /// Of the last vote.
    pub last_voted: Round,
    /// Of the last Timeout signed.
    pub highest_timeout: Round,
    /// The committed block's height.
    pub committed: Height,
    /// The committed block.
    pub committed_block: BlockId,
    /// The committed block's round.
    pub committed_round: Round,
    /// Blocks held above the committed one.
    pub tree: usize,
    /// This replica's execution contradicts a quorum (V5); it signs nothing any more.
    pub diverged: bool,
    /// It has not learnt yet what it may have signed before it started (P5); it signs nothing until then.
    pub fenced: bool,
}

/// The last of each kind that this validator signed, for T2. They come back as events once they are durable.
#[derive(Debug, Default)]
struct Own {
    proposal: Option<Box<Verified<Proposal>>>,
    vote: Option<Verified<Vote>>,
    commit_vote: Option<Verified<CommitVote>>,
    timeout: Option<Box<Verified<Timeout>>>,
}

/// What has been asked of the replica and need not be asked again.
#[derive(Debug, Default)]
struct Asked {
    blocks: BTreeSet<BlockId>,
    /// Finality of this height was reported as too far ahead.
    behind: Height,
}

/// The protocol of one validator.
#[derive(Debug)]
pub struct Engine {
    validators: Arc<Validators>,
    parameters: Parameters,
    election: Election,
    /// The last answer of `election`: whom the branch of this block elects.
    elected: Cell<Option<(BlockId, ValidatorIndex)>>,
    safety: Safety,
    pacemaker: Pacemaker,
    tree: Tree,
    tally: Tally,
    execution: Execution,
    /// The certificates of rounds above the committed one, of unknown blocks too (A2).
    qcs: BTreeMap<Round, Verified<Qc>>,
    /// The highest CC whose QC is not known yet.
    lone_cc: Option<Verified<Cc>>,
    /// Of the committed block.
    finality: Verified<Finality>,
    /// The highest finality above that: its block, or a batch, is not here yet.
    pending: Option<Verified<Finality>>,
    /// The highest that is near enough to be fetched with its ancestors, where the highest of all is not.
    nearer: Option<Verified<Finality>>,
    /// Blocks of the current round that may be voted for once they are complete; one a legitimate leader.
    candidates: Vec<BlockId>,
    /// Blocks proposed in the current round whose parent is unknown; one a proposer.
    parentless: BTreeMap<ValidatorIndex, Block>,
    /// When a candidate's time is no longer too far ahead.
    clock: Option<Instant>,
    /// What this validator is about to propose: the replica has been asked for the payload.
    plan: Option<Plan>,
    /// The mempool holds something to order.
    work: bool,
    own: Own,
    asked: Asked,
    /// When each validator's old Timeout was last answered.
    helped: BTreeMap<ValidatorIndex, Instant>,
    /// Until it is passed (P5).
    fence: Option<Fence>,
    witness: Witness,
    out: Vec<Effect>,
}

impl Engine {
    /// Starts from what is durable. The effects are to be handled like those of a step.
    ///
    /// # Panics
    /// If the store contradicts itself.
    #[must_use]
    pub fn new(boot: Boot, now: Now) -> (Engine, Vec<Effect>) {
        let validators = boot.validators;
        let claims: Vec<Claim> = boot.committed.iter().map(|header| header.claim).collect();
        let finality = Unverified::new(boot.finality).verify(&validators);
        let finality = finality.expect("I3: the ledger's own finality proof verifies");
        let tree = Tree::new(boot.committed, committed_headers(&validators));
        assert_eq!(tree.root_id(), finality.cc.block, "I4: of the last block");
        let certificates = boot.record.iter().flat_map(|record| {
            let entry = match &record.entry {
                Entry::Qc(qc) => qc,
                Entry::Tc(tc) => &tc.high_qc,
            };
            [entry.clone(), record.high_qc.clone()]
        });
        let certificates: Vec<Verified<Qc>> = certificates
            .map(|qc| Unverified::new(qc).verify(&validators))
            .collect::<Result<_, _>>()
            .expect("I3: the record's own certificates verify");
        let start = boot.me.map_or(Start::Open, |_| boot.start);
        let record = boot.record.as_ref();
        let fence = Fence::new(start, record, &validators, now.monotonic);
        let mut engine = Engine {
            election: Election::new(Arc::clone(&validators)),
            elected: Cell::new(None),
            safety: Safety::new(boot.me, boot.record, &validators),
            pacemaker: Pacemaker::new(
                boot.parameters.round_timeout_cap_ns,
                boot.parameters.idle_interval_ns,
            ),
            tree,
            tally: Tally::new(Arc::clone(&validators)),
            execution: Execution::new(boot.executed, boot.executed_nonempty),
            qcs: BTreeMap::new(),
            lone_cc: None,
            finality,
            pending: None,
            nearer: None,
            candidates: Vec::new(),
            parentless: BTreeMap::new(),
            clock: None,
            plan: None,
            work: false,
            own: Own::default(),
            asked: Asked::default(),
            helped: BTreeMap::new(),
            fence,
            witness: Witness::default(),
            out: Vec::new(),
            parameters: boot.parameters,
            validators,
        };
        let mut blocks = boot.blocks;
        blocks.sort_by_key(|block| block.header.height);
        for block in blocks {
            // What does not descend from the root any more is left to the replica to delete.
            let _ = engine.tree.insert(block.id(), block, Payload::Ready);
        }
        // V5: whoever had diverged has not forgotten it by a restart.
        for claim in claims {
            if let Some(divergence) = engine.execution.certify(&claim) {
                engine.diverge(divergence);
            }
        }
        if engine.fence.is_some() {
            engine.safety.fence();
        }
        engine.enter_round(now);
        for qc in certificates {
            engine.on_qc(now, qc);
        }
        // The ledger may be ahead of a record that was saved lazily.
        engine.on_qc(now, engine.finality.qc());
        let effects = engine.settle(now);
        (engine, effects)
    }

    /// Takes one event; tells what has to be done about it.
    #[must_use]
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        match event {
            Event::Proposal(proposal) => self.on_proposal(now, proposal),
            Event::Vote(vote) => self.on_vote(now, vote),
            Event::CommitVote(vote) => self.on_commit_vote(now, vote),
            Event::Timeout(timeout) => self.on_timeout(now, timeout),
            Event::Qc(qc) => self.on_qc(now, *qc),
            Event::Tc(tc) => self.on_tc(now, *tc),
            Event::Finality(finality) => self.on_finality(now, *finality),
            Event::Blocks(blocks) => self.on_blocks(blocks),
            Event::PayloadReady(block) => self.on_payload_ready(block),
            Event::PayloadInvalid(block) => self.on_payload_invalid(now, block),
            Event::Payload {
                round,
                batches,
                inline,
            } => self.on_payload(now, round, batches, inline),
            Event::Work(work) => self.on_work(now, work),
            Event::Executed {
                height,
                roots,
                empty,
            } => self.on_executed(height, roots, empty),
            Event::Synced { headers, finality } => self.on_synced(now, headers, *finality),
            Event::Connected(peer) => {
                self.ask(peer);
                self.catch_up(peer);
            }
            Event::FenceRequest { from, nonce } => self.on_fence_request(now, from, nonce),
            Event::FenceReply { from, reply } => self.on_fence_reply(now, from, &reply),
            Event::Deadline => self.on_deadline(now),
        }
        self.settle(now)
    }

    /// When to step with [`Event::Deadline`] at the latest; `None` once nothing will ever be signed again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let round = (!self.safety.is_halted()).then(|| self.pacemaker.deadline())?;
        let fence = self.fence.as_ref().map(Fence::deadline);
        let other = [self.clock, fence].into_iter().flatten().min();
        Some(other.map_or(round, |other| other.min(round)))
    }

    /// The block of the highest QC: what the next honest proposal extends.
    #[must_use]
    pub fn high_qc_block(&self) -> BlockId {
        self.safety.high_qc().block
    }

    /// Whether a block that was asked for with [`Effect::Fetch`] still matters.
    #[must_use]
    pub fn wants(&self, block: BlockId) -> bool {
        self.asked.blocks.contains(&block)
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let root = self.tree.root();
        Status {
            round: self.safety.round(),
            leader: self.leader(),
            high_qc: self.safety.high_qc().round,
            last_voted: self.safety.last_voted(),
            highest_timeout: self.safety.highest_timeout(),
            committed: root.height,
            committed_block: self.tree.root_id(),
            committed_round: root.round,
            tree: self.tree.len(),
            diverged: self.safety.is_halted(),
            fenced: self.safety.is_fenced(),
        }
    }

    /// Tries every rule that may have become applicable, in the order in which one enables the next, and yields the
    /// step's effects: the record first, since everything else of the step may rest on it (P1–P3).
    fn settle(&mut self, now: Now) -> Vec<Effect> {
        self.try_commit(now);
        self.adopt_parentless();
        self.try_pass(now);
        self.try_vote(now);
        self.try_commit_votes();
        self.try_propose(now);
        self.ask_for_missing();
        let mut effects = core::mem::take(&mut self.out);
        if let Some(record) = self.safety.take_unsaved() {
            effects.insert(0, Effect::Save(record));
        }
        effects
    }

    fn on_deadline(&mut self, now: Now) {
        self.clock = self.clock.filter(|clock| now.monotonic < *clock);
        self.ask_again(now);
        self.pacemaker.wake(now.monotonic);
        if self.pacemaker.expired(now.monotonic) {
            self.give_up(now);
        }
    }

    /// L3: work ends the wait, at the leader and in everyone's timer.
    fn on_work(&mut self, now: Now, work: bool) {
        self.work = work;
        if work {
            self.pacemaker.end_wait(now.monotonic);
        }
    }

    fn on_executed(&mut self, height: Height, roots: Roots, empty: bool) {
        if let Some(divergence) = self.execution.executed(height, roots, empty) {
            self.diverge(divergence);
        }
        self.execution.prune(self.tree.root().claim.height);
    }

    /// V5: a quorum certified something else. Nothing is signed any more; what is signed already may still count.
    fn diverge(&mut self, divergence: Divergence) {
        if self.safety.is_halted() {
            return;
        }
        self.safety.halt();
        self.out.push(Effect::Diverged {
            height: divergence.height,
            ours: divergence.ours,
            certified: divergence.certified,
        });
    }

    /// T2: what a peer may have missed while it was not connected.
    fn catch_up(&mut self, peer: ValidatorIndex) {
        if Some(peer) == self.me() {
            return;
        }
        let anchor = self.validators.anchor_qc().round;
        let round = self.safety.round();
        let highest = self.pending.as_ref().unwrap_or(&self.finality);
        let mut messages = Vec::new();
        if highest.cc.round > anchor {
            messages.push(Message::Finality(Box::new(Finality::clone(highest))));
        }
        match self.safety.entry() {
            Entry::Qc(qc) if qc.round > anchor => messages.push(Message::Qc(Box::new(qc.clone()))),
            Entry::Qc(_) => {}
            Entry::Tc(tc) => messages.push(Message::Tc(Box::new(tc.clone()))),
        }
        // A proposal of the current round may have been lost with the connection as well.
        let proposal = self.own.proposal.as_ref();
        if let Some(own) = proposal.filter(|own| own.block.header.round == round) {
            messages.push(Message::Proposal(Box::new(Proposal::clone(own))));
        }
        if let Some(own) = &self.own.vote {
            messages.push(Message::Vote(own.without_hints()));
        }
        if let Some(own) = &self.own.commit_vote {
            messages.push(Message::CommitVote(own.without_hints()));
        }
        // Only of this round: the certificate speaks for those before, and the peer, told of a round that it has left,
        // would take the sender for one that is behind and tell it the same, for ever.
        if let Some(own) = self.own.timeout.as_ref().filter(|own| own.round == round) {
            messages.push(Message::Timeout(Box::new(Timeout::clone(own))));
        }
        for message in messages {
            self.send(Target::One(peer), message);
        }
    }

    fn me(&self) -> Option<ValidatorIndex> {
        self.safety.me()
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            tree: &self.tree,
            election: &self.election,
            execution: &self.execution,
            parameters: &self.parameters,
        }
    }

    fn send(&mut self, to: Target, message: Message) {
        let message = Box::new(message);
        self.out.push(Effect::Send { to, message });
    }

    fn refuse(&mut self, from: Option<ValidatorIndex>, reject: Reject) {
        self.out.push(Effect::Refused { from, reject });
    }
}
