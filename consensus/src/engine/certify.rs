//! Certificates: they move the round (A1), are kept although their block is unknown (A2), and make blocks final (D1).
//! Owns what happens on entering a round, and T1's Timeouts.

use alloc::boxed::Box;

use quorate_mutants::{Mutant, mutant};
use quorate_types::{BlockId, CommitVote, Entry, Finality, Message, Now, Qc, Tc, Timeout};
use quorate_types::{ValidatorIndex, Verified, Vote};

use super::Engine;
use crate::pacemaker::MIN_TIMEOUT_NS;
use crate::safety::Authorised;
use crate::votes::Tallied;
use crate::{Effect, Target};

/// Certificates above the committed round that are kept, one a round; beyond it the lowest goes.
const MAX_QCS: usize = 256;
/// Half of the shortest timer.
const HELP_INTERVAL_NS: u64 = MIN_TIMEOUT_NS / 2;

impl Engine {
    pub(super) fn on_vote(&mut self, now: Now, vote: Verified<Vote>) {
        self.witness_vote(&vote);
        if Some(vote.voter) == self.me() && self.safety.signed_since_start(vote.round) {
            keep_newer(&mut self.own.vote, &vote, |vote| vote.round);
        }
        match self.tally.vote(self.safety.round(), vote) {
            Tallied::Quorum(qc) => self.on_qc(now, *qc),
            Tallied::Conflict(evidence) => self.out.push(Effect::Evidence(evidence)),
            Tallied::Ignored | Tallied::Counted => {}
        }
    }

    pub(super) fn on_commit_vote(&mut self, now: Now, vote: Verified<CommitVote>) {
        self.witness_commit_vote(&vote);
        if Some(vote.voter) == self.me() && self.safety.signed_since_start(vote.round) {
            keep_newer(&mut self.own.commit_vote, &vote, |vote| vote.round);
        }
        let (committed, current) = (self.tree.root().round, self.safety.round());
        match self.tally.commit_vote(committed, current, vote) {
            Tallied::Quorum(cc) => match self.qcs.get(&cc.round) {
                Some(qc) if qc.block == cc.block => {
                    let finality = Verified::<Finality>::join(&cc, qc);
                    self.on_finality(now, finality);
                }
                // Without its QC, nobody could build a valid Timeout in the round that it would enter.
                _ => {
                    let known = self.lone_cc.as_ref().map(|known| known.round);
                    if known.is_none_or(|known| known < cc.round) {
                        self.lone_cc = Some(*cc);
                    }
                }
            },
            Tallied::Conflict(evidence) => self.out.push(Effect::Evidence(evidence)),
            Tallied::Ignored | Tallied::Counted => {}
        }
    }

    pub(super) fn on_timeout(&mut self, now: Now, timeout: Box<Verified<Timeout>>) {
        self.witness_timeout(&timeout);
        self.on_qc(now, timeout.high_qc());
        if let Some(tc) = timeout.entry_tc() {
            self.on_tc(now, tc);
        }
        let (round, voter) = (timeout.round, timeout.voter);
        if round < self.safety.round() {
            // The sender has missed what ended its round, and would repeat itself for ever; unless its Timeout only
            // crossed the certificate on the way.
            let crossed = round.next() == self.safety.round();
            if !crossed || self.pacemaker.is_half_over(now.monotonic) {
                self.help(now, voter);
            }
            return;
        }
        // What the record does not say was given up was given up by whom this validator has forgotten to be (P3).
        if Some(voter) == self.me() && round <= self.safety.highest_timeout() {
            keep_newer(&mut self.own.timeout, &timeout, |timeout| {
                (timeout.round, timeout.high_qc.round)
            });
        }
        if let Tallied::Quorum(tc) = self.tally.timeout(self.safety.round(), *timeout) {
            return self.on_tc(now, *tc);
        }
        // T1: one of f + 1 is correct.
        let enough = if mutant(Mutant::OneTimeoutIsEnough) {
            0
        } else {
            self.validators.max_faulty()
        };
        let joined = self.tally.timeouts(round) > enough;
        if joined && self.safety.highest_timeout() < round {
            self.give_up(now);
        }
    }

