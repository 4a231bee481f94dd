//! Blocks: atomic transactions, cost, empty blocks, namespaces, roots that depend on nothing but the blocks, restarts.

mod common;

use std::cell::Cell;

use common::*;
use quorate_execution::flush::FlushPolicy;
use quorate_execution::keys::Namespace;
use quorate_execution::kv::Command;
use quorate_execution::machine::{CommandError, Context, StateMachine, StateView};
use quorate_execution::persist::roots_key;
use quorate_execution::{Entry, ExecuteError, Executor, OpenError, OrderedBlock, Reader, Space};
use quorate_execution::{genesis_validators, meter};
use quorate_types::{Blob, HashedBatch, Height, Outcome, Receipt, Rejection, Role, Roots};
use quorate_types::{accumulator, codec, receipt};

#[test]
fn one_failed_command_takes_all_effects_back() {
    let mut chain = Chain::new();
    let good = chain.next(WRITER, &[put("a", "1"), put("b", "1")]);
    chain.one(good);
    let before = chain.memory.count(Space::State, b"kv/");
    let bad = chain.next(
        WRITER,
        &[put("a", "2"), delete("b"), put("c", "2"), put("", "")],
    );
    let after = chain.next(WRITER, &[get("a"), get("b"), get("c")]);
    let receipts = chain.block(vec![bad, after]);
    assert_eq!(
        receipts[0].outcome,
        Outcome::Rejected(Rejection::BadCommand(3))
    );
    let Outcome::Executed { results, revision } = &receipts[1].outcome else {
        panic!("executed")
    };
    let seen: Vec<usize> = results.iter().map(|r| r.0.len()).collect();
    assert!(
        seen[0] > 8 && seen[1] > 8 && seen[2] < 8,
        "a and b as before, no c"
    );
    assert_eq!(*revision, 1);
    assert_eq!(chain.memory.count(Space::State, b"kv/"), before);
}

#[test]
fn empty_blocks_keep_the_state_root_and_grow_the_receipts_root() {
    let mut chain = Chain::new();
    let transaction = chain.next(WRITER, &[put("a", "1")]);
    chain.one(transaction);
    let before = chain.executor.roots();
    let state = chain
        .memory
        .0
        .iter()
        .filter(|((s, _), _)| *s == Space::State);
    let state: Vec<_> = state.map(|(k, v)| (k.clone(), v.clone())).collect();
    for _ in 0..5 {
        // Time passes: sessions could be dropped, but not here.
        chain.time = chain.time.plus_nanos(1_000 * SECOND);
        let executed = chain.empty();
        assert_eq!(executed.roots.state, before.state);
        assert_ne!(executed.roots.receipts, before.receipts);
        assert!(executed.changes.iter().all(|c| c.space != Space::State));
    }
    for (key, value) in state {
        assert_eq!(chain.memory.0.get(&key), Some(&value));
    }
}

#[test]
fn receipts_are_in_the_accumulator_of_all_heights() {
    let mut chain = Chain::new();
    let mut leaves = Vec::new();
    for height in 1..=9u64 {
        let count = height % 3;
        let some = (0..count).map(|_| chain.next(WRITER, &[put("a", "1")]));
        let some = some.collect::<Vec<_>>();
        let executed = chain.batches(if some.is_empty() { vec![] } else { vec![some] });
        let block: Vec<_> = executed.receipts.iter().map(Receipt::leaf).collect();
        leaves.push(receipt::block_leaf(Height(height), &block));
        assert_eq!(
            executed.roots.receipts,
            quorate_types::merkle::root(&leaves)
        );
        let stored = chain
            .memory
            .0
            .get(&(Space::Roots, roots_key(Height(height))));
        let stored: Roots = codec::decode(stored.unwrap(), 64).unwrap();
        assert_eq!(stored, executed.roots);
        for (index, leaf) in (0..height).zip(&leaves) {
            let path = accumulator::path(index, height, |id| {
                let key = quorate_execution::persist::node_key(id);
                let node = chain.memory.0[&(Space::Accumulator, key)].clone();
                Ok::<_, ()>(quorate_types::Digest::from_bytes(node.try_into().unwrap()))
            });
            let path = path.unwrap().unwrap();
            assert_eq!(path.root(*leaf), Some(executed.roots.receipts));
        }
    }
}

