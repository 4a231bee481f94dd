//! A state is cut into chunks and put together again; nothing but the certified state ever comes out.

mod common;

use common::*;
use quorate_execution::snapshot::{Chunk, ChunkError, Cutter, Installer};
use quorate_execution::{Executor, Space};
use quorate_types::accumulator::Accumulator;
use quorate_types::{Blob, Height, codec};

type Cut = Vec<(Vec<u8>, Chunk)>;

/// A chain with a few chunks' worth of state, at height 30.
fn large() -> Chain {
    let mut chain = Chain::new();
    for block in 0..30u64 {
        let transactions = (0..8u64).map(|index| {
            let commands: Vec<_> = (0..10u64)
                .map(|n| put(format!("{index}/{n}/{block}"), vec![7; 1_000]))
                .collect();
            chain.next(WRITER, &commands)
        });
        let transactions = transactions.collect();
        chain.block(transactions);
    }
    chain
}

fn cut(chain: &Chain) -> (Cutter<'_, Memory>, Cut) {
    let mut cutter = Cutter::open(&chain.memory).expect("a good state");
    let mut chunks = Vec::new();
    while let Some(chunk) = cutter.cut().expect("a good state") {
        chunks.push(chunk);
    }
    (cutter, chunks)
}

fn end(chunks: &Cut, index: usize) -> Option<&[u8]> {
    chunks.get(index + 1).map(|(start, _)| start.as_slice())
}

/// A memory with the state of these chunks, restarted from what was written behind each `every`-th.
fn install(chain: &Chain, chunks: &Cut, every: usize) -> Memory {
    let mut memory = Memory::default();
    let mut installer = Installer::begin();
    for (place, (_, chunk)) in chunks.iter().enumerate() {
        if place % every == 0 {
            installer = Installer::resume(&memory).expect("what was written");
        }
        let changes = installer.add(&memory, chunk.clone()).expect("in memory");
        memory.apply(&changes);
    }
    let (height, roots) = (chain.executor.height(), chain.executor.roots());
    let changes = installer.finish::<()>(height, &roots, &accumulator(chain));
    memory.apply(&changes.expect("all chunks"));
    memory
}

fn accumulator(chain: &Chain) -> Accumulator {
    Accumulator::at(chain.executor.height().0, |node| {
        let key = [[node.level].as_slice(), &node.index.to_be_bytes()].concat();
        let bytes = &chain.memory.0[&(Space::Accumulator, key)];
        Ok::<_, ()>(codec::decode(bytes, 32).expect("a digest"))
    })
    .expect("in memory")
}

#[test]
fn what_is_cut_and_put_together_is_the_same_state_and_goes_on_alike() {
    let mut chain = large();
    let (cutter, chunks) = cut(&chain);
    assert!(chunks.len() > 2, "{} chunks", chunks.len());
    assert_eq!(
        (cutter.height(), cutter.roots()),
        (Height(30), chain.executor.roots())
    );
    let root = chain.executor.roots().state;
    for (index, (start, chunk)) in chunks.iter().enumerate() {
        let again = Chunk::decode(&chunk.encode()).expect("canonical");
        assert_eq!(again.verify(&root, start, end(&chunks, index)), Ok(()));
    }
    for every in [1, 2, usize::MAX] {
        let memory = install(&chain, &chunks, every);
        let state = |memory: &Memory| memory.count(Space::State, b"");
        assert_eq!(state(&memory), state(&chain.memory));
        let mut copy = chain.restarted(memory, Height(30));
        let transactions = vec![chain.next(WRITER, &[put("after", "it")])];
        let ours = chain.batches(vec![transactions.clone()]);
        // Sessions came along: what was executed once is a duplicate here, too.
        let theirs = copy.batches(vec![transactions]);
        assert_eq!((ours.roots, ours.receipts), (theirs.roots, theirs.receipts));
        chain = large();
    }
}

