# Checksums and signatures beside every artifact, as create_digests and sign_artifacts of flatcar/scripts make them.
# Sourced.
# shellcheck shell=bash

SIGNING_SUBKEY=8F2E8753048542474D9D9200D26D2108E2F05BC2 # the lab key's current one

# open_keyring DIR: the lab's secret key in a keyring of its own.
open_keyring() {
    export GNUPGHOME=$1
    mkdir -m 700 "$GNUPGHOME"
    gpg --batch --quiet --import "$LAB/keys/lab.secret.asc" 2>/dev/null
}

close_keyring() {
    gpgconf --kill all
    unset GNUPGHOME
}

# lab_gpg DATE ARGS…: signs by the current subkey with the clock at DATE, so that signatures repeat.
lab_gpg() {
    gpg --batch --quiet --yes --faked-system-time "${1//-/}T000000!" --local-user "$SIGNING_SUBKEY!" "${@:2}" \
        2> >(grep -v 'WARNING: running with faked' >&2 || true)
}

# Six lines; no SHA-256, as upstream.
write_digests() {
    local name=${1##*/}
    (
        cd "${1%/*}" || exit
        for hash in MD5 SHA1 SHA512; do
            echo "# $hash HASH"
            "${hash,,}sum" "$name"
        done >"$name.DIGESTS"
    )
}

# sign_release DIR DATE QUIRK
sign_release() {
    local dir=$1 date=$2 quirk=$3 file
    for file in "$dir"/*; do write_digests "$file"; done
    for file in "$dir"/*.DIGESTS; do lab_gpg "$date" --clearsign --output "$file.asc" "$file"; done
    for file in "$dir"/*; do
        case $file in
            *.asc) ;;
            *) lab_gpg "$date" --detach-sign --output "$file.sig" "$file" ;;
        esac
    done
    [ "$quirk" != image-sig-only ] || rm "$dir/flatcar_production_pxe.vmlinuz.sig"
}
