//! Flushes that are spread over blocks: no root, proof or restart may show them.

mod common;

use common::*;
use quorate_execution::flush::FlushPolicy;
use quorate_execution::kv::Command;
use quorate_execution::persist::AnchorRecord;
use quorate_execution::tree::{PageSource, Tree, TreeLimits};
use quorate_execution::{Change, Executed, Executor, OpenError, Reader, Space, record};
use quorate_types::{Height, Roots, Transaction, codec};
use std::cell::Cell;
use std::convert::Infallible;

type Block = Vec<Vec<Transaction>>;

/// A page a block, and a flush that takes about ten blocks.
const SPREAD: FlushPolicy = FlushPolicy {
    dirty_bytes: usize::MAX,
    changes: 250,
    piece_bytes: 1,
};
const JOURNAL: &[u8] = b"execution/journal/";

/// A page of 8 KiB holds about 25 of these.
fn long_key(number: u64) -> Vec<u8> {
    format!("{number:0>300}").into_bytes()
}

/// Changes about 22 of 400 keys.
fn block(chain: &mut Chain, dice: &mut Dice) -> Block {
    let mut command = |_| {
        let key = long_key(dice.roll(400));
        match dice.roll(5) {
            0 => delete(key),
            roll => put(key, [u8::try_from(roll).unwrap()]),
        }
    };
    let commands: Vec<_> = (0..22).map(&mut command).collect();
    let transaction = |commands: &[_]| chain.next(WRITER, commands);
    vec![commands.chunks(11).map(transaction).collect()]
}

/// A chain that flushes by [`SPREAD`] and keeps no clean page in memory.
fn spreading(chain: &mut Chain, policy: FlushPolicy) {
    chain.executor.set_flush_policy(policy);
    chain.executor.set_tree_cache(0);
}

/// The blocks of a chain that never flushes or restarts, with the roots that they lead to. The first block is height 1.
fn steady(count: usize, seed: u64) -> (Chain, Vec<(Block, Roots)>) {
    let (mut chain, mut dice) = (Chain::new(), Dice(seed));
    let blocks = (0..count).map(|_| {
        let block = block(&mut chain, &mut dice);
        let roots = chain.batches(block.clone()).roots;
        (block, roots)
    });
    let blocks = blocks.collect();
    (chain, blocks)
}

fn anchor(memory: &Memory) -> AnchorRecord {
    let key = (Space::Meta, b"execution/anchor".to_vec());
    codec::decode(&memory.0[&key], usize::MAX).expect("anchors decode")
}

fn journals(memory: &Memory) -> Vec<Height> {
    let keys = memory.0.keys().filter(|(space, _)| *space == Space::Meta);
    let heights = keys.filter_map(|(_, key)| key.strip_prefix(JOURNAL));
    let height = |key: &[u8]| Height(u64::from_be_bytes(key.try_into().expect("8 bytes")));
    heights.map(height).collect()
}

fn pages(executed: &Executed) -> impl Iterator<Item = &Change> {
    executed.changes.iter().filter(|c| c.space == Space::Tree)
}

/// Bytes of the pages that a block stores.
fn piece(executed: &Executed) -> usize {
    let stored = pages(executed).filter_map(|change| change.value.as_ref());
    stored.map(Vec::len).sum()
}

/// Storage alone, as a start sees it.
struct Stored<'a>(&'a Memory, Cell<usize>);

impl PageSource for Stored<'_> {
    type Error = Infallible;

    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        self.1.set(self.1.get() + 1);
        self.0.get(Space::Tree, id)
    }
}

/// Reads the whole tree of the anchor. Returns the number of its pages.
fn walk(memory: &Memory) -> usize {
    let stored = Stored(memory, Cell::new(0));
    let mut tree = Tree::open(TreeLimits::default(), &anchor(memory).anchor);
    let all = tree.prove_range(&stored, b"", None, usize::MAX);
    all.expect("all pages of the anchor are stored");
    stored.1.get()
}

#[test]
fn a_start_at_any_block_of_a_flush_goes_on_alike() {
    let (never, blocks) = steady(60, 1);
    let mut chain = Chain::new();
    spreading(&mut chain, SPREAD);
    let (mut ends, mut last) = (0, Height(0));
    for (i, (block, roots)) in blocks.iter().enumerate() {
        assert_eq!(chain.batches(block.clone()).roots, *roots);
        let mut other = never.restarted(chain.memory.clone(), chain.executor.height());
        assert_eq!(other.executor.roots(), *roots);
        if let Some((block, roots)) = blocks.get(i + 1) {
            spreading(&mut other, SPREAD);
            assert_eq!(other.batches(block.clone()).roots, *roots, "I6");
        }
        ends += usize::from(anchor(&chain.memory).height != last);
        last = anchor(&chain.memory).height;
    }
    assert!(ends >= 3, "{ends} flushes");
}

