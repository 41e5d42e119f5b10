#!/bin/sh
# bake.sh CLUSTER DIR: fills the mirror DIR with everything that the cluster of this description fetches, in the versions of the
# build's arguments. Every file is judged as in each build: by Flatcar's key, by digests that were published.
set -eu
channel=${FLATCAR_CHANNEL:-stable} flatcar=${FLATCAR_VERSION:-} kubernetes=${K8S_VERSION:-}
if [ -z "$flatcar" ] || [ -z "$kubernetes" ]; then
    echo "prebake: FLATCAR_VERSION and K8S_VERSION say what is baked in" >&2
    echo "  hint: --target plain makes an image without it, which fetches when it runs" >&2
    exit 2
fi
# An argument that was not given is no mirror.
for source in FLATCAR KUBERNETES GITHUB OCI WEB; do
    eval "[ -n \"\${PREBAKE_MIRROR_$source:-}\" ]" || unset "PREBAKE_MIRROR_$source"
done
work=$(mktemp -d)
sed "s/^\( *channel:\).*/\1 $channel/; s/^\( *flatcar_version:\).*/\1 $flatcar/; s/^\( *k8s_version:\).*/\1 $kubernetes/" \
    "$1" >"$work/cluster.yaml"
prebake cluster generate "$work/cluster.yaml" --output "$work/output" --store "$work/store"
prebake mirror "$work/cluster.lock" --output "$2" --store "$work/store"
# Manifests of add-ons are no inputs of the lock. They are fetched without a description, as upstream has them: that of a cluster may
# have other networks.
for directory in "$work"/addons/*/; do
    [ -f "$directory/addon.lock" ] || continue
    name=$(basename "$directory")
    urls=$(sed -n 's|^ *"https://\(.*\)",\{0,1\}$|\1|p' "$directory/addon.lock")
    # The result of a chart has none, and the image has nothing to render it with.
    [ -n "$urls" ] || continue
    mkdir -p "$work/upstream"
    (cd "$work/upstream" && prebake cluster addons vendor "$name")
    set -- "$1" "$2" "$work/upstream/addons/$name"/*.yaml
    for url in $urls; do
        case $url in
        github.com/*) file=$2/github/${url#github.com/} ;;
        *) file=$2/web/$url ;;
        esac
        mkdir -p "$(dirname "$file")"
        cp "$3" "$file"
        mirror=$2 description=$1
        shift 3
        set -- "$description" "$mirror" "$@"
    done
done
for source in flatcar kubernetes github oci web; do
    mkdir -p "$2/$source"
done
rm -rf "$work"
