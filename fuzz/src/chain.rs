//! A chain of four validators to make inputs from, and to try schedules on: the product's replicas over stores in memory,
//! with messages that lie in a heap until somebody says who gets which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use quorate_crypto::SecretKey;
use quorate_execution::kv::Command;
use quorate_replica::{Input, Output, Past, Replica, Setup, Target, Ticket, Wait};
use quorate_storage::{MemStore, ledger};
use quorate_types::message::VerifiedMessage;
use quorate_types::{
    Blob, BlockId, BlockTime, Client, Digest, FORMAT_VERSION, Genesis, HashedTransaction, Height,
    Instant, Memory, Message, Now, Parameters, Role, Round, Transaction, TransactionBody,
    Unverified, ValidatorIndex, ValidatorInfo,
};

/// Validators.
pub const N: usize = 4;
/// When the chain begins, in nanoseconds since the Unix epoch.
const START: u64 = 1_700_000_000_000_000_000;
/// A millisecond.
const STEP: u64 = 1_000_000;
/// Messages kept in the heap; beyond it the oldest go.
const MAX_HEAP: usize = 512;

fn seed(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A validator's consensus key.
#[must_use]
pub fn key(node: usize) -> SecretKey {
    seed(u8::try_from(node).expect("one of four") + 1)
}

fn client() -> SecretKey {
    seed(200)
}

fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(node).expect("one of four"))
}

/// What the chain starts from.
#[must_use]
pub fn genesis() -> Genesis {
    let validators = (0..N).map(|node| {
        let network = seed(u8::try_from(node).expect("one of four") + 101).public();
        ValidatorInfo {
            name: format!("v{node}"),
            consensus_key: key(node).public(),
            network_key: network,
            address: format!("127.0.0.1:{}", 7650 + 10 * node),
            proof: ValidatorInfo::prove(&key(node), key(node).public(), network),
        }
    });
    Genesis {
        version: FORMAT_VERSION,
        name: "fuzz".into(),
        time: BlockTime(START),
        parameters: Parameters::default(),
        validators: validators.collect(),
        clients: vec![Client {
            name: "alice".into(),
            key: client().public(),
            role: Role::Writer,
        }],
        machine: "kv".into(),
        origin: None,
    }
}

/// Signatures that were verified in this process: the same few are met millions of times.
#[derive(Debug, Default)]
struct Seen(Mutex<BTreeSet<Digest>>);

impl Memory for Seen {
    fn knows(&self, signature: &Digest) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(signature)
    }

    fn learn(&self, signature: Digest) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < 100_000 {
            seen.insert(signature);
        }
    }
}

/// What follows from the genesis, for one of the validators or for nobody.
#[must_use]
pub fn setup(node: Option<usize>) -> Setup {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    let shared = SETUP.get_or_init(|| {
        let mut setup = Setup::new(&genesis(), None).expect("a sound genesis");
        // Whoever is tried alone has nobody who would answer at the fence.
        setup.past = Past::Believed;
        let validators = setup.validators.as_ref().clone();
        setup.validators = Arc::new(validators.with_memory(Arc::new(Seen::default())));
        setup
    });
    let mut setup = shared.clone();
    setup.me = node.map(index);
    setup
}

/// A signed transaction that puts a key.
#[must_use]
pub fn put(sequence: u64) -> Transaction {
    let command = Command::Put {
        key: Blob(format!("key {}", sequence % 7).into_bytes()),
        value: Blob(vec![7; 40]),
        lease: None,
    };
    TransactionBody {
        version: FORMAT_VERSION,
        chain: setup(None).validators.chain(),
        client: client().public(),
        sequence,
        valid_until: BlockTime(START + 60_000 * STEP),
        commands: vec![command.encode()],
    }
    .sign(&client())
}

/// The first validator of a genesis that may have any parameters, alone: where nobody else is needed, it commits.
pub fn run_alone(genesis: &Genesis) {
    let setup = Setup::new(genesis, Some(&key(0).public())).expect("checked");
    let at = |turn: u64| Now {
        monotonic: Instant(turn * 100 * STEP),
        wall: genesis.time.plus_nanos(turn * 100 * STEP),
    };
    let mut store = MemStore::new();
    let opened = Replica::open(setup.clone(), &mut store, at(0));
    let (mut replica, mut output) = opened.expect("an empty store gets the genesis");
    for turn in 1..8 {
        let released = output.persist(&mut store).expect("a disk in memory");
        let mut inputs = released.sign(&key(0)).own;
        let mut body = put(turn).body;
        body.chain = setup.validators.chain();
        body.valid_until = at(turn).wall.plus_nanos(1_000 * STEP);
        let transaction = Unverified::new(HashedTransaction::new(body.sign(&client())));
        let verified = transaction.verify(setup.validators.chain(), &setup.parameters);
        inputs.extend(verified.ok().map(|transaction| Input::Submit {
            ticket: Ticket(turn),
            transaction: Box::new(transaction),
            wait: Wait::Executed,
        }));
        output = replica
            .turn(&store, at(turn), inputs)
            .expect("a sound disk");
    }
}

