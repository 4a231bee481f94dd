#!/usr/bin/env bash
# Four validators on this machine: signed transactions, a verified proof, a killed leader, and what to try next.
# Every step is checked; the first promise that does not hold ends the demonstration with status 1 and says where the
# logs are. KEEP=1 leaves the cluster running. Called by `make demo`, which builds the binary before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quorate=${QUORATE_BIN:-${CARGO_TARGET_DIR:-target}/release/quorate}
keep=${KEEP:-}
nodes=4

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' reset=$'\e[0m'
else
    bold='' dim='' green='' red='' reset=''
fi

step=0
heading() { step=$((step + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$reset"; }
ok()      { printf '   %sok%s   %s\n' "$green" "$reset" "$*"; }
note()    { printf '        %s%s%s\n' "$dim" "$*" "$reset"; }
shown()   { printf '   %s$ %s%s\n' "$dim" "$*" "$reset"; }
indent()  { sed 's/^/        /'; }

fail() {
    printf '   %sFAILED%s %s\n' "$red" "$reset" "$*" >&2
    for log in "$dir"/validator-*.log; do
        [ -s "$log" ] && { printf '   --- the end of %s\n' "$log"; tail -n 5 "$log"; } >&2
    done
    printf '   The homes and logs are kept in %s\n' "$dir" >&2
    keep_files=1
    exit 1
}

[ -x "$quorate" ] || { echo "There is no $quorate yet: run \`make demo\`, which builds it." >&2; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/quorate-demo.XXXXXX")
net=$dir/net
pids=()
keep_files=''

cleanup() {
    local status=$?
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do
        [ "$pid" = 0 ] || kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        [ "$pid" = 0 ] || wait "$pid" 2>/dev/null || true
    done
    [ -n "$keep_files" ] || rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT
trap 'printf "\n   interrupted: stopping the validators\n" >&2; exit 130' INT TERM

# --- small tools -----------------------------------------------------------------------------------------------------

now_ms() { date +%s%3N; }

# A base port from which the ports of all four are free, by the kernel's own tables.
free_base() {
    local used base i offset
    used=$(cat /proc/net/{tcp,tcp6,udp,udp6} 2>/dev/null | awk '$2 ~ /:/ { split($2, a, ":"); print a[2] }' | sort -u)
    for base in $(seq 7650 100 32000); do
        for i in $(seq 0 $((nodes - 1))); do
            for offset in 0 1 2; do
                grep -qx "$(printf '%04X' $((base + 10 * i + offset)))" <<<"$used" && continue 3
            done
        done
        echo "$base"
        return
    done
    return 1
}

api()   { echo "http://127.0.0.1:$((base + 10 * $1 + 1))"; }
admin() { echo "http://127.0.0.1:$((base + 10 * $1 + 2))"; }

start() { # validator
    "$quorate" start --home "$net/validator-$1" >>"$dir/validator-$1.log" 2>&1 &
    pids[$1]=$!
}

wait_ready() { # validator
    local deadline=$((SECONDS + 30))
    until curl -fsS -m 2 -o /dev/null "$(admin "$1")/readyz" 2>/dev/null; do
        kill -0 "${pids[$1]}" 2>/dev/null || fail "validator $1 ended by itself"
        [ $SECONDS -lt $deadline ] || fail "validator $1 is not ready after 30 s"
        sleep 0.05
    done
}

kv() { "$quorate" --profile "$net/client.toml" --key "$key" "$@"; }
# To its end, though the first line that fits is enough: curl fails if nobody takes what it still has to write.
metric() { curl -fsS -m 5 "$(admin "$1")/metrics" | awk -v name="$2" '!found && $0 ~ "^" name "($|[ {])" { print $NF; found = 1 }'; }
status() { curl -fsS -m 5 "$(api "$1")/v1/status"; }

# --- the demonstration -----------------------------------------------------------------------------------------------

heading "A chain of four validators, with keys, homes and a genesis"
base=$(free_base) || fail "no free ports between 7650 and 32000"
shown "quorate testnet --validators 4 --clients 2 --base-port $base --output $net"
"$quorate" testnet --validators $nodes --clients 2 --base-port "$base" --output "$net" >"$dir/testnet.log" 2>&1 ||
    { cat "$dir/testnet.log" >&2; fail "testnet"; }
key=$(find "$net/clients" -name '*.pem' | sort | head -n1)
ok "$(find "$net" -maxdepth 1 -name 'validator-*' | wc -l) homes, $(find "$net/clients" -name '*.pem' | wc -l) clients in $net"

heading "Start them"
shown "quorate start --home $net/validator-I"
from=$(now_ms)
for i in $(seq 0 $((nodes - 1))); do start "$i"; done
for i in $(seq 0 $((nodes - 1))); do wait_ready "$i"; done
ok "all four are ready after $(($(now_ms) - from)) ms; each listens on QUIC for its peers and HTTP for clients"

heading "Signed transactions from a client, ordered by consensus, executed by all"
for pair in "greeting hello" "answer 42" "colour green"; do
    read -r name value <<<"$pair"
    shown "quorate kv put $name $value"
    from=$(now_ms)
    kv --output json kv put "$name" "$value" >"$dir/receipt.json" || fail "kv put $name"
    jq -c . "$dir/receipt.json" | cut -c1-160 | indent
    ok "committed, executed and durable after $(($(now_ms) - from)) ms, process start included"
done
shown "quorate kv get answer"
answer=$(kv kv get answer) || fail "kv get"
[ "$answer" = 42 ] || fail "kv get answer printed '$answer', not 42"
ok "a linearizable read answers $answer"
shown "quorate kv cas answer --expect 42 --value 43"
kv kv cas answer --expect 42 --value 43 >/dev/null || fail "kv cas"
[ "$(kv kv get answer)" = 43 ] || fail "the compare-and-set did not take effect"
ok "compare-and-set"

heading "A proof that needs no trust in who hands it out"
shown "quorate kv get greeting --proof greeting.proof && quorate verify --genesis genesis.json greeting.proof"
# A state can be proved once a certified block claims it, one or two blocks later.
deadline=$((SECONDS + 30))
until kv kv get greeting --proof "$dir/greeting.proof" >/dev/null 2>"$dir/proof.log"; do
    [ $SECONDS -lt $deadline ] || { cat "$dir/proof.log" >&2; fail "no proof within 30 s"; }
    sleep 0.2
done
"$quorate" verify --genesis "$net/genesis.json" "$dir/greeting.proof" | indent || fail "the proof does not verify"
ok "verified offline, from the genesis alone ($(stat -c %s "$dir/greeting.proof") bytes)"
middle=$(($(stat -c %s "$dir/greeting.proof") / 2))
byte=$(od -An -tu1 -j$middle -N1 "$dir/greeting.proof")
printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
    dd of="$dir/greeting.proof" bs=1 seek=$middle conv=notrunc status=none
changed=0
"$quorate" verify --genesis "$net/genesis.json" "$dir/greeting.proof" >/dev/null 2>&1 || changed=$?
[ "$changed" -ne 0 ] || fail "a changed proof was accepted"
ok "with one byte changed it is refused (status $changed)"

heading "Kill the leader"
leader=$(metric 0 quorate_consensus_leader | cut -d. -f1)
[[ "$leader" =~ ^[0-3]$ ]] || leader=$(status 0 | jq -r '.leader // 0')
before=$(status $(((leader + 1) % nodes)) | jq .height)
shown "kill -9 ${pids[$leader]}    # validator $leader"
kill -9 "${pids[$leader]}"
wait "${pids[$leader]}" 2>/dev/null || true # here, so that the shell need not comment on the death
pids[leader]=0
from=$(now_ms)
kv kv put after-the-kill survived >/dev/null || fail "no commit after the leader was killed"
took=$(($(now_ms) - from))
[ "$(kv kv get after-the-kill)" = survived ] || fail "the put is not there"
ok "a put committed $took ms after the kill; three of four go on"

heading "It comes back"
start "$leader"
wait_ready "$leader"
target=$(status $(((leader + 1) % nodes)) | jq .height)
deadline=$((SECONDS + 30))
until [ "$(status "$leader" | jq .height)" -ge "$target" ]; do
    [ $SECONDS -lt $deadline ] || fail "validator $leader did not catch up"
    sleep 0.05
done
ok "validator $leader is at height $(status "$leader" | jq .height) again; the kill happened at $before"

heading "What the operator sees"
other=$(((leader + 1) % nodes)) # one that ran all the time
shown "curl $(admin $other)/metrics"
for name in quorate_consensus_round quorate_consensus_committed_height quorate_consensus_timeouts_total \
    quorate_consensus_commit_latency_seconds_count quorate_storage_sync_seconds_count; do
    value=$(metric $other "$name")
    [ -n "$value" ] || fail "there is no metric $name"
    printf '        %-48s %s\n' "$name" "$value"
done
for i in $(seq 0 $((nodes - 1))); do
    printf '        validator %d: %s\n' "$i" "$(status "$i" | jq -c '{height, executed, roots: (.roots.state // .roots | tostring | .[0:16])}')"
done

if [ -n "$keep" ]; then
    heading "Left running, since KEEP=$keep"
    cat <<TEXT | indent
alias q="$quorate --profile $net/client.toml --key $key"
q kv put name value          # a signed transaction
q kv range ''                # everything
q status                     # how the cluster is
$quorate bench --help        # load
curl $(admin 0)/readyz?verbose
kill -9 ${pids[2]}              # validator 2; a quorum goes on
$quorate start --home $net/validator-2
kill ${pids[*]} && rm -r $dir  # the end
TEXT
    keep_files=1
    trap - EXIT
    exit 0
fi

heading "Stop"
for i in $(seq 0 $((nodes - 1))); do kill -TERM "${pids[$i]}"; done
deadline=$((SECONDS + 20))
for i in $(seq 0 $((nodes - 1))); do
    while kill -0 "${pids[$i]}" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || fail "validator $i did not stop within 20 s"
        sleep 0.05
    done
    ended=0
    wait "${pids[$i]}" || ended=$?
    [ "$ended" -eq 0 ] || fail "validator $i ended with status $ended"
    pids[i]=0
done
ok "all four stopped in order, with status 0"
shown "quorate log verify --home $net/validator-0"
"$quorate" log verify --home "$net/validator-0" | indent || fail "the log does not verify"
ok "every hash, certificate and root checked again, from the genesis alone"

printf '\n%sWhat to try next%s\n' "$bold" "$reset"
cat <<TEXT | indent
make demo KEEP=1             # the same, and the cluster stays
make test                    # everything that must hold
$quorate --help
README.md, docs/ARCHITECTURE.md, docs/PROTOCOL.md
TEXT
