#!/usr/bin/env bash
# Installs one validator on a machine with systemd: binary, user, unit and home. Can be run again; what is there stays.
#
#   sudo deploy/install.sh --binary target/dist/quorate --name acme --home ./acme
#   sudo deploy/install.sh --binary target/dist/quorate --name acme --home ./acme --start
#
# HOME is what `quorate init` and the genesis ceremony made (or `quorate testnet`). It is moved, not copied: a home must
# never run twice. Without --start nothing is started.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail()  { printf 'install: %s\n' "$*" >&2; exit 1; }
say()   { printf 'install: %s\n' "$*"; }

binary='' name='' home='' start='' prefix=''
while [ $# -gt 0 ]; do
    case $1 in
        --binary) binary=${2:-}; shift 2 ;;
        --name)   name=${2:-};   shift 2 ;;
        --home)   home=${2:-};   shift 2 ;;
        --prefix) prefix=${2:-}; shift 2 ;; # another root, for tests: no user is made and nothing is started
        --start)  start=yes;     shift ;;
        --help|-h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
if [ -z "$binary" ] || [ -z "$name" ]; then usage >&2; exit 2; fi
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$ ]] || fail "a name is letters, digits, - and _"
[ -x "$binary" ] || fail "there is no program at $binary"
"$binary" --version >/dev/null || fail "$binary does not run on this machine (on x86-64 it needs AVX2, BMI2, FMA and PCLMULQDQ: grep flags /proc/cpuinfo)"
[ -n "$prefix" ] || [ "$(id -u)" -eq 0 ] || fail "run it as root"

# Program and unit go where the Debian package has them, so that a package that comes later takes them over. In /etc or
# /usr/local the unit would shadow the package's for ever.
if [ -z "$prefix" ] && dpkg-query -W -f '${Status}' quorate 2>/dev/null | grep -q '^install ok installed$'; then
    fail "the Debian package is installed: its files are apt's. Move the home to /var/lib/quorate/$name (docs/HOWTO.md)"
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
homes=$prefix/var/lib/quorate
target=$homes/$name

if [ -z "$prefix" ] && ! getent passwd quorate >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/quorate --no-create-home --shell /usr/sbin/nologin quorate
    say "made the user quorate"
fi
as_owner=()
[ -n "$prefix" ] || as_owner=(-o quorate -g quorate)

install -D -m 0755 "$binary" "$prefix/usr/bin/quorate.new"
mv -f "$prefix/usr/bin/quorate.new" "$prefix/usr/bin/quorate" # in one step: a validator that runs keeps its file
install -D -m 0644 "$here/systemd/quorate@.service" "$prefix/usr/lib/systemd/system/quorate@.service"
for shadow in "$prefix"/{etc,usr/local/lib}/systemd/system/quorate@.service; do
    # An earlier install.sh put it into /etc. It may be this machine's own, so it is not deleted here.
    if [ -e "$shadow" ]; then say "$shadow hides the unit just installed: delete it unless it is yours; for changes, systemctl edit quorate@"; fi
done
install -d "${as_owner[@]}" -m 0750 "$homes"
say "$("$prefix/usr/bin/quorate" --version) and its unit are installed"

if [ -n "$home" ]; then
    if [ -e "$target" ]; then
        [ "$(cd "$home" 2>/dev/null && pwd)" = "$(cd "$target" && pwd)" ] || fail "$target is there already: a home is never replaced"
    else
        if ! [ -f "$home/genesis.json" ] || ! [ -d "$home/keys" ]; then fail "$home is no home: it has no genesis.json and keys/"; fi
        mv "$home" "$target"
        say "moved $home to $target"
    fi
fi
if [ -d "$target" ]; then
    [ -n "$prefix" ] || chown -R quorate:quorate "$target"
    chmod 0700 "$target" "$target/keys"
    chmod 0600 "$target"/keys/*.pem
    "$prefix/usr/bin/quorate" config validate --home "$target" >/dev/null || fail "the settings of $target are not valid"
fi

if [ -n "$prefix" ]; then exit 0; fi
systemctl daemon-reload
if [ -n "$start" ]; then
    [ -d "$target" ] || fail "there is no home at $target: name one with --home"
    systemctl enable --now "quorate@$name.service"
    systemctl --no-pager --lines=0 status "quorate@$name.service"
else
    say "systemctl enable --now quorate@$name.service starts it"
fi
