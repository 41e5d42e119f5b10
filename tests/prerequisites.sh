#!/usr/bin/env bash
# prerequisites.sh demo|test|bench|fuzz: checks that this machine has what a make entry needs, and installs the Debian
# packages that are missing. Nothing is installed when nothing is missing, so it needs no network then.
set -euo pipefail

# package:the file that shows it to be there (an absolute path, or a command's name)
DEMO=(
    gcc:cc
    libc6-dev:/usr/include/stdio.h
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
    grub-common:grub-mkimage
    util-linux:setpriv
)
# Tools that build the judges (the real Ignition links libblkid), and the judges of container images and boot configs.
TEST=("${DEMO[@]}" pkg-config:pkg-config libblkid-dev:/usr/include/blkid/blkid.h openssl:openssl
    erofs-utils:fsck.erofs qemu-utils:qemu-img lbzip2:lbzip2 cryptsetup-bin:veritysetup attr:getfattr lz4:lz4 zstd:zstd xz-utils:xz curl:curl git:git
    gpgv:gpgv minisign:minisign skopeo:skopeo containerd:containerd docker-registry:docker-registry
    dnsmasq-base:dnsmasq udhcpd:udhcpd systemd:systemd-sysext
    python3:python3 python3-pip:pip3 nodejs:node npm:npm
    graphviz:dot binutils:objdump sbsigntool:sbverify groff-base:groff
    ipxe:/usr/lib/ipxe/undionly.kpxe tftp-hpa:tftp isc-dhcp-client:dhclient busybox:busybox iproute2:ip
    buildah:buildah podman:podman runc:runc podman-compose:podman-compose lintian:lintian rpm:rpmbuild
    vagrant:vagrant
    tmux:tmux strace:strace procps:/usr/bin/kill
    ovmf:/usr/share/ovmf/OVMF.fd chromium:chromium systemd-boot-efi:/usr/lib/systemd/boot/efi/linuxx64.efi.stub)
# The peers of the races.
BENCH=("${TEST[@]}" aria2:aria2c time:/usr/bin/time nginx-light:nginx wrk:wrk iproute2:tc)
# libFuzzer is C++, and comes as source.
FUZZ=(gcc:cc g++:c++ libc6-dev:/usr/include/stdio.h)

PATH=$PATH:/usr/sbin:/sbin

die() {
    echo "prebake: $1" >&2
    echo "  hint: $2" >&2
    exit 1
}

is_there() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# at_least WANTED FOUND: whether a dotted version is new enough.
at_least() {
    [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# Toolchains are the user's own choice: they are asked for, never installed.
rust=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) ||
    die "there is no Rust toolchain" "install one of 1.90 or newer with rustup, then run this again"
at_least 1.90 "$rust" || die "Rust $rust is too old" "1.90 or newer is needed: rustup update"
if [ "$1" != demo ] && [ "$1" != fuzz ]; then
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 ||
            die "cargo $component is missing" "rustup component add rustfmt clippy"
    done
    PATH=$PATH:/usr/local/go/bin
    go=$(go env GOVERSION 2>/dev/null) ||
        die "there is no Go, and the judges of make test are Go programs" "install Go 1.26.6 or newer; make demo needs none"
    at_least 1.26.6 "${go#go}" || die "Go ${go#go} is too old" "1.26.6 or newer is needed for the judges of make test"
fi

case $1 in
    demo) needs=("${DEMO[@]}") ;;
    test) needs=("${TEST[@]}") ;;
    bench) needs=("${BENCH[@]}") ;;
    fuzz) needs=("${FUZZ[@]}") ;;
    *) die "unknown list: $1" "demo, test, bench or fuzz" ;;
esac
missing=()
for need in "${needs[@]}"; do
    is_there "${need#*:}" || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null ||
    die "this machine has no apt-get, and these Debian packages are missing: ${missing[*]}" \
        "Debian or Ubuntu are set up by themselves; on another system install the same tools by hand"

as_root=()
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null ||
        die "these packages are missing and this user may not install them: ${missing[*]}" \
            "run as root: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo -n)
fi

echo "prebake: installing ${missing[*]}" >&2
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}")
# The package lists of a fresh machine may be absent or old: refresh them once, then try again.
"${install[@]}" >/dev/null 2>&1 && exit 0
"${as_root[@]}" apt-get -qq update >&2 ||
    die "the package lists could not be fetched" "check the network and /etc/apt/sources.list"
"${install[@]}" >&2 || die "apt-get could not install: ${missing[*]}" "its own message is above"
