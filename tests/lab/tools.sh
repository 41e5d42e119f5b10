#!/usr/bin/env bash
# Programs out of Debian packages that are never installed (their scripts would start services):
#
#   tools.sh PACKAGE…    prints for each PACKAGE the directory that it is unpacked in
#
# Packages come from the machine's own package lists; without a network the last unpacked ones serve.
# shellcheck source-path=SCRIPTDIR source-path=SCRIPTDIR/release
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/release/common.sh"
source "$HERE/debs.sh"

TOOLS=$CACHE/tools

# deb_of PACKAGE: the file name of the package's newest version.
deb_of() {
    local ARCHIVE=$CACHE/no-debs
    mkdir -p "$ARCHIVE"
    (cd "$ARCHIVE" && private_apt apt-get --print-uris download "$1" 2>/dev/null) | awk '/^\047/ {print $2}'
}

# unpack_tool PACKAGE FILE: unless it is there.
unpack_tool() {
    local ARCHIVE=$DEBS
    [ ! -d "$TOOLS/$2" ] || return 0
    mkdir -p "$DEBS" "$TOOLS"
    (cd "$DEBS" && private_apt apt-get download "$1" >&2) || return 1
    rm -rf "$TOOLS/.new"
    mkdir "$TOOLS/.new"
    unpack "$DEBS/$2" "$TOOLS/.new"
    mv -T "$TOOLS/.new" "$TOOLS/$2"
}

# tool PACKAGE: the directory it is in, after this machine's package lists, fresh ones, or what is there.
tool() {
    local package=$1 file
    file=$(deb_of "$package")
    if [ -z "$file" ] || ! unpack_tool "$package" "$file"; then
        local APT_LISTS=$CACHE/apt-lists
        ARCHIVE=$CACHE/no-debs private_apt apt-get update >&2 || true
        file=$(deb_of "$package")
        if [ -z "$file" ] || ! unpack_tool "$package" "$file"; then
            file=$(cd "$TOOLS" 2>/dev/null && printf '%s\n' "${package}"_*.deb | sort -V | tail -n 1)
            [ -d "$TOOLS/$file" ] || die "the Debian package $package could not be fetched" \
                "the lab needs a Debian 12+ package mirror once; check the network and /etc/apt/sources.list*"
        fi
    fi
    echo "$TOOLS/$file"
}

mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock 9
for package; do tool "$package"; done
