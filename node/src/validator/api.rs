//! What the HTTP layer asks, answered: transactions through the verifiers and the core, everything that is on disk from
//! a reader of the store, so that questions do not take the core's time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quorate_client::Wait;
use quorate_client::api::{
    CheckReply, ClientReply, StatusReply, TransferReply, ValidatorReply, ValidatorsReply,
};
use quorate_execution::kv::{LeafRecord, state_key};
use quorate_execution::proof::ClientProof;
use quorate_execution::session::{CHUNK, Used};
use quorate_execution::{keys, record};
use quorate_replica::proofs::receipt_proof;
use quorate_replica::{Input, ReplicaError, Reply as CoreReply, Setup, SubmitRefusal};
use quorate_storage::ledger::{self, LedgerError};
use quorate_storage::store::prefix_end;
use quorate_storage::{Order, RocksReader, StoreError, Table, View};
use quorate_types::{Genesis, HashedTransaction, Height, PublicKey, Receipt, TransactionId, codec};
use quorate_types::{Unverified, ValidatorIndex, ValidatorInfo};
use tokio::sync::watch;

use super::clock::wall;
use super::core::{Busy, Core};
use super::submission::RETRY_AFTER;
use crate::backend::{
    Backend, BlockState, Check, Health, KeyState, KeyValue, LogBlock, Progress, Query, QueryError,
    Reply, SubmitError,
};
use crate::backup;
use crate::metrics::Metrics;
use crate::net::verify::Verifier;
use crate::snapshot::keeper::{Hook, Space};
use crate::trace::{Tracer, submitted};

/// The core is stuck if it takes no turn for so long.
const STUCK: Duration = Duration::from_secs(5);
/// The chain is stuck if there has been work and no commit for so long.
const STALLED: Duration = Duration::from_secs(5);
/// Blocks that a validator may be behind and still be of use.
const BEHIND: u64 = 16;
/// Bytes of one answer with a range or with receipts, and one entry more.
const ANSWER_BYTES: usize = 4 << 20;
/// Heights of one answer with a stretch of the log.
const LOG_HEIGHTS: u64 = 512;

/// Where a transaction stands, with the canonical proof if it was asked for.
type Found = (Progress, Option<Vec<u8>>);

/// A validator, as its API sees it.
pub struct Served {
    /// The thread behind it.
    pub core: Core,
    /// Its data.
    pub reader: RocksReader,
    /// Who checks signatures.
    pub verifier: Verifier,
    /// The chain, and this validator's place in it.
    pub setup: Setup,
    /// What the chain started from.
    pub genesis: Genesis,
    /// Its name.
    pub name: String,
    /// Counts what is refused.
    pub metrics: Metrics,
    /// Set when the process has been told to stop.
    pub stopping: Arc<AtomicBool>,
    /// Whether there is room on the disk.
    pub space: Arc<Space>,
    /// Makes snapshots.
    pub hook: Hook,
    /// Takes traces, if there is a collector.
    pub tracer: Option<Tracer>,
    /// The home.
    pub home: PathBuf,
}

