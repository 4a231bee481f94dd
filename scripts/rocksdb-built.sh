#!/usr/bin/env bash
# Prints the directory of the newest librocksdb.a that the release profile compiled, for a build that links it as it is.
#
#   scripts/rocksdb-built.sh TARGET_DIRECTORY
set -euo pipefail

target=${1:?the target directory}
built=$(find "$target/release/build" -path '*/librocksdb-sys-*/out/librocksdb.a' -printf '%T@ %h\n' 2>/dev/null |
    sort -n | tail -n 1 | cut -d ' ' -f 2-)
[ -n "$built" ] || { echo "there is no RocksDB in $target/release: run \`make build\`" >&2; exit 1; }
realpath "$built"
