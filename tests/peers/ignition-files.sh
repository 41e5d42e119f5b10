#!/usr/bin/env bash
# ignition-files.sh IGNITION STATE: has Ignition write the files, directories, links and units of STATE/user.ign into STATE/root, as
# at a first boot of Flatcar: an empty root file system, over which a read-only /usr is mounted. Its log goes to standard output.
set -euo pipefail

if [ "${1-}" = --inside ]; then
    ignition=$2 state=$3
    mount --make-rprivate /
    mkdir -p "$state"/{upper/ignition,work,root/usr,root/oem}
    cp "$state/user.ign" "$state/upper/ignition/"
    mount -t overlay overlay -o "lowerdir=/usr/lib,upperdir=$state/upper,workdir=$state/work" /usr/lib
    mount --bind "$state/cmdline" /proc/cmdline
    mount -t tmpfs none /run
    mount -t tmpfs none "$state/root/usr"
    mkdir -p "$state/root/usr/share" "$state/root/usr/local"
    ln -s ../../oem "$state/root/usr/share/oem"
    mount -o remount,ro "$state/root/usr"
    for stage in fetch files; do
        "$ignition" --platform=metal --stage=$stage --root="$state/root" --log-to-stdout --fetch-timeout=10s \
            --config-cache="$state/config.json"
    done
    exit
fi

state=$(realpath "$2")
echo flatcar.first_boot=1 >"$state/cmdline"
private=(unshare --mount)
[ "$(id -u)" = 0 ] || private+=(--map-root-user)
exec "${private[@]}" "$(realpath "${BASH_SOURCE[0]}")" --inside "$1" "$state"
