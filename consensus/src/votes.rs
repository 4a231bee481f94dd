//! Tallies: who signed what, until a quorum makes a certificate (I3) or somebody contradicts himself (I10).
//!
//! One message a sender, type and round. Votes and Timeouts are kept for [`WINDOW`] rounds from the current one,
//! CommitVotes for all rounds above the last committed one, since they count although their round is over (D1).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_mutants::{Mutant, mutant};
use quorate_types::evidence::{EvidenceKind, Statement};
use quorate_types::{BlockId, Cc, CommitVote, Evidence, Height, Proposal, Qc, Round, Signature};
use quorate_types::{Tc, Timeout, Unverified, ValidatorIndex, Validators, Verified, Vote};

/// Rounds above the current one that messages are kept for, and below it that proposals are remembered for.
pub(crate) const WINDOW: u64 = 8;
/// Rounds that CommitVotes are kept for; beyond it the lowest goes: a CC of a higher round commits what is below.
pub(crate) const MAX_COMMIT_ROUNDS: usize = 128;
/// Cases of evidence that are remembered, so as not to report them again; beyond it the lowest round goes.
pub(crate) const MAX_ACCUSED: usize = 256;

type ByRound<T> = BTreeMap<Round, BTreeMap<ValidatorIndex, T>>;

/// What a message led to.
#[derive(Debug)]
pub(crate) enum Tallied<C> {
    /// Out of the window, a repeat, or a contradiction that was reported before.
    Ignored,
    /// Counted, not a quorum yet or not any more the first.
    Counted,
    /// The one that completed the quorum.
    Quorum(Box<Verified<C>>),
    /// It contradicts an earlier one.
    Conflict(Box<Verified<Evidence>>),
}

#[derive(Debug)]
pub(crate) struct Tally {
    validators: Arc<Validators>,
    votes: ByRound<Verified<Vote>>,
    commit_votes: ByRound<Verified<CommitVote>>,
    timeouts: ByRound<Verified<Timeout>>,
    proposals: ByRound<Statement>,
    accused: BTreeSet<(Round, EvidenceKind, ValidatorIndex)>,
}

impl Tally {
    pub(crate) fn new(validators: Arc<Validators>) -> Tally {
        Tally {
            validators,
            votes: BTreeMap::new(),
            commit_votes: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            proposals: BTreeMap::new(),
            accused: BTreeSet::new(),
        }
    }

    pub(crate) fn vote(&mut self, current: Round, vote: Verified<Vote>) -> Tallied<Qc> {
        let (round, voter, block) = (vote.round, vote.voter, vote.block);
        if round < current || round > current.plus(WINDOW) {
            return Tallied::Ignored;
        }
        let votes = self.votes.entry(round).or_default();
        if let Some(first) = votes.get(&voter) {
            let first = statement(first.block, Height(0), first.signature);
            let second = statement(block, Height(0), vote.signature);
            return self.contradiction(EvidenceKind::Vote, voter, round, first, second);
        }
        votes.insert(voter, vote);
        let same: Vec<Verified<Vote>> = votes
            .values()
            .filter(|vote| vote.block == block)
            .cloned()
            .collect();
        match same.len() == self.validators.quorum() {
            true => Tallied::Quorum(Box::new(Qc::assemble(&same, &self.validators))),
            false => Tallied::Counted,
        }
    }

    /// CommitVotes of rounds above `committed` count, over or not.
    pub(crate) fn commit_vote(
        &mut self,
        committed: Round,
        current: Round,
        vote: Verified<CommitVote>,
    ) -> Tallied<Cc> {
        let (round, voter) = (vote.round, vote.voter);
        let target = (vote.block, vote.height);
        let over = mutant(Mutant::LateCommitVotesDropped) && round < current;
        if round <= committed || round > current.plus(WINDOW) || over {
            return Tallied::Ignored;
        }
        let votes = self.commit_votes.entry(round).or_default();
        if let Some(first) = votes.get(&voter) {
            let first = statement(first.block, first.height, first.signature);
            let second = statement(vote.block, vote.height, vote.signature);
            return self.contradiction(EvidenceKind::CommitVote, voter, round, first, second);
        }
        votes.insert(voter, vote);
        let same: Vec<Verified<CommitVote>> = votes
            .values()
            .filter(|vote| (vote.block, vote.height) == target)
            .cloned()
            .collect();
        let tallied = match same.len() == self.validators.quorum() {
            true => Tallied::Quorum(Box::new(Cc::assemble(&same, &self.validators))),
            false => Tallied::Counted,
        };
        while self.commit_votes.len() > MAX_COMMIT_ROUNDS {
            self.commit_votes.pop_first();
        }
        tallied
    }

