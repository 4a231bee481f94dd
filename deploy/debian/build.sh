#!/usr/bin/env bash
# Makes the Debian package from what `make dist` made: target/debian/quorate_VERSION_ARCH.deb.
# dpkg-deb and dpkg-shlibdeps do the work (dpkg-dev, which build-essential brings). `make deb` runs it and looks into it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
binary=${QUORATE_BIN:-$target/dist/quorate}
[ -x "$binary" ] || { echo "there is no $binary: run \`make dist\`" >&2; exit 1; }
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
# The same sources give the same package.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
tree=$root/tree
install -D -m 0755 "$binary" "$tree/usr/bin/quorate"
strip --strip-unneeded "$tree/usr/bin/quorate"
install -D -m 0644 deploy/systemd/quorate@.service "$tree/lib/systemd/system/quorate@.service"
# The whole documentation, each page where it is here: they link to each other, and alerts and --help name them.
install -D -m 0644 -t "$tree/usr/share/doc/quorate" README.md CHANGELOG.md
install -D -m 0644 -t "$tree/usr/share/doc/quorate/deploy" deploy/README.md
cp -R docs "$tree/usr/share/doc/quorate/docs"
chmod -R u=rwX,go=rX "$tree/usr/share/doc/quorate/docs"
install -D -m 0644 -t "$tree/usr/share/quorate/prometheus" deploy/prometheus/*.yml
install -D -m 0644 -t "$tree/usr/share/quorate/grafana" deploy/grafana/*.json
for shell in bash zsh fish; do
    case $shell in
        bash) file=usr/share/bash-completion/completions/quorate ;;
        zsh)  file=usr/share/zsh/vendor-completions/_quorate ;;
        fish) file=usr/share/fish/vendor_completions.d/quorate.fish ;;
    esac
    mkdir -p "$tree/$(dirname "$file")"
    "$binary" completion "$shell" >"$tree/$file"
done
cat >"$tree/usr/share/doc/quorate/copyright" <<TEXT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: quorate

Files: *
Copyright: the Quorate authors
License: Apache-2.0
 On Debian systems, the text stands in /usr/share/common-licenses/Apache-2.0.
TEXT

mkdir -p "$root/debian" "$tree/DEBIAN"
printf 'Source: quorate\n\nPackage: quorate\nArchitecture: any\n' >"$root/debian/control"
libraries=$(cd "$root" && dpkg-shlibdeps -O "tree/usr/bin/quorate" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || { echo "dpkg-shlibdeps does not know the libraries of $binary" >&2; exit 1; }
cat >"$tree/DEBIAN/control" <<TEXT
Package: quorate
Version: $version
Architecture: $architecture
Maintainer: The Quorate authors <quorate@localhost>
Section: net
Priority: optional
Depends: $libraries, adduser
Installed-Size: $(du -k -s --apparent-size "$tree/usr" | cut -f1)
Description: Byzantine fault tolerant replication service
 A few validators on machines that need not trust each other agree on one order
 of signed transactions, write it to a hash-chained ledger, and execute it on
 the same state machine.
 .
 This package has the daemon and command line, a systemd unit for each home in
 /var/lib/quorate, Prometheus rules and a Grafana dashboard. It makes no keys
 and starts nothing by itself.
TEXT
for script in preinst postinst prerm postrm; do
    # What debhelper would put there: the unit is known to systemd, and nothing of it is enabled.
    sed '/^#DEBHELPER#$/c\
if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || true; fi' \
        "deploy/debian/$script" >"$tree/DEBIAN/$script"
    chmod 0755 "$tree/DEBIAN/$script"
done
(cd "$tree" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)

mkdir -p "$target/debian"
package=$target/debian/quorate_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
echo "$package"