/// What a crash leaves is the chain after some block, a prefix. Whatever flush it cuts short, the blocks are executed
/// again over the pages that lie there, and paged in another way under the same ids.
#[test]
fn blocks_that_a_crash_has_lost_are_executed_again() {
    let (never, blocks) = steady(60, 2);
    let mut chain = Chain::new();
    spreading(&mut chain, SPREAD);
    let mut prefixes = Vec::new();
    for (block, _) in &blocks {
        let _ = chain.batches(block.clone());
        prefixes.push((chain.executor.height(), chain.memory.clone()));
    }
    let mut replaced = 0;
    for (height, memory) in prefixes {
        let mut again = never.restarted(memory, height);
        let (changes, piece_bytes) = [(90, 20_000), (400, 1), (40, 1)][height.0 as usize % 3];
        spreading(
            &mut again,
            FlushPolicy {
                changes,
                piece_bytes,
                ..SPREAD
            },
        );
        let rest = blocks.iter().skip(usize::try_from(height.0).unwrap());
        for (block, roots) in rest.take(15) {
            let before = again.memory.clone();
            let executed = again.batches(block.clone());
            assert_eq!(executed.roots, *roots, "I6, lost behind {height:?}");
            let other = |change: &&Change| {
                let old = before.0.get(&(Space::Tree, change.key.clone()));
                change.value.is_some() && old.is_some() && old != change.value.as_ref()
            };
            replaced += pages(&executed).filter(other).count();
            walk(&again.memory);
        }
        again.reopen();
    }
    assert!(
        replaced > 100,
        "{replaced} pages were left and written over"
    );
}

#[test]
fn pages_that_wait_are_read() {
    let mut chain = Chain::new();
    let mut dice = Dice(3);
    spreading(&mut chain, SPREAD);
    let mut waited = 0;
    for _ in 0..40 {
        let next = block(&mut chain, &mut dice);
        let executed = chain.batches(next);
        let waits = piece(&executed) > 0 && anchor(&chain.memory).height != executed.height;
        waited += usize::from(waits);
        for number in (0..400).step_by(7) {
            let key = [b"kv/".as_slice(), &long_key(number)].concat();
            let (value, proof) = chain.executor.prove_key(&chain.memory, &key).unwrap();
            let digest = value.as_deref().map(record::digest);
            let proved = proof.verify(&executed.roots.state, &key, digest.as_ref());
            assert_eq!(proved, Ok(()));
        }
    }
    assert!(waited > 20, "{waited} blocks with pages waiting");
}

#[test]
fn what_a_start_needs_is_stored_and_nothing_else() {
    let mut chain = Chain::new();
    let mut dice = Dice(4);
    spreading(&mut chain, SPREAD);
    let (mut ends, mut written) = (0, 0);
    for _ in 0..80 {
        let before = anchor(&chain.memory).height;
        let next = block(&mut chain, &mut dice);
        let executed = chain.batches(next);
        let since = anchor(&chain.memory).height;
        let kept: Vec<Height> = (since.0 + 1..=executed.height.0).map(Height).collect();
        assert_eq!(journals(&chain.memory), kept);
        let stored = pages(&executed).filter(|change| change.value.is_some());
        written += stored.count();
        let deleted = pages(&executed).any(|change| change.value.is_none());
        if since != before {
            // The blocks behind the flush have their journals still.
            assert!(before < since && since < executed.height);
            (ends, written) = (ends + 1, 0);
        } else {
            assert!(!deleted, "the anchor needs all that is there");
        }
        let all = chain.memory.count(Space::Tree, b"");
        assert_eq!(walk(&chain.memory) + written, all);
    }
    assert!(ends >= 4, "{ends} flushes");
}

