#!/usr/bin/env bash
# Checks that this machine has what the lab needs and installs what is missing.
# Nothing is installed when nothing is missing, so it runs without network then.
set -euo pipefail

# package:the file that shows it to be there (an absolute path, or a command's name)
NEEDS=(
    qemu-system-x86:qemu-system-x86_64
    ipxe-qemu:/usr/lib/ipxe/qemu/efi-virtio.rom
    squashfs-tools:mksquashfs
    cpio:cpio
    bzip2:bzip2
    gnupg:gpg
    gdisk:sgdisk
    btrfs-progs:mkfs.btrfs
    e2fsprogs:mkfs.ext4
    dosfstools:mkfs.vfat
    mtools:mcopy
    util-linux:setpriv
)

PATH=$PATH:/usr/sbin:/sbin

die() {
    echo "lab: $1" >&2
    echo "  hint: $2" >&2
    exit 1
}

is_there() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing=()
for need in "${NEEDS[@]}"; do
    is_there "${need#*:}" || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null ||
    die "this machine has no apt-get, and these Debian packages are missing: ${missing[*]}" \
        "the lab runs on Debian 12 or newer; on another system install the same tools by hand"

as_root=()
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null ||
        die "these packages are missing and this user may not install them: ${missing[*]}" \
            "run as root: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo -n)
fi

echo "lab: installing ${missing[*]}" >&2
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}")
# The package lists of a fresh machine may be absent or old: refresh them once, then try again.
"${install[@]}" >/dev/null 2>&1 && exit 0
"${as_root[@]}" apt-get -qq update >&2 ||
    die "the package lists could not be fetched" "check the network and /etc/apt/sources.list"
"${install[@]}" >&2 || die "apt-get could not install: ${missing[*]}" "its own message is above"
