//! What a chain starts from, and what its identity is the hash of.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use quorate_crypto::{Digest, Domain, KeyError, PublicKey, Signature, verify};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::vote::Signer;
use crate::{BlockTime, ChainId, FORMAT_VERSION, Height, MAX_VALIDATORS, codec};

/// Version of a genesis that names an [`Origin`]. Others have [`FORMAT_VERSION`], and the encoding they always had.
pub const FORKED_VERSION: u16 = 2;

/// What everybody must agree on. Lives in the certified state once the chain runs; only the genesis writes it so far.
/// Times are nanoseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Release whose rules apply, from `activation` on.
    pub protocol_version: u16,
    /// Height from which `protocol_version` applies.
    pub activation: u64,
    /// How far a block's time may run ahead of a voter's wall clock (V1).
    pub max_clock_drift_ns: u64,
    /// A round's timer is never above this.
    pub round_timeout_cap_ns: u64,
    /// An idle leader waits at most this long for work (L3).
    pub idle_interval_ns: u64,
    /// A block whose height is this far above its claim's is empty (V6).
    pub max_execution_lag: u64,
    /// `valid_until` may be at most this far above the block's time (X1).
    pub max_validity_ns: u64,
    /// A transaction's canonical encoding.
    pub max_transaction_bytes: u64,
    /// Commands in a transaction.
    pub max_commands: u64,
    /// One command's result; a longer one rejects the transaction.
    pub max_result_bytes: u64,
    /// A batch's canonical encoding.
    pub max_batch_bytes: u64,
    /// Batches in a block.
    pub max_block_batches: u64,
    /// How long after its making a batch may be ordered.
    pub batch_lifetime_ns: u64,
    /// Executed sequence numbers remembered for a client (X1).
    pub session_window: u64,
    /// Cost units that one transaction may use; so its results have no more bytes.
    pub max_transaction_cost: u64,
    /// Cost units that one block may use; transactions beyond are refused, and may be sent again.
    pub max_block_cost: u64,
}

impl Default for Parameters {
    fn default() -> Parameters {
        const MILLISECOND: u64 = 1_000_000;
        const SECOND: u64 = 1_000 * MILLISECOND;
        Parameters {
            protocol_version: 1,
            activation: 0,
            max_clock_drift_ns: 500 * MILLISECOND,
            round_timeout_cap_ns: 5 * SECOND,
            idle_interval_ns: 5 * SECOND,
            max_execution_lag: 128,
            max_validity_ns: 3_600 * SECOND,
            max_transaction_bytes: 256 * 1024,
            max_commands: 500,
            max_result_bytes: 64 * 1024,
            max_batch_bytes: 512 * 1024,
            max_block_batches: 64,
            batch_lifetime_ns: 600 * SECOND,
            session_window: 4_096,
            max_transaction_cost: 1_000_000,
            max_block_cost: 50_000_000,
        }
    }
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Reader,
    /// Reads and writes.
    Writer,
    /// Also changes the configuration.
    Admin,
}

/// Somebody whose transactions are executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// For people.
    pub name: String,
    /// Signs the transactions.
    pub key: PublicKey,
    /// What it may do.
    pub role: Role,
}

/// A member of the validator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorInfo {
    /// For people; distinct.
    pub name: String,
    /// Signs consensus messages.
    pub consensus_key: PublicKey,
    /// Pinned by the peers' TLS.
    pub network_key: PublicKey,
    /// `host:port` for QUIC between validators.
    pub address: String,
    /// By the consensus key over both keys: nobody can register another's key as its own.
    pub proof: Signature,
}

impl ValidatorInfo {
    /// Makes the proof of possession.
    pub fn prove(
        signer: &dyn Signer,
        consensus_key: PublicKey,
        network_key: PublicKey,
    ) -> Signature {
        signer.sign(
            Domain::ProofOfPossession,
            &codec::encode(&(consensus_key, network_key)),
        )
    }
}

/// Which chain's state a chain starts from, if it does not start empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The other chain.
    pub chain: ChainId,
    /// The height there.
    pub height: Height,
    /// The state root there, after that height.
    pub state: Digest,
    /// State root of this chain's height 0: over what was taken over and what this genesis says. Zero while the genesis
    /// is being made.
    pub root: Digest,
}

