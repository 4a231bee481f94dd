#!/usr/bin/env bash
# Installs what a fresh Debian or Ubuntu machine lacks for building Quorate, and checks the Rust toolchain.
# Where nothing is missing it touches neither the network nor the package database, and takes milliseconds.
#
#   scripts/setup.sh             what `make build` needs
#   scripts/setup.sh scenarios   also libfaketime, for the scenario that turns the clock back
#   scripts/setup.sh chaos       also ip, which connects the validators' network namespaces
#   scripts/setup.sh checks      also what makes a Python environment, for the checks with other programs' clients
#   scripts/setup.sh prometheus  also Debian's prometheus, which scrapes a testnet in a check
#   scripts/setup.sh deploy      also the linters of deploy/, and helm, which the Go module proxy has as source
#   scripts/setup.sh bench       also Debian's etcd, which `make bench` measures beside Quorate
#   scripts/setup.sh profile     also perf, which samples the validators
#   scripts/setup.sh explorer    also a headless Chromium, for the check of the explorer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say()  { printf '%s\n' "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# bindgen, which RocksDB's build calls, loads libclang at run time; its package may be of any LLVM release.
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
        compgen -G '/usr/lib/*/libclang*.so*' >/dev/null
}

have_libfaketime() { compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; }

helm=v3.19.0

have_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

have_chromium() {
    [ -n "${CHROMIUM:-}" ] || have chromium-headless-shell || have chromium || have chromium-browser || have google-chrome
}

# Where `go install` puts it need not be on the PATH.
have_helm() { have helm || { have go && [ -x "$(go env GOPATH)/bin/helm" ]; }; }

# What .cargo/config.toml compiles for. Without them the first program that is built would end by a signal.
if [ "$(uname -sm)" = "Linux x86_64" ] && [ -z "${RUSTFLAGS:-}" ]; then
    for flag in avx2 bmi1 bmi2 fma movbe pclmulqdq; do
        grep -qw "$flag" /proc/cpuinfo ||
            fail "this processor has no ${flag^^}, which programs are compiled for. RUSTFLAGS in place of those in .cargo/config.toml makes slower ones: RUSTFLAGS='-C target-cpu=native' make build"
    done
fi

missing=()
{ have cc && have g++ && have make; } || missing+=(build-essential)
have clang   || missing+=(clang)
have_libclang || missing+=(libclang-dev)
have curl    || missing+=(curl ca-certificates)
have git     || missing+=(git)
have jq      || missing+=(jq)
have python3 || missing+=(python3)
case "${1:-}" in
    scenarios) have_libfaketime || missing+=(libfaketime) ;;
    chaos)     have ip || missing+=(iproute2) ;;
    checks)    have_venv || missing+=(python3-venv) ;;
    prometheus) { have prometheus && have promtool; } || missing+=(prometheus) ;;
    deploy)    have_venv || missing+=(python3-venv)
               have shellcheck || missing+=(shellcheck)
               have systemd-analyze || missing+=(systemd)
               have promtool || missing+=(prometheus)
               { have_helm || have go; } || missing+=(golang-go) ;;
    bench)     have etcd || missing+=(etcd-server) ;;
    profile)   have perf || missing+=(linux-perf) ;;
    explorer)  have_venv || missing+=(python3-venv)
               have_chromium || missing+=(chromium-headless-shell fonts-dejavu-core) ;;
esac

if [ ${#missing[@]} -gt 0 ]; then
    have apt-get || fail "please install ${missing[*]} (no apt-get here to do it with)"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "please install as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq || fail "apt-get update failed; is the network up?"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        fail "apt-get could not install ${missing[*]}"
fi

if [ "${1:-}" = deploy ] && ! have_helm; then
    say "building helm $helm with Go, which takes a few minutes once"
    go install "helm.sh/helm/v3/cmd/helm@$helm" || fail "$(go version) could not build helm: it needs Go 1.24 or later (Debian 13 has it), and the network"
fi

# rustup puts its tools where a login shell finds them, which this shell need not be.
have cargo || PATH="$HOME/.cargo/bin:$PATH"
how="https://rustup.rs tells how: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
{ have cargo && have rustc; } || fail "Rust is missing. $how"
wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
found=$(rustc --version | cut -d' ' -f2 | cut -d- -f1)
oldest=$(printf '%s\n' "$wanted" "$found" | sort -V | head -n1)
[ "$oldest" = "$wanted" ] || fail "Rust $found is older than the $wanted this workspace needs: rustup update stable. $how"
