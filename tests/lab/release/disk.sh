# flatcar_production_image.bin: Flatcar's partition numbers, labels, type GUIDs and fixed PARTUUIDs (disk_layout.json of
# flatcar/scripts), sizes scaled down. The full one boots, by BIOS and UEFI; it has no dm-verity. Sourced.
#
# Bytes repeat but for the OEM partition's btrfs, whose maker takes its device UUID and times from the machine.
# shellcheck shell=bash

EFI=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
BIOS=21686148-6449-6E6F-744E-656564454649
USR=5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6
DATA=0FC63DAF-8483-4772-8E79-3D69D8477DE4
RESERVED=C95DC21A-DF0E-4340-8D7B-26CBFA9A03E0
RESIZE=3884DD41-8582-4404-B9A8-E9B84F2DF50E

# number label type full-MiB stub-MiB PARTUUID. 5 (ROOT-C) and 8 are blank in disk_layout.json. Only USR-A and USR-B
# have fixed PARTUUIDs upstream; the others are any UUIDs, fixed here so that the table repeats.
PARTITIONS=(
    "1 EFI-SYSTEM $EFI      40 2 00000000-0000-4000-8000-000000000001"
    "2 BIOS-BOOT  $BIOS      2 2 00000000-0000-4000-8000-000000000002"
    "3 USR-A      $USR      64 2 7130c94a-213a-4e5a-8e26-6cce9662f132"
    "4 USR-B      $USR       2 2 e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
    "6 OEM        $DATA    256 2 00000000-0000-4000-8000-000000000006"
    "7 OEM-CONFIG $RESERVED  2 2 00000000-0000-4000-8000-000000000007"
    "9 ROOT       $RESIZE   32 2 00000000-0000-4000-8000-000000000009"
)

# build_disk KIND WORK DATE OUT.bz2: a full disk's contents are WORK/esp, WORK/usr.squashfs and WORK/grub.
build_disk() {
    local kind=$1 work=$2 date=$3 out=$4
    local disk=$work/disk.bin row number label type full stub uuid size start=2 table=() filesystems=()
    for row in "${PARTITIONS[@]}"; do
        read -r number label type full stub uuid <<<"$row"
        [ "$kind" = full ] && size=$full || size=$stub
        table+=(-n "$number:${start}M:+${size}M" -t "$number:$type" -c "$number:$label" -u "$number:$uuid")
        if [ "$kind" = full ]; then
            fill_partition "$label" "$work" "$size" "$date"
            [ ! -e "$work/$label.fs" ] || filesystems+=("$start:$work/$label.fs")
        fi
        start=$((start + size))
    done
    truncate -s $((start + 2))M "$disk"
    # gptprio's bits of USR-A: priority 1 (48) and successful (56), as `cgpt add -S1 -P1` sets them.
    table+=(-A 3:set:48 -A 3:set:56)
    sgdisk -a 4096 --disk-guid=00000000-0000-0000-0000-000000000001 "${table[@]}" "$disk" >/dev/null
    for row in "${filesystems[@]}"; do
        dd if="${row#*:}" of="$disk" bs=1M seek="${row%%:*}" conv=notrunc,sparse status=none
    done
    [ "$kind" != full ] || install_bios_grub "$work/grub" "$disk"
    bzip2 -1 <"$disk" >"$out"
    rm "$disk" "$work"/*.fs 2>/dev/null || true
}

# fill_partition LABEL WORK MIB DATE: WORK/LABEL.fs, or nothing where Flatcar's partition holds none.
fill_partition() {
    local label=$1 work=$2 size=$3 date=$4 fs=$2/$1.fs seconds
    seconds=$(date -d "$date" +%s)
    case $label in
        EFI-SYSTEM)
            truncate -s "$size"M "$fs"
            mkfs.vfat -F 32 -n EFI-SYSTEM -i 00000001 --invariant "$fs" >/dev/null
            set_times "$date" "$work/esp"
            local -x SOURCE_DATE_EPOCH=$seconds # mtools reads it
            mcopy -s -m -i "$fs" "$work/esp/EFI" "$work/esp/flatcar" :: ;;
        USR-A) # the same bytes as in the PXE image, where Flatcar has a btrfs with dm-verity
            [ "$(stat -c %s "$work/usr.squashfs")" -le $((size << 20)) ] || die "/usr is larger than USR-A"
            ln "$work/usr.squashfs" "$fs" ;;
        OEM) # empty in the generic image; made as FormatBtrfs of flatcar/scripts does, by btrfs-progs and not by prebake
            mkdir -p "$work/oem"
            truncate -s "$size"M "$fs"
            mkfs.btrfs -q --mixed -m single -d single --label OEM --rootdir "$work/oem" "$fs" >/dev/null ;;
        ROOT)
            truncate -s "$size"M "$fs"
            E2FSPROGS_FAKE_TIME=$seconds mkfs.ext4 -q -L ROOT -U 00000000-0000-4000-8000-000000000009 \
                -E root_owner=0:0,hash_seed=00000000-0000-4000-8000-000000000009 "$fs" ;;
    esac
}
