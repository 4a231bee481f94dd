//! A backend that answers what the test says, behind the real HTTP layer on a port of the system's choice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use quorate_client::Wait;
use quorate_client::api::{ClientReply, StatusReply, ValidatorsReply};
use quorate_crypto::SecretKey;
use quorate_execution::kv::KvResult;
use quorate_node::backend::{
    Backend, Health, KeyState, KeyValue, LogBlock, Progress, Query, QueryError, Reply, SubmitError,
};
use quorate_node::http::{self, Api, Limits};
use quorate_node::metrics::Metrics;
use quorate_types::{
    Batch, BatchId, Blob, Block, BlockTime, ChainId, Digest, Epoch, FORMAT_VERSION, HashedBatch,
    HashedTransaction, Header, Height, Outcome, Receipt, Rejection, Roots, Transaction,
    TransactionBody, TransactionId, Unverified, ValidatorIndex,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::proved;

/// What the mock does with the next submissions.
#[derive(Clone, Debug, Default)]
pub(crate) enum Script {
    /// Executes everything, once.
    #[default]
    Execute,
    /// Refuses everything.
    Refuse(SubmitError),
    /// Never answers.
    Hang,
    /// Executes everything once this says so.
    Hold(watch::Receiver<bool>),
    /// Rejects the first so many in the log, then executes.
    Reject(Rejection, u32),
}

/// The mock. Two of them that share `executed` are two validators of one chain.
#[derive(Debug, Default)]
pub(crate) struct Mock {
    pub(crate) script: Mutex<Script>,
    pub(crate) queries: Mutex<Option<QueryError>>,
    pub(crate) health: Mutex<Health>,
    pub(crate) executed: Arc<Mutex<BTreeMap<TransactionId, Receipt>>>,
    /// Whether it proves the receipts that it has, as only one can that has them from a quorum.
    pub(crate) proves: AtomicBool,
    /// How often it cannot prove anything yet.
    pub(crate) not_provable: AtomicUsize,
    /// Its clock, and the time of its newest block.
    pub(crate) clocks: Mutex<(BlockTime, BlockTime)>,
    /// Every submission, in order.
    pub(crate) seen: Mutex<Vec<Transaction>>,
    pub(crate) next_sequence: Mutex<u64>,
    pub(crate) ledger: Ledger,
    /// Set to have it stop.
    pub(crate) stopping: watch::Sender<bool>,
}

/// The log of a mock: any block up to its head, of any size.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) heads: watch::Sender<Option<Height>>,
    /// The first height that is kept.
    pub(crate) first: Mutex<Height>,
    /// Batches that each block names.
    pub(crate) batches: Mutex<usize>,
    /// What comes with some heights.
    pub(crate) contents: Mutex<BTreeMap<u64, Vec<Transaction>>>,
    /// What became of them where they stand.
    pub(crate) receipts: Mutex<BTreeMap<(u64, u32), Receipt>>,
    /// Readers that have come.
    pub(crate) opened: AtomicUsize,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            heads: watch::channel(Some(Height(7))).0,
            first: Mutex::new(Height(1)),
            batches: Mutex::new(0),
            contents: Mutex::default(),
            receipts: Mutex::default(),
            opened: AtomicUsize::new(0),
        }
    }
}

impl Ledger {
    pub(crate) fn commit(&self, height: u64) {
        self.heads.send_replace(Some(Height(height)));
    }

