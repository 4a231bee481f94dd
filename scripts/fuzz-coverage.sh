#!/usr/bin/env bash
# Runs the fuzz targets under libFuzzer, guided by coverage: scripts/fuzz-coverage.sh SECONDS [TARGET...]
#
# Compiles the pure crates once more, with counters at every branch, in a directory of its own: neither an ordinary build
# nor RocksDB notices. The stable compiler has the pass that puts them there, and takes the option where it is allowed what
# is unstable; no sanitizer is needed, since the code holds no `unsafe`. What was found so far lies in the directory
# `fuzz-coverage` of cargo's target directory and is gone on from; inputs that reach what no committed one does are added
# to fuzz/corpus with KEEP=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:?usage: scripts/fuzz-coverage.sh SECONDS [TARGET...]}
shift
host=$(rustc -vV | sed -n 's/^host: //p')
work="${CARGO_TARGET_DIR:-$PWD/target}/fuzz-coverage"
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1)
# With a target named, build scripts and macros, which no fuzzer sees, are compiled without the counters.
RUSTC_BOOTSTRAP=1 RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR="$work" \
    cargo build --release --locked --manifest-path fuzz/coverage/Cargo.toml --target "$host"
program="$work/$host/release/quorate-fuzz-coverage"
for target in "${@:-$(ls fuzz/corpus)}"; do
    for name in $target; do
        mkdir -p "$work/corpus/$name" "$work/failures"
        echo "$name: $(find fuzz/corpus/"$name" -type f | wc -l) committed inputs, $(find "$work/corpus/$name" -type f | wc -l) found before"
        QUORATE_FUZZ_TARGET=$name "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 \
            -artifact_prefix="$work/failures/$name-" -print_final_stats=1 -verbosity=1 \
            "$work/corpus/$name" "fuzz/corpus/$name" 2>&1 | grep -E '^(#[0-9]+.*(INITED|DONE)|stat::|==|SUMMARY|thread|.*panicked)' || true
        ! compgen -G "$work/failures/$name-*" >/dev/null || { echo "$name: see $work/failures" >&2; exit 1; }
        if [ -n "${KEEP:-}" ]; then
            QUORATE_FUZZ_TARGET=$name "$program" -merge=1 -max_len="${LONGEST:-4096}" \
                "fuzz/corpus/$name" "$work/corpus/$name" 2>&1 | grep -E 'MERGE-OUTER: [0-9]+ new files' || true
        fi
    done
done