/// With a block of more changes than the policy allows, the next flush is due before the last piece of the one at hand.
#[test]
fn a_flush_waits_for_the_end_of_the_one_before() {
    let mut chain = Chain::new();
    let mut dice = Dice(5);
    spreading(&mut chain, SPREAD);
    let begun = loop {
        let next = block(&mut chain, &mut dice);
        let executed = chain.batches(next);
        if piece(&executed) > 0 {
            break executed.height;
        }
    };
    assert_eq!(anchor(&chain.memory).height, Height(0));
    let commands: Vec<_> = (0..300).map(|n| put(long_key(n), "large")).collect();
    let transaction = |commands: &[_]| chain.next(WRITER, commands);
    let large = vec![commands.chunks(10).map(transaction).collect()];
    let executed = chain.batches(large);
    assert_eq!(executed.height, begun.next());
    assert_eq!(anchor(&chain.memory).height, begun, "all of the first");
    assert_eq!(journals(&chain.memory), [executed.height]);
    // An empty block moves it on too.
    let second = chain.empty();
    assert!(piece(&second) > 0);
    assert_eq!(anchor(&chain.memory).height, begun);
    let mut last = second.height;
    while anchor(&chain.memory).height == begun {
        last = chain.empty().height;
    }
    assert_eq!(anchor(&chain.memory).height, second.height);
    assert!(last.0 > second.height.0 + 5);
    assert_eq!(journals(&chain.memory), []);
    chain.reopen();
}

#[test]
fn a_piece_is_small_and_a_nearing_flush_makes_it_larger() {
    let most = |policy: FlushPolicy| {
        let (_, blocks) = steady(60, 6);
        let mut chain = Chain::new();
        spreading(&mut chain, policy);
        let pieces = blocks.into_iter().map(|(block, _)| {
            let executed = chain.batches(block);
            (piece(&executed), anchor(&chain.memory).height)
        });
        let pieces: Vec<_> = pieces.collect();
        let flushed = pieces.last().expect("60").1;
        assert!(flushed > Height(0));
        pieces.iter().map(|(bytes, _)| *bytes).max().expect("60")
    };
    let page = 10 * 1024;
    let policy = FlushPolicy {
        dirty_bytes: usize::MAX,
        changes: 500,
        piece_bytes: 20_000,
    };
    let quiet = most(policy);
    assert!((20_000..20_000 + page).contains(&quiet), "{quiet}");
    // A block uses up a good part of this.
    let pressed = most(FlushPolicy {
        dirty_bytes: 60_000,
        piece_bytes: 1,
        ..policy
    });
    assert!(pressed > 2 * page, "{pressed}");
}

/// Commands of the writer's, in blocks of 20 transactions of 100.
fn run(chain: &mut Chain, commands: &[Command]) {
    for commands in commands.chunks(2_000) {
        let transactions = commands.chunks(100);
        let transactions = transactions.map(|commands| chain.next(WRITER, commands));
        let block = transactions.collect();
        let receipts = chain.block(block);
        assert!(receipts.iter().all(|receipt| executed(&receipt.outcome)));
    }
}

/// A client that may write could release a checkpoint with so many long keys in one block that the journal of it was longer
/// than any message may be, and was not read back: every validator that was restarted then called its state damaged.
#[test]
fn a_journal_that_is_longer_than_any_message_is_read_back() {
    let mut chain = Chain::with(|parameters| {
        parameters.max_transaction_cost = 32 << 20;
        parameters.max_block_cost = 64 << 20;
    });
    chain.executor.set_flush_policy(FlushPolicy {
        dirty_bytes: usize::MAX,
        changes: usize::MAX,
        piece_bytes: 1,
    });
    run(&mut chain, &[Command::Checkpoint { name: blob("cp") }]);
    let key = |number: u32| format!("{number:0>1024}");
    let puts: Vec<Command> = (0..40_000).map(|number| put(key(number), "")).collect();
    run(&mut chain, &puts);
    let release = Command::Release {
        checkpoint: Some(blob("cp")),
        limit: 40_000,
    };
    chain.kv(release).expect("cheap enough");
    let journals = chain.memory.0.iter();
    let journals = journals.filter(|((_, key), _)| key.starts_with(JOURNAL));
    let longest = journals.map(|(_, journal)| journal.len()).max();
    assert!(longest > Some(codec::MAX_ENCODED_BYTES), "{longest:?}");
    chain.reopen();
}

/// A journal that says it has more in it than there is: damage, and no memory is taken for what it says.
#[test]
fn a_journal_that_rotted_is_damage() {
    let (chain, _) = steady(3, 1);
    let mut journals = chain
        .memory
        .0
        .keys()
        .filter(|(_, key)| key.starts_with(JOURNAL));
    let rotten = journals.next_back().expect("never flushed").clone();
    for length in [u64::MAX, 1 << 40, 1 << 20] {
        let mut memory = chain.memory.clone();
        let journal = memory.0.get_mut(&rotten).expect("it is there");
        journal[..8].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(Executor::open(&memory), Err(OpenError::Damaged)));
    }
}
