#!/usr/bin/env bash
# run.sh: all tests. Those that take the machine, mostly for QEMU, are `#[ignore]`d and run one after another; all others run
# beside them, a little less urgently, since boots have time limits. `make flagship` has a test of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --no-run
# A group of its own, so that its tests end with it.
set -m
nice -n 5 cargo test --no-fail-fast &
others=$!
# Whatever ends this script ends them, too.
trap 'kill -- "-$others" 2>/dev/null || true' EXIT
fine=true
# Two threads: the next test makes its tree while a machine runs.
cargo test --test it -- --ignored --skip cluster::flagship --test-threads=2 || fine=false
wait "$others" || fine=false
trap - EXIT
$fine
