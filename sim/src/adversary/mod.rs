//! Validators that lie with their own keys.
//!
//! A Byzantine node of a world runs a real replica, and an [`Adversary`] stands between it and everybody else: it sees
//! what arrives before the replica does, decides what leaves instead of what the replica would send, and may act by the
//! clock. It has the consensus keys of all Byzantine nodes of its world and speaks the real wire types, so that only the
//! rules of the protocol stand between it and a fork. What it does beyond honest behaviour it reports with
//! [`Stage::acted`]: an adversary that never acted proves nothing.
//!
//! A new one is a file here and a line in [`KINDS`].

mod equivocator;
mod forger;
mod notes;
mod nuisance;
mod proposer;
mod server;
mod signer;
mod silence;

use std::fmt;

use quorate_consensus::Target;
use quorate_storage::MemStore;
use quorate_types::vote::Signer;
use quorate_types::{ChainId, Message, Parameters, Validators};

use crate::keys::Pen;
use crate::network::Packet;
use crate::rng::Rng;

/// What a Byzantine validator does.
pub trait Adversary: fmt::Debug {
    /// A message arrived, and it verifies. Whether its replica gets it.
    fn receive(&mut self, stage: &mut Stage<'_>, from: usize, message: &Message) -> bool {
        let _ = (stage, from, message);
        true
    }

    /// Its replica, which follows the protocol, would send this. An honest one would call [`Stage::pass`].
    fn send(&mut self, stage: &mut Stage<'_>, to: Target, message: Message);

    /// Called every [`TICK`], also while its replica is down.
    fn tick(&mut self, stage: &mut Stage<'_>) {
        let _ = stage;
    }
}

/// Time between two ticks of an adversary, in nanoseconds.
pub const TICK: u64 = 20 * crate::plan::MILLISECOND;

/// A kind of adversary: its name in plans and reports, and how it is made for a node.
pub struct Kind {
    /// As in a plan.
    pub name: &'static str,
    /// One of them; chance is its own.
    pub make: fn(Rng) -> Box<dyn Adversary>,
}

/// Every kind that a seed may draw.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "equivocator",
        make: |rng| Box::new(equivocator::Equivocator::new(rng)),
    },
    Kind {
        name: "silent leader",
        make: |rng| Box::new(silence::Silent::new(silence::How::Proposals, rng)),
    },
    Kind {
        name: "mute voter",
        make: |rng| Box::new(silence::Silent::new(silence::How::Votes, rng)),
    },
    Kind {
        name: "batch withholder",
        make: |rng| Box::new(silence::Silent::new(silence::How::Batches, rng)),
    },
    Kind {
        name: "mute server",
        make: |rng| Box::new(silence::Silent::new(silence::How::Answers, rng)),
    },
    Kind {
        name: "bridge",
        make: |rng| Box::new(silence::Silent::new(silence::How::Half, rng)),
    },
    Kind {
        name: "shunner",
        make: |rng| Box::new(silence::Silent::new(silence::How::Victim, rng)),
    },
    Kind {
        name: "late leader",
        make: |rng| Box::new(silence::Silent::new(silence::How::Late, rng)),
    },
    Kind {
        name: "censor",
        make: |rng| Box::new(silence::Silent::new(silence::How::Transactions, rng)),
    },
    Kind {
        name: "double voter",
        make: |rng| Box::new(signer::Oversigner::new(signer::How::Votes, rng)),
    },
    Kind {
        name: "colluder",
        make: |rng| Box::new(signer::Oversigner::new(signer::How::Collusion, rng)),
    },
    Kind {
        name: "commit-vote liar",
        make: |rng| Box::new(signer::Oversigner::new(signer::How::CommitVotes, rng)),
    },
    Kind {
        name: "quitter",
        make: |rng| Box::new(signer::Oversigner::new(signer::How::Timeouts, rng)),
    },
    Kind {
        name: "round inflator",
        make: |rng| Box::new(signer::Oversigner::new(signer::How::Rounds, rng)),
    },
    Kind {
        name: "wrong epoch",
        make: |rng| Box::new(signer::Oversigner::new(signer::How::Epochs, rng)),
    },
    Kind {
        name: "hint liar",
        make: |rng| Box::new(signer::Oversigner::new(signer::How::Hints, rng)),
    },
    Kind {
        name: "certificate padder",
        make: |rng| Box::new(forger::Forger::new(forger::How::Padding, rng)),
    },
    Kind {
        name: "duplicate signer",
        make: |rng| Box::new(forger::Forger::new(forger::How::Repeats, rng)),
    },
    Kind {
        name: "TC forger",
        make: |rng| Box::new(forger::Forger::new(forger::How::Signatures, rng)),
    },
    Kind {
        name: "TC liar",
        make: |rng| Box::new(forger::Forger::new(forger::How::LowerRounds, rng)),
    },
    Kind {
        name: "anchor forger",
        make: |rng| Box::new(forger::Forger::new(forger::How::Anchors, rng)),
    },
    Kind {
        name: "impostor",
        make: |rng| Box::new(forger::Forger::new(forger::How::Names, rng)),
    },
    Kind {
        name: "poisoner",
        make: |rng| Box::new(forger::Forger::new(forger::How::Poison, rng)),
    },
    Kind {
        name: "evidence forger",
        make: |rng| Box::new(forger::Forger::new(forger::How::Evidence, rng)),
    },
    Kind {
        name: "lock breaker",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::OldParent, rng)),
    },
    Kind {
        name: "gap jumper",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::Gap, rng)),
    },
    Kind {
        name: "wrong parent",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::OtherParent, rng)),
    },
    Kind {
        name: "usurper",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::OtherLeader, rng)),
    },
    Kind {
        name: "claim liar",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::Claim, rng)),
    },
    Kind {
        name: "timestamp liar",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::Time, rng)),
    },
    Kind {
        name: "ghost orderer",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::Ghosts, rng)),
    },
    Kind {
        name: "lying block server",
        make: |rng| Box::new(server::Server::new(server::How::Blocks, rng)),
    },
    Kind {
        name: "lying batch server",
        make: |rng| Box::new(server::Server::new(server::How::Batches, rng)),
    },
    Kind {
        name: "lying ledger server",
        make: |rng| Box::new(server::Server::new(server::How::Ledger, rng)),
    },
    Kind {
        name: "denier",
        make: |rng| Box::new(server::Server::new(server::How::Denial, rng)),
    },
    Kind {
        name: "replayer",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::Replay, rng)),
    },
    Kind {
        name: "garbage sender",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::Garbage, rng)),
    },
    Kind {
        name: "batch equivocator",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::SplitBatches, rng)),
    },
    Kind {
        name: "batch flooder",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::Batches, rng)),
    },
    Kind {
        name: "vote flooder",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::Votes, rng)),
    },
    Kind {
        name: "proposal flooder",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::Proposals, rng)),
    },
    Kind {
        name: "questioner",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::Questions, rng)),
    },
    Kind {
        name: "nagger",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::Nags, rng)),
    },
    // Drawn from a stream of their own, so that what a seed stood for before, it stands for still.
    Kind {
        name: "fence liar",
        make: |rng| Box::new(server::Server::new(server::How::Fences, rng)),
    },
    Kind {
        name: "stale certifier",
        make: |rng| Box::new(proposer::Proposer::new(proposer::How::StaleTc, rng)),
    },
    Kind {
        name: "batch repeater",
        make: |rng| Box::new(nuisance::Nuisance::new(nuisance::How::OldBatches, rng)),
    },
];

