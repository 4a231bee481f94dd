//! The model and the engine, side by side: random deliveries to three real engines, and to three [`Replica`]s of the
//! model. Whatever the rules of the model sign, the engine must sign, and nothing else.
//!
//! The messages are real ones, with real signatures, and proposals go through their real verification. The fourth
//! validator is Byzantine: it signs whatever completes a certificate, and blocks are proposed in the name of whoever
//! leads, twice in a round if there are two variants. What the engines propose by themselves is not asked for.
//!
//! An engine is more eager than the model needs to be: it votes and commit-votes as soon as it may, lets the rounds of
//! its commit votes only rise, and saves its record whenever that changes. `expect` adds that to the rules.

mod chain;

use std::collections::{BTreeMap, BTreeSet};

use quorate_consensus::{Authorised, Effect, Engine, Event};
use quorate_types::{
    Block, BlockId, Instant, Now, Proposal, SafetyRecord, Tc, Timeout, Unverified, ValidatorIndex,
};
use quorate_types::{Qc, Verified, Vote};

use crate::blocks::{Id, Set};
use crate::protocol::{CORRECT, Protocol, State};
use crate::rules::Replica;
use chain::{Chain, Draw, at};

/// What a validator signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Signed {
    Vote(Id),
    CommitVote(Id),
    /// Round, and round of the reported certificate.
    Timeout(u8, u8),
}

/// How often what was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries, deadlines and crashes.
    pub steps: u64,
    /// Votes that both gave.
    pub votes: u64,
    /// Proposals that both refused.
    pub refusals: u64,
    /// Of these: refused by V2 for what their TC reports.
    pub unsafe_extensions: u64,
    /// Commit votes that both gave.
    pub commit_votes: u64,
    /// Timeouts that both gave.
    pub timeouts: u64,
    /// Restarts from the record.
    pub crashes: u64,
    /// Certified blocks.
    pub certified: u64,
}

impl Counts {
    /// Adds up.
    pub fn add(&mut self, other: Counts) {
        self.steps += other.steps;
        self.votes += other.votes;
        self.refusals += other.refusals;
        self.unsafe_extensions += other.unsafe_extensions;
        self.commit_votes += other.commit_votes;
        self.timeouts += other.timeouts;
        self.crashes += other.crashes;
        self.certified += other.certified;
    }
}

/// One real validator, with what the model does not know of it.
struct Twin {
    engine: Engine,
    record: Option<SafetyRecord>,
    stored: BTreeMap<BlockId, Block>,
    /// Blocks in its tree.
    held: Set,
    /// Certificates that it keeps, by round.
    known: BTreeMap<u8, Id>,
    /// Proposals seen since its start.
    proposed: BTreeMap<(u8, ValidatorIndex), Id>,
    /// Blocks of the current round that it may still vote for.
    candidates: Vec<Id>,
    last_committed: u8,
}

/// A block with its real counterpart.
struct Real {
    block: Block,
    tc: Option<Tc>,
    proposal: Proposal,
}

struct Walk {
    model: Protocol,
    state: State,
    chain: Chain,
    /// The three correct ones' places in the set.
    correct: [ValidatorIndex; CORRECT],
    twins: Vec<Twin>,
    time: u64,
    draw: Draw,
    real: BTreeMap<Id, Real>,
    ids: BTreeMap<BlockId, Id>,
    votes: BTreeMap<Id, Vec<Verified<Vote>>>,
    qcs: BTreeMap<Id, Verified<Qc>>,
    /// The Timeout of each that reports least.
    timeouts: BTreeMap<(u8, usize), Verified<Timeout>>,
    counts: Counts,
}

/// One random path of that many steps.
///
/// # Panics
/// Where engine and model differ.
#[must_use]
pub fn replay(seed: u64, rounds: u8, variants: u8, steps: usize) -> Counts {
    let mut walk = Walk::new(seed, Protocol::new(rounds, variants, None));
    for _ in 0..steps {
        walk.step();
    }
    walk.counts.certified = u64::try_from(walk.qcs.len() - 1).expect("few");
    walk.counts
}

