#!/bin/sh
# Fetches Mermaid as browsers load it: tests/peers/mermaid.sh prints the path of its one script.
#
# The package is pinned by the digest that its registry publishes. It is kept outside the clone under that digest, so a warm call
# fetches nothing.
set -eu

version=11.17.2
digest=57a2b70bc101744b0f1595d228c25eea9a50384371b87011afd1af1d7e21878ee501b84c443f6a7f8a042bb2e869143150b31af34feab798073bbdda0a578106
cache=${PREBAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prebake}/peers
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
done=$cache/mermaid-$digest/mermaid.min.js
if [ ! -f "$done" ]; then
    command -v npm >/dev/null || { echo "mermaid: npm is not installed" >&2; exit 3; }
    mkdir -p "${done%/*}"
    work=$(mktemp -d "${done%/*}/.tmp-XXXXXX")
    # A fetch that fails, as one without a network does, leaves nothing.
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && npm pack --silent "mermaid@$version") >&2
    echo "$digest  $work/mermaid-$version.tgz" | sha512sum --check --quiet >&2
    tar -xzf "$work/mermaid-$version.tgz" -C "$work" package/dist/mermaid.min.js
    mv "$work/package/dist/mermaid.min.js" "$done"
fi
echo "$done"
