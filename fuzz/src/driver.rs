//! Finds inputs for a target on a stable compiler: what lies in the corpus, and mutations of it.
//!
//! There is no feedback from the code here: which input comes next depends on the seed alone, so that what fails, fails
//! again. What makes up for it is that the corpus holds whole, valid inputs of every kind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::mutate::{Random, mutate};

/// An input that a target did not bear.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said.
    pub message: String,
}

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So many mutations.
    Inputs(u64),
    /// So long, in real time.
    Elapsed(Duration),
}

/// Gives a target the seeds, and then mutations of them. Returns how many inputs it bore.
///
/// # Errors
/// The first [`Failure`].
///
/// # Panics
/// Without a seed.
pub fn run(
    target: impl Fn(&[u8]),
    seeds: &[Vec<u8>],
    number: u64,
    until: Until,
) -> Result<u64, Failure> {
    assert!(!seeds.is_empty(), "a target without a corpus is not tried");
    let start = Instant::now();
    let mut random = Random::new(number);
    let mut borne = 0;
    for seed in seeds {
        try_one(&target, seed)?;
        borne += 1;
    }
    let seeds_given = borne;
    loop {
        let over = match until {
            Until::Inputs(most) => borne - seeds_given >= most,
            Until::Elapsed(most) => start.elapsed() >= most,
        };
        if over {
            return Ok(borne);
        }
        let seed = &seeds[random.below(seeds.len())];
        let other = &seeds[random.below(seeds.len())];
        let input = mutate(&mut random, seed, other);
        try_one(&target, &input)?;
        borne += 1;
    }
}

fn try_one(target: &impl Fn(&[u8]), input: &[u8]) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(|| target(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Failure {
            input: input.to_vec(),
            message: text.unwrap_or("a panic without words").to_owned(),
        }
    })
}

/// The shortest input that still fails, by leaving out ever smaller parts.
pub fn shrink(target: impl Fn(&[u8]), failure: Failure) -> Failure {
    let mut best = failure;
    let mut part = best.input.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < best.input.len() {
            let mut shorter = best.input.clone();
            shorter.drain(at..(at + part).min(best.input.len()));
            match try_one(&target, &shorter) {
                Err(failure) => best = failure,
                Ok(()) => at += part,
            }
        }
        part /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that finds nothing is no evidence: one byte in a place decides here.
    #[test]
    fn a_planted_mistake_is_found_and_shrunk() {
        let target = |bytes: &[u8]| assert!(!bytes.contains(&b'!'), "planted");
        let seeds = vec![b"some bytes without it".to_vec()];
        let failure = run(target, &seeds, 1, Until::Inputs(100_000)).expect_err("found");
        assert!(failure.message.contains("planted"));
        assert_eq!(shrink(target, failure).input, b"!");
        let again = run(target, &seeds, 1, Until::Inputs(100_000)).expect_err("found");
        assert_eq!(shrink(target, again).input, b"!");
    }

    #[test]
    fn what_bears_everything_passes() {
        let borne = run(|_| {}, &[b"x".to_vec()], 1, Until::Inputs(50));
        assert!(matches!(borne, Ok(51)));
    }
}
