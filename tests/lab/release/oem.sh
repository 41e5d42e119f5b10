# oem-ID.raw: the system extension of a platform, published beside the images. prebake puts it on the OEM partition of the
# generic image; bootengine links it to /etc/extensions. Sourced.
# shellcheck shell=bash

OEM_IDS=(proxmoxve qemu)

# build_oem ID VERSION DATE WORK OUT: matches this one version only, as oem_sysext_create of flatcar/scripts has it.
build_oem() {
    local id=$1 version=$2 date=$3 work=$4 out=$5
    mkdir -p "$work"/usr/{lib/extension-release.d,share/flatcar}
    printf 'ID=flatcar\nVERSION_ID=%s\nARCHITECTURE=x86-64\n' "$version" \
        >"$work/usr/lib/extension-release.d/extension-release.oem-$id"
    echo "The tools of $id would be here." >"$work/usr/share/flatcar/oem-$id"
    set_times "$date" "$work"
    squash "$work" "$date" "$out"
}