#[test]
fn a_transaction_may_not_cost_more_than_its_limit() {
    let cost = |command: &Command| {
        let bytes = command.encode().0.len();
        let record = 1 + 8 + 1_000 + 24 + 1;
        let key: usize = 3 + 1;
        meter::TRANSACTION
            + meter::COMMAND
            + bytes.div_ceil(meter::COMMAND_BYTES_PER_UNIT) as u64
            + meter::READ
            + meter::WRITE
            + (key + record).div_ceil(meter::WRITE_BYTES_PER_UNIT) as u64
            + 12
    };
    let command = put("k", [0; 1_000]);
    let exact = cost(&command);
    for (limit, fits) in [(exact, true), (exact - 1, false), (0, false)] {
        let mut chain = Chain::with(|parameters| parameters.max_transaction_cost = limit);
        let result = chain.kv(command.clone());
        assert_eq!(result.is_ok(), fits, "{limit}: {result:?}");
        if !fits {
            assert_eq!(result, Err(Rejection::CostExceeded));
            assert_eq!(chain.memory.count(Space::State, b"kv/"), 0);
        }
    }
    for limit in [exact * 3, exact * 3 - 1] {
        let mut chain = Chain::with(|parameters| {
            parameters.max_transaction_cost = limit / 2;
            parameters.max_block_cost = limit;
        });
        let names = ["a", "b", "c", "d"];
        let some: Vec<_> = names
            .map(|name| chain.next(WRITER, &[put(name, [0; 1_000])]))
            .to_vec();
        let receipts = chain.block(some);
        let done = receipts.iter().filter(|r| executed(&r.outcome)).count();
        assert_eq!(done, if limit == exact * 3 { 3 } else { 2 });
        let last = &receipts[3].outcome;
        assert_eq!(*last, Outcome::Rejected(Rejection::BlockFull));
        // The next block has its own limit.
        assert!(chain.kv(put("e", [0; 1_000])).is_ok());
    }
}

/// Whoever stood behind others had used its number up, and could never have the same transaction executed.
#[test]
fn a_transaction_that_finds_its_block_full_is_executed_in_another() {
    let mut chain = Chain::with(|parameters| {
        parameters.max_transaction_cost = 10_000;
        parameters.max_block_cost = 20_300;
    });
    let dear = put("dear", [0; 36_000]);
    let wasteful = [(); 2].map(|()| chain.next(OTHER, &[dear.clone(), dear.clone()]));
    let late = chain.next(WRITER, &[put("k", [0; 1_000])]);
    let too_dear = chain.next(WRITER, &[put("k", [0; 60_000])]);
    let behind = vec![late.clone(), too_dear.clone()];
    let receipts = chain.block([wasteful.to_vec(), behind].concat());
    for receipt in &receipts[..2] {
        let outcome = Outcome::Rejected(Rejection::CostExceeded);
        assert_eq!(receipt.outcome, outcome);
    }
    for receipt in &receipts[2..] {
        assert_eq!(receipt.outcome, Outcome::Rejected(Rejection::BlockFull));
    }
    assert_eq!(chain.place(&late), Some((Height(1), 2)));
    assert_eq!(chain.memory.count(Space::State, b"kv/"), 0);
    // Alone, each gets what it deserves, and that is its place from now on.
    assert!(executed(&chain.one(late.clone())));
    assert_eq!(chain.place(&late), Some((Height(2), 0)));
    let (height, index) = (Height(2), 0);
    assert_eq!(chain.one(late), Outcome::Duplicate { height, index });
    let outcome = chain.one(too_dear);
    assert_eq!(outcome, Outcome::Rejected(Rejection::CostExceeded));
}