impl Walk {
    fn new(seed: u64, model: Protocol) -> Walk {
        let mut draw = Draw::new(seed);
        let chain = Chain::new(seed);
        let byzantine = draw.below(4);
        let mut correct = (0..4).filter(|i| *i != byzantine).map(at);
        let correct = [(); CORRECT].map(|()| correct.next().expect("three of four"));
        let anchor = Verified::<Qc>::anchor(&chain.validators);
        let genesis = chain.genesis();
        let mut walk = Walk {
            model,
            state: State::default(),
            correct,
            twins: Vec::new(),
            time: 0,
            draw,
            real: BTreeMap::new(),
            ids: BTreeMap::from([(genesis.id(), 0)]),
            votes: BTreeMap::new(),
            qcs: BTreeMap::from([(0, anchor)]),
            timeouts: BTreeMap::new(),
            counts: Counts::default(),
            chain,
        };
        for who in 0..CORRECT {
            let (twin, effects) = walk.start(who, None, BTreeMap::new());
            walk.twins.push(twin);
            walk.keep(who, &effects);
            walk.compare(who, effects);
        }
        walk
    }

    fn now(&self) -> Now {
        self.chain.now(self.time)
    }

    fn start(
        &self,
        who: usize,
        record: Option<SafetyRecord>,
        stored: BTreeMap<BlockId, Block>,
    ) -> (Twin, Vec<Effect>) {
        let mut boot = self.chain.boot(Some(self.correct[who]));
        boot.record.clone_from(&record);
        boot.blocks = stored.values().cloned().collect();
        let (mut engine, mut effects) = Engine::new(boot, self.now());
        // Nobody waits for work (L3): the deadline is the round's.
        effects.extend(engine.step(self.now(), Event::Work(true)));
        let twin = Twin {
            engine,
            record,
            stored,
            held: Set::one(0),
            known: BTreeMap::new(),
            proposed: BTreeMap::new(),
            candidates: Vec::new(),
            last_committed: 0,
        };
        (twin, effects)
    }

    fn step(&mut self) {
        self.counts.steps += 1;
        self.time += 1 + self.draw.below64(1_000_000);
        let who = self.draw.below(CORRECT);
        match self.draw.below(20) {
            0..=10 => self.propose(who),
            11..=13 => self.deliver_qc(who),
            14..=15 => self.deliver_tc(who),
            16..=18 => self.give_up(who),
            _ => self.crash(who),
        }
    }

    /// A random block that could be proposed now, to one validator.
    fn propose(&mut self, who: usize) {
        let certified = self.model.certified(&self.state);
        let blocks = self.model.blocks.clone();
        // Mostly what is still of use to somebody.
        let lowest = self.state.replicas.iter().map(|r| r.live.round).min();
        let from = lowest.unwrap_or(1).saturating_sub(1);
        let possible: Vec<Id> = blocks
            .ids()
            .filter(|id| certified.has(blocks.info(*id).parent) && blocks.round(*id) >= from)
            .collect();
        let Some(&block) = self.draw.of(&possible) else {
            return;
        };
        let info = blocks.info(block);
        let high = blocks.round(info.parent);
        let reported = self.model.lowest_tc(&self.state, info.round - 1);
        let direct = info.round == high + 1;
        match (direct, reported) {
            (true, _) => {}
            (false, None) => return,
            (false, Some(above))
                if blocks.round(above) > high && !self.real.contains_key(&block) =>
            {
                return self.refuse_unsafe(block, above);
            }
            (false, Some(_)) => {}
        }
        if !self.real.contains_key(&block) {
            let tc = (!direct).then(|| self.tc(info.round - 1));
            let real = self.make(block, tc);
            self.ids.insert(real.block.id(), block);
            self.real.insert(block, real);
        }
        self.fetch(who, info.parent);
        let real = &self.real[&block];
        let proposal = Unverified::new(real.proposal.clone());
        let proposal = proposal.verify(&self.chain.validators, &self.chain.parameters);
        let (proposal, _) = proposal.expect("a proposal that could be made");
        let (proposer, tc) = (real.block.header.proposer, real.tc.clone());
        let effects = self.give(who, Event::Proposal(Box::new(proposal)));
        // A1
        self.learn(who, info.parent);
        let tc = tc.map(|tc| {
            let high = self.ids[&tc.high_qc.block];
            self.learn_tc(who, info.round - 1, high);
            high
        });
        let twin = &mut self.twins[who];
        let first = *twin.proposed.entry((info.round, proposer)).or_insert(block);
        if first == block {
            let new = !twin.held.has(block);
            twin.held = twin.held.or(Set::one(block));
            let current = self.state.replicas[who].live.round == info.round;
            if current && !twin.candidates.contains(&block) && (new || tc.is_some() || direct) {
                twin.candidates.push(block);
            }
        }
        let voted = self.compare(who, effects);
        if !voted {
            self.counts.refusals += 1;
        }
    }

