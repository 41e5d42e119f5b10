# bootengine.cpio.gz: what Flatcar carries inside its kernel and Debian's kernel does not. The harness loads it as the
# first initrd, the disk's GRUB as the only one; it is no part of the release and the product knows nothing of it. Sourced.
# shellcheck shell=bash

# In the order they are loaded: on every boot, and on a boot from the disk.
MODULES=(loop squashfs overlay virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci
    failover net_failover virtio_net virtio_blk)
DISK_MODULES=(nls_cp437 nls_ascii fat vfat libcrc32c blake2b_generic raid6_pq xor zstd_compress btrfs qemu_fw_cfg)

# build_bootengine WORK KERNEL_TREE DATE OUT
build_bootengine() {
    local work=$1 kernel=$2 date=$3 out=$4
    mkdir -p "$work"/{bin,dev,proc,sys,run,sysroot,sysusr/usr,usr/lib/ignition,usr/share/oem,etc,lib/modules,tmp}
    mkdir -p "$work.busybox"
    unpack "$(deb busybox-static_)" "$work.busybox"
    cp "$work.busybox/bin/busybox" "$work/bin/busybox"
    ln -s busybox "$work/bin/sh"
    copy_modules "$kernel" "$work/lib/modules" order "${MODULES[@]}"
    copy_modules "$kernel" "$work/lib/modules" order.disk "${DISK_MODULES[@]}"
    install -m 755 "$HERE/init" "$work/init"
    install -m 755 "$HERE/udhcpc.script" "$work/bin/udhcpc.script"
    : >"$work/etc/initrd-release"
    set_times "$date" "$work"
    pack "$work" | gzip -n -6 >"$out"
}

# copy_modules KERNEL_TREE DIR LIST NAME…: the modules, and LIST with their names; what the kernel has built in is left out.
copy_modules() {
    local modules to=$2 list=$3 name file
    modules=$(echo "$1"/lib/modules/*)
    for name in "${@:4}"; do
        file=$(find "$modules/kernel" -name "$name.ko" -o -name "$name.ko.xz" | head -n 1)
        case $file in
            *.ko) cp "$file" "$to/$name.ko" ;;
            *.ko.xz) xz -dc "$file" >"$to/$name.ko" ;;
            *) grep -q "/$name.ko" "$modules/modules.builtin" || die "the kernel has no module $name"
               continue ;;
        esac
        echo "$name" >>"$to/$list"
    done
}
