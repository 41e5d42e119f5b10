# The disk's loader: Debian's GRUB with the lab's grub.cfg in its memdisk, where Flatcar's has its own. Sourced.
# shellcheck shell=bash

# As in Flatcar's core image (build_library/grub_install.sh), btrfs is there for the OEM partition's grub.cfg. Debian has
# neither of Flatcar's own `search_part_label` and `gptprio`.
GRUB_MODULES=(boot btrfs configfile fat linux memdisk normal part_gpt search search_label serial tar terminal test)
GRUB_SECTOR=512

# build_grub WORK EFI_OUT: WORK holds what install_bios_grub takes then.
build_grub() {
    local work=$1 efi=$2
    mkdir -p "$work"
    unpack "$(deb grub-pc-bin_)" "$work"
    unpack "$(deb grub-efi-amd64-bin_)" "$work"
    tar -cf "$work/memdisk.tar" --owner=0 --group=0 --numeric-owner --mode=644 --mtime=@0 \
        --transform='s|^|boot/grub/|' -C "$HERE" grub.cfg
    make_grub "$work" i386-pc "$work/core.img" biosdisk
    make_grub "$work" x86_64-efi "$efi"
}

# make_grub WORK TARGET OUT [MODULE…]
make_grub() {
    local work=$1 target=$2 out=$3
    grub-mkimage -O "$target" -d "$work/usr/lib/grub/$target" -p '(memdisk)/boot/grub' -m "$work/memdisk.tar" \
        -o "$out" "${GRUB_MODULES[@]}" "${@:4}"
}

# install_bios_grub WORK DISK, as grub-bios-setup does where it may open the disk: the first 440 bytes of the disk are
# boot.img, which loads one sector, which loads the rest of core.img out of the partition BIOS-BOOT.
install_bios_grub() {
    local work=$1 disk=$2 start
    start=$(sgdisk -i 2 "$disk" | awk '$1 == "First" {print $3}')
    cp "$work/usr/lib/grub/i386-pc/boot.img" "$work/boot.img"
    poke_sector "$work/boot.img" $((0x5c)) "$start"         # GRUB_BOOT_MACHINE_KERNEL_SECTOR
    poke_sector "$work/core.img" $((0x1f4)) $((start + 1))  # the block list that ends core.img's first sector
    dd if="$work/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$work/core.img" of="$disk" bs=$GRUB_SECTOR seek="$start" conv=notrunc status=none
}

# poke_sector FILE OFFSET NUMBER: as 64 bits, the lowest byte first.
poke_sector() {
    local number=$3 bytes='' byte
    for byte in 0 8 16 24 32 40 48 56; do bytes+=$(printf '\\x%02x' $(((number >> byte) & 255))); done
    poke "$1" "$2" "$bytes"
}
