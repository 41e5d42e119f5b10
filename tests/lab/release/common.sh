# What the builder's steps share. Sourced, never run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
unset SOURCE_DATE_EPOCH # each release has its own date
PATH=$PATH:/usr/sbin:/sbin

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=$(dirname "$HERE")
CACHE=${PREBAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prebake}/lab

RELEASES=$HERE/releases.tsv

say() { echo "lab: $*" >&2; }

die() {
    echo "lab: $1" >&2
    [ $# -lt 2 ] || echo "  hint: $2" >&2
    exit 1
}

# pack DIR: the tree below DIR as a newc archive on stdout, in byte order, owned by root, with DIR's own times.
pack() {
    (cd "$1" && find . | sort | cpio --quiet -o -H newc -R 0:0 --reproducible)
}

# set_times DATE PATH…: gives every file below PATH the same time: midnight of the release's date, UTC.
set_times() {
    local date=$1
    shift
    find "$@" -exec touch --no-dereference --date "$date" {} +
}
