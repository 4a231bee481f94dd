//! The validator set of one epoch, and every check of a signature or quorum against it (I3).

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_crypto::{BatchItem, BatchVerifier, Domain, KeyError, PublicKey, Signature};
use quorate_crypto::{VerifyingKey, verify_batch};

use crate::certificate::qc_bytes;
use crate::vote::{commit_vote_bytes, timeout_bytes};
use crate::{
    BatchId, BlockId, Cc, ChainId, Epoch, Finality, Height, MAX_VALIDATORS, Qc, Reject, Round,
};
use crate::{CommitVote, Timeout, Transaction, vote::Signable};
use crate::{Memory, Message, Signers, Tc, ValidatorIndex, Vote, memory};
use quorate_mutants::{Mutant, mutant};

/// Who may sign in an epoch, what the epoch starts from, and how many make a quorum. Looked up by (epoch, index).
#[derive(Clone, Debug)]
pub struct Validators {
    chain: ChainId,
    epoch: Epoch,
    keys: Vec<PublicKey>,
    /// The same keys, decompressed once: votes are verified one by one as they come.
    verifying: Arc<[VerifyingKey]>,
    anchor: (BlockId, Height),
    memory: Option<Arc<dyn Memory>>,
}

/// Why a validator set cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorsError {
    /// Nobody, or more than [`MAX_VALIDATORS`].
    #[error("a set has 1 to {MAX_VALIDATORS} validators, not {0}")]
    Size(usize),
    /// A key that may not be registered.
    #[error("validator {index}: {error}")]
    Key {
        /// Whose.
        index: ValidatorIndex,
        /// What is wrong with it.
        error: KeyError,
    },
    /// Two validators have the same key.
    #[error("validators {0} and {1} have the same key")]
    SameKey(ValidatorIndex, ValidatorIndex),
}

impl Validators {
    /// A set whose epoch starts from `anchor`, the closing block of the epoch before or the genesis block.
    ///
    /// # Errors
    /// [`ValidatorsError`].
    pub fn new(
        chain: ChainId,
        epoch: Epoch,
        keys: Vec<PublicKey>,
        anchor: (BlockId, Height),
    ) -> Result<Validators, ValidatorsError> {
        if keys.is_empty() || keys.len() > MAX_VALIDATORS {
            return Err(ValidatorsError::Size(keys.len()));
        }
        let mut verifying = Vec::with_capacity(keys.len());
        for (index, key) in indices(keys.len()).zip(&keys) {
            let refused = |error| ValidatorsError::Key { index, error };
            key.check().map_err(refused)?;
            verifying.push(key.decompress().map_err(refused)?);
            let same = indices(keys.len())
                .zip(&keys)
                .find(|(_, other)| *other == key);
            if let Some((first, _)) = same.filter(|(first, _)| *first != index) {
                return Err(ValidatorsError::SameKey(first, index));
            }
        }
        Ok(Validators {
            chain,
            epoch,
            keys,
            verifying: verifying.into(),
            anchor,
            memory: None,
        })
    }

    /// The same set, which does not verify again what the memory knows.
    #[must_use]
    pub fn with_memory(mut self, memory: Arc<dyn Memory>) -> Validators {
        self.memory = Some(memory);
        self
    }

    /// Notes what this process has just signed itself: it comes back inside certificates.
    pub fn remember_own(&self, message: &Message) {
        let (signer, domain, bytes, signature) = match message {
            Message::Vote(vote) => {
                let bytes = vote.signed_bytes(self.chain);
                (vote.voter, Vote::DOMAIN, bytes, &vote.signature)
            }
            Message::CommitVote(vote) => {
                let bytes = vote.signed_bytes(self.chain);
                (vote.voter, CommitVote::DOMAIN, bytes, &vote.signature)
            }
            Message::Timeout(timeout) => {
                let bytes = timeout.signed_bytes(self.chain);
                (timeout.voter, Timeout::DOMAIN, bytes, &timeout.signature)
            }
            // It comes back inside proposals.
            Message::Batch(batch) => return self.learn_batch(batch.id()),
            _ => return,
        };
        if let (Some(memory), Some(key)) = (&self.memory, self.key(signer)) {
            memory.learn(memory::name(domain, key, signature, &bytes));
        }
    }

