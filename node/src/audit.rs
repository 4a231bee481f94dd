//! Verifies a ledger from the genesis alone: links, lists, signatures, certificates, and by executing everything again.
//!
//! Owns the independent judgement of `quorate log verify`. It trusts nothing but the genesis: not the stored roots, not
//! the receipts, not the validator that exported the file. Rules: V1, V2, V4–V6 as far as a ledger shows them, D1, F1, F2;
//! I3, I4, I6.

use std::path::Path;

use quorate_client::api::{Base64, LogEntry};
use quorate_execution::genesis_validators;
use quorate_types::codec::{self, MAX_ENCODED_BYTES};
use quorate_types::{
    Batch, Block, ChainId, Finality, Genesis, HashedBatch, Header, Height, Parameters, Reject,
};
use quorate_types::{Roots, Unverified, Validators};
use serde::de::DeserializeOwned;

use crate::exit::Failure;
use crate::rebuild::Rebuilt;
use crate::scratch::Scratch;

/// Follows a ledger from height 1 on.
pub struct Audit {
    chain: ChainId,
    parameters: Parameters,
    validators: Validators,
    rebuilt: Rebuilt,
    parent: Header,
    certified: Height,
    transactions: u64,
}

/// What a verified ledger is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The chain.
    pub chain: ChainId,
    /// The last height; all up to it are final.
    pub height: Height,
    /// Hash of the last block.
    pub block: quorate_types::BlockId,
    /// Roots after executing all of it.
    pub roots: Roots,
    /// Transactions in it.
    pub transactions: u64,
}

impl Audit {
    /// Begins at the genesis, which is a checked one. `directory` is where it lies, for a chain that starts from another
    /// chain's state.
    ///
    /// # Errors
    /// Status 3 for a genesis that no chain can start from, otherwise as [`Rebuilt::genesis`].
    pub fn new(genesis: &Genesis, directory: Option<&Path>) -> Result<Audit, Failure> {
        let (parent, validators) = genesis_validators(genesis).map_err(Failure::config)?;
        let state = Scratch::temporary()?;
        let rebuilt = Rebuilt::genesis(state, directory, genesis, &mut |_| Ok(()))?;
        Ok(Audit {
            chain: genesis.chain_id(),
            parameters: genesis.parameters.clone(),
            validators,
            rebuilt,
            parent,
            certified: Height(0),
            transactions: 0,
        })
    }

    /// The height that has to come next.
    #[must_use]
    pub fn next(&self) -> Height {
        self.parent.height.next()
    }

    /// Verifies and executes the next height.
    ///
    /// # Errors
    /// Status 8 for bytes that cannot be read, 6 for what does not verify; both name the height.
    pub fn push(&mut self, entry: &LogEntry) -> Result<(), Failure> {
        let height = entry.height;
        let block: Block = decode(height, "the block", &entry.block)?;
        let batches = entry.batches.iter();
        let batches = batches.map(|batch| decode::<Batch>(height, "a batch", batch));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let finality = entry.finality.as_ref();
        let finality = finality.map(|bytes| decode(height, "a certificate", bytes));
        let finality: Option<Finality> = finality.transpose()?;
        self.check_header(&block, entry)?;
        let batches = self.check_batches(&block, batches)?;
        if let Some(finality) = finality {
            self.check_finality(&block, finality)?;
        }
        self.execute(&block.header, &batches, entry.roots)?;
        self.parent = block.header;
        Ok(())
    }

    /// Ends: everything pushed must be final.
    ///
    /// # Errors
    /// Status 6.
    pub fn finish(self) -> Result<Verdict, Failure> {
        let height = self.parent.height;
        if self.certified != height {
            let first = self.certified.next();
            let message = format!("heights {first} to {height} have no commit certificate");
            return Err(Failure::verification(message));
        }
        Ok(Verdict {
            chain: self.chain,
            height,
            block: self.parent.id(),
            roots: self.rebuilt.roots(),
            transactions: self.transactions,
        })
    }

