//! Replicas in one process that deliver to each other at once: the way of a transaction through all of them.

use std::collections::VecDeque;

use quorate_crypto::SecretKey;
use quorate_execution::kv::{Command, KvResult};
use quorate_replica::replica::Status;
use quorate_replica::snapshot::{Certified, Shelf, SnapshotError, answer, certified, cut};
use quorate_replica::{Input, Notice, Output, Replica, Reply, Setup, Target, Ticket, Wait};
use quorate_storage::{MemStore, Order, Store, Sync, Table, View, ledger};
use quorate_types::message::{
    BatchRequest, BlockRequest, BlockResponse, LedgerRequest, MAX_BLOCKS, VerifiedMessage,
};
use quorate_types::{
    Blob, Block, BlockTime, Client, Digest, Epoch, FORMAT_VERSION, Genesis, Header, Height,
    Instant, Justify, Manifest, Message, Now, Outcome, Parameters, Reject, Role, Round, Signers,
    Transaction, TransactionBody, Unverified, ValidatorIndex, ValidatorInfo, codec,
};

const START: u64 = 1_700_000_000_000_000_000;
const STEP: u64 = 1_000_000;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn genesis(n: u8) -> Genesis {
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

struct Node {
    replica: Replica,
    store: MemStore,
    key: SecretKey,
    inbox: Vec<Input>,
    up: bool,
    snapshot: Option<(Manifest, Vec<Vec<u8>>)>,
    /// The chunks of the snapshot before.
    older: Vec<Vec<u8>>,
    mischief: Mischief,
}

/// What a peer does with chunks that it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mischief {
    None,
    /// A byte is another, at so many hundredths of the chunk.
    Flips(usize),
    Cuts,
    /// Another chunk of the same snapshot.
    Swaps,
    /// The chunk of an older snapshot.
    Old,
    Stalls,
    /// It has none.
    Empty,
}

impl Shelf for Node {
    fn newest(&self, above: Height) -> Option<Manifest> {
        let (manifest, _) = self.snapshot.as_ref()?;
        (manifest.height > above).then(|| manifest.clone())
    }

    fn chunk(&self, height: Height, content: Digest, index: u32) -> Option<Vec<u8>> {
        let (manifest, chunks) = self.snapshot.as_ref()?;
        let known = (manifest.height, manifest.content()) == (height, content);
        let index = usize::try_from(index).ok()?;
        let mut chunk = chunks[index].clone();
        let len = chunk.len();
        match self.mischief {
            Mischief::None | Mischief::Stalls => {}
            Mischief::Empty => return None,
            Mischief::Flips(place) => chunk[place * (len - 1) / 100] ^= 1,
            Mischief::Cuts => chunk.truncate(len - 1),
            Mischief::Swaps => chunk.clone_from(&chunks[(index + 1) % chunks.len()]),
            Mischief::Old => chunk.clone_from(&self.older[index]),
        }
        known.then_some(chunk)
    }
}

struct Cluster {
    genesis: Genesis,
    nodes: Vec<Node>,
    now: u64,
    replies: VecDeque<(Ticket, Reply)>,
    /// Streamed batches get lost on this way.
    lossy: Option<(usize, usize)>,
    /// Batches that somebody asked for.
    fetches: usize,
    /// Chunks handed out, by whom.
    chunks: [usize; 4],
    /// Snapshots installed.
    installed: usize,
    /// A process that has a snapshot whole is killed before it starts from it.
    dies_when_ready: bool,
    /// Whose payload was refused.
    refused: Vec<ValidatorIndex>,
    gap: u64,
    /// When each last voted.
    voted: [u64; 4],
}

