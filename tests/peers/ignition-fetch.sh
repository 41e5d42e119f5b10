#!/usr/bin/env bash
# ignition-fetch.sh IGNITION STATE KERNEL_ARGUMENTS: has Ignition fetch its config as on a machine that was booted with these
# arguments and has STATE/user.ign, if that is there, in its overlay. What came of it is STATE/config.json.
set -euo pipefail

if [ "${1-}" = --inside ]; then
    ignition=$2 state=$3
    mount --make-rprivate /
    mkdir -p "$state"/{upper/ignition,work}
    [ ! -e "$state/user.ign" ] || cp "$state/user.ign" "$state/upper/ignition/"
    mount -t overlay overlay -o "lowerdir=/usr/lib,upperdir=$state/upper,workdir=$state/work" /usr/lib
    mount --bind "$state/cmdline" /proc/cmdline
    mount -t tmpfs none /run
    exec "$ignition" --platform=metal --stage=fetch --log-to-stdout --fetch-timeout=30s --config-cache="$state/config.json"
fi

state=$(realpath "$2")
printf '%s\n' "$3" >"$state/cmdline"
private=(unshare --mount)
[ "$(id -u)" = 0 ] || private+=(--map-root-user)
exec "${private[@]}" "$(realpath "${BASH_SOURCE[0]}")" --inside "$1" "$state"