impl Backend for Served {
    fn submit(
        &self,
        transaction: Unverified<HashedTransaction>,
        wait: Wait,
    ) -> BoxFuture<'_, Result<Progress, SubmitError>> {
        async move {
            if self.space.is_low() {
                return Err(SubmitError::NotServing);
            }
            let traced = self.tracer.as_ref().and_then(|tracer| {
                let id = transaction.peek().id();
                tracer.takes(&id).then(|| (tracer, id, wall()))
            });
            let result = self.follow(transaction, wait).await;
            if let Some((tracer, id, begun)) = traced {
                tracer.send(submitted(id, wait, begun.0, &result));
            }
            let results = &self.metrics.transactions_total;
            match &result {
                Ok(_) | Err(SubmitError::NotServing | SubmitError::Expired(_)) => {}
                Err(SubmitError::Full { .. }) => results.with_label_values(&["full"]).inc(),
                Err(
                    SubmitError::Invalid(_)
                    | SubmitError::UnknownClient
                    | SubmitError::TooLate
                    | SubmitError::TooFarAhead,
                ) => {
                    results.with_label_values(&["refused"]).inc();
                }
            }
            result
        }
        .boxed()
    }

    fn together(&self, submit: &mut dyn FnMut()) {
        self.verifier.together(submit);
    }

    fn read(&self, query: Query) -> Result<Reply, QueryError> {
        if !reads_state(&query) {
            return Ok(self.answer(query)?);
        }
        let standing = self.standing().ok_or(QueryError::NotServing)?;
        let answer = self.answer(query);
        // Whatever was found, there may have been no state to find it in.
        match self.standing() == Some(standing) {
            true => Ok(answer?),
            false => Err(QueryError::NotServing),
        }
    }

    fn prove(&self, key: Vec<u8>) -> BoxFuture<'_, Result<KeyState, QueryError>> {
        async move {
            self.standing().ok_or(QueryError::NotServing)?;
            self.proved_key(key).await
        }
        .boxed()
    }

    fn heads(&self) -> watch::Receiver<Option<Height>> {
        self.core.heads()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Height, String>> {
        let made = self.hook.make();
        async move {
            made.await
                .unwrap_or_else(|_| Err(String::from("a snapshot is being made already")))
        }
        .boxed()
    }

    fn backup(&self) -> BoxFuture<'_, Result<Height, String>> {
        let (reader, home) = (self.reader.clone(), self.home.clone());
        let made = tokio::task::spawn_blocking(move || backup::checkpoint(&reader, &home));
        async move {
            let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
            let result = match &made {
                Ok(height) => {
                    tracing::info!(event = "backup_begun", %height, "a checkpoint was made for a backup");
                    "begun"
                }
                Err(error) => {
                    tracing::error!(event = "backup_failed", %error, "no checkpoint could be made for a backup");
                    "failed"
                }
            };
            self.metrics.backups_total.with_label_values(&[result]).inc();
            made
        }
        .boxed()
    }

    fn health(&self) -> Health {
        let status = self.core.status();
        let (silence, stalled) = (self.core.silence(), self.core.stalled());
        let connected = status.connected.count() + usize::from(self.setup.me.is_some());
        let quorum = self.setup.validators.quorum();
        let lag = status.target.above(status.height);
        let stopping = self.stopping.load(Ordering::Relaxed);
        let seconds = |time: Duration| time.as_secs();
        Health {
            loops: vec![Check::new(
                "replica",
                silence < STUCK,
                format!("no turn was taken for {} s", seconds(silence)),
            )],
            conditions: vec![
                Check::new(
                    "caught-up",
                    lag <= BEHIND,
                    format!("{lag} blocks are missing"),
                ),
                Check::new(
                    "quorum-connected",
                    connected >= quorum,
                    format!("{connected} are connected with itself, a quorum is {quorum}"),
                ),
                Check::new(
                    "head-moves",
                    stalled < STALLED,
                    format!("there is work, and no commit for {} s", seconds(stalled)),
                ),
                Check::new(
                    "state-agrees",
                    !status.consensus.diverged,
                    "a quorum certified another state",
                ),
                Check::new(
                    "fence-passed",
                    !status.consensus.fenced,
                    "it asks the others what it signed before, and signs nothing meanwhile",
                ),
                Check::new(
                    "disk-has-room",
                    !self.space.is_low(),
                    self.space.to_string(),
                ),
                Check::new("not-stopping", !stopping, "it was told to stop"),
            ],
        }
    }
}

/// Whether the answer tells what this validator's execution led to. Status, validators and blocks are not of that kind: a
/// quorum stands behind them.
fn reads_state(query: &Query) -> bool {
    match query {
        Query::Transaction { .. }
        | Query::Key { .. }
        | Query::Range { .. }
        | Query::Receipts { .. }
        | Query::Log { .. }
        | Query::Client { .. } => true,
        Query::Block { .. } | Query::Blocks { .. } | Query::Status | Query::Validators => false,
    }
}

impl Served {
    /// The state that may be told of, by the number of its installation: none during one, and none if a quorum contradicts
    /// it (V5).
    fn standing(&self) -> Option<u64> {
        let diverged = self.core.status().consensus.diverged;
        self.core.installed().filter(|_| !diverged)
    }