impl Cluster {
    fn new(n: u8) -> Cluster {
        let genesis = genesis(n);
        genesis.check().unwrap();
        let mut cluster = Cluster {
            nodes: Vec::new(),
            genesis,
            now: 0,
            replies: VecDeque::new(),
            lossy: None,
            fetches: 0,
            chunks: [0; 4],
            installed: 0,
            dies_when_ready: false,
            refused: Vec::new(),
            gap: 10_000,
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
        Replica::open(setup, store, self.time()).unwrap()
    }

    fn time(&self) -> Now {
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

    fn crash(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].inbox.clear();
        self.nodes[node].store.crash(0);
        for other in 0..self.nodes.len() {
            let index = ValidatorIndex(u16::try_from(node).unwrap());
            self.nodes[other].inbox.push(Input::Disconnected(index));
        }
    }

    /// Cuts it off from all others; it lives, and takes no turn.
    fn cut(&mut self, node: usize) {
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

    fn mend(&mut self, node: usize) {
        self.nodes[node].up = true;
        self.connect(node);
    }

    fn restart(&mut self, node: usize) {
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

    fn release(&mut self, from: usize, output: Output) {
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
        for (to, message) in signed.sends {
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

    /// The part of a node that is not the core answers those who ask for snapshots.
    fn serve_snapshot(&mut self, node: usize, asker: usize, message: &VerifiedMessage) -> bool {
        let server = &self.nodes[node];
        let first = ledger::first(&server.store).unwrap();
        let Some(answer) = answer(server, first, message) else {
            return false;
        };
        if matches!(message, VerifiedMessage::ChunkRequest(_)) {
            self.chunks[node] += 1;
            if server.mischief == Mischief::Stalls {
                return true;
            }
        }
        let message = self.verify(answer);
        let from = ValidatorIndex(u16::try_from(node).unwrap());
        let inbox = &mut self.nodes[asker].inbox;
        inbox.push(Input::Message { from, message });
        true
    }

    /// Makes a snapshot of what a node's store holds now, once that is certified, and gives it to all of `holders`.
    fn snapshot(&mut self, node: usize, holders: &[usize]) -> Height {
        let frozen = self.nodes[node].store.clone();
        let setup = Setup::new(&self.genesis, None).unwrap();
        let manifest = loop {
            let live = &self.nodes[node].store;
            match certified(&frozen, live, &setup.validators).unwrap() {
                Certified::Yes(manifest) => break *manifest,
                Certified::NotYet => self.step(),
                Certified::Never => panic!("committed one by one, each is claimed"),
            }
        };
        let mut chunks = Vec::new();
        let manifest = cut::<SnapshotError>(&frozen, manifest, |_, chunk| {
            chunks.push(chunk);
            Ok(())
        });
        let manifest = manifest.unwrap();
        for holder in holders {
            let before = self.nodes[*holder].snapshot.take();
            self.nodes[*holder].older = before.map(|(_, chunks)| chunks).unwrap_or_default();
            self.nodes[*holder].snapshot = Some((manifest.clone(), chunks.clone()));
        }
        manifest.height
    }

    /// Orders so many transactions with a value of so many bytes each.
    fn fill(&mut self, from: u64, count: u64, bytes: usize) {
        for sequence in from..from + count {
            let put = self.put_value(sequence, vec![7; bytes]);
            self.submit(0, sequence, put);
            let (_, reply) = self.answer(sequence, 5_000);
            assert!(executed(&reply), "{reply:?}");
        }
    }

    /// Drops all blocks below a height from a node's store.
    fn truncate(&mut self, node: usize, to: Height) {
        let store = &mut self.nodes[node].store;
        let swept = ledger::truncate(store, to, usize::MAX).unwrap();
        assert_eq!(swept.below, to);
        store.write(swept.writes, Sync::No).unwrap();
    }

    fn verify(&self, message: Message) -> VerifiedMessage {
        let bytes = codec::encode(&message);
        let message: Message = codec::decode(&bytes, codec::MAX_ENCODED_BYTES).unwrap();
        let setup = Setup::new(&self.genesis, None).unwrap();
        message
            .verify(&setup.validators, &setup.parameters)
            .unwrap()
    }

    /// A millisecond in which everybody takes a turn.
    fn step(&mut self) {
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

    fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.step();
        }
    }

    fn status(&self, node: usize) -> Status {
        self.nodes[node].replica.status()
    }

    fn put(&self, sequence: u64) -> Transaction {
        self.put_value(sequence, b"value".to_vec())
    }

    fn put_value(&self, sequence: u64, value: Vec<u8>) -> Transaction {
        let command = Command::Put {
            key: Blob(format!("k{sequence}").into_bytes()),
            value: Blob(value),
            lease: None,
        };
        TransactionBody {
            version: FORMAT_VERSION,
            chain: self.genesis.chain_id(),
            client: key(200).public(),
            sequence,
            valid_until: BlockTime(START + self.now + 60_000_000_000),
            commands: vec![Blob(codec::encode(&command))],
        }
        .sign(&key(200))
    }

    fn submit(&mut self, node: usize, ticket: u64, transaction: Transaction) {
        let chain = self.genesis.chain_id();
        let transaction = Unverified::new(transaction)
            .verify(chain, &self.genesis.parameters)
            .unwrap();
        self.nodes[node].inbox.push(Input::Submit {
            ticket: Ticket(ticket),
            transaction: Box::new(transaction),
            wait: Wait::Executed,
        });
    }

    /// Runs until the ticket is answered; the milliseconds that it took.
    fn answer(&mut self, ticket: u64, limit: u64) -> (u64, Reply) {
        for passed in 0..limit {
            if let Some(place) = self.replies.iter().position(|(t, _)| *t == Ticket(ticket)) {
                return (passed, self.replies.remove(place).unwrap().1);
            }
            self.step();
        }
        let status: Vec<Status> = (0..self.nodes.len()).map(|i| self.status(i)).collect();
        panic!("no answer to ticket {ticket} in {limit} ms: {status:#?}");
    }

    fn agreed(&self) -> bool {
        let first = self.status(0);
        (1..self.nodes.len()).all(|i| {
            let other = self.status(i);
            (other.height, other.roots) == (first.height, first.roots)
        })
    }
}

fn executed(reply: &Reply) -> bool {
    let Reply::Executed(receipt) = reply else {
        return false;
    };
    let Outcome::Executed { results, .. } = &receipt.outcome else {
        return false;
    };
    let result: KvResult = codec::decode(&results[0].0, 1 << 20).unwrap();
    matches!(result, KvResult::Put { .. })
}

#[test]
fn a_signed_put_is_executed_by_all_with_equal_roots() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    let (_, reply) = cluster.answer(1, 2_000);
    assert!(executed(&reply), "{reply:?}");
    cluster.run(1_000);
    assert!(cluster.agreed());
}

#[test]
fn a_lone_validator_commits() {
    let mut cluster = Cluster::new(1);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    let (_, reply) = cluster.answer(1, 2_000);
    assert!(executed(&reply), "{reply:?}");
}

#[test]
fn one_of_four_dead_commits_go_on_and_it_catches_up() {
    let mut cluster = Cluster::new(4);
    for dead in 0..4usize {
        cluster.crash(dead);
        for i in 0..20u64 {
            let sequence = u64::try_from(dead).unwrap() * 100 + i + 1;
            let put = cluster.put(sequence);
            cluster.submit((dead + 1) % 4, sequence, put);
            let (_, reply) = cluster.answer(sequence, 5_000);
            assert!(executed(&reply), "{reply:?}");
        }
        cluster.restart(dead);
        cluster.run(3_000);
        assert!(cluster.agreed());
    }
}

#[test]
fn all_restart_and_three_go_on() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    cluster.answer(1, 2_000);
    for round in 0..5u64 {
        for node in 0..4 {
            cluster.crash(node);
        }
        let absent = usize::try_from(round % 4).unwrap();
        for node in (0..4).filter(|node| *node != absent) {
            cluster.restart(node);
        }
        let sequence = 10 + round;
        let put = cluster.put(sequence);
        cluster.submit((absent + 1) % 4, sequence, put);
        let (passed, reply) = cluster.answer(sequence, 5_000);
        assert!(executed(&reply), "{reply:?}");
        assert!(passed < 5_000);
        cluster.restart(absent);
        cluster.run(1_000);
        assert!(cluster.agreed());
    }
}

#[test]
fn a_repeat_is_answered_with_the_first_receipt() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    for node in 0..4u64 {
        cluster.submit(usize::try_from(node).unwrap(), node, put.clone());
    }
    let first = cluster.answer(0, 2_000).1;
    for node in 1..4 {
        assert_eq!(cluster.answer(node, 2_000).1, first);
    }
    cluster.submit(2, 9, put);
    assert_eq!(cluster.answer(9, 10).1, first);
}

#[test]
fn idle_time_costs_few_rounds_and_work_ends_it_at_once() {
    let mut cluster = Cluster::new(4);
    let put = cluster.put(1);
    cluster.submit(0, 1, put);
    cluster.answer(1, 2_000);
    cluster.run(10_000);
    let before = cluster.status(0);
    cluster.run(60_000);
    let after = cluster.status(0);
    assert!(
        after.height.0 - before.height.0 <= 15,
        "{before:?} {after:?}"
    );
    let put = cluster.put(2);
    cluster.submit(3, 2, put);
    let (passed, reply) = cluster.answer(2, 1_000);
    assert!(executed(&reply), "{reply:?}");
    assert!(passed < 50, "{passed} ms");
}

/// A leader inlines small batches of others as well as its own. They were refused as not asked for, since the batches
/// were taken before the block that needs them: whoever had not got the origin's stream had to fetch what it held in
/// its hands.
#[test]
fn an_inlined_batch_is_taken_whoever_packed_it() {
    let mut cluster = Cluster::new(4);
    cluster.lossy = Some((0, 3));
    for sequence in 1..=4 {
        // An idle leader that is neither the origin nor misses the stream: it proposes before anybody's hints come.
        cluster.run(1_000);
        let inlines = [1, 2].map(|index| Some(ValidatorIndex(index)));
        while !inlines.contains(&cluster.status(0).consensus.leader) {
            cluster.run(100);
        }
        let put = cluster.put(sequence);
        cluster.submit(0, sequence, put);
        let (_, reply) = cluster.answer(sequence, 2_000);
        assert!(executed(&reply), "{reply:?}");
    }
    cluster.run(100);
    assert!(cluster.agreed());
    assert_eq!(cluster.fetches, 0);
}

/// Blocks linked by hash, that nobody has ever voted for, high above everything. Whoever was sent a full answer of them
/// took their height for one to catch up to, and never ceased asking everybody for a ledger that nobody has.
#[test]
fn blocks_that_were_not_asked_for_set_no_target() {
    let mut cluster = Cluster::new(4);
    cluster.run(100);
    let setup = Setup::new(&cluster.genesis, None).unwrap();
    let mut parent = setup.genesis_block();
    let mut blocks = Vec::new();
    for place in 0..u64::try_from(MAX_BLOCKS).unwrap() {
        let header = Header {
            round: Round::new(Epoch(0), place + 1),
            height: Height(1 << 40 | place),
            parent: parent.id(),
            justify: Justify {
                round: parent.header.round,
                block: parent.id(),
                signers: Signers::NONE,
            },
            ..parent.header.clone()
        };
        parent = Block {
            header,
            batches: Vec::new(),
        };
        blocks.insert(0, parent.clone());
    }
    let message = cluster.verify(Message::BlockResponse(BlockResponse { blocks }));
    cluster.nodes[0].inbox.push(Input::Message {
        from: ValidatorIndex(1),
        message,
    });
    cluster.run(1);
    let status = cluster.status(0);
    assert_eq!(status.target, status.height);
}

/// One of four with an empty store, the others without the blocks that it misses: 60 values of 60 KB, four chunks.
fn newcomer() -> (Cluster, Height) {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    cluster.fill(1, 60, 60_000);
    let height = cluster.snapshot(0, &[0, 1, 2]);
    cluster.fill(61, 5, 1_000);
    for node in 0..3 {
        cluster.truncate(node, height);
    }
    (cluster, height)
}

#[test]
fn who_misses_what_nobody_keeps_joins_by_snapshot() {
    let (mut cluster, height) = newcomer();
    cluster.restart(3);
    cluster.run(3_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
    assert!(
        cluster.chunks[..3].iter().all(|chunks| *chunks > 0),
        "{:?}",
        cluster.chunks
    );
    // It takes part: with it, and without another, commits go on.
    cluster.crash(0);
    let put = cluster.put(100);
    cluster.submit(3, 100, put);
    assert!(executed(&cluster.answer(100, 5_000).1));
    // What was executed before the snapshot is a duplicate still, although its receipt is nowhere.
    let put = cluster.put_value(3, vec![7; 60_000]);
    cluster.submit(3, 101, put);
    let Reply::Executed(receipt) = cluster.answer(101, 5_000).1 else {
        panic!("it is known");
    };
    assert!(matches!(
        receipt.outcome,
        Outcome::Duplicate { .. } | Outcome::Rejected(_)
    ));
    assert_eq!(
        ledger::first(&cluster.nodes[3].store).unwrap(),
        height.next()
    );
}

/// What it had executed and not settled cannot be worked out again once another state takes the place of its own.
#[test]
fn who_dies_before_it_starts_from_a_snapshot_keeps_its_places() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 3, 100);
    cluster.run(100);
    let places = |cluster: &Cluster| {
        let store = &cluster.nodes[3].store;
        let all = store.scan(Table::Places, b"", None, usize::MAX, Order::Ascending);
        all.unwrap()
    };
    let before = places(&cluster);
    assert_eq!(before.len(), 3);
    cluster.cut(3);
    cluster.fill(4, 60, 60_000);
    let height = cluster.snapshot(0, &[0, 1, 2]);
    cluster.fill(64, 5, 1_000);
    for node in 0..3 {
        cluster.truncate(node, height);
    }
    cluster.dies_when_ready = true;
    cluster.mend(3);
    cluster.run(3_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
    let after = places(&cluster);
    assert!(before.iter().all(|place| after.contains(place)));
}

#[test]
fn a_peer_that_lies_and_one_that_stalls_are_left() {
    let (mut cluster, _) = newcomer();
    cluster.nodes[1].mischief = Mischief::Flips(1);
    cluster.nodes[2].mischief = Mischief::Stalls;
    cluster.restart(3);
    cluster.run(10_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
}

/// Two have snapshots, of different heights, so that none is had by more than the other; the newer is never handed out.
#[test]
fn who_offers_what_it_does_not_hand_out_is_not_chosen_for_ever() {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    cluster.fill(1, 20, 60_000);
    let height = cluster.snapshot(0, &[1]);
    cluster.fill(21, 5, 1_000);
    assert!(cluster.snapshot(0, &[2]) > height);
    for node in 0..3 {
        cluster.truncate(node, height);
    }
    cluster.nodes[2].mischief = Mischief::Stalls;
    cluster.restart(3);
    cluster.run(60_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
    assert!(cluster.chunks[2] > 0, "it was tried first");
}

/// Peers that make snapshots faster than this one fetched them took each off the shelf while it was being fetched. It then
/// waited half a minute for what nobody had, and while it did the next one went, too.
#[test]
fn a_snapshot_that_nobody_has_any_more_is_given_up_soon() {
    let (mut cluster, height) = newcomer();
    for node in 0..3 {
        cluster.nodes[node].mischief = Mischief::Empty;
    }
    cluster.restart(3);
    while cluster.status(3).transfer.is_none() {
        cluster.step();
    }
    cluster.fill(66, 20, 1_000);
    assert!(cluster.snapshot(0, &[0, 1, 2]) > height);
    assert!(cluster.status(3).transfer.is_some(), "of the one before");
    for node in 0..3 {
        cluster.nodes[node].mischief = Mischief::None;
    }
    cluster.run(12_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
}

/// Whatever is wrong with a chunk, it is refused, its sender is not asked again, and the others have it.
#[test]
fn a_wrong_chunk_marks_its_sender_and_comes_from_another() {
    let flips = [0, 1, 50, 99, 100].map(Mischief::Flips);
    let others = [Mischief::Cuts, Mischief::Swaps, Mischief::Old];
    for mischief in flips.into_iter().chain(others) {
        let (mut cluster, _) = newcomer();
        if mischief == Mischief::Old {
            // A little later and with as many chunks.
            cluster.fill(66, 20, 1_000);
            cluster.snapshot(0, &[0, 1, 2]);
        }
        cluster.nodes[1].mischief = mischief;
        cluster.restart(3);
        cluster.run(10_000);
        assert!(cluster.agreed(), "{mischief:?}");
        assert_eq!(cluster.installed, 1, "{mischief:?}");
        // What was under way already is refused, too, but nothing further is asked for.
        let refused = cluster.refused.len();
        assert!(
            (1..=4).contains(&refused),
            "{mischief:?}: {refused} refused"
        );
        assert!(cluster.refused.iter().all(|from| from.0 == 1));
        assert_eq!(cluster.chunks[1], refused, "{mischief:?}");
    }
}

/// Whatever part of a transfer is on disk when the power goes, it is gone on with.
#[test]
fn a_transfer_survives_power_cuts() {
    let (mut cluster, _) = newcomer();
    cluster.restart(3);
    for cut in 0..40 {
        cluster.run(1);
        if cut % 3 == 0 {
            let unsynced = cluster.nodes[3].store.unsynced();
            cluster.crash(3);
            cluster.nodes[3].store.crash(unsynced.saturating_sub(1));
            cluster.restart(3);
        }
    }
    cluster.run(3_000);
    assert!(cluster.agreed());
    assert!(cluster.installed >= 1);
}

/// However far behind it starts, it asks, catches up with a tip that goes on moving, and votes. On the chain's own time:
/// what the machine needs for as many blocks comes on top.
#[test]
fn who_was_away_votes_soon_after_its_start() {
    let mut cluster = Cluster::new(4);
    cluster.crash(3);
    cluster.fill(1, 400, 100);
    let behind = cluster.status(0).height.0 - cluster.status(3).height.0;
    assert!(behind > 300, "{behind} blocks behind");
    cluster.restart(3);
    let start = cluster.now;
    let mut sequence = 401;
    while cluster.voted[3] < start {
        let waited = (cluster.now - start) / STEP;
        assert!(waited < 1_000, "no vote in a second");
        cluster.fill(sequence, 1, 100);
        sequence += 1;
    }
    assert!(cluster.status(0).height.0 <= cluster.status(3).height.0 + 4);
}

/// With peers that keep everything and have no snapshot, blocks it is, however far behind.
#[test]
fn without_snapshots_blocks_are_fetched() {
    let mut cluster = Cluster::new(4);
    cluster.gap = 3;
    cluster.crash(3);
    cluster.fill(1, 30, 100);
    cluster.restart(3);
    cluster.run(5_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 0);
    // With one, it is fetched as soon as the gap is wide enough.
    cluster.crash(3);
    cluster.fill(31, 30, 100);
    cluster.snapshot(0, &[1]);
    cluster.fill(61, 5, 100);
    cluster.restart(3);
    cluster.run(5_000);
    assert!(cluster.agreed());
    assert_eq!(cluster.installed, 1);
}

#[test]
fn a_manifest_spans_what_consensus_starts_from() {
    let setup = Setup::new(&genesis(4), None).unwrap();
    let headers = quorate_consensus::committed_headers(&setup.validators);
    assert_eq!(Manifest::span(&setup.validators), headers);
}

/// What a peer asks for cannot be read: it is not served, it is fetched from the others, and nobody ends. One validator
/// could end another before by asking for what rotted on its disk.
#[test]
fn damaged_entries_are_refused_to_peers_and_mended_by_others() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 5, 100);
    cluster.run(1_000);
    let store = &cluster.nodes[0].store;
    let stored = |height| ledger::block_by_height(store, Height(height)).unwrap();
    let height = (1..).find(|h| stored(*h).is_some_and(|block| !block.batches.is_empty()));
    let block = stored(height.unwrap()).unwrap();
    let batch = block.batches[0];
    let entries = [
        (Table::Blocks, *block.id().as_bytes()),
        (Table::Batches, *batch.as_bytes()),
    ];
    // After a restart the pool does not hold the batch any more.
    cluster.crash(0);
    cluster.restart(0);
    cluster.run(100);
    // A bit flips, where the database notices nothing.
    for (table, key) in entries {
        assert!(cluster.nodes[0].store.rot(table, &key, 40));
    }
    let questions = [
        Message::BlockRequest(BlockRequest {
            block: block.id(),
            count: 1,
            above: Height(0),
        }),
        Message::BatchRequest(BatchRequest {
            batches: vec![batch],
        }),
        Message::LedgerRequest(LedgerRequest {
            from: block.header.height,
            max_bytes: 1 << 20,
        }),
    ];
    for question in &questions {
        let message = cluster.verify(question.clone());
        let from = ValidatorIndex(3);
        let inputs = vec![Input::Message { from, message }];
        let now = cluster.time();
        let node = &mut cluster.nodes[0];
        let output = node.replica.turn(&node.store, now, inputs).unwrap();
        let signed = output.persist(&mut node.store).unwrap().sign(&node.key);
        let to_asker = signed
            .sends
            .iter()
            .filter(|(to, _)| *to == Target::One(from));
        for (_, answer) in to_asker {
            match answer {
                Message::BlockResponse(answer) => assert_eq!(answer.blocks, []),
                Message::BatchResponse(answer) => assert_eq!(answer.missing, [batch]),
                Message::LedgerResponse(answer) => assert_eq!(answer.blocks, []),
                _ => {}
            }
        }
        let told = |notice: &Notice| matches!(notice, Notice::Damaged(_));
        let ledger = matches!(question, Message::LedgerRequest(_));
        assert_eq!(signed.notices.iter().any(told), !ledger, "each entry once");
    }
    cluster.run(1_000);
    let store = &cluster.nodes[0].store;
    assert_eq!(ledger::block_by_id(store, block.id()).unwrap(), Some(block));
    assert!(ledger::batch(store, batch).unwrap().is_some());
    cluster.fill(6, 2, 100);
    cluster.run(1_000);
    assert!(cluster.agreed());
}

/// A stretch of the ledger ends before what is damaged, at a block that is proved final.
#[test]
fn a_stretch_ends_before_the_damage() {
    let mut cluster = Cluster::new(1);
    cluster.fill(1, 5, 100);
    let store = &mut cluster.nodes[0].store;
    let whole = ledger::stretch(store, Height(1), 1 << 20).unwrap();
    let damaged = whole.blocks[2].block.id();
    assert!(store.rot(Table::Blocks, damaged.as_bytes(), 40));
    let part = ledger::stretch(store, Height(1), 1 << 20).unwrap();
    assert_eq!(part.blocks, whole.blocks[..2]);
    assert_eq!(part.finality.map(|f| f.cc.height), Some(Height(2)));
    assert!(ledger::stretch(store, Height(3), 1 << 20).is_err());
}

/// A peer may answer with more than was asked for: what lies below the tip is passed over, not executed again.
#[test]
fn a_stretch_is_delivered_from_the_tip_on() {
    let mut cluster = Cluster::new(4);
    cluster.fill(1, 5, 100);
    cluster.run(1_000);
    cluster.crash(3);
    cluster.fill(6, 60, 100);
    cluster.run(1_000);
    cluster.restart(3);
    // The others answer nothing but what is made for it here.
    let (server, from) = loop {
        cluster.now += STEP;
        let now = cluster.time();
        for other in 0..3 {
            let node = &mut cluster.nodes[other];
            let inputs = std::mem::take(&mut node.inbox);
            let output = node.replica.turn(&node.store, now, inputs).unwrap();
            cluster.release(other, output);
        }
        let node = &mut cluster.nodes[3];
        let inputs = std::mem::take(&mut node.inbox);
        let output = node.replica.turn(&node.store, now, inputs).unwrap();
        let signed = output.persist(&mut node.store).unwrap().sign(&node.key);
        node.inbox.splice(0..0, signed.own);
        let asked = signed
            .sends
            .iter()
            .find_map(|(to, message)| match (to, message) {
                (Target::One(peer), Message::LedgerRequest(request)) => Some((*peer, request.from)),
                _ => None,
            });
        if let Some(asked) = asked {
            break asked;
        }
    };
    let before = cluster.status(3).height;
    assert_eq!(from, before.next());
    let below = Height(from.0 - 2);
    let store = &cluster.nodes[usize::from(server.0)].store;
    let answer = ledger::stretch(store, below, 1 << 20).unwrap();
    let end = answer.finality.as_ref().unwrap().cc.height;
    assert!(end > before);
    let message = cluster.verify(Message::LedgerResponse(Box::new(answer)));
    let node = &mut cluster.nodes[3];
    node.inbox = vec![Input::Message {
        from: server,
        message,
    }];
    cluster.run(1);
    assert!(cluster.status(3).height >= end);
    cluster.run(2_000);
    assert!(cluster.agreed());
}