/// What came of it in the end is found under its name, and not that it was to come again: else a client that asks for a
/// proof of its end never gets one.
#[test]
fn the_last_answer_takes_the_place_of_come_again() {
    let mut chain = Chain::with(|parameters| {
        parameters.max_transaction_cost = 10_000;
        parameters.max_block_cost = 20_300;
    });
    let dear = put("dear", [0; 36_000]);
    let mut wasteful = || {
        let both = [(); 2].map(|()| chain.next(OTHER, &[dear.clone(), dear.clone()]));
        both.to_vec()
    };
    let (first, second) = (wasteful(), wasteful());
    let late = chain.next(WRITER, &[put("k", [0; 1_000])]);
    chain.block([first, vec![late.clone(), late.clone()]].concat());
    assert_eq!(chain.place(&late), Some((Height(1), 3)), "in one block");
    chain.block([second, vec![late.clone()]].concat());
    assert_eq!(chain.place(&late), Some((Height(2), 2)), "and in the next");
    // Another process with the same key uses the number.
    let sequence = late.body.sequence;
    let other = chain.numbered(WRITER, sequence, &[put("k", "other")]);
    assert!(executed(&chain.one(other)));
    let outcome = chain.one(late.clone());
    assert_eq!(outcome, Outcome::Rejected(Rejection::SequenceReused));
    assert_eq!(chain.place(&late), Some((Height(4), 0)));
    // That is an answer, and stays.
    assert_eq!(chain.one(late.clone()), outcome);
    assert_eq!(chain.place(&late), Some((Height(4), 0)));
}

/// A range passes what the block has deleted, and pays for it: else one writer's block could keep every validator busy.
#[test]
fn a_range_pays_for_what_the_block_hides() {
    let name = |n: u32| n.to_be_bytes();
    let cost_of = |change: &dyn Fn(u32) -> Command, limit: u64| {
        let mut chain = Chain::with(|p| p.max_transaction_cost = limit);
        for n in 0..200 {
            chain.kv(put(name(n), [7; 160])).unwrap();
        }
        let changes = (0..200).map(|n| chain.next(WRITER, &[change(n)]));
        let mut block: Vec<_> = changes.collect();
        block.push(chain.next(
            READER,
            &[Command::Range {
                start: blob(""),
                end: None,
                limit: 1,
                keys_only: true,
            }],
        ));
        let receipts = chain.block(block);
        executed(&receipts.last().unwrap().outcome)
    };
    let least = |change: &dyn Fn(u32) -> Command| {
        let (mut low, mut high) = (0, 1_000_000);
        while low + 1 < high {
            let middle = (low + high) / 2;
            match cost_of(change, middle) {
                true => high = middle,
                false => low = middle,
            }
        }
        high
    };
    let nothing = least(&|n| get(name(n)));
    let deleted = least(&|n| delete(name(n)));
    assert!(
        deleted - nothing >= 199 * meter::ENTRY,
        "{nothing} {deleted}"
    );
}

/// But it is not refused for good for what others deleted: the same bytes are executed in another block. What it deleted
/// itself is its own fault.
#[test]
fn a_range_behind_others_deletions_may_come_again() {
    let name = |n: u32| n.to_be_bytes();
    let range = || Command::Range {
        start: blob(""),
        end: None,
        limit: 1,
        keys_only: true,
    };
    let mut chain = Chain::with(|parameters| parameters.max_transaction_cost = 2_000);
    for n in 0..300 {
        chain.kv(put(name(n), [7; 16])).unwrap();
    }
    let mut block: Vec<_> = (0..200)
        .map(|n| chain.next(WRITER, &[delete(name(n))]))
        .collect();
    let late = chain.next(READER, &[range()]);
    block.push(late.clone());
    let receipts = chain.block(block);
    let outcome = &receipts.last().unwrap().outcome;
    assert_eq!(*outcome, Outcome::Rejected(Rejection::BlockFull));
    assert!(executed(&chain.one(late)));
    let own = (200..212).map(|n| delete(name(n)));
    let own: Vec<_> = own.chain((0..3).map(|_| range())).collect();
    let own = chain.next(WRITER, &own);
    let outcome = chain.one(own);
    assert_eq!(outcome, Outcome::Rejected(Rejection::CostExceeded));
}

#[test]
fn many_large_results_are_cut_off_by_cost() {
    let mut chain = Chain::new();
    chain.kv(put("k", vec![0; 60_000])).unwrap();
    let many = vec![get("k"); 100];
    let transaction = chain.next(READER, &many);
    assert_eq!(
        chain.one(transaction),
        Outcome::Rejected(Rejection::CostExceeded)
    );
}

