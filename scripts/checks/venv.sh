#!/usr/bin/env bash
# Makes a Python environment of the checks in the target directory, unless it is there already, and prints its path.
# Without a network and without an environment it says so and ends with status 1.
#
#   scripts/checks/venv.sh          of the checks of API and explorer
#   scripts/checks/venv.sh deploy   of the linters of deploy/
#   scripts/checks/venv.sh book     of mdBook
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

kind=${1:+-$1}
wanted=scripts/checks/requirements$kind.txt
venv=${CARGO_TARGET_DIR:-target}/checks-venv$kind
if ! cmp -s "$wanted" "$venv/installed.txt"; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    if ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"; } >"$log" 2>&1; then
        tail -n 3 "$log" >&2
        echo "checks: cannot install what $wanted names from PyPI (is the network up?); these checks need it" >&2
        exit 1
    fi
    cp "$wanted" "$venv/installed.txt"
fi
echo "$venv"
