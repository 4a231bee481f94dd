//! P5: four correct validators, of which one is put back, once, to a copy of its disk from any earlier moment.
//!
//! That is the most that the restart fence covers with f = 1: the restored validator is the faulty one. It learns what two
//! of the three others know, whichever two, and nothing else: of what it signed after the copy was made, nobody need have
//! heard. What is shown is that it then signs no round twice, and that nothing forks.
//!
//! The signatures and certificates are those of [`crate::protocol`], without a Byzantine validator.

use stateright::{Model, Property, Representative};

use crate::blocks::{Blocks, Id, Set};
use crate::rules::{Entrance, Record, Replica, Rules};

/// Validators: n = 4, q = 3.
const N: usize = 4;
const QUORUM: usize = 3;
/// The one that is restored.
const RESTORED: usize = 0;

/// All that was signed, and what is on the disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The first is the one that is restored; the others are alike.
    pub replicas: [Replica; N],
    /// The copy of its disk, once it is made.
    pub copy: Option<(Record, Set)>,
    /// It was put back: nothing up to this round but Timeouts is signed.
    pub burnt: Option<u8>,
    /// It has voted since.
    pub back: bool,
}

impl Representative for State {
    fn representative(&self) -> State {
        let mut sorted = *self;
        sorted.replicas[1..].sort_unstable();
        sorted
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See [`crate::protocol::Action::Vote`].
    Vote(usize, Id, Option<Id>),
    /// For a certified block.
    CommitVote(usize, Id),
    /// Gives up the round, entered so.
    Timeout(usize, u8, Entrance),
    /// The disk is copied.
    Copy,
    /// The copy is put back, and all others but this one answer.
    Restore {
        /// Who does not.
        silent: usize,
    },
}

/// How the fence is built; the protocol has both.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// What the answerers have entered is burnt.
    pub burns: bool,
    /// And one round more.
    pub one_more: bool,
}

impl Fence {
    /// The protocol.
    pub const ALL: Fence = Fence {
        burns: true,
        one_more: true,
    };
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Restart {
    /// Of every parent and round.
    pub blocks: Blocks,
    /// The last one.
    pub rounds: u8,
    /// As built.
    pub fence: Fence,
}

impl Restart {
    /// All blocks of so many rounds.
    #[must_use]
    pub fn new(rounds: u8, variants: u8, fence: Fence) -> Restart {
        Restart {
            blocks: Blocks::new(rounds, variants),
            rounds,
            fence,
        }
    }

    fn by_quorum(
        state: &State,
        signed: impl Fn(&Replica) -> Set,
        ids: impl Iterator<Item = Id>,
    ) -> Set {
        let enough = |id: &Id| {
            let by = state.replicas.iter().filter(|r| signed(r).has(*id));
            by.count() >= QUORUM
        };
        ids.filter(enough)
            .fold(Set::NONE, |all, id| all.or(Set::one(id)))
    }

    fn certified(&self, state: &State) -> Set {
        Restart::by_quorum(state, |r| r.votes, self.blocks.ids()).or(Set::one(0))
    }

    fn final_blocks(&self, state: &State) -> Set {
        let all = Restart::by_quorum(state, |r| r.commits, self.blocks.ids());
        all.and(self.certified(state))
    }

    /// The block of the QC in the lowest TC that can be made of a round: of the quorum that reported the lowest.
    fn lowest_tc(&self, state: &State, round: u8) -> Option<Id> {
        let mut reported = state.replicas.map(|r| r.timeouts[usize::from(round)]);
        reported.sort_unstable();
        let from = reported.iter().position(|r| *r > 0)?;
        let high = reported.get(from + QUORUM - 1)?.checked_sub(1)?;
        let certified = self.certified(state).and(self.blocks.of_round(high));
        certified.iter().next()
    }

    fn votes(&self, state: &State, who: usize, actions: &mut Vec<Action>) {
        let certified = self.certified(state);
        let used = |id| state.replicas.iter().any(|r| r.votes.has(id));
        for block in self.blocks.ids() {
            let info = self.blocks.info(block);
            if !certified.has(info.parent) || (info.variant > 0 && !used(block - 1)) {
                continue;
            }
            if self.blocks.round(info.parent) + 1 == info.round {
                actions.push(Action::Vote(who, block, None));
            } else if let Some(high) = self.lowest_tc(state, info.round - 1) {
                actions.push(Action::Vote(who, block, Some(high)));
            }
        }
    }

