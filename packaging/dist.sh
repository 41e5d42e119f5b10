#!/usr/bin/env bash
# dist.sh [ARCH…]: static binaries into dist/prebake-ARCH, with SHA256SUMS. ARCH is amd64 or arm64; both unless named.
#
# The same commit, Rust and zig give the same bytes in any directory, at any time: paths are mapped to what they are for,
# there is no debug information, and nothing reads the clock. Rust's own linker and its copy of musl make the program; zig
# is only the C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

# The processors' names in Rust and zig.
declare -A CPUS=([amd64]=x86_64 [arm64]=aarch64)

root=$PWD
cargo_home=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
PREBAKE_ZIG=$(packaging/zig.sh)
export PREBAKE_ZIG
# Only what is set here may have a say in the bytes.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CFLAGS CPPFLAGS LDFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
export LC_ALL=C TZ=UTC
# For `prebake version`; empty outside of a repository.
PREBAKE_COMMIT=$(git describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || true)
export PREBAKE_COMMIT

prefixes="--remap-path-prefix=$root=/prebake --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$sysroot=/rust"
c_prefixes="-ffile-prefix-map=$root=/prebake -ffile-prefix-map=$cargo_home=/cargo"

# build CPU NAME: dist/NAME for that processor.
build() {
    local target=$1-unknown-linux-musl name=${1}_unknown_linux_musl
    local upper=${name^^}
    [ -d "$sysroot/lib/rustlib/$target/lib" ] || rustup target add "$target" >&2
    env PREBAKE_ZIG_TARGET="$1-linux-musl" \
        "CC_$name=$root/packaging/zig-cc.sh" \
        "AR_$name=$root/packaging/zig-ar.sh" \
        "CFLAGS_$name=$c_prefixes" \
        "CARGO_TARGET_${upper}_LINKER=rust-lld" \
        "CARGO_TARGET_${upper}_RUSTFLAGS=-Clinker-flavor=ld.lld -Clink-self-contained=yes -Ctarget-feature=+crt-static $prefixes" \
        cargo build --locked --profile dist --target "$target" --bin prebake >&2
    install -D -m 755 "target/$target/dist/prebake" "dist/$2"
}

[ $# -gt 0 ] || set -- amd64 arm64
for arch; do
    [ -n "${CPUS[$arch]:-}" ] || {
        echo "prebake: no such architecture: $arch (${!CPUS[*]})" >&2
        exit 2
    }
done
# Nothing of an earlier run may get a checksum of this one.
rm -rf dist
for arch; do
    build "${CPUS[$arch]}" "prebake-$arch"
done
cd dist
sha256sum prebake-* | tee SHA256SUMS