    /// Tells a validator that repeats an old Timeout what it has missed; no oftener than it could repeat itself, since
    /// anybody may send its Timeout again, and the answer is many times as long.
    fn help(&mut self, now: Now, voter: ValidatorIndex) {
        let last = self.helped.get(&voter);
        let lately = last.is_some_and(|last| now.monotonic.since(*last) < HELP_INTERVAL_NS);
        if lately && !mutant(Mutant::EveryCopyAnswered) {
            return;
        }
        self.helped.insert(voter, now.monotonic);
        self.catch_up(voter);
    }

    /// T1: gives up the current round, or says so again.
    pub(super) fn give_up(&mut self, now: Now) {
        self.pacemaker.repeat_after(now.monotonic);
        if self.safety.signer().is_none() {
            return; // V5: one that has diverged says nothing again, either
        }
        let (round, high_qc) = (self.safety.round(), self.safety.high_qc().round);
        let repeat = self
            .own
            .timeout
            .as_ref()
            .filter(|own| own.round == round && own.high_qc.round == high_qc)
            .map(|own| Message::Timeout(Box::new(Timeout::clone(own))));
        match repeat {
            Some(_) if mutant(Mutant::TimeoutNotRepeated) => {}
            Some(message) => self.send(Target::All, message),
            None => {
                if let Some(timeout) = self.safety.timeout() {
                    let timeout = Authorised::Timeout(Box::new(timeout));
                    self.out.push(Effect::Sign(timeout));
                }
            }
        }
        // Nothing else repeats a CommitVote that was lost, and it may be repeated at any time.
        let root = self.tree.root().round;
        let lost = self.own.commit_vote.as_ref().filter(|v| v.round > root);
        if let Some(vote) = lost.map(|vote| vote.without_hints()) {
            self.send(Target::All, Message::CommitVote(vote));
        }
    }

    pub(super) fn on_qc(&mut self, now: Now, qc: Verified<Qc>) {
        if mutant(Mutant::UnknownQcDropped) && self.tree.header(qc.block).is_none() {
            return;
        }
        let left = self.safety.round();
        let entered = self.safety.certified(&qc);
        self.keep_qc(&qc);
        if entered {
            if qc.round == left {
                self.pacemaker.measure(now.monotonic);
            }
            self.enter_round(now);
        }
        let lone = self.lone_cc.as_ref();
        if lone.is_some_and(|cc| (cc.round, cc.block) == (qc.round, qc.block)) {
            let cc = self.lone_cc.take().expect("just seen");
            self.on_finality(now, Verified::<Finality>::join(&cc, &qc));
        }
    }

    /// A2: also of an unknown block, which is asked for when the step ends.
    fn keep_qc(&mut self, qc: &Verified<Qc>) {
        if qc.round <= self.tree.root().round || self.qcs.contains_key(&qc.round) {
            return;
        }
        self.qcs.insert(qc.round, qc.clone());
        if self.qcs.len() > MAX_QCS {
            self.qcs.pop_first();
        }
        self.note_certified(qc.block);
    }

    /// V5: once a block is both known and certified, its claim is the quorum's.
    pub(super) fn note_certified(&mut self, block: BlockId) {
        let Some(claim) = self.tree.header(block).map(|header| header.claim) else {
            return;
        };
        if let Some(divergence) = self.execution.certify(&claim) {
            self.diverge(divergence);
        }
    }

    pub(super) fn on_tc(&mut self, now: Now, tc: Verified<Tc>) {
        self.on_qc(now, tc.high_qc());
        if !self.safety.given_up(&tc) {
            return;
        }
        // T2
        self.send(Target::All, Message::Tc(Box::new(Tc::clone(&tc))));
        self.enter_round(now);
    }

