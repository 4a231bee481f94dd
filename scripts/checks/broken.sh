#!/usr/bin/env bash
# Does scripts/checks/deploy.sh notice? Breaks one file of deploy/ after the other in a copy, and expects it to fail each time.
# shellcheck disable=SC2016 # dollars are for sed and for the broken script
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target QUORATE_BIN=${QUORATE_BIN:-$target/release/quorate}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -a --parents Cargo.toml deploy scripts .ci "$scratch"
cd "$scratch"
count=0

scripts/checks/deploy.sh >/dev/null || { echo "broken: the files do not pass as they are" >&2; exit 1; }

# FILE, and a sed script that breaks it.
broken() {
    cp -p "$1" "$scratch/kept"
    sed -i "$2" "$1"
    if cmp -s "$1" "$scratch/kept"; then echo "broken: '$2' leaves $1 as it is" >&2; exit 1; fi
    if scripts/checks/deploy.sh >"$scratch/said" 2>&1; then
        echo "broken: $1 after '$2' passes the checks" >&2
        exit 1
    fi
    [ -s "$scratch/said" ] || { echo "broken: nothing is said about $1 after '$2'" >&2; exit 1; }
    mv "$scratch/kept" "$1"
    count=$((count + 1))
}

broken deploy/install.sh '$a echo $1'
broken deploy/systemd/quorate@.service 's/^ProtectSystem=/ProtektSystem=/'
broken deploy/systemd/quorate@.service '/^SystemCallFilter/d; /^ProtectKernel/d'
broken deploy/docker/Dockerfile '$a RUN cd /x \&\& apt-get install y'
broken deploy/docker/Dockerfile.dockerignore '/^!fuzz$/d'
broken deploy/docker/compose.yaml 's/^services:/servces:/'
broken deploy/docker/prometheus.yml 's/scrape_interval: .*/scrape_interval: five/'
broken deploy/prometheus/prometheus.yml 's/scrape_interval: .*/scrape_interval: five/'
broken deploy/grafana/quorate.json '$a }'
set=deploy/kubernetes/quorate/templates/statefulset.yaml
broken "$set" 's/apiVersion/apiVersoin/'
broken "$set" 's/replicas:/replica:/'
broken "$set" 's/{{- end }}//'
broken "$set" 's#path: /readyz#path: /ready#'
broken "$set" 's/whenScaled: Retain/whenScaled: Delete/'
broken "$set" 's/install -m 0600/install -m 0644/'
broken "$set" 's/^\( *\)install -m 0600 \(.*config.toml"\) /\1cp \2 /'
broken "$set" 's/^\( *\)exit 1$/\1exit 0/'
broken "$set" 's/if is data.CURRENT || is safety.ceiling; then/if is keys; then/'
broken "$set" 's/while wanted; do sleep 2; done/true/'
broken "$set" '/optional: true/d'
broken "$set" 's/command: \["\/bin\/sleep", "5"\]/command: ["\/bin\/sleep", "15"]/'
broken deploy/kubernetes/quorate/templates/network.yaml '/podSelector: {}/d; /from:/d'
broken deploy/kubernetes/quorate/values.yaml 's/^firstStart: false/firstStart: true/'
broken deploy/kubernetes/quorate/values.yaml 's/^startupSeconds: 300/startupSeconds: 90/'
broken deploy/kubernetes/quorate/templates/disruption.yaml 's/quorate.selector/quorate.labels/; s/maxUnavailable/minAvailable/'
broken deploy/kubernetes/quorate/templates/services.yaml '/statefulset.kubernetes.io/d'
broken deploy/kubernetes/quorate/values.yaml 's/^validators: 4/validators: four/'
echo "deploy: each of $count broken files is noticed"
