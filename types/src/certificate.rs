//! Quorums: QC, CC, TC. Each holds exactly q distinct valid signatures (I3), in ascending order of signer, so that equal
//! sets of votes make equal bytes.

use alloc::vec::Vec;

use quorate_crypto::{Digest, Domain, Signature};
use serde::{Deserialize, Serialize};

use crate::{BlockId, ChainId, CommitVote, Height, Reject, Round, Signers, Unverified};
use crate::{ValidatorIndex, Validators, Verified, Vote, codec};

/// Quorum certificate: q Votes for a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qc {
    /// The block's round.
    pub round: Round,
    /// The block.
    pub block: BlockId,
    /// Whose votes.
    pub signers: Signers,
    /// One a signer, in ascending order of signer.
    pub signatures: Vec<Signature>,
}

impl Qc {
    /// The certificate that an epoch starts from. Nobody signs it; it is recognised by equality with the one that the
    /// verifier itself expects, and by nothing less.
    #[must_use]
    pub fn anchor(round: Round, block: BlockId) -> Qc {
        Qc {
            round,
            block,
            signers: Signers::NONE,
            signatures: Vec::new(),
        }
    }

    /// Puts a quorum of votes together. All are for one round and block, by distinct voters.
    ///
    /// # Panics
    /// If they are not: a broken invariant of the tally (I3).
    #[must_use]
    pub fn assemble(votes: &[Verified<Vote>], validators: &Validators) -> Verified<Qc> {
        let first = votes.first().expect("I3: a quorum is not empty");
        let mut sorted: Vec<&Verified<Vote>> = votes.iter().collect();
        sorted.sort_unstable_by_key(|vote| vote.voter);
        sorted.truncate(validators.quorum());
        let mut signers = Signers::NONE;
        for vote in &sorted {
            assert_eq!(
                (vote.round, vote.block),
                (first.round, first.block),
                "I3: one block"
            );
            assert!(signers.insert(vote.voter), "I3: distinct signers");
        }
        assert_eq!(signers.count(), validators.quorum(), "I3: exactly a quorum");
        Verified::trust(Qc {
            round: first.round,
            block: first.block,
            signers,
            signatures: sorted.iter().map(|vote| vote.signature).collect(),
        })
    }
}

/// Commit certificate: q CommitVotes for a block. It makes the block and its ancestors final (D1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cc {
    /// The block's round.
    pub round: Round,
    /// The block.
    pub block: BlockId,
    /// The block's height.
    pub height: Height,
    /// Whose votes.
    pub signers: Signers,
    /// One a signer, in ascending order of signer.
    pub signatures: Vec<Signature>,
}

impl Cc {
    /// The certificate of the block that an epoch starts from; see [`Qc::anchor`].
    #[must_use]
    pub fn anchor(round: Round, block: BlockId, height: Height) -> Cc {
        Cc {
            round,
            block,
            height,
            signers: Signers::NONE,
            signatures: Vec::new(),
        }
    }

    /// Puts a quorum of commit votes together; see [`Qc::assemble`].
    ///
    /// # Panics
    /// If they are not for one round, block and height by distinct voters (I3).
    #[must_use]
    pub fn assemble(votes: &[Verified<CommitVote>], validators: &Validators) -> Verified<Cc> {
        let first = votes.first().expect("I3: a quorum is not empty");
        let mut sorted: Vec<&Verified<CommitVote>> = votes.iter().collect();
        sorted.sort_unstable_by_key(|vote| vote.voter);
        sorted.truncate(validators.quorum());
        let mut signers = Signers::NONE;
        for vote in &sorted {
            assert_eq!(
                (vote.round, vote.block, vote.height),
                (first.round, first.block, first.height),
                "I3: one block"
            );
            assert!(signers.insert(vote.voter), "I3: distinct signers");
        }
        assert_eq!(signers.count(), validators.quorum(), "I3: exactly a quorum");
        Verified::trust(Cc {
            round: first.round,
            block: first.block,
            height: first.height,
            signers,
            signatures: sorted.iter().map(|vote| vote.signature).collect(),
        })
    }
}

/// A commit certificate with the QC of the same block: whoever enters the next round by it can build a valid Timeout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finality {
    /// The finality proof.
    pub cc: Cc,
    /// The certificate of the same round and block.
    pub qc: Qc,
}

/// One Timeout inside a [`Tc`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcVote {
    /// Who timed out.
    pub voter: ValidatorIndex,
    /// The round of the highest QC that it reported.
    pub hqc_round: Round,
    /// Over [`crate::vote::timeout_bytes`].
    pub signature: Signature,
}

/// Timeout certificate: exactly q Timeouts of a round, with the highest QC that they reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tc {
    /// The round given up.
    pub round: Round,
    /// Exactly q, in ascending order of voter.
    pub votes: Vec<TcVote>,
    /// Of exactly the highest `hqc_round` among the votes.
    pub high_qc: Qc,
}

