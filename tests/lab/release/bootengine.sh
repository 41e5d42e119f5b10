# bootengine.cpio.gz: what Flatcar carries inside its kernel and Debian's kernel does not. The harness loads it as the
# first initrd; it is no part of the release and the product knows nothing of it. Sourced.
# shellcheck shell=bash

# In the order they are loaded.
MODULES=(loop squashfs overlay virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci
    failover net_failover virtio_net virtio_blk)

# build_bootengine WORK KERNEL_TREE DATE OUT
build_bootengine() {
    local work=$1 kernel=$2 date=$3 out=$4 modules name file
    modules=$(echo "$kernel"/lib/modules/*)
    mkdir -p "$work"/{bin,dev,proc,sys,run,sysroot,sysusr/usr,usr/lib/ignition,usr/share/oem,etc,lib/modules,tmp}
    mkdir -p "$work.busybox"
    unpack "$(deb busybox-static_)" "$work.busybox"
    cp "$work.busybox/bin/busybox" "$work/bin/busybox"
    ln -s busybox "$work/bin/sh"
    for name in "${MODULES[@]}"; do
        file=$(find "$modules/kernel" -name "$name.ko" -o -name "$name.ko.xz" | head -n 1)
        case $file in
            *.ko) cp "$file" "$work/lib/modules/$name.ko" ;;
            *.ko.xz) xz -dc "$file" >"$work/lib/modules/$name.ko" ;;
            *) grep -q "/$name.ko" "$modules/modules.builtin" || die "the kernel has no module $name"
               continue ;;
        esac
        echo "$name" >>"$work/lib/modules/order"
    done
    install -m 755 "$HERE/init" "$work/init"
    install -m 755 "$HERE/udhcpc.script" "$work/bin/udhcpc.script"
    : >"$work/etc/initrd-release"
    set_times "$date" "$work"
    pack "$work" | gzip -n -6 >"$out"
}