/// Does what its command says, allowed or not.
#[derive(Debug)]
struct Trespasser;

const APPS: &[Namespace] = &[Namespace::App, Namespace::Sys];

impl StateMachine for Trespasser {
    fn namespaces(&self) -> &'static [Namespace] {
        APPS
    }

    fn execute(
        &self,
        context: &Context,
        view: &mut StateView<'_>,
        command: &[u8],
    ) -> Result<Vec<u8>, CommandError> {
        let all = [
            Namespace::Sys,
            Namespace::Kv,
            Namespace::Topic,
            Namespace::Lock,
            Namespace::App,
        ];
        let namespace = all[usize::from(command[0])];
        match command[1] {
            0 => drop(view.get(namespace, b"x")?),
            1 => view.put(namespace, b"x", vec![1])?,
            2 => view.delete(namespace, b"x")?,
            3 => drop(view.range(namespace, b"", None, 10)?),
            4 => view.put(namespace, &[0; 2_000], vec![1])?,
            5 => return Ok(vec![0; context.max_result_bytes + 1]),
            _ => return Ok(vec![0; context.max_result_bytes]),
        }
        Ok(Vec::new())
    }
}

#[test]
fn a_machine_stays_in_its_namespaces_and_bounds() {
    let mut chain = Chain::new();
    let executor = Executor::genesis(&chain.genesis).0;
    chain.executor = executor.with_machine(Box::new(Trespasser));
    let mut number = 0;
    let mut run = |namespace: u8, action: u8| {
        number += 1;
        let until = chain.time.plus_nanos(60 * SECOND);
        let transaction = chain.raw(WRITER, number, until, vec![Blob(vec![namespace, action])]);
        chain.one(transaction)
    };
    for action in 0..4 {
        for namespace in 0..4 {
            let outcome = run(namespace, action);
            assert_eq!(
                outcome,
                Outcome::Rejected(Rejection::Forbidden),
                "sys is never owned"
            );
        }
        assert!(executed(&run(4, action)));
    }
    assert_eq!(run(4, 4), Outcome::Rejected(Rejection::Forbidden));
    assert_eq!(run(4, 5), Outcome::Rejected(Rejection::ResultTooLarge));
    assert!(executed(&run(4, 6)));
}

#[test]
fn the_genesis_has_the_roots_it_always_had() {
    let (header, validators) = genesis_validators(&genesis(|_| ())).unwrap();
    let roots = header.claim.roots;
    // A change here is a change of the format of every chain.
    assert_eq!(roots.state.to_string(), STATE_ROOT);
    assert_eq!(roots.receipts, quorate_types::merkle::empty_root());
    assert_eq!(validators.count(), 4);
    let mut chain = Chain::new();
    let transaction = chain.next(WRITER, &[put("key", "value")]);
    let executed = chain.batches(vec![vec![transaction]]);
    assert_eq!(executed.roots.state.to_string(), FIRST_STATE_ROOT);
    assert_eq!(executed.roots.receipts.to_string(), FIRST_RECEIPTS_ROOT);
    assert_eq!(chain.executor.role(&public(OTHER)), Some(Role::Admin));
    assert_eq!(chain.executor.role(&public(STRANGER)), None);
    assert_eq!(chain.executor.parameters(), &chain.genesis.parameters);
}

const STATE_ROOT: &str = "871c31eba61c4b2a4140f9a582fbec7e55fb12d0e531d7c9b35126111209c667";
const FIRST_STATE_ROOT: &str = "46a1dbd13ee0d87f9746b1dca76fd164523164af9751389444c6224a94cc80bf";
const FIRST_RECEIPTS_ROOT: &str =
    "c59be878b620392fbfb9ba30f9202ad692c52846daa0d01acb76c949558d52c0";