impl Tc {
    /// What a header names the certificate by: all of it except signatures.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let pairs: Vec<(ValidatorIndex, Round)> = self
            .votes
            .iter()
            .map(|vote| (vote.voter, vote.hqc_round))
            .collect();
        let identity = (self.round, pairs, self.high_qc.round, self.high_qc.block);
        codec::digest(Domain::TcDigest, &identity)
    }

    /// Puts a quorum of Timeouts together. All are of one round by distinct voters; `high_qc` is the highest of theirs.
    ///
    /// # Panics
    /// If they are not (I3).
    #[must_use]
    pub fn assemble(
        timeouts: &[Verified<crate::Timeout>],
        validators: &Validators,
    ) -> Verified<Tc> {
        let mut sorted: Vec<&Verified<crate::Timeout>> = timeouts.iter().collect();
        sorted.sort_unstable_by_key(|timeout| timeout.voter);
        sorted.truncate(validators.quorum());
        let highest = sorted
            .iter()
            .max_by_key(|timeout| timeout.high_qc.round)
            .expect("I3: a quorum is not empty");
        let mut signers = Signers::NONE;
        for timeout in &sorted {
            assert_eq!(timeout.round, highest.round, "I3: one round");
            assert!(signers.insert(timeout.voter), "I3: distinct signers");
        }
        assert_eq!(signers.count(), validators.quorum(), "I3: exactly a quorum");
        Verified::trust(Tc {
            round: highest.round,
            votes: sorted
                .iter()
                .map(|timeout| TcVote {
                    voter: timeout.voter,
                    hqc_round: timeout.high_qc.round,
                    signature: timeout.signature,
                })
                .collect(),
            high_qc: highest.high_qc.clone(),
        })
    }
}

/// What entered a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The QC of the round before (for an epoch's first round, its anchor).
    Qc(Qc),
    /// The TC of the round before.
    Tc(Tc),
}

impl Entry {
    /// The round that it enters.
    #[must_use]
    pub fn enters(&self) -> Round {
        match self {
            Entry::Qc(qc) => qc.round.next(),
            Entry::Tc(tc) => tc.round.next(),
        }
    }
}

impl Unverified<Qc> {
    /// Checks the quorum.
    ///
    /// # Errors
    /// [`Reject::WrongEpoch`], [`Reject::NoQuorum`], [`Reject::UnknownSigner`], [`Reject::BadSignature`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<Qc>, Reject> {
        let qc = self.into_checked();
        validators.check_qc(&qc)?;
        Ok(Verified::trust(qc))
    }
}

impl Unverified<Cc> {
    /// Checks the quorum. Inside the protocol a CC travels with its QC ([`Finality`]); a client needs no more than this.
    ///
    /// # Errors
    /// As for a [`Qc`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<Cc>, Reject> {
        let cc = self.into_checked();
        validators.check_cc(&cc)?;
        Ok(Verified::trust(cc))
    }
}

impl Unverified<Tc> {
    /// Checks the quorum, each reported round, and the QC inside.
    ///
    /// # Errors
    /// As for a [`Qc`]; [`Reject::WrongHighQc`], [`Reject::Malformed`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<Tc>, Reject> {
        let tc = self.into_checked();
        validators.check_tc(&tc)?;
        Ok(Verified::trust(tc))
    }
}

impl Unverified<Finality> {
    /// Checks both quorums, and that they are for the same block.
    ///
    /// # Errors
    /// As for a [`Qc`]; [`Reject::CertificateMismatch`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<Finality>, Reject> {
        let finality = self.into_checked();
        validators.check_finality(&finality)?;
        Ok(Verified::trust(finality))
    }
}

impl Verified<Finality> {
    /// Joins the two certificates of one block.
    ///
    /// # Panics
    /// If they are for different blocks.
    #[must_use]
    pub fn join(cc: &Verified<Cc>, qc: &Verified<Qc>) -> Verified<Finality> {
        assert_eq!((cc.round, cc.block), (qc.round, qc.block), "one block");
        Verified::trust(Finality {
            cc: Cc::clone(cc),
            qc: Qc::clone(qc),
        })
    }

    /// The QC inside.
    #[must_use]
    pub fn qc(&self) -> Verified<Qc> {
        Verified::trust(self.qc.clone())
    }
}

impl Verified<Tc> {
    /// The QC inside, verified with it.
    #[must_use]
    pub fn high_qc(&self) -> Verified<Qc> {
        Verified::trust(self.high_qc.clone())
    }
}

impl Verified<crate::Timeout> {
    /// The QC inside, verified with it.
    #[must_use]
    pub fn high_qc(&self) -> Verified<Qc> {
        Verified::trust(self.high_qc.clone())
    }

    /// The TC inside, verified with it.
    #[must_use]
    pub fn entry_tc(&self) -> Option<Verified<Tc>> {
        self.entry_tc.as_deref().cloned().map(Verified::trust)
    }
}

impl Verified<Qc> {
    /// The anchor of an epoch, by construction the one that the verifier expects.
    #[must_use]
    pub fn anchor(validators: &Validators) -> Verified<Qc> {
        Verified::trust(validators.anchor_qc())
    }
}

impl Verified<Finality> {
    /// Finality of the block that the epoch starts from.
    #[must_use]
    pub fn anchor(validators: &Validators) -> Verified<Finality> {
        Verified::trust(Finality {
            cc: validators.anchor_cc(),
            qc: validators.anchor_qc(),
        })
    }
}

/// Bytes under the signatures of a QC.
pub(crate) fn qc_bytes(chain: ChainId, qc: &Qc) -> Vec<u8> {
    crate::vote::vote_bytes(chain, qc.round, qc.block)
}
