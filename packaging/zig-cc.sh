#!/bin/sh
# zig-cc.sh: clang for another machine. $PREBAKE_ZIG is the zig, $PREBAKE_ZIG_TARGET what it compiles for.
#
# The cc crate takes this for clang and names the target as Rust spells it (x86_64-unknown-linux-musl), which zig does not
# know: that argument is dropped. zig's default of trapping on undefined behaviour is meant for programs under test.
set -eu

for argument; do
    shift
    case $argument in
        --target=*) ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec "$PREBAKE_ZIG" cc -target "$PREBAKE_ZIG_TARGET" -fno-sanitize=undefined "$@"
