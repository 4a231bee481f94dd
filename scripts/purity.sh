#!/usr/bin/env bash
# What docs/ARCHITECTURE.md promises about the crates, checked: which are pure, what they may stand on, and that
# dependencies point downwards only. The pure crates decide what the chain says, so nothing in them may depend on the
# machine: no clock, randomness, thread, socket, float or map of random order.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Level by level: the quorate crates that each may depend on, outside its tests.
declare -A below=(
    [mutants]=""
    [crypto]=""
    [types]="crypto mutants"
    [consensus]="crypto types mutants"
    [mempool]="crypto types"
    [execution]="crypto types mutants"
    [storage]="crypto types"
    [replica]="crypto types consensus mempool execution storage mutants"
    [client]="crypto types execution"
    [sim]="crypto types consensus mempool execution storage replica client mutants"
    [model]="crypto types consensus"
    [node]="crypto types consensus mempool execution storage replica client"
    [benches]="crypto types consensus mempool execution storage replica client"
    [fuzz]="crypto types consensus execution storage replica"
    [scenarios]="crypto types execution client"
)
pure=(mutants crypto types consensus mempool execution)
# Whoever composes the pure crates does no IO either, but may link what does.
no_runtime=("${pure[@]}" replica storage)
# Crates that bring clocks, randomness, threads or sockets.
impure='tokio|async-std|smol|quinn|quinn-proto|mio|socket2|axum|hyper|rand|rand_chacha|getrandom|fastrand|chrono|time|instant|web-time|rayon|crossbeam.*|parking_lot|tracing|log|prometheus|ahash|rocksdb'
runtime='tokio|async-std|smol|quinn|quinn-proto|mio|socket2|axum|hyper'

failures=0
complain() { printf 'purity: %s\n' "$*" >&2; failures=$((failures + 1)); }

metadata=$(cargo metadata --format-version 1 --no-deps --locked)
normal() { # the quorate crates that crate $1 depends on, without those of its tests
    jq -r --arg name "quorate-$1" '.packages[] | select(.name == $name) | .dependencies[]
        | select(.kind == null and (.name | startswith("quorate-"))) | .name | ltrimstr("quorate-")' <<<"$metadata"
}
members=$(jq -r '.packages[].name | ltrimstr("quorate-")' <<<"$metadata")

for crate in $members; do
    if [ -z "${below[$crate]+known}" ]; then
        complain "crate $crate has no place in scripts/purity.sh: say what it may depend on"
        continue
    fi
    for dependency in $(normal "$crate"); do
        [[ " ${below[$crate]} " == *" $dependency "* ]] || complain "$crate must not depend on $dependency"
    done
done

tree() { cargo tree --locked --prefix none --edges normal --package "quorate-$1" "${@:2}" | cut -d' ' -f1 | sort -u; }
# storage is judged without RocksDB, which only the node switches on.
for crate in "${no_runtime[@]}"; do
    banned=$runtime
    [[ " ${pure[*]} " == *" $crate "* ]] && banned=$impure
    found=$(tree "$crate" --no-default-features | grep -Ex "$banned" | tr '\n' ' ') || true
    [ -z "$found" ] || complain "$crate stands on what it may not: $found"
done

for crate in "${pure[@]}"; do
    grep -qx '#!\[no_std\]' "$crate/src/lib.rs" || complain "$crate/src/lib.rs does not say #![no_std]"
    # `extern crate std` would undo it, except for tests.
    if grep -rnE '^extern crate std' "$crate/src" | grep -v cfg | while IFS=: read -r file line _; do
        sed -n "$((line - 1))p" "$file" | grep -q 'cfg(test)' || { echo "$file:$line"; break; }
    done | grep .; then complain "$crate brings std back"; fi
done

# Floats, hash maps, clocks and silent conversions, as the compiler sees them. The configuration is named here and not
# found by clippy, because the node may use what the pure crates may not.
packages=()
for crate in "${pure[@]}"; do packages+=(--package "quorate-$crate"); done
CLIPPY_CONF_DIR="$PWD/scripts/pure" cargo clippy --quiet --release --locked "${packages[@]}" -- \
    -D clippy::float_arithmetic -D clippy::disallowed_types -D clippy::disallowed_methods \
    -D clippy::as_conversions || complain "clippy found what a pure crate must not contain"

[ "$failures" -eq 0 ] || exit 1
printf 'purity: %d crates, %d of them pure: clean\n' "$(wc -w <<<"$members")" "${#pure[@]}"
