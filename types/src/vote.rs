//! What single validators sign in a round: Vote, CommitVote, Timeout. And how anything is signed.

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_crypto::{Domain, SecretKey, Signature};
use quorate_mutants::{Mutant, mutant};
use serde::{Deserialize, Serialize};

use crate::{BlockId, ChainId, Height, Qc, Reject, Round, Tc, Unverified, ValidatorIndex};
use crate::{Validators, Verified, codec};

/// Who holds the consensus key: this process, or a device that it asks.
pub trait Signer {
    /// Signs a message in a domain.
    fn sign(&self, domain: Domain, message: &[u8]) -> Signature;
}

impl Signer for SecretKey {
    fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        SecretKey::sign(self, domain, message)
    }
}

/// Something a validator signs with its consensus key.
pub trait Signable: Sized {
    /// Keeps this kind's signatures apart from every other kind's.
    const DOMAIN: Domain;

    /// The canonical bytes that the signature covers; the chain id and the epoch are always among them.
    fn signed_bytes(&self, chain: ChainId) -> Vec<u8>;

    /// Puts the signature in its place.
    fn set_signature(&mut self, signature: Signature);

    /// Signs with a key. The gateway of `quorate-consensus` is the only caller in a validator; tests and the
    /// simulator's adversaries are the others.
    fn sign(mut self, chain: ChainId, signer: &dyn Signer) -> Verified<Self> {
        let signature = signer.sign(Self::DOMAIN, &self.signed_bytes(chain));
        self.set_signature(signature);
        Verified::trust(self)
    }
}

/// Bytes that a Vote's signature covers, also inside a [`Qc`].
#[must_use]
pub fn vote_bytes(chain: ChainId, round: Round, block: BlockId) -> Vec<u8> {
    let round = if mutant(Mutant::RoundNotSigned) {
        Round::default()
    } else {
        round
    };
    codec::encode(&(chain, round, block))
}

/// Bytes that a CommitVote's signature covers, also inside a [`crate::Cc`].
#[must_use]
pub fn commit_vote_bytes(chain: ChainId, round: Round, block: BlockId, height: Height) -> Vec<u8> {
    codec::encode(&(chain, round, block, height))
}

/// Bytes that a Timeout's signature covers, also inside a [`Tc`].
#[must_use]
pub fn timeout_bytes(chain: ChainId, round: Round, hqc_round: Round) -> Vec<u8> {
    codec::encode(&(chain, round, hqc_round))
}

/// Hints are one a validator, or none.
fn check_held(held: &[u64], validators: &Validators) -> Result<(), Reject> {
    match held.is_empty() || held.len() == validators.count() {
        true => Ok(()),
        false => Err(Reject::Malformed),
    }
}

/// A vote for a block in its round; broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The block's round.
    pub round: Round,
    /// The block.
    pub block: BlockId,
    /// Who votes.
    pub voter: ValidatorIndex,
    /// Over [`vote_bytes`].
    pub signature: Signature,
    /// A hint outside the signature: for each validator as origin, one more than the highest batch sequence number up
    /// to which the voter holds all that it was sent. Empty, or one entry a validator (B2).
    pub held: Vec<u64>,
}

impl Vote {
    /// To be said again: the hints are of when it was signed, and whoever hears them keeps the latest.
    #[must_use]
    pub fn without_hints(&self) -> Vote {
        let held = Vec::new();
        Vote {
            held,
            ..self.clone()
        }
    }
}

impl Signable for Vote {
    const DOMAIN: Domain = Domain::Vote;

    fn signed_bytes(&self, chain: ChainId) -> Vec<u8> {
        vote_bytes(chain, self.round, self.block)
    }

    fn set_signature(&mut self, signature: Signature) {
        self.signature = signature;
    }
}

impl Unverified<Vote> {
    /// Checks the signer's membership and signature.
    ///
    /// # Errors
    /// [`Reject::WrongEpoch`], [`Reject::UnknownSigner`], [`Reject::BadSignature`], [`Reject::Malformed`] for hints that
    /// are not one a validator.
    pub fn verify(self, validators: &Validators) -> Result<Verified<Vote>, Reject> {
        let vote = self.into_checked();
        check_held(&vote.held, validators)?;
        validators.check_round(vote.round)?;
        let message = vote.signed_bytes(validators.chain());
        if !mutant(Mutant::VoteNotVerified) {
            validators.check_signature(vote.voter, Vote::DOMAIN, &message, &vote.signature)?;
        }
        Ok(Verified::trust(vote))
    }
}

