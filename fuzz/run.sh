#!/usr/bin/env bash
# Runs fuzz targets in turn, so many seconds each: fuzz/run.sh SECONDS [TARGET...]
#
# Nothing but stable Rust and a C++ compiler is needed: what cargo-fuzz does is these flags. A target that fails stops nothing;
# at the end the inputs are named that made one fail, and the exit status is 1. What is found goes on from where the last run
# was: corpora lie in fuzz/corpus, inputs that failed in fuzz/artifacts.
set -euo pipefail
# A target directory is named from where the user is.
build=${CARGO_TARGET_DIR:+$(realpath -m "$CARGO_TARGET_DIR")}
cd "$(dirname "$0")"
build=${build:-target}
seconds=${1:?"usage: fuzz/run.sh SECONDS [TARGET...]"}
shift
host=$(rustc -vV | sed -n 's/^host: //p')

# The coverage that libFuzzer goes by, put into every crate but build scripts and macros, which --target leaves out.
flags="${RUSTFLAGS:-} -Cpasses=sancov-module"
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$flag"
done
# An overflow shall be seen.
flags+=" --cfg fuzzing -Cdebug-assertions -Coverflow-checks"
RUSTFLAGS=$flags cargo build --quiet --release --target "$host" --target-dir "$build"
program=$build/$host/release/prebake-fuzz

seeds=$(mktemp -d)
trap 'rm -rf "$seeds"' EXIT
# libFuzzer warns of sanitizers that are not there.
known=$(PREBAKE_FUZZ_SEEDS=$seeds "$program" 2>"$seeds/log") || {
    cat "$seeds/log" >&2
    exit 1
}
[ $# -gt 0 ] || mapfile -t known <<<"$known"
[ $# -gt 0 ] && known=("$@")

failed=0
printf '%-12s %12s %7s %8s  %s\n' target runs places 'peak MB' ''
for target in "${known[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    log=$seeds/$target.log
    status=0
    PREBAKE_FUZZ_TARGET=$target "$program" "corpus/$target" "$seeds/$target" -max_total_time="$seconds" -timeout=25 \
        -rss_limit_mb=3072 -malloc_limit_mb=1024 -max_len=262144 -artifact_prefix="artifacts/$target/" \
        -print_final_stats=1 >"$log" 2>&1 || status=$?
    number() { sed -n "s/.*$1 *\\([0-9][0-9]*\\).*/\\1/p" "$log" | tail -1; }
    said=$(sed -n 's/.*Test unit written to /failed: /p' "$log" | tail -1)
    if [ "$status" -ne 0 ]; then
        failed=1
        again=${said:+$'\n'"again: PREBAKE_FUZZ_TARGET=$target $(realpath "$program") $(realpath "${said#failed: }")"}
        said=${said:-failed: $(tail -1 "$log")}$again
        said+=$'\n'$(grep -m 3 -E 'panicked|ERROR: libFuzzer|^  *(left|right):' -A 1 "$log" | cut -c -300 || true)
    fi
    printf '%-12s %12s %7s %8s  %s\n' "$target" "$(number number_of_executed_units:)" "$(number 'cov:')" \
        "$(number peak_rss_mb:)" "$said"
done
exit $failed
