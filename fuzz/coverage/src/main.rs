//! A fuzz target under libFuzzer, which keeps every input that reaches code that none before it reached.
//!
//! `make fuzz COVERAGE=1` builds it with the counters that libFuzzer reads, and runs it (`scripts/fuzz-coverage.sh`). The
//! variable QUORATE_FUZZ_TARGET names the target.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::targets::TARGETS;

fn target() -> fn(&[u8]) {
    static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("QUORATE_FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|target| target.name == name);
        found.expect("QUORATE_FUZZ_TARGET names a target").run
    })
}

fuzz_target!(|bytes: &[u8]| target()(bytes));
