//! Four validators, one of them Byzantine: votes, commit votes, Timeouts, crashes and restarts, in every order.
//!
//! What was signed stays: a message may arrive at any time, any number of times or never, and after its sender has
//! crashed. So the state needs no messages; a certificate exists as soon as two correct validators have signed what it
//! needs, since the Byzantine one has signed everything. Certificates are learned when they are used. Learning one
//! earlier only forbids (a Timeout must report it, a round is left by it), so nothing is lost by that; `eager` adds it,
//! and the tests compare.
//!
//! Every block may be proposed at any time, as if the Byzantine validator led every round, with two variants in each.
//! That the protocol also gets on is the property *never wedged*: after a crash of all three correct validators, with
//! every message lost and the Byzantine one silent, their disks suffice to commit a block.
//!
//! Symmetric under renaming the correct validators, of which no rule knows the index.

use stateright::{Model, Property, Representative};

use crate::blocks::{Blocks, Id, Set};
use crate::rules::{Entrance, MAX_ROUNDS, Replica, Rules};

/// Correct validators: n = 4, f = 1.
pub const CORRECT: usize = 3;

/// The correct validators. Everything else follows from what they signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// In no order that matters.
    pub replicas: [Replica; CORRECT],
    /// Since the start; counted only where they are limited.
    pub crashes: u8,
    /// The only block that is commit-voted for, in a [`Protocol::focused`] instance; 0 is none in particular.
    pub target: Id,
}

impl Representative for State {
    fn representative(&self) -> State {
        let mut sorted = *self;
        sorted.replicas.sort_unstable();
        sorted
    }
}

/// What happens next, to one correct validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Votes for a block; with `tc`, through a TC of the round before whose QC is of that block.
    Vote {
        /// Who.
        who: usize,
        /// For what.
        block: Id,
        /// The block of the QC in the attached TC.
        tc: Option<Id>,
    },
    /// Commit-votes for a block that is certified.
    CommitVote {
        /// Who.
        who: usize,
        /// For what.
        block: Id,
    },
    /// Gives up a round.
    Timeout {
        /// Who.
        who: usize,
        /// Which.
        round: u8,
        /// How it got there.
        entrance: Entrance,
    },
    /// Learns of a certificate without using it (`eager` only).
    Learn {
        /// Who.
        who: usize,
        /// The round that is entered by it.
        round: u8,
        /// The certificate.
        entrance: Entrance,
    },
    /// Loses its memory and starts again.
    Crash {
        /// Who.
        who: usize,
    },
}

/// An instance: how much there is to explore.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// In force.
    pub rules: Rules,
    /// Of every parent and round.
    pub blocks: Blocks,
    /// The last one.
    pub rounds: u8,
    /// Of all together; `None` is without limit.
    pub crashes: Option<u8>,
    /// Certificates may also be learned without being used.
    pub eager: bool,
    /// Each path has CommitVotes for one block only. A CommitVote takes part in its own CC and else only forbids, so a
    /// path that breaks *what is final is extended* does so without those for any other block; and *agreement* follows
    /// from that property and *one QC a round*.
    pub focused: bool,
}

impl Protocol {
    /// The protocol as it is.
    ///
    /// # Panics
    /// With more rounds than the model has room for.
    #[must_use]
    pub fn new(rounds: u8, variants: u8, crashes: Option<u8>) -> Protocol {
        assert!(usize::from(rounds) <= MAX_ROUNDS, "a replica has room");
        Protocol {
            rules: Rules::ALL,
            blocks: Blocks::new(rounds, variants),
            rounds,
            crashes,
            eager: false,
            focused: false,
        }
    }

    /// With other rules.
    #[must_use]
    pub fn under(mut self, rules: Rules) -> Protocol {
        self.rules = rules;
        self
    }

    /// The blocks of which a QC can be made.
    #[must_use]
    pub fn certified(&self, state: &State) -> Set {
        two_of(state, |replica| replica.votes).or(Set::one(0))
    }

    /// The blocks of which a CC can be made.
    #[must_use]
    pub fn final_blocks(&self, state: &State) -> Set {
        let certified = self.certified(state);
        two_of(state, |replica| replica.commits).and(certified)
    }

