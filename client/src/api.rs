//! The JSON of the HTTP API, as validators write it and clients read it.
//!
//! Bytes (keys, values, results, canonical encodings) are base64; digests and keys of people are hexadecimal; times are
//! nanoseconds since the Unix epoch. Readers ignore members that they do not know, so that members can be added.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_types::{BlockId, BlockTime, ChainId, Height, PublicKey, Receipt, Roots};
use quorate_types::{Outcome, Rejection, TransactionId, codec};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[cfg(feature = "openapi")]
use crate::schema::{Hex32, RootsSchema};

/// Media type of canonical bytes.
pub const CANONICAL: &str = "application/octet-stream";
/// Media type of JSON Lines.
pub const JSON_LINES: &str = "application/jsonl";
/// Media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Media type of a [`Problem`].
pub const PROBLEM: &str = "application/problem+json";

/// Bytes that stand in JSON as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
        Ok(Base64(bytes))
    }
}

/// An error, as RFC 9457 has it. `code` is stable, `detail` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:quorate:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people, the same for every problem of the code.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What programs match.
    pub code: String,
    /// For people, about this occurrence.
    pub detail: String,
    /// The transaction it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Hex32>))]
    pub transaction: Option<TransactionId>,
}

/// Body of a submission in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The canonical signed transaction.
    pub transaction: Base64,
}

/// How far a submitted transaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A validator holds it and will have it ordered.
    Accepted,
    /// It has its place in the ledger.
    Committed,
    /// It was executed, or rejected for good: there is a receipt.
    Executed,
}

/// Answer to a submission, and to a question for a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitReply {
    /// The transaction.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub id: TransactionId,
    /// How far it has come.
    pub state: State,
    /// Its block, once committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub height: Option<Height>,
    /// Its place in the block, once committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// What became of it, once executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptReply>,
    /// Canonical proof of the receipt (F1, F2), if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Base64>,
}

/// A line of the answers to a stream of submissions in JSON Lines: how far a transaction has come, or a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmissionReply {
    /// The transaction's place in the stream, from 0.
    pub number: u64,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<SubmitReply>,
    /// Why it was not taken, or not followed to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// When it may be better, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// A receipt, readable, with its canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceiptReply {
    /// The transaction.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub transaction: TransactionId,
    /// Who signed it.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub client: PublicKey,
    /// The client's number.
    pub sequence: u64,
    /// Its block.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
    /// Its place in the block.
    pub index: u32,
    /// The block's time.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub time: BlockTime,
    /// `executed`, `rejected` or `duplicate`.
    pub outcome: String,
    /// Why it was rejected, for programs: stable, one of the list in the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was rejected, or where its first place is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The machine's revision after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// One result a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<Base64>,
    /// The canonical receipt.
    pub canonical: Base64,
}

/// Every way a transaction is rejected, for lists of them; commands are counted from 0.
pub const REJECTIONS: [Rejection; 13] = [
    Rejection::UnknownClient,
    Rejection::Forbidden,
    Rejection::Expired,
    Rejection::TooFarAhead,
    Rejection::TooOld,
    Rejection::SequenceReused,
    Rejection::CostExceeded,
    Rejection::ResultTooLarge,
    Rejection::BadCommand(0),
    Rejection::UnknownCheckpoint(0),
    Rejection::CheckpointExists(0),
    Rejection::TooManyCheckpoints(0),
    Rejection::BlockFull,
];

/// The stable name of a rejection, whichever command it is about.
#[must_use]
pub fn rejection_code(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::UnknownClient => "unknown_client",
        Rejection::Forbidden => "forbidden",
        Rejection::Expired => "expired",
        Rejection::TooFarAhead => "too_far_ahead",
        Rejection::TooOld => "too_old",
        Rejection::SequenceReused => "sequence_reused",
        Rejection::CostExceeded => "cost_exceeded",
        Rejection::ResultTooLarge => "result_too_large",
        Rejection::BadCommand(_) => "bad_command",
        Rejection::UnknownCheckpoint(_) => "unknown_checkpoint",
        Rejection::CheckpointExists(_) => "checkpoint_exists",
        Rejection::TooManyCheckpoints(_) => "too_many_checkpoints",
        Rejection::BlockFull => "block_full",
    }
}

