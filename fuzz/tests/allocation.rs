//! No decoder reserves more memory than its input warrants: a few bytes that claim to be long must not cost gigabytes.
//! The only test of its binary, since it counts what the whole process allocates.
#![allow(unsafe_code)] // an allocator is the only place that sees every allocation

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_fuzz::corpus;
use quorate_fuzz::mutate::{Random, mutate};
use quorate_fuzz::targets::FORMATS;
use quorate_types::Message;
use quorate_types::codec::{self, MAX_ENCODED_BYTES};

/// Counts bytes that are in use, and the most that were since it was last asked.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let used = USED.fetch_add(bytes, Ordering::SeqCst) + bytes;
    MOST.fetch_max(used, Ordering::SeqCst);
}

// SAFETY: every call is handed on to the system's allocator as it came; the counters beside it touch no memory of others.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes in use during a call, beyond those before it.
fn most(call: impl FnOnce()) -> usize {
    let before = USED.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    call();
    MOST.load(Ordering::SeqCst) - before
}

fn decode(bytes: &[u8]) {
    drop(codec::decode::<Message>(bytes, MAX_ENCODED_BYTES));
}

/// serde reserves at most 1 MiB ahead for a sequence before its first element is read, in each of the sequences that lie
/// inside each other; beyond that a value takes a small multiple of what it was read from. A text is reserved whole, up to
/// the decoder's limit; only the genesis holds any, which no peer sends.
fn allowed(input: usize, texts: bool) -> usize {
    let text = if texts { MAX_ENCODED_BYTES } else { 0 };
    text + 6 * (1 << 20) + 64 * input
}

#[test]
fn decoding_allocates_in_proportion_to_its_input() {
    let mut random = Random::new(7);
    // The counter sees what it should.
    let vector = most(|| drop(Vec::<u8>::with_capacity(64 << 20)));
    assert!(vector >= 64 << 20);

    let messages = corpus::read("message").expect("its corpus");
    let formats = corpus::read("formats").expect("its corpus");
    // What the targets make once, such as the chain's set of validators, is not a decoder's.
    for (_, read) in FORMATS {
        for seed in &formats {
            read(seed.get(1..).unwrap_or_default());
        }
    }
    let mut worst = 0;
    for (seeds, choose) in [(&messages, false), (&formats, true)] {
        for seed in seeds.iter() {
            // A length is eight bytes: each eight of them become every length that is worth trying.
            for at in 0..seed.len().saturating_sub(7).min(300) {
                for length in [1u64 << 25, u64::MAX] {
                    let mut input = seed.clone();
                    input[at..at + 8].copy_from_slice(&length.to_le_bytes());
                    worst = worst.max(check(&input, choose));
                }
            }
            for _ in 0..100 {
                let other = &seeds[random.below(seeds.len())];
                worst = worst.max(check(&mutate(&mut random, seed, other), choose));
            }
        }
    }
    println!("the most that an input of a few kilobytes took: {worst} bytes");
}

fn check(input: &[u8], choose: bool) -> usize {
    let (name, took) = match (choose, input.split_first()) {
        (true, Some((choice, rest))) => {
            let (name, read) = FORMATS[usize::from(*choice) % FORMATS.len()];
            (name, most(|| read(rest)))
        }
        _ => ("message", most(|| decode(input))),
    };
    let texts = name == "genesis";
    assert!(
        took <= allowed(input.len(), texts),
        "{name}: {took} bytes for an input of {}: {input:?}",
        input.len()
    );
    if texts { 0 } else { took }
}