    /// The chain that all signatures name.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The epoch that this set signs in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// n, the number of validators.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// f = ⌊(n−1)/3⌋, how many may be faulty.
    #[must_use]
    pub fn max_faulty(&self) -> usize {
        (self.count() - 1) / 3
    }

    /// q = n − f, how many make a certificate.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.count() - self.max_faulty() - usize::from(mutant(Mutant::QuorumTooSmall))
    }

    /// All indices, ascending.
    pub fn indices(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        indices(self.count())
    }

    /// A validator's consensus key.
    #[must_use]
    pub fn key(&self, index: ValidatorIndex) -> Option<&PublicKey> {
        self.keys.get(index.as_usize())
    }

    /// Who has this consensus key.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        self.indices()
            .zip(&self.keys)
            .find(|(_, other)| *other == key)
            .map(|(index, _)| index)
    }

    /// The certificate that the epoch starts from.
    #[must_use]
    pub fn anchor_qc(&self) -> Qc {
        Qc::anchor(Round::new(self.epoch, 0), self.anchor.0)
    }

    /// Finality of the block that the epoch starts from.
    #[must_use]
    pub fn anchor_cc(&self) -> Cc {
        Cc::anchor(Round::new(self.epoch, 0), self.anchor.0, self.anchor.1)
    }

    /// Whether a round is of this epoch and may be signed in: the anchor's may not.
    pub(crate) fn check_round(&self, round: Round) -> Result<(), Reject> {
        if round.epoch != self.epoch {
            return Err(Reject::WrongEpoch);
        }
        if round.number == 0 {
            return Err(Reject::Malformed);
        }
        Ok(())
    }

    pub(crate) fn check_signature(
        &self,
        signer: ValidatorIndex,
        domain: Domain,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), Reject> {
        let key = self.key(signer).ok_or(Reject::UnknownSigner)?;
        let verify = || {
            let verified = self.verifying[signer.as_usize()].verify(domain, message, signature);
            verified.map_err(|_| Reject::BadSignature)
        };
        let Some(memory) = &self.memory else {
            return verify();
        };
        let name = memory::name(domain, key, signature, message);
        if !memory.knows(&name) {
            verify()?;
            memory.learn(name);
        }
        Ok(())
    }

    /// Whether every signature in the batch was verified before. Its digest covers them all, and what they sign.
    pub(crate) fn knows_batch(&self, batch: BatchId) -> bool {
        let memory = self.memory.as_ref();
        memory.is_some_and(|memory| memory.knows(&batch.0))
    }

    /// Whether this very transaction was verified before.
    pub(crate) fn knows_transaction(&self, transaction: &Transaction) -> bool {
        let memory = self.memory.as_ref();
        memory.is_some_and(|memory| memory.knows_transaction(transaction))
    }

    /// Remembers a batch whose signatures verify.
    pub(crate) fn learn_batch(&self, batch: BatchId) {
        if let Some(memory) = &self.memory {
            memory.learn(batch.0);
        }
    }

    /// Verifies signatures of anybody together, with the keys that are remembered. Of none, as when all were known, or of a
    /// single one no keys are looked up: it is no equation.
    pub(crate) fn verify_equation(&self, mut equation: BatchVerifier) -> Result<(), Vec<usize>> {
        let memory = self.memory.as_ref().filter(|_| equation.len() > 1);
        let Some(memory) = memory else {
            return equation.verify([0; 32]);
        };
        memory.lend_keys(&mut |keys| equation.recall_keys(keys));
        equation.verify([0; 32])?;
        memory.lend_keys(&mut |keys| equation.remember_keys(keys));
        Ok(())
    }

    /// Checks signatures together, except those that are known.
    fn check_all(&self, mut items: Vec<BatchItem<'_>>) -> Result<(), Reject> {
        let Some(memory) = &self.memory else {
            return verify_batch(&items, [0; 32]).map_err(|_| Reject::BadSignature);
        };
        let name = |item: &BatchItem<'_>| {
            memory::name(item.domain, &item.key, &item.signature, item.message)
        };
        items.retain(|item| !memory.knows(&name(item)));
        let mut equation = BatchVerifier::with_capacity(items.len());
        items.iter().for_each(|item| equation.push(*item));
        let verdict = self.verify_equation(equation);
        verdict.map_err(|_| Reject::BadSignature)?;
        items.iter().for_each(|item| memory.learn(name(item)));
        Ok(())
    }

    pub(crate) fn check_qc(&self, qc: &Qc) -> Result<(), Reject> {
        let unsigned = mutant(Mutant::UnsignedIsAnchor) && qc.signers == Signers::NONE;
        if *qc == self.anchor_qc() || unsigned {
            return Ok(());
        }
        self.check_round(qc.round)?;
        let message = qc_bytes(self.chain, qc);
        self.check_quorum(qc.signers, &qc.signatures, Domain::Vote, &message)
    }

    pub(crate) fn check_cc(&self, cc: &Cc) -> Result<(), Reject> {
        if *cc == self.anchor_cc() {
            return Ok(());
        }
        self.check_round(cc.round)?;
        let message = commit_vote_bytes(self.chain, cc.round, cc.block, cc.height);
        self.check_quorum(cc.signers, &cc.signatures, Domain::CommitVote, &message)
    }

    pub(crate) fn check_finality(&self, finality: &Finality) -> Result<(), Reject> {
        let (cc, qc) = (&finality.cc, &finality.qc);
        if (cc.round, cc.block) != (qc.round, qc.block) {
            return Err(Reject::CertificateMismatch);
        }
        self.check_qc(qc)?;
        self.check_cc(cc)
    }

    pub(crate) fn check_tc(&self, tc: &Tc) -> Result<(), Reject> {
        self.check_round(tc.round)?;
        // Exactly q distinct members: ascending order makes the certificate's bytes a function of its votes.
        if tc.votes.len() != self.quorum() {
            return Err(Reject::NoQuorum);
        }
        let repeats = mutant(Mutant::DuplicateSignerInTc);
        if !repeats && !tc.votes.is_sorted_by(|a, b| a.voter < b.voter) {
            return Err(Reject::NoQuorum);
        }
        let current = |round: Round| round.epoch == self.epoch && round < tc.round;
        if !tc.votes.iter().all(|vote| current(vote.hqc_round)) {
            return Err(Reject::Malformed);
        }
        let highest = tc.votes.iter().map(|vote| vote.hqc_round).max();
        if highest != Some(tc.high_qc.round) && !mutant(Mutant::TcRoundsOnlyClaimed) {
            return Err(Reject::WrongHighQc);
        }
        self.check_qc(&tc.high_qc)?;
        if mutant(Mutant::TcNotVerified) {
            return Ok(());
        }
        let messages: Vec<Vec<u8>> = tc
            .votes
            .iter()
            .map(|vote| timeout_bytes(self.chain, tc.round, vote.hqc_round))
            .collect();
        let items = tc
            .votes
            .iter()
            .zip(&messages)
            .map(|(vote, message)| self.item(vote.voter, Domain::Timeout, message, vote.signature))
            .collect::<Result<Vec<_>, _>>()?;
        self.check_all(items)
    }

    fn check_quorum(
        &self,
        signers: Signers,
        signatures: &[Signature],
        domain: Domain,
        message: &[u8],
    ) -> Result<(), Reject> {
        if !signers.within(self.count()) {
            return Err(Reject::UnknownSigner);
        }
        // Exactly q: padding with further signatures, valid or not, makes another certificate of the same votes.
        let padded = mutant(Mutant::PaddedCertificate) && signers.count() > self.quorum();
        if !padded && (signers.count() != self.quorum() || signatures.len() != self.quorum()) {
            return Err(Reject::NoQuorum);
        }
        let items = signers
            .iter()
            .zip(signatures)
            .take(self.quorum())
            .map(|(signer, signature)| self.item(signer, domain, message, *signature))
            .collect::<Result<Vec<_>, _>>()?;
        self.check_all(items)
    }

    fn item<'a>(
        &self,
        signer: ValidatorIndex,
        domain: Domain,
        message: &'a [u8],
        signature: Signature,
    ) -> Result<BatchItem<'a>, Reject> {
        let key = *self.key(signer).ok_or(Reject::UnknownSigner)?;
        Ok(BatchItem {
            key,
            domain,
            message,
            signature,
        })
    }
}

fn indices(count: usize) -> impl Iterator<Item = ValidatorIndex> {
    let count = u16::try_from(count).expect("at most MAX_VALIDATORS");
    (0..count).map(ValidatorIndex)
}
