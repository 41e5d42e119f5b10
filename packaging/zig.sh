#!/usr/bin/env bash
# zig.sh: prints the path of the pinned zig, whose clang and headers compile the C parts for every architecture.
#
# It comes as a Python package, by pip and whatever mirror pip is set up with, and is believed by its digest.
set -euo pipefail

version=0.17.1
sha256=ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54
platform=manylinux_2_12_x86_64

directory=${PREBAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prebake}/zig/$version
if [ ! -x "$directory/ziglang/zig" ]; then
    [ "$(uname -m)" = x86_64 ] || {
        echo "prebake: the pinned zig is a program for x86-64, this machine is $(uname -m)" >&2
        exit 1
    }
    mkdir -p "${directory%/*}"
    work=$(mktemp -d "${directory%/*}/.tmp-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --platform "$platform" \
        --dest "$work" "ziglang==$version" >&2
    wheel=$(echo "$work"/*.whl)
    echo "$sha256  $wheel" | sha256sum --check --quiet >&2 || {
        echo "prebake: what pip has brought is not the zig that is pinned in packaging/zig.sh" >&2
        exit 5
    }
    python3 -m zipfile -e "$wheel" "$work/unpacked"
    chmod +x "$work/unpacked/ziglang/zig"
    # Somebody else may have been faster; then theirs is as good.
    mv -T "$work/unpacked" "$directory" 2>/dev/null || true
fi
echo "$directory/ziglang/zig"
