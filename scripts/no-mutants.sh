#!/usr/bin/env bash
# Shows that a binary holds none of the deliberate mistakes of the crate `mutants`: scripts/no-mutants.sh BINARY...
# The names are taken from the crate's source, and looked for in the file's bytes. A special build holds them, since it
# chooses by name; so with --special the verdict is reversed, which shows that this check can find anything at all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
special=false
[ "${1:-}" = --special ] && { special=true; shift; }
[ $# -gt 0 ] || { echo "usage: scripts/no-mutants.sh [--special] BINARY..." >&2; exit 2; }
names=$(sed -n '/^mutants! {/,/^}/s/^    \([A-Z][A-Za-z]*\),$/\1/p' mutants/src/lib.rs)
count=$(wc -w <<<"$names")
[ "$count" -ge 25 ] || { echo "no-mutants: only $count names found in mutants/src/lib.rs" >&2; exit 1; }
for binary in "$@"; do
    found=$(grep -aoFf <(printf '%s\n' "$names") "$binary" | sort -u | wc -l) || true
    if $special; then
        [ "$found" -eq "$count" ] || { echo "no-mutants: $binary holds $found of $count: this check sees nothing" >&2; exit 1; }
    elif [ "$found" -ne 0 ]; then
        echo "no-mutants: $binary holds $found of the $count mutants" >&2
        exit 1
    fi
done
printf 'no-mutants: %d names looked for in %d binaries: as it should be\n' "$count" "$#"
