#!/bin/sh
# Installs a judge that is a program for Node: tests/peers/npm.sh NAME prints the directory that holds it, with its node_modules.
#
# tests/peers/NAME/package-lock.json pins all of it by digest. Results are kept outside the clone under the digest of the
# directory's files, so a warm call installs nothing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
peer=$here/$1
[ -f "$peer/package-lock.json" ] || { echo "no such peer: $1" >&2; exit 2; }
cache=${PREBAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prebake}/peers
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
key=$(cd "$peer" && find . -type f | LC_ALL=C sort | while read -r file; do sha256sum "$file"; done |
    sha256sum | cut -d' ' -f1)
done=$cache/$key/$1
if [ ! -d "$done" ]; then
    command -v npm >/dev/null || { echo "$1: npm is not installed" >&2; exit 3; }
    mkdir -p "${done%/*}"
    work=$(mktemp -d "${done%/*}/.tmp-XXXXXX")
    # An installation that fails, as one without a network does, leaves nothing.
    trap 'rm -rf "$work"' EXIT
    cp -R "$peer/." "$work"
    (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
    # Somebody else may have been faster; then theirs is as good.
    mv -T "$work" "$done" 2>/dev/null || rm -rf "$work"
fi
echo "$done"