/// One validator.
struct Node {
    replica: Replica,
    store: MemStore,
    inbox: Vec<Input>,
    /// The height up to which its ledger was compared with the others.
    judged: u64,
}

/// The validators, and what they sent.
pub struct Chain {
    nodes: Vec<Node>,
    /// From whom, and to whom alone, if not to all.
    heap: Vec<(usize, Option<usize>, Message)>,
    /// How many of the heap were given to everybody by [`Chain::settle`].
    settled: usize,
    now: u64,
    /// Everything that was ever sent, one of each kind and round, for a corpus.
    pub sent: Vec<Message>,
    /// What was committed at each height, by whoever was first (I5).
    committed: BTreeMap<Height, BlockId>,
    /// What each validator voted and commit-voted for (I1).
    votes: BTreeMap<(ValidatorIndex, Round, bool), BlockId>,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain::new(N)
    }
}

impl Chain {
    /// The first `count` of the four, running; the others are not there.
    #[must_use]
    pub fn new(count: usize) -> Chain {
        let mut chain = Chain {
            nodes: Vec::new(),
            heap: Vec::new(),
            settled: 0,
            now: 0,
            sent: Vec::new(),
            committed: BTreeMap::new(),
            votes: BTreeMap::new(),
        };
        for node in 0..count {
            let mut store = MemStore::new();
            let (replica, output) = Replica::open(setup(Some(node)), &mut store, chain.time())
                .expect("an empty store gets the genesis");
            chain.nodes.push(Node {
                replica,
                store,
                inbox: Vec::new(),
                judged: 0,
            });
            chain.release(node, output);
        }
        for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
            if a != b {
                chain.nodes[a].inbox.push(Input::Connected(index(b)));
            }
        }
        chain
    }

    /// How many are running.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// What they sent, oldest first.
    #[must_use]
    pub fn heap(&self) -> &[(usize, Option<usize>, Message)] {
        &self.heap
    }

    /// A validator's disk.
    #[must_use]
    pub fn store(&self, node: usize) -> &MemStore {
        &self.nodes[node].store
    }

    /// Where a validator's ledger ends.
    #[must_use]
    pub fn height(&self, node: usize) -> Height {
        self.nodes[node].replica.status().height
    }

    /// The time now.
    #[must_use]
    pub fn time(&self) -> Now {
        Now {
            monotonic: Instant(self.now),
            wall: BlockTime(START + self.now),
        }
    }

    /// Lets milliseconds pass.
    pub fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds * STEP;
    }

    /// Gives a transaction to a validator.
    pub fn submit(&mut self, node: usize, transaction: Transaction) {
        let setup = setup(None);
        let verified = Unverified::new(HashedTransaction::new(transaction));
        let verified = verified.verify(setup.validators.chain(), &setup.parameters);
        self.nodes[node].inbox.push(Input::Submit {
            ticket: Ticket(0),
            transaction: Box::new(verified.expect("a sound transaction")),
            wait: Wait::Executed,
        });
    }

    /// Gives a message to a validator, if it passes verification as it must at the door.
    pub fn deliver(&mut self, node: usize, from: usize, message: Message) {
        let setup = setup(None);
        if let Ok(message) = message.verify(&setup.validators, &setup.parameters) {
            self.deliver_verified(node, from, message);
        }
    }

    fn deliver_verified(&mut self, node: usize, from: usize, message: VerifiedMessage) {
        let from = index(from);
        self.nodes[node]
            .inbox
            .push(Input::Message { from, message });
    }

    /// Gives everybody what was sent to them since this was last called, and a turn each.
    pub fn settle(&mut self) {
        for place in std::mem::replace(&mut self.settled, self.heap.len())..self.heap.len() {
            let (from, to, message) = self.heap[place].clone();
            for node in 0..self.nodes.len() {
                if node != from && to.is_none_or(|to| to == node) {
                    self.deliver(node, from, message.clone());
                }
            }
        }
        for node in 0..self.nodes.len() {
            self.turn(node);
        }
    }

    /// One turn of a validator with what lies in its inbox.
    pub fn turn(&mut self, node: usize) {
        let now = self.time();
        let at = &mut self.nodes[node];
        let inputs = std::mem::take(&mut at.inbox);
        let output = at.replica.turn(&at.store, now, inputs);
        self.release(node, output.expect("a sound disk"));
    }

    /// A validator loses power, with all but some of its unsynced writes, and starts again.
    pub fn crash(&mut self, node: usize, keep: usize) {
        let mut store = self.nodes[node].store.clone();
        store.crash(keep % (store.unsynced() + 1));
        let (replica, output) =
            Replica::open(setup(Some(node)), &mut store, self.time()).expect("a sound disk");
        self.nodes[node] = Node {
            replica,
            store,
            inbox: Vec::new(),
            judged: 0,
        };
        self.release(node, output);
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.nodes[node].inbox.push(Input::Connected(index(other)));
            self.nodes[other].inbox.push(Input::Connected(index(node)));
        }
    }

    fn release(&mut self, node: usize, output: Output) {
        let at = &mut self.nodes[node];
        let released = output.persist(&mut at.store).expect("a disk in memory");
        let signed = released.sign(&key(node));
        at.inbox.splice(0..0, signed.own);
        for (to, message) in signed.sends {
            self.judge(node, &message);
            self.remember(&message);
            let to = match to {
                Target::All => None,
                Target::One(one) => Some(usize::from(one.0)),
            };
            self.heap.push((node, to, message));
        }
        let surplus = self.heap.len().saturating_sub(MAX_HEAP);
        self.heap.drain(..surplus);
        self.settled = self.settled.saturating_sub(surplus);
        self.judge_ledger(node);
    }

    /// I1: nobody votes twice in a round, whatever happened in between.
    fn judge(&mut self, node: usize, message: &Message) {
        let vote = match message {
            Message::Vote(vote) => (vote.voter, vote.round, false, vote.block),
            Message::CommitVote(vote) => (vote.voter, vote.round, true, vote.block),
            _ => return,
        };
        let (voter, round, commit, block) = vote;
        if voter == index(node) {
            let first = *self.votes.entry((voter, round, commit)).or_insert(block);
            assert_eq!(first, block, "I1: {voter} signs twice in {round:?}");
        }
    }

    /// I5: one block at each height, those that came several at once included.
    fn judge_ledger(&mut self, node: usize) {
        let at = &mut self.nodes[node];
        let tip = ledger::tip(&at.store).expect("a sound disk");
        for height in at.judged + 1..=tip.height.0 {
            let block = ledger::block_by_height(&at.store, Height(height));
            let block = block.expect("a sound disk").expect("I4: no gap").id();
            let first = *self.committed.entry(Height(height)).or_insert(block);
            assert_eq!(first, block, "I5: a fork at height {height}");
        }
        at.judged = tip.height.0;
    }

    fn remember(&mut self, message: &Message) {
        let kind = std::mem::discriminant(message);
        let same = self
            .sent
            .iter()
            .filter(|m| std::mem::discriminant(*m) == kind);
        if same.count() < 4 {
            self.sent.push(message.clone());
        }
    }
}

