# The two PXE artifacts. Sourced.
# shellcheck shell=bash

# build_pxe_image USR_SQUASHFS WORK DATE OUT: exactly what _write_cpio_common of flatcar/scripts makes: one gzip'd newc
# archive of `.`, an empty `./etc` and `./usr.squashfs`; no init, no modules, no padding.
build_pxe_image() {
    local squashfs=$1 work=$2 date=$3 out=$4
    mkdir -p "$work/etc"
    ln "$squashfs" "$work/usr.squashfs"
    set_times "$date" "$work"
    pack "$work" | gzip -n -1 >"$out"
}

# squash DIR DATE OUT
squash() {
    mksquashfs "$1" "$3" -all-root -comp zstd -Xcompression-level 6 -noappend -no-progress -quiet \
        -mkfs-time "$(date -d "$2" +%s)" >/dev/null
}

# write_stub_kernel BOARD OUT: the fields by which file(1) and boot loaders know a kernel, and nothing to run.
write_stub_kernel() {
    head -c 4096 /dev/zero >"$2"
    case $1 in
        amd64-usr) # the x86 boot protocol: MZ, boot flag at 0x1fe, "HdrS" at 0x202, protocol 2.15
            poke "$2" 0 'MZ'
            poke "$2" 510 '\x55\xaa\xeb\x66HdrS\x0f\x02' ;;
        arm64-usr) # the arm64 Image header: MZ, "ARM\x64" at 56
            poke "$2" 0 'MZ'
            poke "$2" 56 'ARM\x64' ;;
    esac
}

# poke FILE OFFSET BYTES, as printf writes them
poke() {
    # shellcheck disable=SC2059 # the escapes are the point
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