    fn check_header(&self, block: &Block, entry: &LogEntry) -> Result<(), Failure> {
        let (header, parent) = (&block.header, &self.parent);
        let at = entry.height;
        let fail = |why: String| Err(mismatch(at, why));
        if at != self.next() || header.height != at {
            return fail(format!("expected height {}: I4, no gap", self.next()));
        }
        header
            .check_form()
            .or_else(|r| fail(format!("header: {r}")))?;
        block
            .check_payload()
            .or_else(|r| fail(format!("list of batches: {r}")))?;
        let id = header.id();
        if entry.id != id {
            return fail(format!("it is called {}, and its hash is {id}", entry.id));
        }
        let parent_id = parent.id();
        // V2, I4: one chain of hashes, and the certified block is the parent.
        if header.parent != parent_id || header.justify.round != parent.round {
            return fail(format!(
                "its parent is not block {parent_id} of round {}",
                parent.round
            ));
        }
        // I3, as far as the bitmap in the header shows it.
        let anchored = parent.height == Height(0);
        let signers = header.justify.signers;
        let quorum =
            signers.count() == self.validators.quorum() && signers.within(self.validators.count());
        if !(quorum || anchored && signers.count() == 0) {
            return fail(String::from("the parent's certificate has no quorum"));
        }
        if header.time <= parent.time {
            return fail(String::from("its time is not after its parent's")); // V1
        }
        if self.validators.key(header.proposer).is_none() {
            return fail(String::from("the proposer is no validator"));
        }
        self.check_claim(header)
    }

    fn check_claim(&self, header: &Header) -> Result<(), Failure> {
        let claim = &header.claim;
        match self.rebuilt.roots_at(claim.height) {
            Some(own) if own == claim.roots => {}
            Some(own) => {
                let why = format!(
                    "its claim of height {} is state {} receipts {}; executing gives {} and {}",
                    claim.height, claim.roots.state, claim.roots.receipts, own.state, own.receipts
                );
                return Err(mismatch(header.height, why)); // V5, I6
            }
            None => {
                let why = format!("its claim is of height {}, which is too old", claim.height);
                return Err(mismatch(header.height, why));
            }
        }
        // V6
        let lag = header.height.above(claim.height);
        if lag > self.parameters.max_execution_lag && !header.is_empty() {
            return Err(mismatch(
                header.height,
                "it is not empty, and its claim is too far back",
            ));
        }
        Ok(())
    }

    fn check_batches(
        &mut self,
        block: &Block,
        batches: Vec<Batch>,
    ) -> Result<Vec<HashedBatch>, Failure> {
        let height = block.header.height;
        if batches.len() != block.batches.len() {
            return Err(mismatch(height, "batches are missing or too many"));
        }
        let mut checked = Vec::with_capacity(batches.len());
        for (id, batch) in block.batches.iter().zip(batches) {
            // V4
            if batch.expiry < block.header.time {
                return Err(mismatch(height, format!("batch {id} had expired")));
            }
            let batch = Unverified::new(batch)
                .verify(&self.validators, &self.parameters)
                .map_err(|reject| mismatch(height, format!("batch {id}: {reject}")))?;
            if batch.id() != *id {
                return Err(mismatch(height, format!("batch {id} has another content")));
            }
            checked.push(batch.into_inner());
        }
        Ok(checked)
    }

    fn check_finality(&mut self, block: &Block, finality: Finality) -> Result<(), Failure> {
        let height = block.header.height;
        let finality = Unverified::new(finality)
            .verify(&self.validators)
            .map_err(|reject: Reject| mismatch(height, format!("certificate: {reject}")))?;
        let cc = &finality.cc;
        if (cc.block, cc.height, cc.round) != (block.id(), height, block.header.round) {
            return Err(mismatch(height, "the certificate is of another block"));
        }
        self.certified = height; // D1: with it, all ancestors
        Ok(())
    }

    fn execute(
        &mut self,
        header: &Header,
        batches: &[HashedBatch],
        stored: Option<Roots>,
    ) -> Result<(), Failure> {
        let own = self.rebuilt.execute(header, batches)?;
        if stored.is_some_and(|stored| stored != own) {
            let why = format!(
                "the recorded roots are not those of execution: state {} receipts {}",
                own.state, own.receipts
            );
            return Err(mismatch(header.height, why));
        }
        let count = batches
            .iter()
            .map(|batch| batch.transactions.len())
            .sum::<usize>();
        self.transactions += u64::try_from(count).expect("memory is smaller");
        Ok(())
    }
}

fn mismatch(height: Height, why: impl std::fmt::Display) -> Failure {
    Failure::verification(format!("height {height}: {why}"))
}

