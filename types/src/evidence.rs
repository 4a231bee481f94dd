//! Proof that a validator lied: two things it signed that no correct one signs both (I10).

use alloc::vec::Vec;

use quorate_crypto::{Domain, Signature};
use quorate_mutants::{Mutant, mutant};
use serde::{Deserialize, Serialize};

use crate::Verified;
use crate::vote::{commit_vote_bytes, vote_bytes};
use crate::{BlockId, ChainId, Height, Reject, Round, Unverified, ValidatorIndex, Validators};

/// What was signed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EvidenceKind {
    /// Two proposals of one proposer in one round.
    Proposal,
    /// Two votes in one round.
    Vote,
    /// Two commit votes in one round.
    CommitVote,
}

/// One of the two statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// For which block.
    pub block: BlockId,
    /// Its height; signed in a commit vote only, 0 otherwise.
    pub height: Height,
    /// The signer's.
    pub signature: Signature,
}

/// Two signed statements of one signer, kind, epoch and round for different blocks. Two Timeouts, and proposals of
/// different leaders, are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was signed twice.
    pub kind: EvidenceKind,
    /// By whom.
    pub signer: ValidatorIndex,
    /// In which round.
    pub round: Round,
    /// The first statement seen.
    pub first: Statement,
    /// The other.
    pub second: Statement,
}

impl Evidence {
    fn message(&self, chain: ChainId, statement: &Statement) -> (Domain, Vec<u8>) {
        match self.kind {
            EvidenceKind::Proposal => (
                Domain::Proposal,
                vote_bytes(chain, self.round, statement.block),
            ),
            EvidenceKind::Vote => (Domain::Vote, vote_bytes(chain, self.round, statement.block)),
            EvidenceKind::CommitVote => (
                Domain::CommitVote,
                commit_vote_bytes(chain, self.round, statement.block, statement.height),
            ),
        }
    }
}

impl Unverified<Evidence> {
    /// Checks that both statements are the signer's and contradict each other (I10).
    ///
    /// # Errors
    /// [`Reject::WrongEpoch`], [`Reject::Malformed`] if they do not differ or name a height that is not signed, [`Reject::UnknownSigner`],
    /// [`Reject::BadSignature`].
    pub fn verify(self, validators: &Validators) -> Result<Verified<Evidence>, Reject> {
        let evidence = self.into_checked();
        validators.check_round(evidence.round)?;
        let statements = [&evidence.first, &evidence.second];
        // An unsigned height could be any: one lie would have many proofs.
        if evidence.kind != EvidenceKind::CommitVote
            && statements.iter().any(|one| one.height != Height(0))
        {
            return Err(Reject::Malformed);
        }
        if (evidence.first.block, evidence.first.height)
            == (evidence.second.block, evidence.second.height)
        {
            return Err(Reject::Malformed);
        }
        for statement in statements {
            let (domain, message) = evidence.message(validators.chain(), statement);
            if !mutant(Mutant::EvidenceNotVerified) {
                validators.check_signature(
                    evidence.signer,
                    domain,
                    &message,
                    &statement.signature,
                )?;
            }
        }
        Ok(Verified::trust(evidence))
    }
}
