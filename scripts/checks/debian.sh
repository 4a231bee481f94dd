#!/usr/bin/env bash
# Installs the Debian package in a copy of this machine (an overlay that is thrown away), runs a validator set from it as the
# user that it makes, upgrades, removes and purges it. Needs root and Debian; nothing of the machine itself changes.
# There is no systemd in the copy, so the unit itself is not started here: `make deploy-check` looks at it.
#
#   scripts/checks/debian.sh PACKAGE
set -euo pipefail
package=$(realpath "$1")
[ "$(id -u)" -eq 0 ] || { echo "debian: run it as root: it installs a package in a copy of this machine" >&2; exit 1; }

if [ -z "${INSIDE:-}" ]; then
    # Unpacked and not installed: this machine may be set up to leave documentation out.
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    dpkg-deb -x "$package" "$unpacked"
    documentation=$unpacked/usr/share/doc/quorate
    "$(dirname "$0")/links.py" "$documentation" >/dev/null
    named=$(sed -n 's#^Documentation=file://##p' "$unpacked/lib/systemd/system/quorate@.service")
    [ -f "$unpacked$named" ] || { echo "debian: the unit names $named, which is not in the package" >&2; exit 1; }
    echo "debian: the documentation is whole, and its links lead somewhere"
    rm -rf "$unpacked"
    INSIDE=yes exec unshare --mount --pid --fork --net --kill-child "$0" "$package"
fi

scratch=$(mktemp -d)
mount -t tmpfs -o size=2g tmpfs "$scratch"
mkdir "$scratch"/{upper,work,root}
if ! mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"; then
    echo "debian: this machine allows no overlay mounts, so the package cannot be tried without changing it" >&2
    exit 1
fi
root=$scratch/root
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
ip link set lo up 2>/dev/null || true
cp "$package" "$root/tmp/quorate.deb"

cat >"$root/tmp/try.sh" <<'TRY'
set -euo pipefail
ok() { printf 'debian: %s\n' "$*"; }
installed() { dpkg-query -W -f '${Status}' quorate 2>/dev/null | grep -q '^install ok installed$'; }

dpkg -i /tmp/quorate.deb >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; exit 1; }
installed
/usr/bin/quorate --version >/dev/null
[ "$(stat -c '%U:%a' /var/lib/quorate)" = quorate:750 ]
ok "installed, with a user and a place for homes"

/usr/bin/quorate testnet --validators 4 --clients 1 --output /tmp/net >/dev/null
for i in 0 1 2 3; do
    mv "/tmp/net/validator-$i" "/var/lib/quorate/v$i"
    chown -R quorate:quorate "/var/lib/quorate/v$i"
    setpriv --reuid quorate --regid quorate --clear-groups /usr/bin/quorate start --home "/var/lib/quorate/v$i" 2>"/tmp/v$i.log" &
done
client=$(ls /tmp/net/clients/*.pem)
put() { /usr/bin/quorate --profile /tmp/net/client.toml --key "$client" --timeout 30 kv put greeting "$1" >/dev/null; }
put hello || { tail -n 3 /tmp/v0.log; exit 1; }
ok "a set of four runs as quorate and executes a transaction"

# An upgrade leaves what runs alone, and homes too; it names the units that are to be restarted. There is no systemd here: one
# that only writes down what it is asked for stands in for it.
mkdir -p /run/systemd/system
cat >/usr/local/bin/systemctl <<'SYSTEMCTL'
#!/bin/sh
echo "$*" >>/tmp/systemctl.log
case "$1" in list-units) echo "quorate@v0.service loaded active running Quorate validator v0" ;; esac
SYSTEMCTL
chmod +x /usr/local/bin/systemctl
dpkg -i /tmp/quorate.deb >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; exit 1; }
put again
if grep -E 'start|stop' /tmp/systemctl.log; then echo "debian: an upgrade touched a running unit" >&2; exit 1; fi
grep -q 'quorate@v0.service runs the release before' /tmp/dpkg.log || { cat /tmp/dpkg.log; exit 1; }
rm -r /usr/local/bin/systemctl /run/systemd/system
ok "upgraded under a running set, which nobody restarted"
pkill -TERM -u quorate -x quorate || true
wait
dpkg -r quorate >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; exit 1; }
[ ! -e /usr/bin/quorate ] && [ ! -e /lib/systemd/system/quorate@.service ]
dpkg -P quorate >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; exit 1; }
[ -d /var/lib/quorate/v0/data ]
! dpkg-query -W quorate >/dev/null 2>&1
ok "removed and purged; the homes are still there"
TRY
chroot "$root" /bin/bash /tmp/try.sh