    /// A repeat with a higher QC replaces the first; two Timeouts are no evidence. The quorum is put together again as
    /// often as one of its members repeats itself, until the round is left.
    pub(crate) fn timeout(&mut self, current: Round, timeout: Verified<Timeout>) -> Tallied<Tc> {
        let (round, voter) = (timeout.round, timeout.voter);
        if round < current || round > current.plus(WINDOW) {
            return Tallied::Ignored;
        }
        let timeouts = self.timeouts.entry(round).or_default();
        let known = timeouts.get(&voter).map(|known| known.high_qc.round);
        if known.is_some_and(|known| known >= timeout.high_qc.round) {
            return Tallied::Ignored;
        }
        timeouts.insert(voter, timeout);
        if timeouts.len() < self.validators.quorum() {
            return Tallied::Counted;
        }
        let all: Vec<Verified<Timeout>> = timeouts.values().cloned().collect();
        Tallied::Quorum(Box::new(Tc::assemble(&all, &self.validators)))
    }

    /// How many have given up a round.
    pub(crate) fn timeouts(&self, round: Round) -> usize {
        self.timeouts.get(&round).map_or(0, BTreeMap::len)
    }

    /// Remembers what a leader proposed. `Counted` is its first proposal of the round. Proposals of different leaders
    /// are no contradiction: there may be two legitimate ones.
    pub(crate) fn proposal(
        &mut self,
        current: Round,
        proposal: &Verified<Proposal>,
        id: BlockId,
    ) -> Tallied<Qc> {
        let (round, proposer) = (proposal.block.header.round, proposal.block.header.proposer);
        if round.plus(WINDOW) < current || round > current {
            return Tallied::Ignored;
        }
        let proposals = self.proposals.entry(round).or_default();
        let second = statement(id, Height(0), proposal.signature);
        let mut first = proposals.get(&proposer).cloned();
        if mutant(Mutant::TwoLeadersAreEvidence) {
            first = proposals.values().next().cloned();
        }
        match first {
            None => {
                proposals.insert(proposer, second);
                Tallied::Counted
            }
            Some(_) if mutant(Mutant::SecondProposalStops) => panic!("a second proposal"),
            Some(first) => {
                self.contradiction(EvidenceKind::Proposal, proposer, round, first, second)
            }
        }
    }

    /// Forgets Votes and Timeouts of rounds that are over.
    pub(crate) fn enter(&mut self, round: Round) {
        self.votes = self.votes.split_off(&round);
        self.timeouts = self.timeouts.split_off(&round);
        self.proposals
            .retain(|proposed, _| proposed.plus(WINDOW) >= round);
    }

    /// Forgets CommitVotes of rounds that are committed.
    pub(crate) fn commit(&mut self, round: Round) {
        self.commit_votes = self.commit_votes.split_off(&round.next());
    }

    fn contradiction<C>(
        &mut self,
        kind: EvidenceKind,
        signer: ValidatorIndex,
        round: Round,
        first: Statement,
        second: Statement,
    ) -> Tallied<C> {
        let same = (first.block, first.height) == (second.block, second.height);
        if same || !self.accused.insert((round, kind, signer)) {
            return Tallied::Ignored;
        }
        if self.accused.len() > MAX_ACCUSED {
            self.accused.pop_first();
        }
        let evidence = Evidence {
            kind,
            signer,
            round,
            first,
            second,
        };
        let verified = Unverified::new(evidence).verify(&self.validators);
        let evidence = verified.expect("I10: both statements were verified when they arrived");
        Tallied::Conflict(Box::new(evidence))
    }
}

fn statement(block: BlockId, height: Height, signature: Signature) -> Statement {
    Statement {
        block,
        height,
        signature,
    }
}
