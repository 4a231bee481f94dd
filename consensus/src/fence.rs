//! The fence (P5): what a validator that starts has to learn from the others before it may sign.
//!
//! Its disk may be an older copy of what it was, or empty. Owns the answers and what follows from them, and nothing else: it
//! sends nothing and signs nothing. Must never believe a number that no certificate and no signature of our own proves.
//!
//! Why one round more than any answerer has entered: whoever signed in round r entered it by a certificate of r − 1, whose
//! quorum holds at least q − 1 others. Of the q − 1 others that answer, at least one is among them unless more than f
//! validators are faulty or restored; and that one has entered r − 1.

use quorate_mutants::{Mutant, mutant};
use quorate_types::{Instant, Qc, Round, SafetyRecord, Signers, ValidatorIndex, Validators};

/// How often those who have not answered are asked.
pub(crate) const ASK_NS: u64 = 250_000_000;
/// How long further answers are waited for once there are enough: they can only raise what is burnt.
pub(crate) const LINGER_NS: u64 = 300_000_000;

/// How far what is on this validator's disk may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Wholly: nobody is asked. For tests, and for whoever owes nothing.
    Open,
    /// It may be an older copy: the restart fence.
    Fenced {
        /// Of this start; no other has the same.
        nonce: u64,
    },
    /// It forgot what it signed: the strict fence.
    Forgetful {
        /// Of this start; no other has the same.
        nonce: u64,
        /// Nothing was signed above, if that much is known.
        ceiling: Option<Round>,
    },
}

/// The answers so far.
#[derive(Debug)]
pub(crate) struct Fence {
    nonce: u64,
    strict: bool,
    /// Answers that it takes, and how many there can be.
    needed: usize,
    others: usize,
    answered: Signers,
    /// The highest round that an answerer has proved to have entered.
    entered: Round,
    /// The highest round that we signed something in, as far as anybody has shown us.
    shown: Option<Round>,
    /// What is burnt whatever they answer.
    least: Round,
    /// The round of the record that the start found.
    recorded: Option<Round>,
    anchor: Round,
    ask_at: Instant,
    /// There are enough answers: further ones are waited for until then.
    linger_until: Option<Instant>,
    /// That wait is over.
    waited: bool,
}

/// What a fence that was passed leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Whether this validator had forgotten what it signed, and has a record again once this turn is durable.
    pub strict: bool,
    /// Nothing is signed up to this round but Timeouts.
    pub burnt: Round,
    /// The round in the record that was found.
    pub recorded: Option<Round>,
    /// The highest round in which we are known to have signed. Above the recorded one it shows that the disk is an older
    /// copy, or that somebody else signs with our key.
    pub shown: Option<Round>,
}

impl Fence {
    /// `None` if nobody is to be asked.
    pub(crate) fn new(
        start: Start,
        record: Option<&SafetyRecord>,
        validators: &Validators,
        now: Instant,
    ) -> Option<Fence> {
        let anchor = validators.anchor_qc().round;
        let recorded = record.map(|record| record.round);
        let (nonce, strict, least) = match start {
            Start::Open => return None,
            Start::Fenced { nonce } => (nonce, false, recorded),
            Start::Forgetful { nonce, ceiling } => (nonce, true, ceiling.max(recorded)),
        };
        let quorum = validators.quorum();
        Some(Fence {
            nonce,
            strict,
            needed: if strict { quorum } else { quorum - 1 },
            others: validators.count() - 1,
            answered: Signers::NONE,
            entered: anchor,
            shown: None,
            least: least.unwrap_or(anchor),
            recorded,
            anchor,
            ask_at: now,
            linger_until: None,
            waited: false,
        })
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(crate) fn has_answered(&self, peer: ValidatorIndex) -> bool {
        self.answered.contains(peer)
    }

    /// Whether it takes no Timeouts either, and has nothing to tell anybody.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Time passes. Whether those who have not answered are to be asked now; the next time is set.
    pub(crate) fn wake(&mut self, now: Instant) -> bool {
        if self.linger_until.is_some_and(|until| now >= until) {
            self.linger_until = None;
            self.waited = true;
        }
        let due = now >= self.ask_at;
        if due {
            self.ask_at = now.plus_nanos(ASK_NS);
        }
        due
    }

    /// Somebody answered, and entered this round.
    pub(crate) fn answer(&mut self, from: ValidatorIndex, entered: Round, now: Instant) {
        self.answered.insert(from);
        self.entered = self.entered.max(entered);
        let enough = self.answered.count() >= self.needed;
        if enough && self.linger_until.is_none() && !self.waited {
            self.linger_until = Some(now.plus_nanos(LINGER_NS));
        }
    }

    /// We are shown that we signed something in this round.
    pub(crate) fn show(&mut self, round: Round) {
        self.shown = self.shown.max(Some(round));
    }

    /// Up to where this validator may have signed.
    fn burnt(&self) -> Round {
        // A chain that nobody has left the beginning of has nothing to burn, and ought to begin at once.
        let first = self.recorded.is_none() && self.entered <= self.anchor.next();
        let signed = match first && !self.strict {
            true => self.anchor,
            false => self.entered.next(),
        };
        signed.max(self.least).max(self.shown.unwrap_or(signed))
    }

    /// What follows, once it may be passed.
    pub(crate) fn passed(&self, high_qc: &Qc) -> Option<Passed> {
        let all = self.answered.count() >= self.others;
        let enough = self.answered.count() >= self.needed && (all || self.waited);
        let burnt = self.burnt();
        // What we forgot we may have promised not to undo: no certificate below may be reported any more (C2, T1).
        let known = !self.strict || high_qc.round >= burnt || mutant(Mutant::ForgottenLock);
        (enough && known).then_some(Passed {
            strict: self.strict,
            burnt,
            recorded: self.recorded,
            shown: self.shown,
        })
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.linger_until
            .map_or(self.ask_at, |until| until.min(self.ask_at))
    }
}