/// Kinds that there were from the beginning: the first ones.
pub const FIRST_KINDS: usize = 43;

/// The kind of this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// What an adversary knows at one moment, and what it can do.
pub struct Stage<'a> {
    /// True time since the world began, in nanoseconds.
    pub now: u64,
    /// Its own node.
    pub me: usize,
    /// Nodes of the world: first the validators, by index, then further ones that share the key of one of those.
    pub nodes: usize,
    /// Its accomplices and itself.
    pub byzantine: &'a [usize],
    /// The set, with all public keys.
    pub validators: &'a Validators,
    /// Of the chain.
    pub parameters: &'a Parameters,
    /// The disk of its own replica, to read blocks, batches and certificates from.
    pub store: &'a MemStore,
    pub(crate) pens: &'a [Pen],
    /// Which validator each node is.
    pub(crate) identities: &'a [usize],
    pub(crate) out: Vec<Posted>,
    pub(crate) acts: Vec<&'static str>,
}

/// Something that an adversary sends.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) packet: Packet,
}

impl Stage<'_> {
    /// The chain that all signatures name.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.validators.chain()
    }

    /// The consensus key of a Byzantine node.
    ///
    /// # Panics
    /// If the node is none: nobody can take an honest validator's key.
    #[must_use]
    pub fn signer(&self, node: usize) -> &dyn Signer {
        assert!(
            self.byzantine.contains(&node),
            "an adversary has its accomplices' keys and no others"
        );
        &self.pens[node]
    }

    /// Sends to one node.
    pub fn send(&mut self, to: usize, message: &Message) {
        self.post(to, Packet::new(message));
    }

    /// Sends anything at all to one node.
    pub fn send_bytes(&mut self, to: usize, bytes: Vec<u8>) {
        self.post(to, Packet::of(bytes, "bytes"));
    }

    /// Sends what its replica would, to whom it would.
    pub fn pass(&mut self, to: Target, message: &Message) {
        let packet = Packet::new(message);
        for to in self.receivers(to) {
            self.post(to, packet.clone());
        }
    }

    /// The nodes behind a target, without this one.
    #[must_use]
    pub fn receivers(&self, to: Target) -> Vec<usize> {
        let one = |node: &usize| match to {
            Target::One(one) => one.as_usize() == self.identities[*node],
            Target::All => true,
        };
        let others = (0..self.nodes).filter(|node| *node != self.me);
        others.filter(one).collect()
    }

    /// Counts something that no honest validator does.
    pub fn acted(&mut self, what: &'static str) {
        self.acts.push(what);
    }

    fn post(&mut self, to: usize, packet: Packet) {
        let from = self.me;
        self.out.push(Posted { from, to, packet });
    }
}
