# Which Ignition the release carries. Debian's 2.14 reads specs up to 3.3.0 and needs nothing but the package;
# PREBAKE_LAB_IGNITION=go builds 2.24.0, the version of Flatcar Stable 4593, which reads up to 3.5.0. Sourced.
# shellcheck shell=bash

IGNITION_MODULE=$LAB/../peers/ignition-lab

# ignition_binary WORK: prints the path of the binary to put into /usr.
ignition_binary() {
    case ${PREBAKE_LAB_IGNITION:-debian} in
        debian)
            mkdir -p "$1"
            unpack "$(deb ignition_)" "$1"
            echo "$1/usr/lib/dracut/modules.d/30ignition/ignition"
            ;;
        go) go_ignition ;;
        *) die "PREBAKE_LAB_IGNITION is neither debian nor go: $PREBAKE_LAB_IGNITION" ;;
    esac
}

# Built once per go.sum into the peers' cache, with cgo against the libblkid that the image carries too.
go_ignition() {
    local key built
    key=$(cat "$IGNITION_MODULE"/go.mod "$IGNITION_MODULE"/go.sum "$HERE/ignition.sh" | sha256sum | cut -c1-16)
    built=$CACHE/../peers/ignition-lab-$key/ignition
    if [ ! -x "$built" ]; then
        command -v go >/dev/null || die "PREBAKE_LAB_IGNITION=go needs Go 1.25 or newer" "or leave it unset: Debian's"
        [ -e /usr/include/blkid/blkid.h ] || die "Ignition's build needs blkid/blkid.h" "apt-get install libblkid-dev"
        say "building Ignition 2.24.0 (a minute)"
        mkdir -p "${built%/*}"
        local package=github.com/coreos/ignition/v2/internal
        (cd "$IGNITION_MODULE" && CGO_ENABLED=1 GOTOOLCHAIN=local GOFLAGS=-mod=readonly go build -trimpath \
            -ldflags "-s -w -X $package/distro.selinuxRelabel=false -X $package/version.Raw=2.24.0" \
            -o "$built.new" $package) >&2
        mv "$built.new" "$built"
    fi
    echo "$built"
}