impl From<&Receipt> for ReceiptReply {
    fn from(receipt: &Receipt) -> ReceiptReply {
        let mut reply = ReceiptReply {
            transaction: receipt.transaction,
            client: receipt.client,
            sequence: receipt.sequence,
            height: receipt.height,
            index: receipt.index,
            time: receipt.time,
            outcome: String::from("executed"),
            code: None,
            reason: None,
            revision: None,
            results: Vec::new(),
            canonical: Base64(codec::encode(receipt)),
        };
        match &receipt.outcome {
            Outcome::Executed { revision, results } => {
                reply.revision = Some(*revision);
                reply.results = results.iter().map(|r| Base64(r.0.clone())).collect();
            }
            Outcome::Rejected(rejection) => {
                reply.outcome = String::from("rejected");
                reply.code = Some(String::from(rejection_code(*rejection)));
                reply.reason = Some(rejection.to_string());
            }
            Outcome::Duplicate { height, index } => {
                reply.outcome = String::from("duplicate");
                reply.reason = Some(format!("first executed at height {height}, index {index}"));
            }
        }
        reply
    }
}

impl ReceiptReply {
    /// The receipt in its canonical form, which is the one to believe.
    ///
    /// # Errors
    /// If the bytes are no receipt.
    pub fn decode(&self) -> Result<Receipt, codec::DecodeError> {
        codec::decode(&self.canonical.0, codec::MAX_ENCODED_BYTES)
    }
}

/// A key's value, as one validator has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyReply {
    /// The key.
    pub key: Base64,
    /// Its value; absent if there is no such key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Base64>,
    /// Revision that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_revision: Option<u64>,
    /// Revision that changed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modify_revision: Option<u64>,
    /// Changes since it was created, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The executed height that this is the state of.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
    /// Canonical proof (F2), if asked for; its height may lie below `height`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Base64>,
}

/// The keys with a prefix, as one validator has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RangeReply {
    /// In ascending order of key.
    pub entries: Vec<KeyReply>,
    /// Whether there are more than the limit, or than fit an answer.
    pub more: bool,
    /// If there are: where they begin, `from` of the next call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Base64>,
    /// The executed height that this is the state of.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
}

/// A client key, as one validator has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientReply {
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub key: PublicKey,
    /// Whether it is registered.
    pub registered: bool,
    /// The first number above all executed ones; 1 for a client that has executed nothing.
    pub next_sequence: u64,
    /// The executed height that this is the state of.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
}

/// A block without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockReply {
    /// Position in the ledger.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
    /// Hash of the header.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub id: BlockId,
    /// The block before.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub parent: BlockId,
    /// Epoch of its round.
    pub epoch: u64,
    /// Round in the epoch.
    pub round: u64,
    /// Index of the proposer.
    pub proposer: u16,
    /// Indices of those whose votes certify the block before.
    #[serde(default)]
    pub voters: Vec<u16>,
    /// Transactions with a receipt, once it is executed.
    #[serde(default)]
    pub transactions: u64,
    /// Agreed time.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub time: BlockTime,
    /// Height of the execution that the block vouches for.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub claim_height: Height,
    /// Roots of that execution.
    #[cfg_attr(feature = "openapi", schema(value_type = RootsSchema))]
    pub claim: Roots,
    /// Digests of its batches.
    pub batches: Vec<String>,
    /// The canonical block.
    pub canonical: Base64,
}

/// Blocks, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlocksReply {
    /// In descending order of height.
    pub blocks: Vec<BlockReply>,
    /// Whether there are older ones here.
    pub more: bool,
}

/// Receipts of a block, in the order of execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceiptsReply {
    /// In ascending order of index.
    pub receipts: Vec<ReceiptReply>,
    /// Whether there are more in the block.
    pub more: bool,
}

/// The members of the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidatorsReply {
    /// Whose set it is.
    pub epoch: u64,
    /// In the order of their indices.
    pub validators: Vec<ValidatorReply>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidatorReply {
    /// Its index.
    pub index: u16,
    /// For people.
    pub name: String,
    /// Signs consensus messages.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub consensus_key: PublicKey,
    /// Pinned by TLS.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub network_key: PublicKey,
    /// For QUIC between validators.
    pub address: String,
    /// Whether the answering validator is connected to it (true for itself).
    pub connected: bool,
}