    pub(crate) fn stop(&self) {
        self.heads.send_replace(None);
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    pub(crate) fn compact(&self, first: u64) {
        *self.first.lock().expect("unpoisoned") = Height(first);
    }

    fn read(&self, from: Height, to: Height) -> Result<Vec<LogBlock>, QueryError> {
        let first = *self.first.lock().expect("unpoisoned");
        if from < first {
            return Err(QueryError::Compacted { first });
        }
        let head = self.heads.borrow().unwrap_or_default();
        let last = to.0.min(head.0).min(from.0 + 31);
        let batches = *self.batches.lock().expect("unpoisoned");
        let contents = self.contents.lock().expect("unpoisoned");
        let named = vec![BatchId(Digest::from_bytes([5; 32])); batches];
        let mut blocks = Vec::new();
        let mut header = Header::genesis(chain(), BlockTime(1), Roots::default());
        for height in 0..=last {
            let batches = contents.get(&height).map(|all| batch_of(all));
            let batches: Vec<_> = batches.into_iter().collect();
            let ids = batches.iter().map(HashedBatch::id);
            let ids: Vec<_> = ids.chain(named.iter().copied()).collect();
            header.payload = Block::payload_root(&ids);
            let next = Header {
                height: header.height.next(),
                parent: header.id(),
                ..header.clone()
            };
            if Height(height) >= from {
                blocks.push(LogBlock {
                    block: Block {
                        header,
                        batches: ids,
                    },
                    batches,
                    finality: None,
                    roots: None,
                });
            }
            header = next;
        }
        Ok(blocks)
    }

    fn receipts(&self, height: Height, from: u32, limit: u32) -> Option<(Vec<Receipt>, bool)> {
        let head = self.heads.borrow().unwrap_or_default();
        let all = self.receipts.lock().expect("unpoisoned");
        let found = all.range((height.0, from)..(height.0, from.saturating_add(limit)));
        (height <= head).then(|| (found.map(|(_, receipt)| receipt.clone()).collect(), false))
    }
}

fn batch_of(transactions: &[Transaction]) -> HashedBatch {
    HashedBatch::new(Batch {
        version: FORMAT_VERSION,
        epoch: Epoch(0),
        origin: ValidatorIndex(0),
        sequence: 1,
        expiry: BlockTime(u64::MAX),
        transactions: transactions.to_vec(),
    })
}

pub(crate) fn chain() -> ChainId {
    proved::GENESIS.chain_id()
}

pub(crate) fn key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

pub(crate) fn transaction(sequence: u64) -> Transaction {
    transaction_of(sequence, Blob(vec![1]))
}

pub(crate) fn transaction_of(sequence: u64, command: Blob) -> Transaction {
    TransactionBody {
        version: FORMAT_VERSION,
        chain: chain(),
        client: key().public(),
        sequence,
        valid_until: BlockTime(u64::MAX),
        commands: vec![command],
    }
    .sign(&key())
}

pub(crate) fn receipt(transaction: &Transaction, outcome: Outcome) -> Receipt {
    Receipt {
        transaction: transaction.id(),
        client: transaction.body.client,
        sequence: transaction.body.sequence,
        height: Height(7),
        index: 0,
        time: BlockTime(1),
        outcome,
    }
}

pub(crate) fn executed() -> Outcome {
    let result = quorate_types::codec::encode(&KvResult::Put { version: 1 });
    Outcome::Executed {
        revision: 1,
        results: vec![Blob(result)],
    }
}

impl Mock {
    fn can_prove(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
        let waits = self.not_provable.fetch_update(set, get, less).is_ok();
        self.proves.load(Ordering::SeqCst) && !waits
    }

    pub(crate) fn set(&self, script: Script) {
        *self.script.lock().expect("unpoisoned") = script;
    }
}

impl Backend for Mock {
    fn submit(
        &self,
        transaction: Unverified<HashedTransaction>,
        wait: Wait,
    ) -> BoxFuture<'_, Result<Progress, SubmitError>> {
        let id = transaction.peek().id();
        let transaction = Transaction::clone(transaction.peek());
        self.seen
            .lock()
            .expect("unpoisoned")
            .push(transaction.clone());
        let mut script = self.script.lock().expect("unpoisoned");
        let outcome = match &mut *script {
            Script::Hang => return future::pending().boxed(),
            Script::Refuse(error) => return future::ready(Err(*error)).boxed(),
            Script::Reject(rejection, count) if *count > 0 => {
                *count -= 1;
                Outcome::Rejected(*rejection)
            }
            Script::Reject(..) | Script::Execute | Script::Hold(_) => executed(),
        };
        let held = match &*script {
            Script::Hold(release) => Some(release.clone()),
            _ => None,
        };
        let mut log = self.executed.lock().expect("unpoisoned");
        // One that found no room is ordered anew.
        log.retain(|_, receipt| receipt.outcome != Outcome::Rejected(Rejection::BlockFull));
        let receipt = log
            .entry(id)
            .or_insert_with(|| receipt(&transaction, outcome));
        let (height, index) = (receipt.height, receipt.index);
        let progress = match wait {
            Wait::None => Progress::Accepted(id),
            Wait::Committed => Progress::Committed { id, height, index },
            Wait::Executed => Progress::Executed(receipt.clone()),
        };
        async move {
            if let Some(mut release) = held {
                let released = release.wait_for(|released| *released).await;
                released.expect("the test releases what it holds");
            }
            Ok(progress)
        }
        .boxed()
    }

    fn together(&self, submit: &mut dyn FnMut()) {
        submit();
    }