fn random_block(chain: &mut Chain, dice: &mut Dice) -> Vec<Vec<quorate_types::Transaction>> {
    let batches = dice.roll(3);
    let mut batch = || {
        let count = 1 + dice.roll(8);
        let mut transaction = || {
            let client = [WRITER, OTHER, READER, STRANGER][dice.roll(4) as usize];
            let command = match dice.roll(4) {
                0 => delete([u8::try_from(dice.roll(40)).unwrap()]),
                1 => get("k"),
                _ => {
                    let key = u8::try_from(dice.roll(40)).unwrap();
                    put([key], vec![key; usize::try_from(dice.roll(100)).unwrap()])
                }
            };
            chain.next(client, &[command])
        };
        (0..count).map(|_| transaction()).collect()
    };
    (0..batches).map(|_| batch()).collect()
}

/// The same blocks on executors that flush and restart differently, and that get the blocks before or after what came
/// before them was made durable, which is all the same to a reader.
#[test]
fn roots_depend_on_the_blocks_alone() {
    for seed in 0..3 {
        let mut dice = Dice(seed);
        let policies = [
            FlushPolicy::default(),
            FlushPolicy {
                dirty_bytes: 0,
                changes: 0,
                piece_bytes: 0,
            },
            FlushPolicy {
                dirty_bytes: usize::MAX,
                changes: 150,
                piece_bytes: 1,
            },
        ];
        let mut chains: Vec<Chain> = policies.iter().map(|_| Chain::new()).collect();
        for height in 1..80u64 {
            let block = random_block(&mut chains[0], &mut dice);
            let mut first = None;
            for (i, (chain, policy)) in chains.iter_mut().zip(policies).enumerate() {
                if i > 0 && dice.roll(4) == 0 {
                    chain.reopen();
                }
                chain.executor.set_flush_policy(policy);
                let executed = chain.batches(block.clone());
                let seen = (executed.roots, executed.receipts);
                let first = first.get_or_insert(seen.clone());
                assert_eq!(*first, seen, "I6, seed {seed}, height {height}");
            }
        }
        let shared = |chain: &Chain| {
            let mut memory = chain.memory.clone();
            memory
                .0
                .retain(|(space, key), _| *space != Space::Tree && !key.starts_with(b"execution/"));
            memory
        };
        assert_eq!(shared(&chains[0]), shared(&chains[1]));
        assert_eq!(shared(&chains[0]), shared(&chains[2]));
        assert!(chains[1].memory.count(Space::Meta, b"execution/journal/") == 0);
        assert!(chains[0].memory.count(Space::Meta, b"execution/journal/") > 30);
    }
}

#[test]
fn a_start_refuses_what_does_not_add_up() {
    let open = |memory: &Memory| Executor::open(memory).map(|_| ()).unwrap_err();
    assert_eq!(open(&Memory::default()), OpenError::Missing);
    let mut chain = Chain::new();
    for _ in 0..5 {
        chain.kv(put("k", "v")).unwrap();
    }
    let damage = |key: (Space, &[u8]), change: fn(&mut Vec<u8>)| {
        let mut memory = chain.memory.clone();
        change(memory.0.get_mut(&(key.0, key.1.to_vec())).expect("there"));
        open(&memory)
    };
    let height = Height(5);
    let mismatch = OpenError::RootMismatch { height };
    let flip: fn(&mut Vec<u8>) = |bytes| bytes[10] ^= 1;
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() - 1);
    let roots = roots_key(height);
    assert_eq!(damage((Space::Roots, &roots), flip), mismatch);
    assert_eq!(damage((Space::Roots, &roots), cut), OpenError::Damaged);
    assert_eq!(
        damage((Space::Meta, b"execution/tip"), cut),
        OpenError::Damaged
    );
    assert_eq!(
        damage((Space::Meta, b"execution/anchor"), cut),
        OpenError::Damaged
    );
    assert_eq!(
        damage((Space::State, b"sys/parameters"), cut),
        OpenError::Damaged
    );
    let client = quorate_execution::keys::client(&public(WRITER));
    assert_eq!(damage((Space::State, &client), cut), OpenError::Damaged);
    // Still decodes, but is not what was certified.
    let other: fn(&mut Vec<u8>) = |bytes| *bytes.last_mut().unwrap() ^= 1;
    for key in [&b"sys/chain"[..], b"sys/parameters", b"sys/head", &client] {
        assert_eq!(damage((Space::State, key), other), OpenError::Damaged);
    }
    let last = |space: Space, prefix: &[u8]| {
        let keys = chain.memory.0.keys().rev();
        let mut keys = keys.filter(|key| key.0 == space && key.1.starts_with(prefix));
        keys.next().expect("there").clone()
    };
    for key in [
        last(Space::Meta, b"execution/journal/"),
        last(Space::Tree, b""),
    ] {
        let mut memory = chain.memory.clone();
        memory.0.remove(&key);
        let error = open(&memory);
        assert!(
            error == mismatch || error == OpenError::Damaged,
            "{error:?}"
        );
    }
}

