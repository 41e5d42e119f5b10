#!/usr/bin/env bash
# Unpacks systemd 257 as a judge: prints a directory that is a root file system with it.
#
# Flatcar Stable has systemd 257; Debian 12 has 252, and without systemd-sysupdate. Debian 13 has both, so its packages
# are taken from the mirror that this machine's own apt uses, into a private place, and never installed. Kept outside the
# clone under the digest of this file; a warm call needs no network.
set -euo pipefail
export LC_ALL=C
umask 022

SUITE=trixie
PACKAGES=(systemd systemd-container dbus-daemon coreutils bash util-linux mount)

self=$(realpath "${BASH_SOURCE[0]}")
cache=${PREBAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prebake}/peers
key=$(sha256sum <"$self" | cut -c1-16)
root=$cache/systemd-$key
if [ -d "$root" ]; then
    echo "$root"
    exit 0
fi
command -v apt-get >/dev/null || {
    echo "prebake: this machine has no apt-get, and the judge systemd comes as Debian packages" >&2
    exit 3
}

mkdir -p "$cache"
work=$(mktemp -d "$cache/.tmp-systemd-XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial "$work/root"
: >"$work/status"
# The security suites have hosts of their own; the main one is where `trixie` lies.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -v security | head -n 1)
[ -n "$mirror" ] || {
    echo "prebake: this machine's apt has no package lists" >&2
    echo "  hint: apt-get update" >&2
    exit 3
}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror $SUITE main" >"$work/sources.list"
private() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" -o Dir::Cache::Archives="$work/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User="$(id -un)" \
        -o APT::Install-Recommends=0 -o Debug::NoLocking=1 -o Dpkg::Use-Pty=0 "$@" >&2
}
echo "prebake: unpacking systemd of Debian's $SUITE" >&2
private update
private -y --download-only install "${PACKAGES[@]}"

# Debian 13 is usr-merged: packages hold /usr only, but for base-files' links.
for link in bin sbin lib; do ln -s "usr/$link" "$work/root/$link"; done
ln -s usr/lib64 "$work/root/lib64"
for deb in "$work"/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/root" --keep-directory-symlink --no-same-owner
done
mkdir -p "$work/root"/{proc,sys,dev,run,tmp,etc,var/tmp}
ldconfig -r "$work/root"
mv -T "$work/root" "$root" 2>/dev/null || true
echo "$root"