    /// The block whose QC is in the lowest TC that can be made of a round. The Byzantine validator reports the lowest
    /// certificate; the lowest TC allows whatever a higher one does.
    #[must_use]
    pub fn lowest_tc(&self, state: &State, round: u8) -> Option<Id> {
        let at = usize::from(round);
        let mut reported = state.replicas.map(|replica| replica.timeouts[at]);
        reported.sort_unstable();
        // The two lowest of those who gave up: a Timeout counts its round from 1.
        let from = reported.iter().position(|r| *r > 0)?;
        let high = reported.get(from + 1)?.checked_sub(1)?;
        let certified = self.certified(state).and(self.blocks.of_round(high));
        certified.iter().next()
    }

    fn votes(&self, state: &State, who: usize, actions: &mut Vec<Action>) {
        let certified = self.certified(state);
        for block in self.blocks.ids() {
            let info = self.blocks.info(block);
            if !certified.has(info.parent) || !self.is_first_variant_used(state, block) {
                continue;
            }
            if self.blocks.round(info.parent) + 1 == info.round {
                actions.push(Action::Vote {
                    who,
                    block,
                    tc: None,
                });
            }
            // Where both ways are open, the attached TC changes nothing but what is reported later.
            else if let Some(high) = self.lowest_tc(state, info.round - 1) {
                let tc = Some(high);
                actions.push(Action::Vote { who, block, tc });
            }
        }
    }

    /// Variants are alike until somebody votes: the first is voted for first.
    fn is_first_variant_used(&self, state: &State, block: Id) -> bool {
        let variant = self.blocks.info(block).variant;
        let used = |id| state.replicas.iter().any(|r| r.votes.has(id));
        variant == 0 || used(block - 1)
    }

    /// How a round that is not the current one may be entered.
    fn entrances(&self, state: &State, round: u8) -> Vec<Entrance> {
        let before = self.blocks.of_round(round - 1);
        let certified = self.certified(state).and(before);
        let by_tc = self.lowest_tc(state, round - 1).map(Entrance::Tc);
        by_tc
            .into_iter()
            .chain(certified.iter().map(Entrance::Qc))
            .collect()
    }

    /// Not of the last round, which nothing follows. Of several ways into a round, the one by a TC reports least, and
    /// whatever reports less forbids less.
    fn timeouts(&self, state: &State, who: usize, actions: &mut Vec<Action>) {
        let replica = &state.replicas[who];
        let current = replica.live.round;
        // A repeat that reports a higher certificate adds nothing to the lower one that is out there.
        if current < self.rounds && replica.timeouts[usize::from(current)] == 0 {
            actions.push(Action::Timeout {
                who,
                round: current,
                entrance: Entrance::Stay,
            });
        }
        for round in current + 1..self.rounds {
            let most = if self.eager { usize::MAX } else { 1 };
            for entrance in self.entrances(state, round).into_iter().take(most) {
                actions.push(Action::Timeout {
                    who,
                    round,
                    entrance,
                });
            }
        }
    }

    fn learnt(&self, state: &State, who: usize, actions: &mut Vec<Action>) {
        for round in 2..=self.rounds + 1 {
            for entrance in self.entrances(state, round) {
                actions.push(Action::Learn {
                    who,
                    round,
                    entrance,
                });
            }
        }
    }

    /// After all correct validators lost their memory and every message, and the Byzantine one fell silent: whether
    /// they get to commit a block.
    #[must_use]
    pub fn recovers(&self, state: &State) -> bool {
        self.recovers_among(state.replicas.into_iter())
    }

    /// The same for some of them, with whoever else is needed for a quorum.
    pub(crate) fn recovers_among(&self, replicas: impl Iterator<Item = Replica>) -> bool {
        let mut replicas: Vec<Replica> = replicas.collect();
        replicas.iter_mut().for_each(|r| r.crash(&self.rules));
        // All must give up one round together: the highest, which somebody has to prove to the others.
        let highest = replicas.iter().map(|r| r.live.round).max();
        let proven = replicas
            .iter()
            .filter(|r| r.can_prove_round(&self.blocks))
            .map(|r| r.live.round)
            .max();
        // The next leader extends the highest certified block, which somebody correct must still have.
        let extended = replicas
            .iter()
            .map(|r| r.live.high_qc)
            .max_by_key(|id| self.blocks.round(*id));
        let stored = replicas
            .iter()
            .fold(Set::NONE, |all, replica| all.or(replica.stored));
        let branch = extended.map_or(Set::NONE, |id| self.blocks.branch(id));
        highest == proven && branch.within(stored)
    }
}