    /// V2 is partly checked before the engine sees anything.
    fn refuse_unsafe(&mut self, block: Id, reported: Id) {
        let round = self.model.blocks.round(block);
        let tc = self.tc(round - 1);
        assert_eq!(self.ids[&tc.high_qc.block], reported, "the lowest TC");
        let real = self.make(block, Some(tc));
        let proposal = Unverified::new(real.proposal);
        let verdict = proposal.verify(&self.chain.validators, &self.chain.parameters);
        assert_eq!(
            verdict.err(),
            Some(quorate_types::Reject::UnsafeExtension),
            "V2"
        );
        // A validator in that round that has signed nothing in it would not vote, either.
        let mut fresh = Replica::default();
        fresh.learn_tc(&self.model.blocks, round - 1, reported);
        let vote = fresh.vote(&self.model.rules, &self.model.blocks, block, Some(reported));
        assert!(!vote, "V2 in the model");
        self.counts.refusals += 1;
        self.counts.unsafe_extensions += 1;
    }

    /// Brings what a validator misses of a certified branch.
    fn fetch(&mut self, who: usize, block: Id) {
        let branch = self.model.blocks.branch(block);
        if branch.within(self.twins[who].held) {
            return;
        }
        self.deliver(who, block);
        let missing: Vec<Id> = branch.iter().filter(|id| *id != 0).collect();
        let blocks = missing.iter().map(|id| self.real[id].block.clone());
        let effects = self.give(who, Event::Blocks(blocks.collect()));
        let twin = &mut self.twins[who];
        // Only what a certificate names is taken, directly or by a descendant that was missing.
        if twin.known.values().any(|known| *known == block) {
            twin.held = twin.held.or(branch);
        }
        self.compare(who, effects);
    }

    fn deliver_qc(&mut self, who: usize) {
        let certified: Vec<Id> = self.model.certified(&self.state).iter().collect();
        let block = *self.draw.of(&certified).expect("the genesis block is");
        if block != 0 {
            self.deliver(who, block);
        }
    }

    fn deliver(&mut self, who: usize, block: Id) {
        let qc = self.qc(block);
        let effects = self.give(who, Event::Qc(Box::new(qc)));
        self.learn(who, block);
        self.compare(who, effects);
    }

    fn deliver_tc(&mut self, who: usize) {
        let rounds: Vec<u8> = (1..self.model.rounds)
            .filter(|round| self.model.lowest_tc(&self.state, *round).is_some())
            .collect();
        let Some(&round) = self.draw.of(&rounds) else {
            return;
        };
        let tc = self.tc(round);
        let high = self.ids[&tc.high_qc.block];
        let tc = Unverified::new(tc).verify(&self.chain.validators);
        let effects = self.give(who, Event::Tc(Box::new(tc.expect("three Timeouts"))));
        self.learn_tc(who, round, high);
        self.compare(who, effects);
    }

    fn give_up(&mut self, who: usize) {
        let replica = &mut self.state.replicas[who];
        if replica.live.round >= self.model.rounds {
            return; // nothing follows
        }
        replica.timeout(&self.model.rules, &self.model.blocks);
        let reported = self.model.blocks.round(replica.live.high_qc);
        let expected = Signed::Timeout(replica.live.round, reported);
        // A deadline may only end a leader's wait (L3).
        let mut effects = Vec::new();
        let gave_up = |e: &Effect| matches!(e, Effect::Sign(Authorised::Timeout(_)));
        for _ in 0..3 {
            let deadline = self.twins[who].engine.deadline().expect("it signs");
            self.time = self.time.max(deadline.0);
            effects.extend(self.give(who, Event::Deadline));
            if effects.iter().any(gave_up) {
                break;
            }
        }
        let mut expected = vec![expected];
        expected.extend(self.expect(who));
        self.judge(who, effects, &expected);
    }