/// A chain after a few blocks with transactions, a validator that was not there for a while (so that rounds failed and
/// blocks were fetched), and something that is not committed yet.
#[must_use]
pub fn lived() -> Chain {
    let mut chain = Chain::default();
    for sequence in 1..=6 {
        chain.submit(usize::try_from(sequence).expect("small") % N, put(sequence));
        for _ in 0..20 {
            chain.wait(5);
            chain.settle();
        }
    }
    // Nobody hears anybody for long enough that rounds are given up.
    for _ in 0..4 {
        chain.wait(1_200);
        for node in 0..N {
            chain.turn(node);
        }
    }
    chain.crash(3, 0);
    for _ in 0..60 {
        chain.wait(50);
        chain.settle();
    }
    chain.submit(0, put(7));
    chain.settle();
    chain.wait(5);
    chain.settle();
    chain.settle();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the corpus is made of holds what it is made for.
    #[test]
    fn a_lived_chain_has_seen_failed_rounds_and_every_kind_of_vote() {
        let chain = lived();
        assert!(chain.height(0) >= Height(6), "{:?}", chain.height(0));
        let has = |kind: fn(&Message) -> bool| chain.sent.iter().any(kind);
        assert!(has(|m| matches!(m, Message::Proposal(_))));
        assert!(has(|m| matches!(m, Message::CommitVote(_))));
        assert!(has(|m| matches!(m, Message::Timeout(_))));
        assert!(has(|m| matches!(m, Message::Tc(_))));
    }
}