/// What holds in every state.
impl Protocol {
    pub(crate) fn agrees(&self, state: &State) -> bool {
        let finals = self.final_blocks(state);
        let conflict = |a| finals.iter().any(|b| self.blocks.conflict(a, b));
        !finals.iter().any(conflict)
    }

    pub(crate) fn one_qc_a_round(&self, state: &State) -> bool {
        let certified = self.certified(state);
        (1..=self.rounds).all(|r| certified.and(self.blocks.of_round(r)).len() <= 1)
    }

    pub(crate) fn extends_what_is_final(&self, state: &State) -> bool {
        let certified = self.certified(state);
        let extended = |b: Id, c: Id| {
            self.blocks.round(c) <= self.blocks.round(b) || self.blocks.branch(c).has(b)
        };
        let finals = self.final_blocks(state);
        finals
            .iter()
            .all(|b| certified.iter().all(|c| extended(b, c)))
    }

    pub(crate) fn signs_once(&self, state: &State) -> bool {
        let once =
            |set: Set| (1..=self.rounds).all(|r| set.and(self.blocks.of_round(r)).len() <= 1);
        let mut replicas = state.replicas.iter();
        replicas.all(|r| once(r.votes) && once(r.commits))
    }
}

/// What at least two of the three have signed.
fn two_of(state: &State, signed: impl Fn(&Replica) -> Set) -> Set {
    let [a, b, c] = [0, 1, 2].map(|i| signed(&state.replicas[i]));
    a.and(b).or(a.and(c)).or(b.and(c))
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let target = |target| State {
            target,
            ..State::default()
        };
        if !self.focused {
            return vec![target(0)];
        }
        // What follows is of a later round.
        let early = |id: &Id| self.blocks.round(*id) < self.rounds;
        self.blocks.ids().filter(early).map(target).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let certified = self.certified(state);
        for who in 0..CORRECT {
            self.votes(state, who, actions);
            let meant = |id: &Id| *id != 0 && (state.target == 0 || state.target == *id);
            for block in certified.iter().filter(meant) {
                actions.push(Action::CommitVote { who, block });
            }
            self.timeouts(state, who, actions);
            if self.eager {
                self.learnt(state, who, actions);
            }
            if self.crashes.is_none_or(|most| state.crashes < most) {
                actions.push(Action::Crash { who });
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        let (rules, blocks) = (&self.rules, &self.blocks);
        match action {
            Action::Vote { who, block, tc } => {
                let replica = &mut state.replicas[who];
                let info = blocks.info(block);
                replica.learn_qc(blocks, info.parent);
                if let Some(high) = tc {
                    replica.learn_tc(blocks, info.round - 1, high);
                }
                if !replica.vote(rules, blocks, block, tc) {
                    return None;
                }
            }
            Action::CommitVote { who, block } => {
                if !state.replicas[who].commit_vote(rules, blocks, block) {
                    return None;
                }
            }
            Action::Timeout {
                who,
                round,
                entrance,
            } => {
                let replica = &mut state.replicas[who];
                replica.enter(blocks, round, entrance);
                // A certificate inside the TC may have led past it.
                if replica.live.round != round {
                    return None;
                }
                replica.timeout(rules, blocks);
            }
            Action::Learn {
                who,
                round,
                entrance,
            } => state.replicas[who].enter(blocks, round, entrance),
            Action::Crash { who } => {
                state.replicas[who].crash(rules);
                if self.crashes.is_some() {
                    state.crashes += 1;
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        vec![
            Property::always("agreement", Protocol::agrees),
            Property::always("one QC a round", Protocol::one_qc_a_round),
            Property::always("what is final is extended", Protocol::extends_what_is_final),
            Property::always("one vote and commit vote a round", Protocol::signs_once),
            Property::always("never wedged", |model: &Protocol, state| {
                model.recovers(state)
            }),
            Property::sometimes("a block is final", |model: &Protocol, state| {
                !model.final_blocks(state).is_empty()
            }),
            Property::sometimes("final after a TC", |model: &Protocol, state| {
                let skips = |id: Id| {
                    let info = model.blocks.info(id);
                    info.round > model.blocks.round(info.parent) + 1
                };
                model.final_blocks(state).iter().any(skips)
            }),
        ]
    }
}
