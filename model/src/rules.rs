//! What one correct validator may sign: V2, V3, C1–C3, T1 and P1–P4, each with a switch that turns it off, so that it
//! can be shown what each is for. Both the exploration ([`crate::protocol`]) and the comparison with the engine
//! ([`crate::replay`]) use these functions and no other.
//!
//! Who leads, what a block contains and when a timer runs out are not here: the model lets any block be proposed and any
//! timer run out, so what holds in it holds whoever leads.

use crate::blocks::{Blocks, Id, Set};

/// Rounds that the model can have.
pub const MAX_ROUNDS: usize = 6;

/// The rules that are in force. All of them are the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Through a TC, only what is at least as high as any certificate in it may be extended.
    pub v2: bool,
    /// Only in the current round, once, and not after its Timeout.
    pub v3: bool,
    /// Who commit-votes holds the certificate from then on.
    pub c1: bool,
    /// No CommitVote of a round that was given up.
    pub c2: bool,
    /// A vote's round is in the record before the vote leaves.
    pub p1_record: bool,
    /// A voted block is durable before the vote leaves.
    pub p1_block: bool,
    /// The certificate is in the record before the CommitVote leaves.
    pub p2: bool,
    /// The round given up is in the record before the Timeout leaves.
    pub p3: bool,
    /// After a restart, the recorded round counts as voted in.
    pub p4: bool,
    /// The record holds what entered its round.
    pub entry: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Rules = Rules {
        v2: true,
        v3: true,
        c1: true,
        c2: true,
        p1_record: true,
        p1_block: true,
        p2: true,
        p3: true,
        p4: true,
        entry: true,
    };
}

/// The safety record, as far as the model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    /// 0 only on a disk that nothing was written to.
    pub round: u8,
    /// Whether the record holds a TC that entered the round; a QC that did is `high_qc`.
    pub by_tc: bool,
    /// The highest certified block known.
    pub high_qc: Id,
    /// The highest round given up.
    pub highest_timeout: u8,
}

/// One correct validator: what it has on disk and in memory, and all that it ever signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// Durable.
    pub disk: Record,
    /// In memory.
    pub live: Record,
    /// In memory.
    pub last_voted: u8,
    /// Durable blocks.
    pub stored: Set,
    /// Signed, ever.
    pub votes: Set,
    /// Signed, ever.
    pub commits: Set,
    /// For each round: 1 + the lowest round of a certificate that a Timeout of it reported; 0 if none was signed.
    pub timeouts: [u8; MAX_ROUNDS + 1],
}

/// How a round is entered, where it is not the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entrance {
    /// It is the current round.
    Stay,
    /// By the certificate of a block of the round before.
    Qc(Id),
    /// By a TC of the round before, whose QC is of this block.
    Tc(Id),
}

impl Default for Replica {
    fn default() -> Replica {
        let fresh = Record {
            round: 1,
            by_tc: false,
            high_qc: 0,
            highest_timeout: 0,
        };
        Replica {
            disk: Record { round: 0, ..fresh },
            live: fresh,
            last_voted: 0,
            stored: Set::one(0),
            votes: Set::NONE,
            commits: Set::NONE,
            timeouts: [0; MAX_ROUNDS + 1],
        }
    }
}

impl Replica {
    /// A1 for a QC.
    pub fn learn_qc(&mut self, blocks: &Blocks, block: Id) {
        let round = blocks.round(block);
        if round > blocks.round(self.live.high_qc) {
            self.live.high_qc = block;
        }
        if round >= self.live.round {
            self.live.round = round + 1;
            self.live.by_tc = false;
        }
    }

    /// A1 for a TC of `round` whose QC is of `high`.
    pub fn learn_tc(&mut self, blocks: &Blocks, round: u8, high: Id) {
        self.learn_qc(blocks, high);
        if round >= self.live.round {
            self.live.round = round + 1;
            self.live.by_tc = true;
        }
    }

    /// Processes what a round is entered by.
    pub fn enter(&mut self, blocks: &Blocks, round: u8, entrance: Entrance) {
        match entrance {
            Entrance::Stay => {}
            Entrance::Qc(block) => self.learn_qc(blocks, block),
            Entrance::Tc(high) => self.learn_tc(blocks, round - 1, high),
        }
    }

    /// V2, V3 and P1: votes for the block, or not. What its proposal carries was processed before (A1): the QC of its
    /// parent, and `tc`, the block whose QC is in the attached TC of the round before.
    pub fn vote(&mut self, rules: &Rules, blocks: &Blocks, block: Id, tc: Option<Id>) -> bool {
        let info = blocks.info(block);
        let parent = blocks.round(info.parent);
        let extends = match tc {
            None => info.round == parent + 1,
            Some(high) => !rules.v2 || parent >= blocks.round(high),
        };
        let free = info.round == self.live.round
            && info.round > self.last_voted
            && info.round > self.live.highest_timeout;
        if !extends || (rules.v3 && !free) {
            return false;
        }
        self.last_voted = info.round;
        self.votes = self.votes.or(Set::one(block));
        if rules.p1_block {
            self.stored = self.stored.or(blocks.branch(block));
        }
        if rules.p1_record {
            self.save(rules);
        }
        true
    }

    /// C1–C3 and P2: commit-votes for a certified block that is held, or not. It may be repeated, and rounds may come in
    /// any order; the engine, which lets them only rise, allows less.
    pub fn commit_vote(&mut self, rules: &Rules, blocks: &Blocks, block: Id) -> bool {
        let round = blocks.round(block);
        if rules.c2 && round <= self.live.highest_timeout {
            return false;
        }
        if rules.c1 {
            self.learn_qc(blocks, block);
        }
        self.commits = self.commits.or(Set::one(block));
        self.stored = self.stored.or(blocks.branch(block));
        if rules.p2 {
            self.save(rules);
        }
        true
    }

    /// T1 and P3: gives up the current round.
    pub fn timeout(&mut self, rules: &Rules, blocks: &Blocks) {
        let round = self.live.round;
        self.live.highest_timeout = self.live.highest_timeout.max(round);
        let reported = 1 + blocks.round(self.live.high_qc);
        let lowest = &mut self.timeouts[usize::from(round)];
        *lowest = if *lowest == 0 {
            reported
        } else {
            reported.min(*lowest)
        };
        if rules.p3 {
            self.save(rules);
        }
    }

    fn save(&mut self, rules: &Rules) {
        self.disk = self.live;
        self.disk.by_tc &= rules.entry;
    }

    /// Loses what is in memory. P4: whatever was signed in the recorded round is not known any more.
    pub fn crash(&mut self, rules: &Rules) {
        let burnt = self.disk.round;
        self.live = Record {
            round: burnt.max(1),
            ..self.disk
        };
        self.last_voted = if rules.p4 { burnt } else { 0 };
    }

    /// Whether it could sign a valid Timeout of its round, from what it holds itself.
    #[must_use]
    pub fn can_prove_round(&self, blocks: &Blocks) -> bool {
        self.live.by_tc || blocks.round(self.live.high_qc) + 1 == self.live.round
    }
}