    /// P4, and what the durable record holds.
    fn crash(&mut self, who: usize) {
        self.counts.crashes += 1;
        let (record, stored) = (
            self.twins[who].record.clone(),
            std::mem::take(&mut self.twins[who].stored),
        );
        let replica = &mut self.state.replicas[who];
        replica.crash(&self.model.rules);
        let held = self.twins[who].held;
        let by_tc = replica.live.by_tc;
        let (high, entry_high) = (replica.live.high_qc, record.as_ref().and_then(entry_high));
        let (twin, effects) = self.start(who, record, stored);
        self.twins[who] = twin;
        self.twins[who].held = held;
        if high != 0 {
            self.learn(who, high);
        }
        if let Some(entry) = entry_high.filter(|_| by_tc) {
            let entry = self.ids[&entry];
            self.learn(who, entry);
        }
        self.keep(who, &effects);
        self.compare(who, effects);
    }

    fn learn(&mut self, who: usize, block: Id) {
        let (replica, blocks) = (&mut self.state.replicas[who], &self.model.blocks);
        let left = replica.live.round;
        replica.learn_qc(blocks, block);
        let twin = &mut self.twins[who];
        if block != 0 {
            twin.known.entry(blocks.round(block)).or_insert(block);
        }
        if replica.live.round != left {
            twin.candidates.clear();
        }
    }

    fn learn_tc(&mut self, who: usize, round: u8, high: Id) {
        self.learn(who, high);
        let replica = &mut self.state.replicas[who];
        let left = replica.live.round;
        replica.learn_tc(&self.model.blocks, round, high);
        if replica.live.round != left {
            self.twins[who].candidates.clear();
        }
    }

    /// What the rules sign now, in the engine's order.
    fn expect(&mut self, who: usize) -> Vec<Signed> {
        let (model, twin) = (&self.model, &mut self.twins[who]);
        let replica = &mut self.state.replicas[who];
        let mut signed = Vec::new();
        for &block in &twin.candidates {
            let info = model.blocks.info(block);
            let skips = info.round > model.blocks.round(info.parent) + 1;
            // The TC that is attached was found right when the proposal was verified.
            let tc = skips.then_some(info.parent);
            if replica.vote(&model.rules, &model.blocks, block, tc) {
                signed.push(Signed::Vote(block));
            }
        }
        for (round, block) in twin.known.clone() {
            let rises = round > twin.last_committed;
            let held = model.blocks.branch(block).within(twin.held);
            if rises && held && replica.commit_vote(&model.rules, &model.blocks, block) {
                twin.last_committed = round;
                signed.push(Signed::CommitVote(block));
            }
        }
        // The engine saves whatever changed.
        replica.disk = replica.live;
        signed
    }

    fn give(&mut self, who: usize, event: Event) -> Vec<Effect> {
        let now = Now {
            monotonic: Instant(self.time),
            ..self.now()
        };
        let effects = self.twins[who].engine.step(now, event);
        self.keep(who, &effects);
        effects
    }

    /// What the disk gets.
    fn keep(&mut self, who: usize, effects: &[Effect]) {
        let twin = &mut self.twins[who];
        for effect in effects {
            match effect {
                Effect::Save(record) => twin.record = Some(record.clone()),
                Effect::Store(block) => {
                    twin.stored.insert(block.id(), block.clone());
                }
                Effect::Commit { .. } => panic!("no CommitVote was delivered"),
                _ => {}
            }
        }
    }

    /// Whether it voted.
    fn compare(&mut self, who: usize, effects: Vec<Effect>) -> bool {
        let expected = self.expect(who);
        self.judge(who, effects, &expected);
        expected.iter().any(|s| matches!(s, Signed::Vote(_)))
    }

    fn judge(&mut self, who: usize, effects: Vec<Effect>, expected: &[Signed]) {
        let mut signed = BTreeSet::new();
        for effect in effects {
            if let Effect::Sign(authorised) = effect {
                signed.insert(self.sign(who, authorised));
            }
        }
        let expected: BTreeSet<Signed> = expected.iter().copied().collect();
        let live = self.state.replicas[who].live;
        assert_eq!(signed, expected, "engine and model, of {who} at {live:?}");
        let status = self.twins[who].engine.status();
        let seen = (
            status.round.number,
            status.high_qc.number,
            status.highest_timeout.number,
        );
        let high_qc = self.model.blocks.round(live.high_qc);
        let modelled = (live.round, high_qc, live.highest_timeout);
        let modelled = (modelled.0.into(), modelled.1.into(), modelled.2.into());
        assert_eq!(seen, modelled, "round, high_qc, highest_timeout of {who}");
    }

