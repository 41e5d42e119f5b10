# The kernel modules in /usr, which a node's services load. What the boot itself needs is the bootengine's. Sourced.
# shellcheck shell=bash

# Files and directories below `kernel/`: pods' networks, verity and erofs images, a disk's OEM partition, with what they
# depend on.
NODE_MODULES=(crypto/{blake2b_generic,xor}.ko drivers/md/{dm-mod,dm-bufio,dm-verity}.ko drivers/net/{dummy,veth}.ko
    fs/{btrfs,erofs,overlayfs}
    lib net/{802,bridge,llc,netfilter,ipv4/netfilter,ipv6/netfilter})

# add_modules KERNEL_TREE ROOT: ROOT/usr holds Debian's kmod already.
add_modules() {
    local kernel=$1 root=$2 release to libraries=$2/usr/lib/x86_64-linux-gnu
    release=$(basename "$kernel"/lib/modules/*)
    to=$root/usr/lib/modules/$release
    mkdir -p "$to"
    (cd "$kernel/lib/modules/$release" && cp -a --parents "${NODE_MODULES[@]/#/kernel/}" modules.builtin \
        modules.builtin.modinfo modules.order "$to")
    # kubeadm wants to read it; Flatcar's kernel tells it in /proc/config.gz.
    cp "$kernel/boot/config-$release" "$to/config"
    # The machine that builds need not have kmod.
    "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" --argv0 depmod "$root/usr/bin/kmod" \
        -b "$root/usr" "$release"
}
