#!/usr/bin/env bash
# Builds the lab's release server tree out of Debian packages:
#
#   build.sh OUT_DIR
#     OUT_DIR/release/CHANNEL/BOARD/VERSION/…    what a release server holds, signed by the lab's key
#     OUT_DIR/harness/bootengine.cpio.gz         what the QEMU machine loads first (not part of any release)
#
# The result is kept in the cache under a key made of the packages, the builder's own files and the keys; OUT_DIR then
# becomes a symbolic link to it. With a filled cache nothing is built and no network is needed.
# PREBAKE_LAB_IGNITION=go puts Ignition 2.24.0 in place of Debian's 2.14; PREBAKE_CACHE moves the cache.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$HERE/debs.sh"
source "$HERE/ignition.sh"
source "$HERE/usr.sh"
source "$HERE/modules.sh"
source "$HERE/bootengine.sh"
source "$HERE/pxe.sh"
source "$HERE/grub.sh"
source "$HERE/disk.sh"
source "$HERE/oem.sh"
source "$HERE/sign.sh"

main() {
    [ $# = 1 ] || die "usage: build.sh OUT_DIR"
    local out=$1 key built work
    mkdir -p "$CACHE/releases"
    # One builder at a time: another one waits and then finds the release in the cache.
    exec 9>"$CACHE/lock"
    flock 9
    fetch_debs
    work=$(mktemp -d "$CACHE/.tmp-release-XXXXXX")
    # shellcheck disable=SC2064 # the directory's name as it is now
    trap "chmod -R u+w '$work'; rm -rf '$work'" EXIT
    IGNITION=$(ignition_binary "$work/ignition")
    key=$(release_key)
    built=$CACHE/releases/$key
    if [ ! -d "$built" ]; then
        build_tree "$work" "$work/out"
        mv "$work/out" "$built"
    fi
    publish "$built" "$out"
}

# release_key: what the bytes of the tree depend on.
release_key() {
    {
        cat "$RESOLVED"
        sha256sum <"$IGNITION"
        find "$HERE" "$LAB/keys" -type f ! -name '*.md' -print0 | sort -z | xargs -0 cat
    } | sha256sum | cut -c1-16
}

# publish BUILT OUT: OUT becomes a link to BUILT, in one step.
publish() {
    mkdir -p "$(dirname "$2")"
    [ -L "$2" ] || [ ! -e "$2" ] || die "$2 exists and is no link of this builder" "name another directory"
    ln -sfn "$1" "$2.new-$$"
    mv -T "$2.new-$$" "$2"
}

build_tree() {
    local work=$1 out=$2 channel board version date sdk kind quirk dir
    say "building the release server tree"
    open_keyring "$work/gnupg"
    while IFS=$'\t' read -r channel board version date sdk kind quirk; do
        dir=$out/release/$channel/$board/$version
        mkdir -p "$dir"
        if [ "$kind" = full ]; then
            full_artifacts "$work/$version" "$version" "$date" "$dir" "$out/harness"
        else
            stub_artifacts "$work/$channel-$board-$version" "$board" "$version" "$date" "$dir"
        fi
        write_version_txt "$version" "$date" "$sdk" >"$dir/version.txt"
        sign_release "$dir" "$date" "$quirk"
        set_times "$date" "$dir"
        ln -sfn "$version" "${dir%/*}/current"
        say "$channel/$board/$version ($kind, $(du -sh "$dir" | cut -f1))"
    done < <(grep -v '^#' "$RELEASES")
    close_keyring
}

full_artifacts() {
    local work=$1 version=$2 date=$3 dir=$4 harness=$5 vmlinuz id
    mkdir -p "$work/kernel" "$harness"
    unpack "$(deb linux-image-)" "$work/kernel"
    build_usr "$work/root" "$version" "$date" "$IGNITION"
    add_modules "$work/kernel" "$work/root"
    set_times "$date" "$work/root/usr"
    squash "$work/root/usr" "$date" "$work/usr.squashfs"
    build_pxe_image "$work/usr.squashfs" "$work/pxe" "$date" "$dir/flatcar_production_pxe_image.cpio.gz"
    build_bootengine "$work/bootengine" "$work/kernel" "$date" "$harness/bootengine.cpio.gz"
    vmlinuz=$(echo "$work"/kernel/boot/vmlinuz-*)
    write_kernels "$vmlinuz" "$dir"
    mkdir -p "$work/esp/EFI/boot" "$work/esp/flatcar/grub"
    ln "$vmlinuz" "$work/esp/flatcar/vmlinuz-a"
    ln "$harness/bootengine.cpio.gz" "$work/esp/flatcar/"
    : >"$work/esp/flatcar/first_boot"
    build_grub "$work/grub" "$work/esp/EFI/boot/bootx64.efi"
    build_disk full "$work" "$date" "$dir/flatcar_production_image.bin.bz2"
    for id in "${OEM_IDS[@]}"; do build_oem "$id" "$version" "$date" "$work/oem-$id" "$dir/oem-$id.raw"; done
}

stub_artifacts() {
    local work=$1 board=$2 version=$3 date=$4 dir=$5
    mkdir -p "$work/root/usr/lib" "$work/root/etc"
    write_os_release "$work/root" "$board" "$version" "$date"
    set_times "$date" "$work/root/usr"
    squash "$work/root/usr" "$date" "$work/usr.squashfs"
    build_pxe_image "$work/usr.squashfs" "$work/pxe" "$date" "$dir/flatcar_production_pxe_image.cpio.gz"
    write_stub_kernel "$board" "$work/vmlinuz"
    write_kernels "$work/vmlinuz" "$dir"
    build_disk stub "$work" "$date" "$dir/flatcar_production_image.bin.bz2"
}

# One kernel under two names, as upstream's symbolic link is served.
write_kernels() {
    install -m 644 "$1" "$2/flatcar_production_image.vmlinuz"
    ln "$2/flatcar_production_image.vmlinuz" "$2/flatcar_production_pxe.vmlinuz"
}

# version.txt of build_image in flatcar/scripts, in its order.
write_version_txt() {
    local version=$1 date=$2 sdk=$3 build branch patch
    IFS=. read -r build branch patch <<<"$version"
    cat <<END
FLATCAR_BUILD=$build
FLATCAR_BRANCH=$branch
FLATCAR_PATCH=$patch
FLATCAR_VERSION=$version
FLATCAR_VERSION_ID=$version
FLATCAR_BUILD_ID="$date-0000"
FLATCAR_SDK_VERSION=$sdk
END
}

main "$@"
