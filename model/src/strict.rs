//! P5, the strict fence: one of three correct validators loses its disk, and the fourth validator is Byzantine.
//!
//! The one that forgot asks all three others (q of them, with n = 4) and waits for their answers, each of another moment.
//! An answer is what its sender has entered and its highest certificate. The Byzantine one answers as if it had just been
//! born, which shows least; like its signatures (see [`crate::protocol`]), its answer is there at any time. From then on
//! nothing is signed up to the floor, the highest entered round + 1, and nothing at all before a certificate of a round
//! at or above the floor is known.
//!
//! What was signed before stays signed and is remembered by nobody: it may arrive at any time. Shown is that it does not
//! matter: the validator does not count as faulty at all, beside the Byzantine one. Each part of the fence can be left
//! out, to show what it is for.
//!
//! That the chain gets on is the property *the others get on*: in every state the two other correct validators, started
//! anew from their disks, can commit with the Byzantine one's signature, so the certificate that the fence waits for can
//! be made without the one that waits.

use stateright::{Model, Property, Representative};

use crate::blocks::{Id, Set};
use crate::protocol::{self, CORRECT, Protocol};
use crate::rules::{Record, Rules};

/// The one that loses its disk; the others are alike.
const FORGETFUL: usize = 0;
/// The other correct ones.
const OTHERS: usize = CORRECT - 1;

/// How the fence is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Answers that it waits for, of the three others.
    pub answers: usize,
    /// An answer to a question of an earlier start is told apart from one to this start's.
    pub nonce: bool,
    /// Nothing is signed up to the floor.
    pub burns: bool,
    /// Nothing is signed before a certificate of the floor or above is known.
    pub waits: bool,
}

impl Fence {
    /// The protocol: q = 3 others.
    pub const ALL: Fence = Fence {
        answers: 3,
        nonce: true,
        burns: true,
        waits: true,
    };
}

/// Where the validator stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// It has its disk.
    #[default]
    Whole,
    /// It lost it, and asks; answers so far say that this round was entered.
    Asking {
        /// The highest.
        entered: u8,
    },
    /// It takes part again.
    Back {
        /// Nothing up to it is signed.
        floor: u8,
    },
}

/// A correct validator other than the forgetful one, in the eyes of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// It has answered since the disk was lost.
    pub answered: bool,
    /// What it answered an earlier start: under way still. Only where there is no nonce.
    pub old: Option<Record>,
}

/// The protocol's state, and the fence's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// All that was signed, and what is on the disks.
    pub sound: protocol::State,
    /// Of the forgetful one.
    pub phase: Phase,
    /// Of the others, in their order.
    pub peers: [Peer; OTHERS],
    /// It has voted since.
    pub voted: bool,
}