    async fn proved_key(&self, key: Vec<u8>) -> Result<KeyState, QueryError> {
        let (claim, answer) = self.core.tickets().issue();
        let input = Input::Prove {
            ticket: claim.ticket(),
            key: state_key(&key),
        };
        self.core.try_push(input).map_err(|busy| match busy {
            Busy::Full => QueryError::Full {
                retry_after_seconds: RETRY_AFTER,
            },
            Busy::Stopped => QueryError::NotServing,
        })?;
        let proof = match answer.take().await {
            Some(Ok(CoreReply::Proof(proof))) => *proof,
            Some(Ok(CoreReply::Refused(SubmitRefusal::TooManyWaiting))) => {
                return Err(QueryError::Full {
                    retry_after_seconds: RETRY_AFTER,
                });
            }
            Some(Ok(CoreReply::Refused(SubmitRefusal::NotServing))) => {
                return Err(QueryError::NotServing);
            }
            Some(Ok(CoreReply::Refused(_))) => return Err(QueryError::NotProvable),
            Some(_) | None => return Err(QueryError::NotServing),
        };
        let value = proof.record.as_ref().map(|record| key_value(&record.0));
        let height = proof.headers.first().map_or(Height(0), |h| h.claim.height);
        Ok(KeyState {
            value: value.transpose().map_err(|_| QueryError::Damaged)?,
            height,
            proof: Some(ClientProof::Key(proof).encode()),
        })
    }

    /// Answers from the store and the last status.
    fn answer(&self, query: Query) -> Result<Reply, ReadError> {
        let reader = &self.reader;
        let height = self.core.status().height;
        Ok(match query {
            Query::Transaction { id, proof } => Reply::Transaction(self.transaction(id, proof)?),
            Query::Key { key } => {
                let stored = reader.get(Table::State, &state_key(&key))?;
                let value = stored.map(|record| key_value(&record)).transpose()?;
                Reply::Key(KeyState {
                    value,
                    height,
                    proof: None,
                })
            }
            Query::Range {
                prefix,
                from,
                limit,
            } => self.range(&prefix, &from, limit, height)?,
            Query::Block { height } => Reply::Block(self.block(height)?.map(Box::new)),
            Query::Blocks { from, limit } => self.blocks(from.unwrap_or(height), limit)?,
            Query::Receipts {
                height,
                from,
                limit,
            } => Reply::Receipts(self.receipts(height, from, limit)?),
            Query::Log { from, to, bytes } => Reply::Log(self.log(from, to, bytes)?),
            Query::Status => Reply::Status(Box::new(self.status())),
            Query::Validators => Reply::Validators(self.validators()),
            Query::Client { key } => Reply::Client(self.client(key, height)?),
        })
    }

    fn transaction(&self, id: TransactionId, proof: bool) -> Result<Option<Found>, ReadError> {
        let Some((height, index)) = ledger::place(&self.reader, id)? else {
            return Ok(None);
        };
        let Some(receipt) = ledger::receipt(&self.reader, height, index)? else {
            return Ok(None);
        };
        let proof = match proof {
            false => None,
            true => {
                let proof = receipt_proof(&self.reader, id)?.ok_or(ReadError::NotProvable)?;
                Some(ClientProof::Receipt(proof).encode())
            }
        };
        Ok(Some((Progress::Executed(receipt), proof)))
    }

    /// The keys with a prefix, from `from` on.
    fn range(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: u32,
        height: Height,
    ) -> Result<Reply, ReadError> {
        let end = prefix_end(&state_key(prefix));
        let from = state_key(prefix.max(from));
        let namespace = state_key(b"").len();
        // A key behind all that have the prefix: there is nothing between it and the end, and a range that ends before it
        // begins is not to be asked for.
        let is_behind = end.as_ref().is_some_and(|end| *end <= from);
        let (stored, more) = match is_behind {
            true => (Vec::new(), false),
            false => {
                let range = (from.as_slice(), end.as_deref());
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let reader = &self.reader;
                reader.scan_within(Table::State, range, limit, ANSWER_BYTES)?
            }
        };
        let entries = stored
            .into_iter()
            .map(|(key, record)| {
                let key = key.get(namespace..).unwrap_or_default().to_vec();
                Ok((key, key_value(&record)?))
            })
            .collect::<Result<_, ReadError>>()?;
        Ok(Reply::Range {
            entries,
            more,
            height,
        })
    }

