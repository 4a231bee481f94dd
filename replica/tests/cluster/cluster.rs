//! Some nodes whose messages arrive at once, and the clock that they share.

use std::collections::VecDeque;

use quorate_crypto::SecretKey;
use quorate_execution::kv::{Command, KvResult};
use quorate_replica::replica::Status;
use quorate_replica::{Input, Notice, Output, Replica, Reply, Setup, Target, Ticket, Wait};
use quorate_storage::{MemStore, ledger};
use quorate_types::message::VerifiedMessage;
use quorate_types::{
    Blob, BlockTime, Client, FORMAT_VERSION, Genesis, HashedTransaction, Instant, Manifest,
    Message, Now, Outcome, Parameters, Reject, Role, Transaction, TransactionBody, Unverified,
    ValidatorIndex, ValidatorInfo, codec,
};

use crate::shelf::Mischief;

const START: u64 = 1_700_000_000_000_000_000;
pub(crate) const STEP: u64 = 1_000_000;

pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) store: MemStore,
    pub(crate) key: SecretKey,
    pub(crate) inbox: Vec<Input>,
    up: bool,
    pub(crate) snapshot: Option<(Manifest, Vec<Vec<u8>>)>,
    /// The chunks of the snapshot before.
    pub(crate) older: Vec<Vec<u8>>,
    pub(crate) mischief: Mischief,
}

/// Changes a message that was sent.
pub(crate) type OnTheWay = fn(&mut Message);

pub(crate) struct Cluster {
    pub(crate) genesis: Genesis,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: u64,
    replies: VecDeque<(Ticket, Reply)>,
    /// Streamed batches get lost on this way.
    pub(crate) lossy: Option<(usize, usize)>,
    /// What becomes of messages on their way.
    pub(crate) on_the_way: OnTheWay,
    /// When batches were streamed, and by whom.
    pub(crate) streamed: Vec<(u64, usize)>,
    /// Batches that somebody asked for.
    pub(crate) fetches: usize,
    /// Chunks handed out, by whom.
    pub(crate) chunks: [usize; 4],
    /// When a chunk was handed out last by one who drips.
    pub(crate) dripped: u64,
    /// Snapshots installed.
    pub(crate) installed: usize,
    /// A process that has a snapshot whole is killed before it starts from it.
    pub(crate) dies_when_ready: bool,
    /// Whose payload was refused.
    pub(crate) refused: Vec<ValidatorIndex>,
    pub(crate) gap: u64,
    /// What a message carries of the ledger.
    pub(crate) answer_bytes: u64,
    /// When each last voted.
    pub(crate) voted: [u64; 4],
}

impl Cluster {
    pub(crate) fn new(n: u8) -> Cluster {
        Cluster::of(genesis(n))
    }

    pub(crate) fn of(genesis: Genesis) -> Cluster {
        genesis.check().unwrap();
        let n = u8::try_from(genesis.validators.len()).unwrap();
        let mut cluster = Cluster {
            nodes: Vec::new(),
            genesis,
            now: 0,
            replies: VecDeque::new(),
            lossy: None,
            on_the_way: |_| {},
            streamed: Vec::new(),
            fetches: 0,
            chunks: [0; 4],
            dripped: 0,
            installed: 0,
            dies_when_ready: false,
            refused: Vec::new(),
            gap: 10_000,
            answer_bytes: ledger::MOST_STRETCH_BYTES,
            voted: [0; 4],
        };
        let mut first = Vec::new();
        for i in 0..n {
            let key = key(i + 1);
            let mut store = MemStore::new();
            let (replica, output) = cluster.open(&key, &mut store);
            first.push(output);
            cluster.nodes.push(Node {
                replica,
                store,
                key,
                inbox: Vec::new(),
                up: true,
                snapshot: None,
                older: Vec::new(),
                mischief: Mischief::None,
            });
        }
        for (i, output) in first.into_iter().enumerate() {
            cluster.release(i, output);
            cluster.connect(i);
        }
        cluster
    }

    fn open(&self, key: &SecretKey, store: &mut MemStore) -> (Replica, Output) {
        let mut setup = Setup::new(&self.genesis, Some(&key.public())).unwrap();
        setup.transfer_gap = self.gap;
        setup.answer_bytes = self.answer_bytes;
        Replica::open(setup, store, self.time()).unwrap()
    }

