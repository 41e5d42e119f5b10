#!/bin/sh
# Builds judges: tests/peers/build.sh NAME... prints for each NAME the directory that holds its binaries.
#
# A peer is a directory here with go.mod, go.sum, its Go files and build.txt, one line per binary:
#   BINARY PACKAGE [LDFLAGS...]
# or files.txt, or both: one line per file that a required module has, a directory with all that is in it:
#   NAME MODULE PATH
# Results are kept outside the clone under the digest of those files, so a warm call builds nothing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${PREBAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prebake}/peers
# Go builds in the peer's directory, and who asks may stand elsewhere: a relative one would be another in each.
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac

for name; do
    peer=$here/$name
    [ -f "$peer/build.txt" ] || [ -f "$peer/files.txt" ] || { echo "no such peer: $name" >&2; exit 2; }
    key=$(cd "$peer" && find . -type f | LC_ALL=C sort | while read -r file; do sha256sum "$file"; done |
        sha256sum | cut -d' ' -f1)
    done=$cache/$key/$name
    if [ ! -d "$done" ]; then
        command -v go >/dev/null || { echo "$name: Go is not installed" >&2; exit 3; }
        mkdir -p "$cache/$key"
        work=$(mktemp -d "$cache/$key/.tmp-$name-XXXXXX")
        # A build that fails, as one without a network does, leaves nothing.
        trap 'rm -rf "$work"' EXIT
        # Binaries that are called as their packages and have the same flags are one build: their links then overlap. Memory
        # is there for fewer collections; without cgo they are static, and run in the lab's machines as they do here.
        build() {
            (cd "$peer" && GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 GOGC=400 \
                go build -trimpath -buildvcs=false "$@") >&2
        }
        alike='' flags=''
        [ ! -f "$peer/build.txt" ] || while read -r binary package ldflags; do
            if [ "$binary" != "${package##*/}" ]; then
                build -ldflags "$ldflags" -o "$work/$binary" "$package"
                continue
            fi
            # shellcheck disable=SC2086 # packages without blanks
            [ -z "$alike" ] || [ "$ldflags" = "$flags" ] || { build -ldflags "$flags" -o "$work/" $alike; alike=''; }
            alike="$alike $package" flags=$ldflags
        done <"$peer/build.txt"
        # shellcheck disable=SC2086
        [ -z "$alike" ] || build -ldflags "$flags" -o "$work/" $alike
        # What `go mod download` takes is held against go.sum; a module's files are read-only.
        module() { (cd "$peer" && GOTOOLCHAIN=local GOFLAGS=-mod=readonly go "$@"); }
        [ ! -f "$peer/files.txt" ] || while read -r file from path; do
            module mod download "$from" >&2
            directory=$(module list -m -f '{{.Dir}}' "$from")
            mkdir -p "$work/$(dirname "$file")"
            cp -RT --no-preserve=mode "$directory/$path" "$work/$file"
        done <"$peer/files.txt"
        # Somebody else may have been faster; then theirs is as good.
        mv -T "$work" "$done" 2>/dev/null || rm -rf "$work"
    fi
    echo "$done"
done