    fn sign(&mut self, who: usize, authorised: Authorised) -> Signed {
        let key = self.chain.key(self.correct[who]);
        let chain = self.chain.id();
        match authorised {
            Authorised::Vote(vote) => {
                let vote = vote.sign(chain, key);
                let id = self.ids[&vote.block];
                self.votes.entry(id).or_default().push(vote);
                self.counts.votes += 1;
                self.qc_if_certified(id);
                Signed::Vote(id)
            }
            Authorised::CommitVote(vote) => {
                self.counts.commit_votes += 1;
                Signed::CommitVote(self.ids[&vote.peek().block])
            }
            Authorised::Timeout(timeout) => {
                let timeout = timeout.sign(chain, key);
                let small = |number: u64| u8::try_from(number).expect("few rounds");
                let round = small(timeout.round.number);
                let reported = small(timeout.high_qc.round.number);
                self.counts.timeouts += 1;
                let known = self.timeouts.get(&(round, who));
                if known.is_none_or(|known| known.high_qc.round > timeout.high_qc.round) {
                    self.timeouts.insert((round, who), timeout);
                }
                Signed::Timeout(round, reported)
            }
            Authorised::Proposal(_) => panic!("no payload was given"),
        }
    }

    fn qc_if_certified(&mut self, block: Id) {
        if self.votes[&block].len() >= 2 && !self.qcs.contains_key(&block) {
            let of = self.real[&block].block.clone();
            let byzantine = self.chain.vote(self.byzantine(), &of);
            let mut votes = self.votes[&block][..2].to_vec();
            votes.push(byzantine);
            votes.sort_by_key(|vote| vote.voter);
            let qc = Qc::assemble(&votes, &self.chain.validators);
            self.qcs.insert(block, qc);
        }
    }

    fn byzantine(&self) -> ValidatorIndex {
        let all = (0..4).map(at);
        let mut others = all.filter(|i| !self.correct.contains(i));
        others.next().expect("one of four")
    }

    fn qc(&self, block: Id) -> Verified<Qc> {
        self.qcs[&block].clone()
    }

    /// Of the two Timeouts that report least, and the Byzantine one's, which reports nothing.
    fn tc(&self, round: u8) -> Tc {
        let of_round = self.timeouts.iter().filter(|((r, _), _)| *r == round);
        let mut timeouts: Vec<_> = of_round.map(|(_, timeout)| timeout.clone()).collect();
        timeouts.sort_by_key(|timeout| timeout.high_qc.round);
        timeouts.truncate(2);
        timeouts.push(self.chain.timeout(self.byzantine(), round));
        timeouts.sort_by_key(|timeout| timeout.voter);
        Tc::assemble(&timeouts, &self.chain.validators).into_inner()
    }

    fn make(&self, id: Id, tc: Option<Tc>) -> Real {
        let info = self.model.blocks.info(id);
        let branch = self.model.blocks.branch(info.parent);
        let branch: Vec<(Block, Verified<Qc>)> = branch
            .iter()
            .filter(|id| *id != 0)
            .map(|id| (self.real[&id].block.clone(), self.qc(id)))
            .collect();
        let parent = branch.last().map(|(block, _)| block.clone());
        let parent = parent.unwrap_or_else(|| self.chain.genesis_block());
        let qc = self.qc(info.parent).into_inner();
        let elected = self.chain.elected(&branch);
        let block = self
            .chain
            .block(&parent, &qc, info.round, info.variant, tc.as_ref(), elected);
        let proposal = self.chain.propose(&block, qc, tc.clone());
        Real {
            block,
            tc,
            proposal,
        }
    }
}

/// The block of the QC in the TC that entered the recorded round.
fn entry_high(record: &SafetyRecord) -> Option<BlockId> {
    match &record.entry {
        quorate_types::Entry::Qc(_) => None,
        quorate_types::Entry::Tc(tc) => (tc.high_qc.round.number > 0).then_some(tc.high_qc.block),
    }
}
