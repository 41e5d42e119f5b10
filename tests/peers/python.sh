#!/bin/sh
# Installs a judge that is a Python program: tests/peers/python.sh NAME prints the directory to put into PYTHONPATH.
#
# tests/peers/NAME/requirements.txt pins all of it. Results are kept outside the clone under that file's digest, so a warm
# call installs nothing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
requirements=$here/$1/requirements.txt
cache=${PREBAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prebake}/peers
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
done=$cache/$(sha256sum "$requirements" | cut -d' ' -f1)/$1
if [ ! -d "$done" ]; then
    mkdir -p "${done%/*}"
    work=$(mktemp -d "${done%/*}/.tmp-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --target "$work" --requirement "$requirements" >&2
    # Somebody else may have been faster; then theirs is as good.
    mv -T "$work" "$done" 2>/dev/null || rm -rf "$work"
fi
echo "$done"