    /// D1, as soon as the block and its payload are here.
    pub(super) fn on_finality(&mut self, now: Now, finality: Verified<Finality>) {
        let round = finality.cc.round;
        let is_higher =
            |than: &Option<Verified<Finality>>| than.as_ref().is_none_or(|f| f.cc.round < round);
        if round > self.tree.root().round {
            if self.is_near(&finality) && is_higher(&self.nearer) {
                self.nearer = Some(finality.clone());
            }
            if is_higher(&self.pending) {
                self.pending = Some(finality.clone());
            }
        }
        self.on_qc(now, finality.qc());
    }

    pub(super) fn try_commit(&mut self, now: Now) {
        let held = |finality: &&Verified<Finality>| self.tree.held(finality.cc.block).is_some();
        let known = [&self.pending, &self.nearer];
        let Some(finality) = known.into_iter().flatten().find(held).cloned() else {
            return;
        };
        let id = finality.cc.block;
        let blocks = self.tree.commit(id);
        for block in &blocks {
            if let Some(divergence) = self.execution.certify(&block.header.claim) {
                self.diverge(divergence);
            }
        }
        // L4: of rounds that others lead nothing is learnt, since where a leader stands decides what reaches it when.
        if id == self.safety.high_qc().block && self.leader() == self.me() {
            self.pacemaker.parent_committed(now.monotonic);
        }
        self.finality = finality.clone();
        self.out.push(Effect::Commit {
            blocks,
            finality: Box::new(finality),
        });
        self.forget_committed();
    }

    /// Drops what only mattered above the old root.
    pub(super) fn forget_committed(&mut self) {
        let (round, claim) = (self.tree.root().round, self.tree.root().claim.height);
        self.qcs = self.qcs.split_off(&round.next());
        self.tally.commit(round);
        self.execution.prune(claim);
        self.lone_cc = self.lone_cc.take().filter(|cc| cc.round > round);
        for finality in [&mut self.pending, &mut self.nearer] {
            finality.take_if(|finality| finality.cc.round <= round);
        }
        let tree = &self.tree;
        self.candidates.retain(|id| tree.node(*id).is_some());
    }

    /// Starts the round that the safety rules have just entered.
    pub(super) fn enter_round(&mut self, now: Now) {
        let round = self.safety.round();
        let failures = round.since(self.safety.high_qc().round).saturating_sub(1);
        self.pacemaker.enter(now.monotonic, failures);
        self.tally.enter(round);
        self.candidates.clear();
        self.parentless.clear();
        self.clock = None;
        self.plan = None;
        self.allow_idle_wait();
        self.leave_burnt(now);
    }

    /// The branch that the round was entered on may have become known after the round began.
    pub(super) fn reconsider_idle_wait(&mut self) {
        if self.pacemaker.is_plain() {
            self.allow_idle_wait();
        }
    }

    /// L3: the wait is a function of the branch, so that everybody's timer is longer by the same. Never after a TC.
    fn allow_idle_wait(&mut self) {
        let Entry::Qc(qc) = self.safety.entry() else {
            return;
        };
        // The anchor is no idle round: whoever leads first proposes at once, which shows that the chain lives.
        let empty = self
            .tree
            .branch(qc.block)
            .take_while(|header| header.is_empty() && header.round.number > 0)
            .count();
        let empty = u32::try_from(empty).unwrap_or(u32::MAX);
        if empty > 0 && !self.work {
            self.pacemaker.allow_wait(empty);
        }
    }
}

/// Keeps the newer of two own messages: a peer may send an old one back.
fn keep_newer<T: Clone, A: Ord>(own: &mut Option<T>, seen: &T, age: impl Fn(&T) -> A) {
    if own.as_ref().is_none_or(|own| age(own) <= age(seen)) {
        *own = Some(seen.clone());
    }
}