    fn read(&self, query: Query) -> Result<Reply, QueryError> {
        if let Some(error) = *self.queries.lock().expect("unpoisoned") {
            return Err(error);
        }
        let height = Height(7);
        let (now, head_time) = *self.clocks.lock().expect("unpoisoned");
        let value = |value: &[u8]| KeyValue {
            value: value.to_vec(),
            create_revision: 1,
            modify_revision: 2,
            version: 2,
        };
        let reply = match query {
            Query::Transaction { id, proof } => {
                if proof && !self.can_prove() {
                    return Err(QueryError::NotProvable);
                }
                let log = self.executed.lock().expect("unpoisoned");
                let found = log.get(&id).map(|receipt| {
                    let proof = proof.then(|| proved::prove(receipt));
                    (Progress::Executed(receipt.clone()), proof)
                });
                Reply::Transaction(found)
            }
            Query::Key { key } => Reply::Key(KeyState {
                value: (key != b"absent").then(|| value(&key)),
                height,
                proof: None,
            }),
            Query::Range { prefix, from, .. } => Reply::Range {
                entries: vec![(prefix.max(from), value(b"v"))],
                more: true,
                height,
            },
            Query::Block { .. } => Reply::Block(None),
            Query::Blocks { .. } => Reply::Blocks(Vec::new(), false),
            Query::Receipts {
                height,
                from,
                limit,
            } => Reply::Receipts(self.ledger.receipts(height, from, limit)),
            Query::Log { from, to, .. } => Reply::Log(self.ledger.read(from, to)?),
            Query::Status => Reply::Status(Box::new(StatusReply {
                chain: chain(),
                validator: String::from("mock"),
                ready: true,
                height,
                now,
                head_time,
                ..StatusReply::default()
            })),
            Query::Validators => Reply::Validators(ValidatorsReply {
                epoch: 0,
                validators: Vec::new(),
            }),
            Query::Client { key } => Reply::Client(ClientReply {
                key,
                registered: true,
                next_sequence: *self.next_sequence.lock().expect("unpoisoned"),
                height,
            }),
        };
        Ok(reply)
    }

    fn prove(&self, key: Vec<u8>) -> BoxFuture<'_, Result<KeyState, QueryError>> {
        let answer = match self.can_prove() {
            true => self.read(Query::Key { key: key.clone() }),
            false => Err(QueryError::NotProvable),
        };
        async move {
            match answer? {
                Reply::Key(state) => Ok(KeyState {
                    proof: Some(proved::prove_absent(&key, state.height)),
                    ..state
                }),
                _ => Err(QueryError::NotServing),
            }
        }
        .boxed()
    }

    fn heads(&self) -> watch::Receiver<Option<Height>> {
        let heads = self.ledger.heads.subscribe();
        self.ledger.opened.fetch_add(1, Ordering::SeqCst);
        heads
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Height, String>> {
        async { Err(String::from("a mock has no state")) }.boxed()
    }

    fn backup(&self) -> BoxFuture<'_, Result<Height, String>> {
        async { Err(String::from("a mock has no disk")) }.boxed()
    }

    fn health(&self) -> Health {
        self.health.lock().expect("unpoisoned").clone()
    }
}

/// A connection on which nothing moves for so long ends.
const IDLE: Duration = Duration::from_millis(600);

/// The API of a mock, until the runtime ends. Returns where it listens.
pub(crate) async fn serve(mock: Arc<Mock>) -> SocketAddr {
    serve_within(mock, Duration::from_millis(300)).await
}

/// As [`serve`], with the longest time of a request.
pub(crate) async fn serve_within(mock: Arc<Mock>, request_timeout: Duration) -> SocketAddr {
    serve_idle(mock, request_timeout, IDLE).await
}

/// As [`serve_within`], with the longest time in which nothing moves on a connection.
pub(crate) async fn serve_idle(
    mock: Arc<Mock>,
    request_timeout: Duration,
    idle: Duration,
) -> SocketAddr {
    start(mock, request_timeout, idle).await.address
}

/// A server of a mock.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<std::io::Result<()>>,
}

/// As [`serve_idle`], with all that belongs to it. It stops when it is told to.
pub(crate) async fn start(mock: Arc<Mock>, request_timeout: Duration, idle: Duration) -> Served {
    let metrics = Metrics::new();
    let router = http::router(Api {
        stopping: mock.stopping.subscribe(),
        backend: mock,
        metrics: metrics.clone(),
        genesis: bytes::Bytes::from(proved::genesis_text()),
        max_transaction_bytes: 4_096,
        request_timeout,
        idle_timeout: idle,
        keep_alive: Duration::from_millis(100),
        streams: http::streams(),
        submitters: http::submitters(),
        reading: http::Reading::default(),
        sending: http::Sending::default(),
    });
    listen(router, metrics, idle).await
}

/// The admin port of a mock.
pub(crate) async fn serve_admin(mock: Arc<Mock>) -> SocketAddr {
    let metrics = Metrics::new();
    let router = http::admin_router(mock, metrics.clone());
    listen(router, metrics, IDLE).await.address
}

async fn listen(router: axum::Router, metrics: Metrics, idle_timeout: Duration) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let limits = Limits {
        max_connections: 128,
        idle_timeout,
    };
    let stop = watch::Sender::new(false);
    let mut told = stop.subscribe();
    let stopped = async move {
        if told.wait_for(|stop| *stop).await.is_err() {
            future::pending::<()>().await;
        }
    };
    let open = Some(metrics.api_connections.clone());
    let task = tokio::spawn(http::serve(listener, router, limits, open, stopped));
    Served {
        address,
        metrics,
        stop,
        task,
    }
}