/// Storage that fails after so many reads.
struct Failing<'a>(&'a Memory, Cell<u32>);

#[derive(Debug, PartialEq, Eq)]
struct DiskError;

impl Failing<'_> {
    fn tick(&self) -> Result<(), DiskError> {
        let left = self.1.get().checked_sub(1).ok_or(DiskError)?;
        self.1.set(left);
        Ok(())
    }
}

impl Reader for Failing<'_> {
    type Error = DiskError;

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.tick()?;
        Ok(self.0.get(space, key).expect("infallible"))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, DiskError> {
        self.tick()?;
        Ok(self.0.scan(space, from, to, limit).expect("infallible"))
    }
}

#[test]
fn a_failing_disk_executes_nothing() {
    let mut chain = Chain::new();
    // All of them are there, so that storage is asked: what is not there the tree knows by itself.
    for key in ["a", "b", "c"] {
        chain.kv(put(key, "1")).unwrap();
    }
    let commands = [put("a", "2"), get("b"), put("c", "3")];
    let range = Command::Range {
        start: blob(""),
        end: None,
        limit: 0,
        keys_only: false,
    };
    let known = chain.next(WRITER, &[commands.to_vec(), vec![range]].concat());
    let stranger = chain.numbered(STRANGER, 0, &commands);
    let batches: [HashedBatch; 1] = [pack(vec![known, stranger])];
    let block = OrderedBlock {
        height: Height(4),
        time: chain.time.plus_nanos(SECOND),
        batches: &batches,
    };
    let mut reads = 0;
    let executed = loop {
        let mut executor = Executor::open(&chain.memory).unwrap();
        let failing = Failing(&chain.memory, Cell::new(reads));
        match executor.execute(&failing, &block) {
            Ok(executed) => break executed,
            Err(error) => assert_eq!(error, ExecuteError::Source(DiskError)),
        }
        assert_eq!(executor.height(), Height(3));
        assert_eq!(executor.roots(), chain.executor.roots());
        // The reading of records comes before all changes: the same executor can go on.
        if let Ok(executed) = executor.execute(&chain.memory, &block) {
            assert_eq!(executed.receipts.len(), 2);
        }
        reads += 1;
    };
    assert!(reads > 6, "{reads}");
    assert_eq!(executed.receipts.len(), 2);
}

#[test]
fn damaged_records_stop_the_executor() {
    let mut chain = Chain::new();
    chain.kv(put("a", "1")).unwrap();
    let session = quorate_execution::keys::session_chunk(&public(WRITER), 0);
    for key in [b"kv/a".to_vec(), session] {
        let mut memory = chain.memory.clone();
        memory.0.insert((Space::State, key), vec![9, 9]);
        let mut executor = Executor::open(&memory).unwrap();
        let batches = [pack(vec![chain.next(WRITER, &[get("a")])])];
        let block = OrderedBlock {
            height: Height(2),
            time: chain.time,
            batches: &batches,
        };
        let error = executor.execute(&memory, &block).unwrap_err();
        assert_eq!(error, ExecuteError::Damaged);
    }
    let mut memory = chain.memory.clone();
    memory
        .0
        .insert((Space::State, b"kv/a".to_vec()), vec![9, 9]);
    let proved = chain.executor.prove_key(&memory, b"kv/a");
    assert_eq!(proved, Err(ExecuteError::Damaged));
}

#[test]
#[should_panic(expected = "I4")]
fn a_gap_in_heights_stops_the_executor() {
    let mut chain = Chain::new();
    let block = OrderedBlock {
        height: Height(2),
        time: chain.time,
        batches: &[],
    };
    let _ = chain.executor.execute(&chain.memory, &block);
}
