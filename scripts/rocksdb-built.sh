#!/usr/bin/env bash
# Prints the directory of the librocksdb.a that `make build` links, so that another profile can link it as it is.
# Cargo says which: what is built already is not built again, only told.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

built=$(cargo build --release --workspace --locked --quiet --message-format=json |
    jq -r 'select(.reason == "build-script-executed" and (.package_id | contains("librocksdb-sys"))) | .out_dir' | tail -n 1)
[ -f "$built/librocksdb.a" ] || { echo "no RocksDB was compiled for the release profile: run \`make build\`" >&2; exit 1; }
printf '%s\n' "$built"
