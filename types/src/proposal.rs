//! A leader's proposal: a block with the evidence that it may be voted for.

use alloc::vec::Vec;

use quorate_crypto::{Domain, Signature};
use quorate_mutants::{Mutant, mutant};
use serde::{Deserialize, Serialize};

use crate::together::verify_together;
use crate::vote::{Signable, vote_bytes};
use crate::{Batch, Block, ChainId, Finality, HashedBatch, Parameters, Qc, Reject, Tc, Unverified};
use crate::{Validators, Verified};

/// Most payloads are ordered by digest; a small one may travel inside the proposal (B2).
pub const MAX_INLINE_BYTES: usize = 256 * 1024;

/// A block as its leader sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// What is proposed.
    pub block: Block,
    /// Batches of the list that travel along, [`MAX_INLINE_BYTES`] at most.
    pub inline: Vec<Batch>,
    /// The parent's certificate, as named by the header.
    pub qc: Qc,
    /// The timeout certificate of the round before, as named by the header, if it entered the round.
    pub tc: Option<Tc>,
    /// The highest commit certificate that the leader knows, beyond the anchor's.
    pub finality: Option<Finality>,
    /// By the proposer, over the round and the block's id.
    pub signature: Signature,
}

impl Signable for Proposal {
    const DOMAIN: Domain = Domain::Proposal;

    fn signed_bytes(&self, chain: ChainId) -> Vec<u8> {
        vote_bytes(chain, self.block.header.round, self.block.id())
    }

    fn set_signature(&mut self, signature: Signature) {
        self.signature = signature;
    }
}

impl Proposal {
    /// Whether header, lists and attached certificates name each other. Yields the inlined batches.
    ///
    /// # Errors
    /// Those of [`crate::Header::check_form`] and [`Block::check_payload`]; [`Reject::TooLarge`],
    /// [`Reject::BadPayload`], [`Reject::CertificateMismatch`], [`Reject::UnsafeExtension`].
    pub fn check_form(&self, parameters: &Parameters) -> Result<Vec<HashedBatch>, Reject> {
        let header = &self.block.header;
        header.check_form()?;
        let batches = u64::try_from(self.block.batches.len()).map_err(|_| Reject::TooLarge)?;
        if batches > parameters.max_block_batches {
            return Err(Reject::TooLarge);
        }
        self.block.check_payload()?;
        let justify = &header.justify;
        if (justify.round, justify.block, justify.signers)
            != (self.qc.round, self.qc.block, self.qc.signers)
        {
            return Err(Reject::CertificateMismatch);
        }
        if header.tc != self.tc.as_ref().map(Tc::digest) {
            return Err(Reject::CertificateMismatch);
        }
        if let Some(tc) = &self.tc {
            // V2: the TC is of the round before, and reports no certificate above the one that is extended.
            let locked = self.qc.round < tc.high_qc.round && !mutant(Mutant::BelowTheLock);
            let stale = tc.round.next() != header.round && !mutant(Mutant::StaleTcAllowed);
            if stale || locked {
                return Err(Reject::UnsafeExtension);
            }
        }
        self.check_inline()
    }

    fn check_inline(&self) -> Result<Vec<HashedBatch>, Reject> {
        let bytes: usize = self.inline.iter().map(Batch::encoded_len).sum();
        if bytes > MAX_INLINE_BYTES || self.inline.len() > self.block.batches.len() {
            return Err(Reject::TooLarge);
        }
        let inline: Vec<_> = self.inline.iter().cloned().map(HashedBatch::new).collect();
        let listed = |batch: &HashedBatch| self.block.batches.contains(&batch.id());
        if !inline.iter().all(listed) {
            return Err(Reject::BadPayload);
        }
        Ok(inline)
    }
}

impl Unverified<Proposal> {
    /// Checks form, signature, certificates, and the inlined batches with their signatures, which it yields, too. Whether
    /// the proposer is the leader, and whatever else needs the branch, is decided by the engine (V1–V6).
    ///
    /// # Errors
    /// Those of [`Proposal::check_form`], of the certificates, and of [`Batch::check_form`];
    /// [`Reject::UnknownSigner`], [`Reject::BadSignature`].
    pub fn verify(
        self,
        validators: &Validators,
        parameters: &Parameters,
    ) -> Result<(Verified<Proposal>, Vec<Verified<HashedBatch>>), Reject> {
        let header = &self.peek().block.header;
        validators.check_round(header.round)?;
        let inline = self.peek().check_form(parameters)?;
        let message = self.peek().signed_bytes(validators.chain());
        validators.check_signature(
            header.proposer,
            Proposal::DOMAIN,
            &message,
            &self.peek().signature,
        )?;
        let proposal = self.into_checked();
        validators.check_qc(&proposal.qc)?;
        if let Some(tc) = &proposal.tc {
            validators.check_tc(tc)?;
        }
        if let Some(finality) = &proposal.finality {
            validators.check_finality(finality)?;
        }
        let verdicts = verify_together(inline, Vec::new(), validators, parameters).batches;
        let inline = verdicts.into_iter().collect::<Result<_, _>>()?;
        Ok((Verified::trust(proposal), inline))
    }
}

impl Verified<Proposal> {
    /// The parent's certificate.
    #[must_use]
    pub fn qc(&self) -> Verified<Qc> {
        Verified::trust(self.qc.clone())
    }

    /// The attached timeout certificate.
    #[must_use]
    pub fn tc(&self) -> Option<Verified<Tc>> {
        self.tc.clone().map(Verified::trust)
    }

    /// The attached finality proof.
    #[must_use]
    pub fn finality(&self) -> Option<Verified<Finality>> {
        self.finality.clone().map(Verified::trust)
    }
}
