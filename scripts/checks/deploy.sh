#!/usr/bin/env bash
# Everything in deploy/ through the linters of its kind. What cannot be checked here is said at the end.
#
#   the shell linter            install.sh, the maintainer scripts, and the scripts of this repository
#   systemd-analyze             the unit: verify, and an exposure below a threshold
#   hadolint, the compose spec  Dockerfile and compose.yaml (no engine runs them)
#   promtool                    the Prometheus configurations
#   helm, kubernetes-validate   the chart: rendered, compared with the API's schemas, and chart.py on what must be in it
#   install.sh                  into another root, three times
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Of systemd-analyze security, in tenths: 0 is none, 100 is all.
exposure=15
quorate=${QUORATE_BIN:-${CARGO_TARGET_DIR:-target}/release/quorate}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ok() { printf 'deploy: %s\n' "$*"; }
unchecked=()

venv=$(scripts/checks/venv.sh deploy)

shellcheck deploy/install.sh deploy/debian/build.sh deploy/debian/preinst deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm scripts/*.sh scripts/checks/*.sh .ci/run
ok "shellcheck is silent"

# The unit as it would be for a validator `x` whose program is there.
sed 's#^ExecStart=/usr/bin/quorate#ExecStart=/bin/true#' deploy/systemd/quorate@.service >"$scratch/quorate@.service"
cp "$scratch/quorate@.service" "$scratch/quorate@x.service"
found=$(systemd-analyze verify --man=no "$scratch/quorate@x.service" 2>&1) || true
[ -z "$found" ] || { echo "$found" >&2; exit 1; }
systemd-analyze security --no-pager --offline=true --threshold="$exposure" "$scratch/quorate@x.service" >"$scratch/exposure" ||
    { cat "$scratch/exposure" >&2; exit 1; }
ok "systemd-analyze: $(tail -n1 "$scratch/exposure" | sed 's/[^0-9]*\([0-9.]*\).*/exposure \1/'), at most $((exposure / 10)).$((exposure % 10)) allowed"

"$venv/bin/hadolint" deploy/docker/Dockerfile
found=$("$venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/docker/compose.yaml 2>&1) || { echo "$found" >&2; exit 1; }
ok "hadolint is silent, compose.yaml keeps to the specification"
# The image is built from what .dockerignore lets through: without one crate of the workspace Cargo builds none.
members=$(sed -n '/^members = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' Cargo.toml)
[ -n "$members" ] || { echo "Cargo.toml: no members are found" >&2; exit 1; }
for folder in .cargo $members; do
    grep -qx "!$folder" deploy/docker/Dockerfile.dockerignore ||
        { echo "deploy/docker/Dockerfile.dockerignore: !$folder is missing" >&2; exit 1; }
done
ok "the image's build sees the whole workspace"
unchecked+=("no container engine built or ran the image")

for file in deploy/docker/prometheus.yml deploy/prometheus/prometheus.yml; do
    cp "$file" deploy/prometheus/alerts.yml deploy/prometheus/recording.yml "$scratch"
    promtool check config "$scratch/$(basename "$file")" >/dev/null
done
"$venv/bin/python" -c 'import json, yaml, sys
json.load(open("deploy/grafana/quorate.json"))
[yaml.safe_load(open(f"deploy/docker/grafana-{name}.yml")) for name in ("datasource", "dashboards")]'
ok "promtool accepts both configurations"

"$quorate" testnet --validators 4 --clients 1 --base-port 27400 --output "$scratch/net" >/dev/null
helm=$(command -v helm || echo "$(go env GOPATH)/bin/helm")
chart=deploy/kubernetes/quorate
# That of the schemas; a helm from `go install` takes itself for one of an older release.
kubernetes=$(sed -n 's/^kubernetes-validate==//p' scripts/checks/requirements-deploy.txt)
"$helm" lint --strict --quiet "$chart"
# The default, and each value that a template asks about, set to something else. ServiceMonitor is not of the API's own.
for values in validators=4 validators=1 validators=2,spreadOverNodes=false,storage.className=fast,service.peerType=LoadBalancer \
    validators=4,serviceMonitor.enabled=true,image.tag=x \
    validators=4,firstStart=true,startupSeconds=3601 \
    'validators=4,recover={0,3},maintenance={1}' \
    'validators=3,service.peerType=LoadBalancer,service.annotations.example\.com/pool=static,service.loadBalancerIPs={192.0.2.10,192.0.2.11}' \
    validators=4,networkPolicy.enabled=false \
    validators=4,networkPolicy.monitoring[0].namespaceSelector.matchLabels.name=monitoring; do
    "$helm" template chain "$chart" --kube-version "$kubernetes" --set "$values" >"$scratch/chart.yaml"
    "$helm" template chain "$chart" --kube-version "$kubernetes" --set "$values" --set serviceMonitor.enabled=false >"$scratch/api.yaml"
    "$venv/bin/kubernetes-validate" --strict --quiet "$scratch/api.yaml"
    count=${values#validators=}
    "$venv/bin/python" scripts/checks/chart.py --validators "${count%%,*}" --release chain --net "$scratch/net" --quorate "$quorate" \
        <"$scratch/chart.yaml"
done
# Unless told otherwise, an empty volume is a lost one.
"$helm" template chain "$chart" --kube-version "$kubernetes" --show-only templates/orders.yaml | grep -qx '  firstStart: "false"' ||
    { echo "the chart takes every empty volume for a first start" >&2; exit 1; }
for refused in validators=0 validators=nine maxUnavailable=0 firstStart=yes 'recover={4}' 'maintenance={-1}' recover=1 startupSeconds=5; do
    ! "$helm" template chain "$chart" --kube-version "$kubernetes" --set "$refused" >/dev/null 2>&1 || { echo "the chart takes $refused" >&2; exit 1; }
done
ok "the chart renders, fits the schemas of the Kubernetes API, and has what a validator set needs"
unchecked+=("no cluster ran the chart")

deploy/install.sh --binary "$quorate" --name acme --home "$scratch/net/validator-0" --prefix "$scratch/root" >/dev/null
deploy/install.sh --binary "$quorate" --name acme --prefix "$scratch/root" >/dev/null
[ ! -e "$scratch/net/validator-0" ] || { echo "install.sh copied a home instead of moving it" >&2; exit 1; }
if deploy/install.sh --binary "$quorate" --name acme --home "$scratch/net/validator-1" --prefix "$scratch/root" >/dev/null 2>&1; then
    echo "install.sh replaced a home" >&2
    exit 1
fi
# Where the package has it, so that a later package's takes its place; what would hide it is named.
unit=usr/lib/systemd/system/quorate@.service
cmp -s deploy/systemd/quorate@.service "$scratch/root/$unit" || { echo "install.sh does not put the unit into /$unit" >&2; exit 1; }
[ "$(find "$scratch/root" -name 'quorate@*' | wc -l)" = 1 ] || { echo "install.sh puts the unit into two places" >&2; exit 1; }
install -D /dev/null "$scratch/root/etc/systemd/system/quorate@.service"
deploy/install.sh --binary "$quorate" --name acme --prefix "$scratch/root" >"$scratch/said"
grep -q 'etc/systemd/system/quorate@.service hides' "$scratch/said" || { echo "install.sh says nothing of a unit that hides its own" >&2; exit 1; }
"$scratch/root/usr/bin/quorate" config validate --home "$scratch/root/var/lib/quorate/acme" >/dev/null
ok "install.sh moves a home to its place, can be run again, replaces none, and leaves no unit that hides a package's"

for gap in "${unchecked[@]}"; do ok "not checked: $gap"; done