/// The first agreement of all, made by people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Genesis {
    /// [`FORMAT_VERSION`], or [`FORKED_VERSION`] with an origin.
    pub version: u16,
    /// The chain's name, for people.
    pub name: String,
    /// The genesis block's time.
    pub time: BlockTime,
    /// What everybody must agree on.
    pub parameters: Parameters,
    /// The first epoch's set, in the order of its indices.
    pub validators: Vec<ValidatorInfo>,
    /// Who may submit.
    pub clients: Vec<Client>,
    /// The state machine: `kv`.
    pub machine: String,
    /// The state to start from; `None`: an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Serialize for Genesis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Genesis::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Genesis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Genesis, D::Error> {
        match deserializer.is_human_readable() {
            true => Genesis::deserialize(deserializer),
            // The encoding names no fields: the version tells whether there is an origin at the end.
            false => deserializer.deserialize_tuple(8, Fields),
        }
    }
}

/// Reads the fields of a genesis in their order.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Genesis;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a genesis")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Genesis, A::Error> {
        let mut genesis = Genesis {
            version: field(&mut fields)?,
            name: field(&mut fields)?,
            time: field(&mut fields)?,
            parameters: field(&mut fields)?,
            validators: field(&mut fields)?,
            clients: field(&mut fields)?,
            machine: field(&mut fields)?,
            origin: None,
        };
        if genesis.version == FORKED_VERSION {
            let origin: Option<Origin> = field(&mut fields)?;
            // `None` has another encoding: no bytes at all.
            genesis.origin = Some(origin.ok_or_else(|| de::Error::custom("no origin"))?);
        }
        Ok(genesis)
    }
}

fn field<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(fields: &mut A) -> Result<T, A::Error> {
    let short = || de::Error::custom("a field is missing");
    fields.next_element()?.ok_or_else(short)
}

/// Why a genesis cannot start a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Another release's format.
    #[error(
        "format version {0} is not {FORMAT_VERSION}, the one this release speaks ({FORKED_VERSION} with an origin)"
    )]
    Version(u16),
    /// An origin that is not finished.
    #[error("the origin names no root of the state that the chain starts from")]
    Origin,
    /// Nobody, or more than [`MAX_VALIDATORS`].
    #[error("a chain has 1 to {MAX_VALIDATORS} validators, not {0}")]
    Validators(usize),
    /// A name, key or address that two entries share.
    #[error("{0} appears twice")]
    Repeated(String),
    /// A key that may not be registered.
    #[error("the key of {0}: {1}")]
    Key(String, KeyError),
    /// A proof of possession that does not verify.
    #[error("the proof of possession of {0} does not verify")]
    Proof(String),
    /// A parameter outside its range.
    #[error("parameter {0} is out of range: {1}")]
    Parameter(&'static str, &'static str),
    /// A machine that this release does not have.
    #[error("no state machine is called {0:?}")]
    Machine(String),
}

impl Genesis {
    /// The chain's identity: the hash of the canonical genesis.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        ChainId(codec::digest(Domain::Genesis, self))
    }

    /// What the state of the chain calls itself: the chain's identity, or, if it starts from another chain's state, what
    /// that would be without the root. For the identity depends on the root, and the root on what is in the state.
    #[must_use]
    pub fn state_id(&self) -> ChainId {
        let mut genesis = self.clone();
        if let Some(origin) = &mut genesis.origin {
            origin.root = Digest::default();
        }
        genesis.chain_id()
    }

    /// The consensus keys in the order of their indices.
    #[must_use]
    pub fn consensus_keys(&self) -> Vec<PublicKey> {
        self.validators.iter().map(|v| v.consensus_key).collect()
    }

    /// Whether a chain may start from this.
    ///
    /// # Errors
    /// [`GenesisError`], the first found.
    pub fn check(&self) -> Result<(), GenesisError> {
        let version = match self.origin {
            None => FORMAT_VERSION,
            Some(_) => FORKED_VERSION,
        };
        if self.version != version {
            return Err(GenesisError::Version(self.version));
        }
        if self
            .origin
            .is_some_and(|origin| origin.root == Digest::default())
        {
            return Err(GenesisError::Origin);
        }
        if self.validators.is_empty() || self.validators.len() > MAX_VALIDATORS {
            return Err(GenesisError::Validators(self.validators.len()));
        }
        if self.machine != "kv" {
            return Err(GenesisError::Machine(self.machine.clone()));
        }
        self.parameters.check()?;
        let mut seen = BTreeSet::new();
        let mut once = |text: String| match seen.insert(text.clone()) {
            true => Ok(()),
            false => Err(GenesisError::Repeated(text)),
        };
        for validator in &self.validators {
            let name = &validator.name;
            once(alloc::format!("validator name {name}"))?;
            once(alloc::format!("validator address {}", validator.address))?;
            for key in [&validator.consensus_key, &validator.network_key] {
                once(alloc::format!("key {key}"))?;
                check_key(name, key)?;
            }
            let message = codec::encode(&(validator.consensus_key, validator.network_key));
            verify(
                &validator.consensus_key,
                Domain::ProofOfPossession,
                &message,
                &validator.proof,
            )
            .map_err(|_| GenesisError::Proof(name.clone()))?;
        }
        for client in &self.clients {
            once(alloc::format!("client name {}", client.name))?;
            once(alloc::format!("key {}", client.key))?;
            check_key(&client.name, &client.key)?;
        }
        Ok(())
    }
}