    fn block(&self, height: Height) -> Result<Option<BlockState>, ReadError> {
        let Some(block) = ledger::block_by_height(&self.reader, height)? else {
            return self.check_kept(height).map(|()| None);
        };
        let transactions = ledger::receipt_count(&self.reader, height)?;
        Ok(Some(BlockState {
            block,
            transactions: u64::from(transactions),
        }))
    }

    /// Asked when something is not there: truncation may have come in between, and says so by then.
    fn check_kept(&self, height: Height) -> Result<(), ReadError> {
        let first = ledger::first(&self.reader)?;
        match Height(0) < height && height < first {
            true => Err(ReadError::Compacted(first)),
            false => Ok(()),
        }
    }

    fn blocks(&self, from: Height, limit: u32) -> Result<Reply, ReadError> {
        let from = from.min(self.core.status().height);
        let mut blocks = Vec::new();
        let mut height = from;
        // The genesis is no entry of the ledger.
        while height > Height(0) && u32::try_from(blocks.len()).is_ok_and(|count| count < limit) {
            match self.block(height) {
                Ok(Some(block)) => blocks.push(block),
                // Behind the first that is kept, there is no more; unless that is what was asked for.
                Err(ReadError::Compacted(_)) if !blocks.is_empty() => {
                    return Ok(Reply::Blocks(blocks, false));
                }
                Ok(None) => return Ok(Reply::Blocks(blocks, false)),
                Err(error) => return Err(error),
            }
            height = Height(height.0 - 1);
        }
        Ok(Reply::Blocks(blocks, height > Height(0)))
    }

    fn receipts(
        &self,
        height: Height,
        from: u32,
        limit: u32,
    ) -> Result<Option<(Vec<Receipt>, bool)>, ReadError> {
        if height > self.core.status().height || height == Height(0) {
            return Ok(None);
        }
        let count = ledger::receipt_count(&self.reader, height)?;
        if count == 0 {
            self.check_kept(height)?;
        }
        let end = from.saturating_add(limit).min(count);
        let (mut receipts, mut bytes, mut next) = (Vec::new(), 0, from);
        while next < end && bytes < ANSWER_BYTES {
            let Some(receipt) = ledger::receipt(&self.reader, height, next)? else {
                return self.check_kept(height).and(Err(ReadError::Damaged));
            };
            bytes += codec::encoded_len(&receipt);
            receipts.push(receipt);
            next += 1;
        }
        Ok(Some((receipts, next < count)))
    }

    fn log(&self, from: Height, to: Height, most: usize) -> Result<Vec<LogBlock>, ReadError> {
        let reader = &self.reader;
        let last = to.0.min(from.0.saturating_add(LOG_HEIGHTS - 1));
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        for height in from.0..=last {
            let height = Height(height);
            let Some(block) = ledger::block_by_height(reader, height)? else {
                if blocks.is_empty() {
                    self.check_kept(height)?;
                }
                break;
            };
            let mut batches = Vec::new();
            for id in &block.batches {
                let Some(batch) = ledger::batch(reader, *id)? else {
                    return self.check_kept(height).and(Err(ReadError::Damaged));
                };
                bytes += batch.encoded_len();
                batches.push(batch);
            }
            blocks.push(LogBlock {
                finality: ledger::finality(reader, height)?,
                roots: ledger::roots(reader, height)?,
                block,
                batches,
            });
            if bytes >= most {
                break;
            }
        }
        Ok(blocks)
    }

    fn status(&self) -> StatusReply {
        let status = self.core.status();
        let health = self.health();
        let small = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let large = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        StatusReply {
            chain: self.setup.validators.chain(),
            name: self.genesis.name.clone(),
            version: String::from(env!("CARGO_PKG_VERSION")),
            validator: self.name.clone(),
            index: self.setup.me.map(|index| index.0),
            ready: health.ready(),
            failing: health
                .failing()
                .map(|check| CheckReply {
                    check: check.name.to_owned(),
                    reason: check.seen.clone(),
                })
                .collect(),
            epoch: status.consensus.round.epoch.0,
            round: status.consensus.round.number,
            leader: status.consensus.leader.map(|index| index.0),
            height: status.height,
            executed: status.height,
            roots: status.roots,
            head_time: status.time,
            now: wall(),
            peers_connected: small(status.connected.count()),
            validators: small(self.setup.validators.count()),
            mempool_transactions: large(status.queued),
            mempool_bytes: large(status.pool_bytes),
            sync_lag: status.target.above(status.height),
            commits: self
                .metrics
                .consensus_commit_latency_seconds
                .get_sample_count(),
            commit_latency_total_ns: self.metrics.commit_latency_total_ns(),
            transactions: self
                .metrics
                .transactions_total
                .with_label_values(&["executed"])
                .get(),
            transfer: status.transfer.map(|transfer| TransferReply {
                height: transfer.height,
                bytes: transfer.bytes,
                bytes_total: transfer.bytes_total,
                remaining_seconds: self.metrics.transfer_remaining(),
            }),
        }
    }