/// A promise that the block's certificate is durable here and that no lower one will be reported again; broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitVote {
    /// The block's round.
    pub round: Round,
    /// The block.
    pub block: BlockId,
    /// The block's height.
    pub height: Height,
    /// Who votes.
    pub voter: ValidatorIndex,
    /// Over [`commit_vote_bytes`].
    pub signature: Signature,
    /// A hint outside the signature, as in a [`Vote`].
    pub held: Vec<u64>,
}

impl CommitVote {
    /// As [`Vote::without_hints`].
    #[must_use]
    pub fn without_hints(&self) -> CommitVote {
        let held = Vec::new();
        CommitVote {
            held,
            ..self.clone()
        }
    }
}

impl Signable for CommitVote {
    const DOMAIN: Domain = Domain::CommitVote;

    fn signed_bytes(&self, chain: ChainId) -> Vec<u8> {
        commit_vote_bytes(chain, self.round, self.block, self.height)
    }

    fn set_signature(&mut self, signature: Signature) {
        self.signature = signature;
    }
}

impl Unverified<CommitVote> {
    /// Checks the signer's membership and signature.
    ///
    /// # Errors
    /// [`Reject::WrongEpoch`], [`Reject::UnknownSigner`], [`Reject::BadSignature`], [`Reject::Malformed`] for hints that
    /// are not one a validator.
    pub fn verify(self, validators: &Validators) -> Result<Verified<CommitVote>, Reject> {
        let vote = self.into_checked();
        check_held(&vote.held, validators)?;
        validators.check_round(vote.round)?;
        let message = vote.signed_bytes(validators.chain());
        validators.check_signature(vote.voter, CommitVote::DOMAIN, &message, &vote.signature)?;
        Ok(Verified::trust(vote))
    }
}

/// Gives up on a round, and reports the highest certificate known; broadcast. A repeat may carry a higher one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// The round given up.
    pub round: Round,
    /// Who gives up.
    pub voter: ValidatorIndex,
    /// Over [`timeout_bytes`] of `round` and `high_qc.round`.
    pub signature: Signature,
    /// The highest certificate known.
    pub high_qc: Qc,
    /// The certificate of round − 1, if `high_qc` is older than that: what entitles the signer to be in the round.
    pub entry_tc: Option<Box<Tc>>,
}

impl Timeout {
    /// Whether the attached certificates are of the rounds that they must be of.
    ///
    /// # Errors
    /// [`Reject::Malformed`], [`Reject::CertificateMismatch`].
    pub fn check_form(&self) -> Result<(), Reject> {
        if self.high_qc.round >= self.round {
            return Err(Reject::Malformed);
        }
        let needs_tc = self.high_qc.round.next() != self.round;
        match &self.entry_tc {
            Some(tc) if needs_tc && tc.round.next() == self.round => Ok(()),
            None if !needs_tc => Ok(()),
            _ => Err(Reject::CertificateMismatch),
        }
    }
}

impl Signable for Timeout {
    const DOMAIN: Domain = Domain::Timeout;

    fn signed_bytes(&self, chain: ChainId) -> Vec<u8> {
        timeout_bytes(chain, self.round, self.high_qc.round)
    }

    fn set_signature(&mut self, signature: Signature) {
        self.signature = signature;
    }
}

impl Unverified<Timeout> {
    /// Checks form, signer, signature, and both attached certificates, so that one bad signature inside a Timeout is
    /// the sender's alone and never reaches a certificate.
    ///
    /// # Errors
    /// Those of [`Timeout::check_form`], of the attached certificates, [`Reject::UnknownSigner`],
    /// [`Reject::BadSignature`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<Timeout>, Reject> {
        let timeout = self.into_checked();
        validators.check_round(timeout.round)?;
        timeout.check_form()?;
        let message = timeout.signed_bytes(validators.chain());
        validators.check_signature(timeout.voter, Timeout::DOMAIN, &message, &timeout.signature)?;
        if !mutant(Mutant::TimeoutQcNotVerified) {
            validators.check_qc(&timeout.high_qc)?;
        }
        if let Some(tc) = &timeout.entry_tc {
            validators.check_tc(tc)?;
        }
        Ok(Verified::trust(timeout))
    }
}