#[test]
fn an_installation_that_lacks_a_chunk_never_becomes_a_state() {
    let chain = large();
    let (_, mut chunks) = cut(&chain);
    chunks.remove(1);
    let mut memory = Memory::default();
    let mut installer = Installer::begin();
    for (_, chunk) in chunks {
        let changes = installer.add(&memory, chunk).expect("in memory");
        memory.apply(&changes);
    }
    let roots = chain.executor.roots();
    assert!(
        installer
            .finish::<()>(Height(30), &roots, &accumulator(&chain))
            .is_err()
    );
    assert!(Executor::open(&memory).is_err());
}

/// Every byte of a chunk counts: flipped, cut off or exchanged, the chunk is refused.
#[test]
fn any_other_chunk_is_refused() {
    let chain = large();
    let (_, chunks) = cut(&chain);
    let root = chain.executor.roots().state;
    let (start, chunk) = chunks.last().expect("some");
    let bytes = chunk.encode();
    let believed = |bytes: &[u8]| {
        Chunk::decode(bytes).is_ok_and(|chunk| chunk.verify(&root, start, None).is_ok())
    };
    assert!(believed(&bytes));
    // All bytes of the proof and of the first records, and some of the others.
    let len = bytes.len();
    let places = (0..600)
        .chain((600..len).step_by(997))
        .chain(len - 300..len);
    for place in places {
        let mut forged = bytes.clone();
        forged[place] ^= 1 << (place % 8);
        assert!(!believed(&forged), "byte {place} flipped");
    }
    for keep in (0..len).step_by(len / 97) {
        assert!(!believed(&bytes[..keep]), "cut to {keep} bytes");
    }
    // Of another part of the key space, of another state, without a record, with one more.
    assert!(!believed(&chunks[0].1.encode()));
    let mut other = Chain::new();
    other.block(vec![]);
    let (_, old) = cut(&other);
    assert!(!believed(&old[0].1.encode()));
    let mut less = chunk.clone();
    less.records.pop();
    assert!(!believed(&less.encode()));
    let mut more = chunk.clone();
    more.records.push((Blob(b"zzz".to_vec()), Blob(vec![1])));
    assert!(!believed(&more.encode()));
    let mut versioned = bytes.clone();
    versioned[0] = 9;
    assert_eq!(Chunk::decode(&versioned), Err(ChunkError::Version(9)));
}

/// A whole snapshot this time, without a byte left out.
#[test]
fn every_byte_of_a_small_snapshot_counts() {
    let mut chain = Chain::new();
    let transaction = chain.next(WRITER, &[put("a", "b"), put("c", "d")]);
    chain.block(vec![transaction]);
    let (_, chunks) = cut(&chain);
    assert_eq!(chunks.len(), 1);
    let root = chain.executor.roots().state;
    let (start, chunk) = &chunks[0];
    let bytes = chunk.encode();
    let believed = |bytes: &[u8]| {
        Chunk::decode(bytes).is_ok_and(|chunk| chunk.verify(&root, start, None).is_ok())
    };
    assert!(believed(&bytes));
    for place in 0..bytes.len() {
        for flip in [1 << (place % 8), 0xff] {
            let mut forged = bytes.clone();
            forged[place] ^= flip;
            assert!(!believed(&forged), "byte {place} flipped by {flip:#x}");
        }
        assert!(!believed(&bytes[..place]), "cut to {place} bytes");
    }
}

/// A record that rotted in storage does not become a chunk.
#[test]
fn damage_is_not_cut() {
    let mut chain = large();
    let key = chain
        .memory
        .0
        .keys()
        .rfind(|(space, _)| *space == Space::State);
    let key = key.expect("a record").clone();
    chain.memory.0.get_mut(&key).expect("there")[3] ^= 1;
    let mut cutter = Cutter::open(&chain.memory).expect("what a start reads is good");
    let result = loop {
        match cutter.cut() {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(result.is_err());
}
