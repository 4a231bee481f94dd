//! Prints how fast this machine hashes and verifies: `cargo run --release --example throughput`.

use std::hint::black_box;
use std::time::Instant;

use quorate_crypto::{BatchItem, BatchVerifier, Domain, KeyCache, SecretKey};
use quorate_crypto::{hash, verify, verify_batch};

/// Runs `work` `times` times, and prints how many of the `units` each run did a second can do.
fn measure(name: &str, times: u32, units: u32, mut work: impl FnMut()) {
    work();
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    let seconds = start.elapsed().as_secs_f64();
    let done = f64::from(times) * f64::from(units);
    let each = seconds / done * 1e6;
    println!("{name:<34} {:>12.0} /s {each:>10.3} us", done / seconds);
}

fn items<'a>(signers: usize, bad: &[usize]) -> Vec<BatchItem<'a>> {
    let message: &[u8] = &[0x51; 100];
    let keys: Vec<_> = (0..signers)
        .map(|at| SecretKey::from_seed(hash(Domain::Evidence, &[&at.to_le_bytes()]).as_bytes()))
        .collect();
    (0..256)
        .map(|at| BatchItem {
            key: keys[at % signers].public(),
            domain: Domain::Vote,
            message,
            signature: if bad.contains(&at) {
                keys[at % signers].sign(Domain::CommitVote, message)
            } else {
                keys[at % signers].sign(Domain::Vote, message)
            },
        })
        .collect()
}

fn main() {
    let megabyte = vec![0x51; 1_000_000];
    measure("SHA-256, megabytes", 500, 1, || {
        black_box(hash(Domain::Batch, &[black_box(&megabyte)]));
    });
    let children = [[1; 2].as_slice(), &[2; 64]];
    measure("tree nodes (16 + 2 + 64 bytes)", 2_000_000, 1, || {
        black_box(hash(Domain::TreeNode, black_box(&children)));
    });

    let key = SecretKey::from_seed(&[7; 32]);
    let message = [0x51; 100];
    measure("sign", 5_000, 1, || {
        black_box(key.sign(Domain::Vote, black_box(&message)));
    });
    let signature = key.sign(Domain::Vote, &message);
    let public = key.public().decompress().expect("an honest key");
    measure("verify, decompressed key", 5_000, 1, || {
        assert!(public.verify(Domain::Vote, &message, &signature).is_ok());
    });
    measure("verify, key as bytes", 5_000, 1, || {
        assert!(verify(&key.public(), Domain::Vote, &message, &signature).is_ok());
    });

    for signers in [256, 4, 1] {
        let items = items(signers, &[]);
        measure(
            &format!("batch of 256, signers: {signers}"),
            40,
            256,
            || {
                assert!(verify_batch(&items, [1; 32]).is_ok());
            },
        );
    }
    for count in [256, 64, 16, 4] {
        let (items, mut keys) = (items(256, &[]), KeyCache::new());
        let name = format!("batch of {count}, all keys known");
        measure(&name, 40, u32::try_from(count).expect("small"), || {
            let mut batch = BatchVerifier::new();
            items[..count].iter().for_each(|item| batch.push(*item));
            batch.recall_keys(&mut keys);
            assert!(batch.verify([1; 32]).is_ok());
            batch.remember_keys(&mut keys);
        });
    }
    let all: Vec<_> = (0..256).collect();
    for (name, bad) in [("one", &all[99..100]), ("all", &all)] {
        let items = items(256, bad);
        measure(&format!("batch of 256, bad: {name}"), 20, 256, || {
            assert_eq!(verify_batch(&items, [1; 32]).as_ref(), Err(&bad.to_vec()));
        });
    }
}