    pub(crate) fn time(&self) -> Now {
        Now {
            monotonic: Instant(self.now),
            wall: BlockTime(START + self.now),
        }
    }

    fn connect(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            if other != node && self.nodes[other].up {
                let index = |i: usize| ValidatorIndex(u16::try_from(i).unwrap());
                self.nodes[other].inbox.push(Input::Connected(index(node)));
                self.nodes[node].inbox.push(Input::Connected(index(other)));
            }
        }
    }

    pub(crate) fn crash(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].inbox.clear();
        self.nodes[node].store.crash(0);
        for other in 0..self.nodes.len() {
            let index = ValidatorIndex(u16::try_from(node).unwrap());
            self.nodes[other].inbox.push(Input::Disconnected(index));
        }
    }

    /// Cuts it off from all others; it lives, and takes no turn.
    pub(crate) fn cut(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].inbox.clear();
        for other in 0..self.nodes.len() {
            let index = |i: usize| ValidatorIndex(u16::try_from(i).unwrap());
            self.nodes[other]
                .inbox
                .push(Input::Disconnected(index(node)));
            self.nodes[node]
                .inbox
                .push(Input::Disconnected(index(other)));
        }
    }

    pub(crate) fn mend(&mut self, node: usize) {
        self.nodes[node].up = true;
        self.connect(node);
    }

    pub(crate) fn restart(&mut self, node: usize) {
        let mut store = self.nodes[node].store.clone();
        let key = key(u8::try_from(node).unwrap() + 1);
        let (replica, output) = self.open(&key, &mut store);
        self.nodes[node].replica = replica;
        self.nodes[node].store = store;
        self.nodes[node].inbox.clear();
        self.nodes[node].up = true;
        self.release(node, output);
        self.connect(node);
    }

    pub(crate) fn release(&mut self, from: usize, output: Output) {
        let node = &mut self.nodes[from];
        let signed = output.persist(&mut node.store).unwrap().sign(&node.key);
        node.inbox.splice(0..0, signed.own);
        self.replies.extend(signed.replies);
        if signed.notices.iter().any(|n| matches!(n, Notice::Voted(_))) {
            self.voted[from] = self.now;
        }
        self.refused
            .extend(signed.notices.iter().filter_map(|notice| match notice {
                Notice::Refused { from, reject } if *reject == Reject::BadPayload => *from,
                _ => None,
            }));
        for (to, mut message) in signed.sends {
            (self.on_the_way)(&mut message);
            if matches!(message, Message::Batch(_)) {
                self.streamed.push((self.now, from));
            }
            self.fetches += usize::from(matches!(message, Message::BatchRequest(_)));
            for other in 0..self.nodes.len() {
                let index = ValidatorIndex(u16::try_from(other).unwrap());
                let addressed = match to {
                    Target::All => other != from,
                    Target::One(one) => one == index,
                };
                let lost =
                    self.lossy == Some((from, other)) && matches!(message, Message::Batch(_));
                if addressed && !lost && self.nodes[other].up {
                    let message = self.verify(message.clone());
                    if self.serve_snapshot(other, from, &message) {
                        continue;
                    }
                    let from = ValidatorIndex(u16::try_from(from).unwrap());
                    self.nodes[other]
                        .inbox
                        .push(Input::Message { from, message });
                }
            }
        }
    }

    /// Orders so many transactions with a value of so many bytes each.
    pub(crate) fn fill(&mut self, from: u64, count: u64, bytes: usize) {
        for sequence in from..from + count {
            let put = self.put_value(sequence, vec![7; bytes]);
            self.submit(0, sequence, put);
            let (_, reply) = self.answer(sequence, 5_000);
            assert!(executed(&reply), "{reply:?}");
        }
    }

    pub(crate) fn verify(&self, message: Message) -> VerifiedMessage {
        let bytes = codec::encode(&message);
        let message: Message = codec::decode(&bytes, codec::MAX_ENCODED_BYTES).unwrap();
        let setup = Setup::new(&self.genesis, None).unwrap();
        message
            .verify(&setup.validators, &setup.parameters)
            .unwrap()
    }

    /// A millisecond in which everybody takes a turn.
    pub(crate) fn step(&mut self) {
        self.now += STEP;
        for i in 0..self.nodes.len() {
            if !self.nodes[i].up {
                continue;
            }
            if self.nodes[i].replica.is_ready_to_install() {
                self.installed += 1;
                if self.dies_when_ready {
                    let store = &mut self.nodes[i].store;
                    store.crash(store.unsynced());
                }
                self.restart(i);
            }
            let inputs = std::mem::take(&mut self.nodes[i].inbox);
            let now = self.time();
            let node = &mut self.nodes[i];
            let output = node.replica.turn(&node.store, now, inputs).unwrap();
            self.release(i, output);
        }
    }

    pub(crate) fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.step();
        }
    }

    pub(crate) fn status(&self, node: usize) -> Status {
        self.nodes[node].replica.status()
    }

    pub(crate) fn put(&self, sequence: u64) -> Transaction {
        self.put_value(sequence, b"value".to_vec())
    }

    pub(crate) fn put_value(&self, sequence: u64, value: Vec<u8>) -> Transaction {
        let command = Command::Put {
            key: Blob(format!("k{sequence}").into_bytes()),
            value: Blob(value),
            lease: None,
        };
        self.transaction(sequence, &command)
    }

    pub(crate) fn transaction(&self, sequence: u64, command: &Command) -> Transaction {
        TransactionBody {
            version: FORMAT_VERSION,
            chain: self.genesis.chain_id(),
            client: key(200).public(),
            sequence,
            valid_until: BlockTime(START + self.now + 60_000_000_000),
            commands: vec![Blob(codec::encode(command))],
        }
        .sign(&key(200))
    }

    pub(crate) fn submit(&mut self, node: usize, ticket: u64, transaction: Transaction) {
        let chain = self.genesis.chain_id();
        let transaction = Unverified::new(HashedTransaction::new(transaction))
            .verify(chain, &self.genesis.parameters)
            .unwrap();
        self.nodes[node].inbox.push(Input::Submit {
            ticket: Ticket(ticket),
            transaction: Box::new(transaction),
            wait: Wait::Executed,
        });
    }

    /// Runs until the ticket is answered; the milliseconds that it took.
    pub(crate) fn answer(&mut self, ticket: u64, limit: u64) -> (u64, Reply) {
        for passed in 0..limit {
            if let Some(place) = self.replies.iter().position(|(t, _)| *t == Ticket(ticket)) {
                return (passed, self.replies.remove(place).unwrap().1);
            }
            self.step();
        }
        let status: Vec<Status> = (0..self.nodes.len()).map(|i| self.status(i)).collect();
        panic!("no answer to ticket {ticket} in {limit} ms: {status:#?}");
    }

    pub(crate) fn agreed(&self) -> bool {
        let first = self.status(0);
        (1..self.nodes.len()).all(|i| {
            let other = self.status(i);
            (other.height, other.roots) == (first.height, first.roots)
        })
    }
}

pub(crate) fn executed(reply: &Reply) -> bool {
    let Reply::Executed(receipt) = reply else {
        return false;
    };
    let Outcome::Executed { results, .. } = &receipt.outcome else {
        return false;
    };
    let result: KvResult = codec::decode(&results[0].0, 1 << 20).unwrap();
    matches!(result, KvResult::Put { .. })
}

pub(crate) fn genesis(n: u8) -> Genesis {
    let validators = (0..n).map(|i| {
        let (consensus, network) = (key(i + 1), key(i + 101));
        ValidatorInfo {
            name: format!("v{i}"),
            consensus_key: consensus.public(),
            network_key: network.public(),
            address: format!("127.0.0.1:{}", 7650 + u16::from(i)),
            proof: ValidatorInfo::prove(&consensus, consensus.public(), network.public()),
        }
    });
    Genesis {
        version: FORMAT_VERSION,
        name: "test".into(),
        time: BlockTime(START),
        parameters: Parameters::default(),
        validators: validators.collect(),
        clients: vec![Client {
            name: "alice".into(),
            key: key(200).public(),
            role: Role::Writer,
        }],
        machine: "kv".into(),
        origin: None,
    }
}

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}