fn decode<T: DeserializeOwned>(height: Height, what: &str, bytes: &Base64) -> Result<T, Failure> {
    codec::decode(&bytes.0, MAX_ENCODED_BYTES).map_err(|error| {
        Failure::damaged(format!("height {height}: {what} cannot be read: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;
    use crate::testnet::tests::sample;
    use quorate_crypto::{Domain, SecretKey, Signature};
    use quorate_execution::Executor;
    use quorate_execution::kv::Command;
    use quorate_types::vote::{commit_vote_bytes, vote_bytes};
    use quorate_types::{
        Blob, BlockTime, Cc, Claim, Epoch, FORMAT_VERSION, Justify, Qc, Round, Signers,
        TransactionBody, ValidatorIndex,
    };

    /// A chain of `count` blocks with one put each, and a certificate for the last.
    fn ledger(genesis: &Genesis, count: u64) -> Vec<LogEntry> {
        let (mut parent, _) = genesis_validators(genesis).expect("checked");
        let (_, _, roots) = Executor::genesis(genesis);
        let quorum: Signers = (0..3).map(ValidatorIndex).collect();
        let mut entries = Vec::new();
        for number in 1..=count {
            let batch = batch(genesis, number);
            let batches = vec![batch.id()];
            let header = Header {
                version: FORMAT_VERSION,
                round: Round::new(Epoch(0), number),
                height: Height(number),
                parent: parent.id(),
                justify: Justify {
                    round: parent.round,
                    block: parent.id(),
                    signers: if number == 1 { Signers::NONE } else { quorum },
                },
                tc: None,
                failed: None,
                proposer: ValidatorIndex(0),
                payload: Block::payload_root(&batches),
                claim: Claim {
                    height: Height(0),
                    roots,
                },
                time: BlockTime(1 + number),
                next_validators: None,
            };
            parent = header.clone();
            let finality = (number == count).then(|| finality(genesis, &header));
            entries.push(LogEntry {
                height: header.height,
                id: header.id(),
                block: Base64(codec::encode(&Block { header, batches })),
                batches: vec![Base64(codec::encode(&batch))],
                finality: finality.map(|finality| Base64(codec::encode(&finality))),
                roots: None,
            });
        }
        entries
    }

    fn batch(genesis: &Genesis, number: u64) -> Batch {
        let alice = SecretKey::from_seed(&[200; 32]);
        let command = Command::Put {
            key: Blob(b"key".to_vec()),
            value: Blob(number.to_le_bytes().to_vec()),
            lease: None,
        };
        let body = TransactionBody {
            version: FORMAT_VERSION,
            chain: genesis.chain_id(),
            client: alice.public(),
            sequence: number,
            valid_until: BlockTime(1_000_000),
            commands: vec![command.encode()],
        };
        Batch {
            version: FORMAT_VERSION,
            epoch: Epoch(0),
            origin: ValidatorIndex(0),
            sequence: number,
            expiry: BlockTime(1_000_000),
            transactions: vec![body.sign(&alice)],
        }
    }

    fn finality(genesis: &Genesis, header: &Header) -> Finality {
        let (round, block, height) = (header.round, header.id(), header.height);
        let signers: Signers = (0..3).map(ValidatorIndex).collect();
        let sign = |domain, message: &[u8]| -> Vec<Signature> {
            let keys = (1..=3u8).map(|seed| SecretKey::from_seed(&[seed; 32]));
            keys.map(|key| key.sign(domain, message)).collect()
        };
        let chain = genesis.chain_id();
        let votes = sign(Domain::Vote, &vote_bytes(chain, round, block));
        let commits = commit_vote_bytes(chain, round, block, height);
        Finality {
            cc: Cc {
                round,
                block,
                height,
                signers,
                signatures: sign(Domain::CommitVote, &commits),
            },
            qc: Qc {
                round,
                block,
                signers,
                signatures: votes,
            },
        }
    }

    fn audit(genesis: &Genesis, entries: &[LogEntry]) -> Result<Verdict, Failure> {
        let mut audit = Audit::new(genesis, None)?;
        entries.iter().try_for_each(|entry| audit.push(entry))?;
        audit.finish()
    }

    /// Changes a block of the ledger, and its name with it.
    fn edit(entry: &mut LogEntry, change: impl FnOnce(&mut Block)) {
        let mut block: Block = codec::decode(&entry.block.0, MAX_ENCODED_BYTES).expect("a block");
        change(&mut block);
        entry.id = block.id();
        entry.block = Base64(codec::encode(&block));
    }

    #[test]
    fn an_honest_ledger_is_verified_whole() {
        let genesis = sample();
        let verdict = audit(&genesis, &ledger(&genesis, 5)).expect("honest");
        assert_eq!((verdict.height, verdict.transactions), (Height(5), 5));
        assert_eq!(verdict.chain, genesis.chain_id());
    }

    #[test]
    fn each_forgery_is_named_with_its_height() {
        let genesis = sample();
        type Forgery = fn(&mut Vec<LogEntry>);
        let forgeries: [(Forgery, ExitStatus, &str); 12] = [
            (
                |l| drop(l.remove(2)),
                ExitStatus::Verification,
                "height 4: expected height 3",
            ),
            (
                |l| l[1].id = l[0].id,
                ExitStatus::Verification,
                "height 2: it is called",
            ),
            (
                |l| edit(&mut l[1], |b| b.header.time = BlockTime(1)),
                ExitStatus::Verification,
                "time",
            ),
            (
                |l| edit(&mut l[1], |b| b.header.proposer = ValidatorIndex(9)),
                ExitStatus::Verification,
                "proposer",
            ),
            (
                |l| edit(&mut l[1], |b| b.header.claim.roots.state = b.header.payload),
                ExitStatus::Verification,
                "height 2: its claim of height 0",
            ),
            (
                |l| edit(&mut l[1], |b| b.header.justify.signers = Signers::NONE),
                ExitStatus::Verification,
                "height 2: the parent's certificate has no quorum",
            ),
            (
                // Well formed in itself: only the next block's parent betrays it.
                |l| edit(&mut l[1], |b| b.header.time = BlockTime(4)),
                ExitStatus::Verification,
                "height 3: its parent is not block",
            ),
            (
                |l| l[3].batches.clear(),
                ExitStatus::Verification,
                "height 4: batches are missing",
            ),
            (
                |l| l[3].batches[0] = l[2].batches[0].clone(),
                ExitStatus::Verification,
                "has another content",
            ),
            (
                |l| l[2].roots = Some(Roots::default()),
                ExitStatus::Verification,
                "height 3: the recorded roots",
            ),
            (
                |l| l[4].finality = None,
                ExitStatus::Verification,
                "heights 1 to 5 have no commit",
            ),
            (
                |l| l[0].block.0.truncate(9),
                ExitStatus::Damaged,
                "height 1: the block cannot be",
            ),
        ];
        for (forge, status, message) in forgeries {
            let mut entries = ledger(&genesis, 5);
            forge(&mut entries);
            let failure = audit(&genesis, &entries).expect_err(message);
            assert_eq!(failure.status, status, "{}", failure.message);
            assert!(failure.message.contains(message), "{}", failure.message);
        }
    }

    #[test]
    fn a_certificate_of_too_few_or_of_another_block_is_none() {
        let genesis = sample();
        let mut entries = ledger(&genesis, 3);
        let bytes = &entries[2].finality.as_ref().expect("the last").0;
        let good: Finality = codec::decode(bytes, MAX_ENCODED_BYTES).expect("its own");
        let mut few = good.clone();
        few.cc.signers = (0..2).map(ValidatorIndex).collect();
        few.cc.signatures.pop();
        entries[2].finality = Some(Base64(codec::encode(&few)));
        let failure = audit(&genesis, &entries).expect_err("two of three");
        assert!(
            failure.message.contains("height 3: certificate"),
            "{}",
            failure.message
        );

        let mut entries = ledger(&genesis, 3);
        entries[1].finality = Some(Base64(codec::encode(&good)));
        let failure = audit(&genesis, &entries).expect_err("of height 3");
        assert!(
            failure.message.contains("of another block"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn a_transaction_that_nobody_signed_is_refused() {
        let genesis = sample();
        let mut forged = genesis.clone();
        forged.name.push('x');
        // Signed for another chain, in blocks that hash-link to this one.
        let mut entries = ledger(&genesis, 1);
        let batch = batch(&forged, 1);
        entries[0].batches = vec![Base64(codec::encode(&batch))];
        edit(&mut entries[0], |block| {
            block.batches = vec![batch.id()];
            block.header.payload = Block::payload_root(&block.batches);
        });
        let failure = audit(&genesis, &entries).expect_err("another chain's");
        assert!(
            failure.message.contains("another chain"),
            "{}",
            failure.message
        );
    }
}
