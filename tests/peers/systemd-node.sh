#!/usr/bin/env bash
# systemd-node.sh STATE COMMAND...: runs a command on a node that has systemd 257 and calls itself Flatcar, in a mount
# namespace of its own. What the node writes is kept below STATE/files; what lies there already, it has.
set -euo pipefail

if [ "${1-}" = --inside ]; then
    root=$2 state=$3
    shift 3
    mount --make-rprivate /
    mount -t overlay overlay -o "lowerdir=$root,upperdir=$state/files,workdir=$state/work" "$state/root"
    for directory in proc sys dev; do mount --rbind "/$directory" "$state/root/$directory"; done
    mount -t tmpfs none "$state/root/run"
    exec chroot "$state/root" "$@"
fi

state=$(realpath "$1")
shift
root=$("$(dirname "${BASH_SOURCE[0]}")/systemd.sh")
mkdir -p "$state"/{files/etc/extensions,work,root}
printf 'ID=flatcar\nVERSION_ID=4593.2.5\nSYSEXT_LEVEL=1.0\n' >"$state/files/etc/os-release"
[ -s "$state/files/etc/machine-id" ] || echo 0123456789abcdef0123456789abcdef >"$state/files/etc/machine-id"
private=(unshare --mount)
[ "$(id -u)" = 0 ] || private+=(--map-root-user)
exec "${private[@]}" "$(realpath "${BASH_SOURCE[0]}")" --inside "$root" "$state" "$@"