fn check_key(name: &str, key: &PublicKey) -> Result<(), GenesisError> {
    key.check()
        .map_err(|error| GenesisError::Key(name.to_string(), error))
}

impl Parameters {
    /// Whether the values can work together.
    ///
    /// # Errors
    /// [`GenesisError::Parameter`] names the first that cannot.
    pub fn check(&self) -> Result<(), GenesisError> {
        let block_bytes = self.max_block_batches.checked_mul(self.max_batch_bytes);
        let most = u64::try_from(codec::MAX_BLOCK_BYTES).expect("fits");
        let rules: [(&'static str, bool, &'static str); 15] = [
            (
                "protocol_version",
                self.protocol_version == 1,
                "this release knows 1",
            ),
            (
                "round_timeout_cap_ns",
                (100_000_000..=600_000_000_000).contains(&self.round_timeout_cap_ns),
                "100 ms to 10 min",
            ),
            (
                "idle_interval_ns",
                (250_000_000..=600_000_000_000).contains(&self.idle_interval_ns),
                "250 ms to 10 min",
            ),
            (
                "max_execution_lag",
                // Who starts reads as many heights.
                (4..=4_096).contains(&self.max_execution_lag),
                "4 to 4,096",
            ),
            (
                "max_validity_ns",
                self.max_validity_ns >= 1_000_000_000,
                "at least 1 s",
            ),
            (
                "max_transaction_bytes",
                (1024..=8 << 20).contains(&self.max_transaction_bytes),
                "1 KiB to 8 MiB",
            ),
            (
                "max_commands",
                (1..=500).contains(&self.max_commands),
                "1 to 500",
            ),
            (
                "max_result_bytes",
                (64..=8 << 20).contains(&self.max_result_bytes),
                "64 B to 8 MiB",
            ),
            (
                "max_batch_bytes",
                self.max_batch_bytes >= self.max_transaction_bytes.saturating_add(1024)
                    && self.max_batch_bytes <= 16 << 20,
                "max_transaction_bytes + 1 KiB to 16 MiB",
            ),
            (
                "max_block_batches",
                (1..=1024).contains(&self.max_block_batches),
                "1 to 1,024",
            ),
            (
                // Whoever is behind gets a block and its batches in one message.
                "max_block_batches",
                block_bytes.is_some_and(|bytes| bytes <= most),
                "max_block_batches × max_batch_bytes at most 32 MiB",
            ),
            (
                // A byte of result costs a unit: a receipt is to be read back.
                "max_transaction_cost",
                self.max_transaction_cost <= most,
                "at most 33,554,432",
            ),
            (
                "session_window",
                // A number far ahead drops all that the window held.
                (64..=1 << 16).contains(&self.session_window),
                "64 to 65,536",
            ),
            (
                // Leaders leave out what expires within a second.
                "batch_lifetime_ns",
                (10_000_000_000..=86_400_000_000_000).contains(&self.batch_lifetime_ns),
                "10 s to a day",
            ),
            (
                // Else what is too dear by itself finds its block full unless it is the first in it, is sent again, and takes
                // a whole block from others each time.
                "max_block_cost",
                (self.max_transaction_cost.saturating_mul(2)..=1_000_000_000)
                    .contains(&self.max_block_cost),
                "twice max_transaction_cost to 1,000,000,000",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((name, _, range)) => Err(GenesisError::Parameter(name, range)),
            None => Ok(()),
        }
    }
}