    fn timeouts(&self, state: &State, who: usize, actions: &mut Vec<Action>) {
        let replica = &state.replicas[who];
        let current = replica.live.round;
        if current < self.rounds {
            actions.push(Action::Timeout(who, current, Entrance::Stay));
        }
        for round in current + 1..self.rounds {
            let before = self.certified(state).and(self.blocks.of_round(round - 1));
            let by_tc = self.lowest_tc(state, round - 1).map(Entrance::Tc);
            let entrance = by_tc.or_else(|| before.iter().next().map(Entrance::Qc));
            actions.extend(entrance.map(|entrance| Action::Timeout(who, round, entrance)));
        }
    }

    /// The start from the copy, and the answers.
    fn restore(&self, state: &mut State, silent: usize) {
        let (disk, stored) = state.copy.expect("only a copy is put back");
        let others = (1..N).filter(|i| *i != silent);
        let answers: Vec<Record> = others.map(|i| state.replicas[i].live).collect();
        let replica = &mut state.replicas[RESTORED];
        (replica.disk, replica.stored) = (disk, stored);
        replica.crash(&Rules::ALL);
        let mut burnt = disk.round;
        for answer in answers {
            replica.learn_qc(&self.blocks, answer.high_qc);
            if answer.round > replica.live.round {
                replica.live.round = answer.round;
                replica.live.by_tc = answer.by_tc;
            }
            if self.fence.burns {
                burnt = burnt.max(answer.round + u8::from(self.fence.one_more));
            }
        }
        replica.last_voted = burnt;
        state.burnt = Some(burnt);
    }

    /// Whether the fence lets the validator sign in a round.
    fn is_open(state: &State, who: usize, round: u8) -> bool {
        who != RESTORED || state.burnt.is_none_or(|burnt| round > burnt)
    }
}

impl Model for Restart {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for who in 0..N {
            self.votes(state, who, actions);
            self.timeouts(state, who, actions);
            for block in self.certified(state).iter().filter(|id| *id != 0) {
                actions.push(Action::CommitVote(who, block));
            }
        }
        match state.copy {
            None => actions.push(Action::Copy),
            Some(_) if state.burnt.is_none() => {
                actions.extend((1..N).map(|silent| Action::Restore { silent }));
            }
            Some(_) => {}
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        let (rules, blocks) = (&Rules::ALL, &self.blocks);
        match action {
            Action::Vote(who, block, tc) => {
                let info = blocks.info(block);
                let open = Restart::is_open(&state, who, info.round);
                let replica = &mut state.replicas[who];
                replica.learn_qc(blocks, info.parent);
                if let Some(high) = tc {
                    replica.learn_tc(blocks, info.round - 1, high);
                }
                if !open || !replica.vote(rules, blocks, block, tc) {
                    return None;
                }
                state.back |= who == RESTORED && state.burnt.is_some();
            }
            Action::CommitVote(who, block) => {
                let open = Restart::is_open(&state, who, blocks.round(block));
                if !open || !state.replicas[who].commit_vote(rules, blocks, block) {
                    return None;
                }
            }
            Action::Timeout(who, round, entrance) => {
                let replica = &mut state.replicas[who];
                replica.enter(blocks, round, entrance);
                if replica.live.round != round {
                    return None;
                }
                replica.timeout(rules, blocks);
            }
            Action::Copy => {
                let replica = &state.replicas[RESTORED];
                state.copy = Some((replica.disk, replica.stored));
            }
            Action::Restore { silent } => self.restore(&mut state, silent),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Restart>> {
        vec![
            Property::always("agreement", |model: &Restart, state| {
                let finals = model.final_blocks(state);
                let conflict = |a| finals.iter().any(|b| model.blocks.conflict(a, b));
                !finals.iter().any(conflict)
            }),
            Property::always("one QC a round", |model: &Restart, state| {
                let certified = model.certified(state);
                (1..=model.rounds).all(|r| certified.and(model.blocks.of_round(r)).len() <= 1)
            }),
            Property::always(
                "one vote and commit vote a round",
                |model: &Restart, s: &State| {
                    let once = |set: Set| {
                        (1..=model.rounds).all(|r| set.and(model.blocks.of_round(r)).len() <= 1)
                    };
                    s.replicas.iter().all(|r| once(r.votes) && once(r.commits))
                },
            ),
            Property::sometimes(
                "the restored one votes again",
                |_: &Restart, state: &State| state.back,
            ),
        ]
    }
}