    fn validators(&self) -> ValidatorsReply {
        let connected = self.core.status().connected;
        let members = self
            .setup
            .validators
            .indices()
            .zip(&self.genesis.validators);
        ValidatorsReply {
            epoch: self.setup.validators.epoch().0,
            validators: members
                .map(|(index, info)| ValidatorReply {
                    index: index.0,
                    name: info.name.clone(),
                    consensus_key: info.consensus_key,
                    network_key: info.network_key,
                    address: info.address.clone(),
                    connected: connected.contains(index) || self.setup.me == Some(index),
                })
                .collect(),
        }
    }

    fn client(&self, key: PublicKey, height: Height) -> Result<ClientReply, ReadError> {
        let chunks = keys::session_chunk(&key, 0);
        let head = keys::session_head(&key);
        let last = self
            .reader
            .scan(Table::State, &chunks, Some(&head), 1, Order::Descending)?;
        let next = match last.first() {
            None => 1,
            Some((place, chunk)) => next_sequence(place, chunk)?,
        };
        Ok(ClientReply {
            key,
            registered: self.setup.clients.contains(&key),
            next_sequence: next,
            height,
        })
    }
}

/// The number after the highest in a session's last chunk. The chunk's number are the last eight bytes of its key.
fn next_sequence(key: &[u8], chunk: &[u8]) -> Result<u64, ReadError> {
    let number = key.last_chunk().ok_or(ReadError::Damaged)?;
    let used: Vec<Used> = record::unseal(chunk).map_err(|_| ReadError::Damaged)?;
    let highest = used.iter().map(|used| used.offset).max();
    let offset = highest.map_or(0, |offset| u64::from(offset) + 1);
    let base = u64::from_be_bytes(*number).saturating_mul(CHUNK);
    Ok(base.saturating_add(offset))
}

fn key_value(record: &[u8]) -> Result<KeyValue, ReadError> {
    let record = LeafRecord::decode(record).map_err(|_| ReadError::Damaged)?;
    Ok(KeyValue {
        value: record.value.0,
        create_revision: record.create_revision,
        modify_revision: record.modify_revision,
        version: record.version,
    })
}

/// Why a question to the store has no answer.
#[derive(Debug)]
enum ReadError {
    NotProvable,
    Compacted(Height),
    Damaged,
    Store(StoreError),
    Ledger(LedgerError),
    Replica(ReplicaError),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> ReadError {
        ReadError::Store(error)
    }
}

impl From<LedgerError> for ReadError {
    fn from(error: LedgerError) -> ReadError {
        ReadError::Ledger(error)
    }
}

impl From<ReplicaError> for ReadError {
    fn from(error: ReplicaError) -> ReadError {
        ReadError::Replica(error)
    }
}

impl From<ReadError> for QueryError {
    fn from(error: ReadError) -> QueryError {
        match error {
            ReadError::NotProvable => return QueryError::NotProvable,
            ReadError::Compacted(first) => return QueryError::Compacted { first },
            ReadError::Damaged => {
                tracing::error!(event = "record_damaged", "a stored record cannot be read")
            }
            ReadError::Store(error) => {
                tracing::error!(event = "store_unreadable", %error, "the store cannot be read")
            }
            ReadError::Ledger(error) => {
                tracing::error!(event = "ledger_unreadable", %error, "the ledger cannot be read")
            }
            ReadError::Replica(error) => {
                tracing::error!(event = "proof_impossible", %error, "a proof cannot be made")
            }
        }
        QueryError::Damaged
    }
}

/// The validator of the genesis with this consensus key.
#[must_use]
pub fn member(genesis: &Genesis, index: Option<ValidatorIndex>) -> Option<&ValidatorInfo> {
    genesis.validators.get(index?.as_usize())
}