impl Representative for State {
    fn representative(&self) -> State {
        let mut sorted = *self;
        let others = &self.sound.replicas[1..];
        let mut pairs = [(others[0], self.peers[0]), (others[1], self.peers[1])];
        pairs.sort_unstable();
        for (at, (replica, peer)) in pairs.into_iter().enumerate() {
            (sorted.sound.replicas[1 + at], sorted.peers[at]) = (replica, peer);
        }
        sorted
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// As without any fence.
    Protocol(protocol::Action),
    /// An earlier start asks; the answers are long under way.
    AskedBefore,
    /// The disk is lost, and it asks.
    Lose,
    /// One of the other correct ones answers.
    Answer {
        /// Who, of the others.
        peer: usize,
        /// What arrives is the answer to the earlier start.
        old: bool,
    },
    /// The fence is passed; with the certificate of this block, which it learns now if it had not before.
    Pass(Id),
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Strict {
    /// How much there is to explore, and the rules.
    pub protocol: Protocol,
    /// As built.
    pub fence: Fence,
}

impl Strict {
    /// All blocks of so many rounds.
    #[must_use]
    pub fn new(rounds: u8, variants: u8, crashes: u8, fence: Fence) -> Strict {
        let mut protocol = Protocol::new(rounds, variants, Some(crashes));
        protocol.focused = true;
        Strict { protocol, fence }
    }

    /// Whether the fence lets the forgetful validator do this.
    fn is_open(&self, state: &State, action: &protocol::Action) -> bool {
        use protocol::Action::{CommitVote, Crash, Learn, Timeout, Vote};
        let (Vote { who, .. }
        | CommitVote { who, .. }
        | Timeout { who, .. }
        | Learn { who, .. }
        | Crash { who }) = action;
        let floor = match state.phase {
            _ if *who != FORGETFUL => return true,
            Phase::Whole => return true,
            Phase::Asking { .. } => return false,
            Phase::Back { floor } => floor,
        };
        match action {
            Vote { block, .. } | CommitVote { block, .. } => {
                !self.fence.burns || self.protocol.blocks.round(*block) > floor
            }
            // Whoever has waited is above the floor anyway.
            Timeout { .. } | Learn { .. } | Crash { .. } => true,
        }
    }

    fn answer(&self, state: &mut State, peer: usize, old: bool) {
        let replica = &state.sound.replicas[1 + peer];
        let told = match old {
            true => state.peers[peer].old.expect("offered only if there is one"),
            false => replica.live,
        };
        state.peers[peer].answered = true;
        let forgetful = &mut state.sound.replicas[FORGETFUL];
        forgetful.learn_qc(&self.protocol.blocks, told.high_qc);
        if told.round > forgetful.live.round {
            forgetful.live.round = told.round;
            forgetful.live.by_tc = told.by_tc;
        }
        if let Phase::Asking { entered } = &mut state.phase {
            *entered = (*entered).max(told.round);
        }
    }

    /// With which certificates the fence may be passed now.
    fn passes(&self, state: &State) -> Set {
        let Phase::Asking { entered } = state.phase else {
            return Set::NONE;
        };
        // And the Byzantine one.
        let answered = 1 + state.peers.iter().filter(|peer| peer.answered).count();
        if answered < self.fence.answers {
            return Set::NONE;
        }
        if !self.fence.waits {
            return Set::one(state.sound.replicas[FORGETFUL].live.high_qc);
        }
        let blocks = &self.protocol.blocks;
        let certified = self.protocol.certified(&state.sound);
        certified
            .iter()
            .filter(|id| blocks.round(*id) > entered)
            .fold(Set::NONE, |all, id| all.or(Set::one(id)))
    }

    fn pass(&self, state: &mut State, block: Id) {
        let Phase::Asking { entered } = state.phase else {
            return;
        };
        let floor = entered + 1;
        state.phase = Phase::Back { floor };
        state.peers = [Peer::default(); OTHERS];
        let forgetful = &mut state.sound.replicas[FORGETFUL];
        forgetful.learn_qc(&self.protocol.blocks, block);
        if self.fence.burns {
            forgetful.last_voted = floor;
        }
        // It has a record again.
        forgetful.disk = forgetful.live;
    }

    /// What the fence waits for can be made without the one that waits: by the others, after a start of both.
    fn others_get_on(&self, state: &State) -> bool {
        let others = &state.sound.replicas[1..];
        self.protocol.recovers_among(others.iter().copied())
    }
}

impl Model for Strict {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let sound = self.protocol.init_states().into_iter();
        let state = |sound| State {
            sound,
            ..State::default()
        };
        sound.map(state).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut sound = Vec::new();
        self.protocol.actions(&state.sound, &mut sound);
        let open = sound.into_iter().filter(|a| self.is_open(state, a));
        actions.extend(open.map(Action::Protocol));
        match state.phase {
            Phase::Whole => {
                actions.push(Action::Lose);
                if !self.fence.nonce && state.peers[0].old.is_none() {
                    actions.push(Action::AskedBefore);
                }
            }
            Phase::Asking { .. } => {
                for (peer, seen) in state.peers.iter().enumerate() {
                    if seen.answered {
                        continue;
                    }
                    actions.push(Action::Answer { peer, old: false });
                    if seen.old.is_some() {
                        actions.push(Action::Answer { peer, old: true });
                    }
                }
                actions.extend(self.passes(state).iter().map(Action::Pass));
            }
            Phase::Back { .. } => {}
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::Protocol(action) => {
                state.sound = self.protocol.next_state(&before.sound, action)?;
                let votes = matches!(action, protocol::Action::Vote { who: FORGETFUL, .. });
                state.voted |= votes && matches!(state.phase, Phase::Back { .. });
            }
            Action::AskedBefore => {
                for (peer, replica) in state.peers.iter_mut().zip(&before.sound.replicas[1..]) {
                    peer.old = Some(replica.live);
                }
            }
            Action::Lose => {
                let forgetful = &mut state.sound.replicas[FORGETFUL];
                let fresh = protocol::State::default().replicas[FORGETFUL];
                (forgetful.disk, forgetful.stored) = (fresh.disk, fresh.stored);
                forgetful.crash(&Rules::ALL);
                state.phase = Phase::Asking { entered: 1 };
            }
            Action::Answer { peer, old } => self.answer(&mut state, peer, old),
            Action::Pass(block) => self.pass(&mut state, block),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Strict>> {
        vec![
            Property::always("agreement", |model: &Strict, state: &State| {
                model.protocol.agrees(&state.sound)
            }),
            Property::always("one QC a round", |model: &Strict, state: &State| {
                model.protocol.one_qc_a_round(&state.sound)
            }),
            Property::always(
                "what is final is extended",
                |model: &Strict, state: &State| model.protocol.extends_what_is_final(&state.sound),
            ),
            Property::always(
                "one vote and commit vote a round",
                |model: &Strict, state: &State| model.protocol.signs_once(&state.sound),
            ),
            Property::always("the others get on", |model: &Strict, state: &State| {
                model.others_get_on(state)
            }),
            Property::sometimes("it votes again", |_: &Strict, state: &State| state.voted),
            Property::sometimes(
                "a block is final after it lost",
                |model: &Strict, state: &State| {
                    let back = matches!(state.phase, Phase::Back { .. });
                    back && !model.protocol.final_blocks(&state.sound).is_empty()
                },
            ),
        ]
    }
}