/// How one validator is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusReply {
    /// The chain.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub chain: ChainId,
    /// The chain's name.
    pub name: String,
    /// The release.
    pub version: String,
    /// The validator's name.
    pub validator: String,
    /// Its index; none for an observer.
    pub index: Option<u16>,
    /// Whether it answers `/readyz` with 200.
    pub ready: bool,
    /// The checks of `/readyz` that fail; empty while it is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<CheckReply>,
    /// Epoch it is in.
    pub epoch: u64,
    /// Round it is in.
    pub round: u64,
    /// Leader of that round, where it can be told.
    pub leader: Option<u16>,
    /// Highest committed height.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
    /// Highest executed height.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub executed: Height,
    /// Roots at the executed height.
    #[cfg_attr(feature = "openapi", schema(value_type = RootsSchema))]
    pub roots: Roots,
    /// Time of the newest committed block.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub head_time: BlockTime,
    /// This validator's wall clock.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub now: BlockTime,
    /// Other validators connected.
    pub peers_connected: u16,
    /// Validators in the set.
    pub validators: u16,
    /// Transactions waiting.
    pub mempool_transactions: u64,
    /// Their bytes.
    pub mempool_bytes: u64,
    /// Blocks it knows to be behind.
    pub sync_lag: u64,
    /// Blocks committed since its start, without those it fetched from others.
    #[serde(default)]
    pub commits: u64,
    /// Sum of their commit latencies in nanoseconds, from a block's time to its commit by this validator's clock.
    #[serde(default)]
    pub commit_latency_total_ns: u64,
    /// Transactions executed since its start.
    #[serde(default)]
    pub transactions: u64,
    /// The snapshot that it fetches, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferReply>,
}

/// A check of `/readyz` that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckReply {
    /// Its stable name.
    pub check: String,
    /// What was seen, for people.
    pub reason: String,
}

/// How far a validator is with fetching a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransferReply {
    /// The snapshot's height.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Seconds until it is here, at the rate so far; none while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_seconds: Option<u64>,
}

/// One height of the ledger: everything that is needed to verify it, given all heights before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogEntry {
    /// Position, for people.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub height: Height,
    /// Hash of the header, for people.
    #[cfg_attr(feature = "openapi", schema(value_type = Hex32))]
    pub id: BlockId,
    /// Canonical [`quorate_types::Block`].
    pub block: Base64,
    /// Canonical [`quorate_types::Batch`]es, in the block's order.
    pub batches: Vec<Base64>,
    /// Canonical [`quorate_types::Finality`], at the heights where the validator has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finality: Option<Base64>,
    /// What execution led to at this height; `log verify` compares it with its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<RootsSchema>))]
    pub roots: Option<Roots>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::Blob;

    fn receipt(outcome: Outcome) -> Receipt {
        Receipt {
            transaction: TransactionId::default(),
            client: PublicKey::from_bytes_unchecked([7; 32]),
            sequence: 3,
            height: Height(5),
            index: 1,
            time: BlockTime(9),
            outcome,
        }
    }

    #[test]
    fn every_rejection_that_can_be_decoded_is_listed_once() {
        let mut decoded = Vec::new();
        for tag in 0u32.. {
            let plain = tag.to_le_bytes();
            let about_a_command = [plain, [0; 4]].concat();
            let found = codec::decode::<Rejection>(&plain, 8);
            let Ok(rejection) = found.or_else(|_| codec::decode(&about_a_command, 8)) else {
                break;
            };
            decoded.push(rejection);
        }
        assert_eq!(decoded, REJECTIONS);
        let codes: std::collections::BTreeSet<&str> =
            REJECTIONS.into_iter().map(rejection_code).collect();
        assert_eq!(codes.len(), REJECTIONS.len());
        let reply = ReceiptReply::from(&receipt(Outcome::Rejected(Rejection::BadCommand(3))));
        assert_eq!(reply.code.as_deref(), Some("bad_command"));
    }

    #[test]
    fn a_receipt_survives_json_and_reads_well() {
        for (outcome, word) in [
            (
                Outcome::Executed {
                    revision: 2,
                    results: vec![Blob(vec![1])],
                },
                "executed",
            ),
            (Outcome::Rejected(Rejection::TooOld), "rejected"),
            (
                Outcome::Duplicate {
                    height: Height(1),
                    index: 0,
                },
                "duplicate",
            ),
        ] {
            let receipt = receipt(outcome);
            let text = serde_json::to_string(&ReceiptReply::from(&receipt)).expect("JSON");
            let reply: ReceiptReply = serde_json::from_str(&text).expect("its own JSON");
            assert_eq!(reply.outcome, word);
            assert_eq!(reply.decode().expect("canonical"), receipt);
        }
    }

    #[test]
    fn text_that_is_no_base64_is_refused() {
        assert!(serde_json::from_str::<Base64>("\"%%\"").is_err());
    }
}
