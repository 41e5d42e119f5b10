# The Debian packages the full release is made of: resolved by apt against an empty machine, downloaded into the lab's
# cache, never installed. Sourced.
# shellcheck shell=bash

# What /usr holds, with all dependencies.
USR_PACKAGES=(systemd systemd-sysv udev dbus bash coreutils util-linux mount login passwd libsemanage2
    kmod e2fsprogs grep sed gawk findutils iproute2 iptables curl wget gpg gpg-agent lbzip2 auditd systemd-timesyncd)
# Taken for single files, without dependencies. The kernel's metapackage names the current one.
LONE_PACKAGES=(busybox-static ignition grub-pc-bin grub-efi-amd64-bin)
KERNEL_METAPACKAGE=linux-image-cloud-amd64

DEBS=$CACHE/debs # the archive: NAME_VERSION_ARCH.deb
# The newest complete set, lines of "usr|lone NAME.deb SIZE HASH"; checkouts that name other packages have sets of their own.
RESOLVED=$CACHE/resolved-$(echo "${USR_PACKAGES[@]}" "${LONE_PACKAGES[@]}" | sha256sum | cut -c1-8)

# apt with an empty dpkg status: every dependency counts as missing, whatever this machine has installed.
# ARCHIVE is where it puts packages; those that are there already it neither names nor fetches.
private_apt() {
    mkdir -p "$ARCHIVE/partial" "$CACHE/apt-lists/partial"
    : >"$CACHE/dpkg-status"
    "$1" -qq -o Dir::State::status="$CACHE/dpkg-status" -o Dir::Cache::archives="$ARCHIVE" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User="$(id -un)" \
        -o APT::Install-Recommends=0 -o Debug::NoLocking=1 -o Dpkg::Use-Pty=0 \
        ${APT_LISTS:+-o Dir::State::lists="$APT_LISTS"} "${@:2}"
}

kernel_package() {
    private_apt apt-cache depends "$KERNEL_METAPACKAGE" | awk '$1 == "Depends:" {print $2; exit}'
}

# uris KIND: apt's "'URI' FILE SIZE HASH" lines without the URI, which depends on the mirror.
uris() { awk -v kind="$1" '/^\047/ {print kind, $2, $3, $4}'; }

resolve_debs() {
    local kernel ARCHIVE=$CACHE/no-debs
    kernel=$(kernel_package) && [ -n "$kernel" ] || return 1
    private_apt apt-get -y --print-uris install "${USR_PACKAGES[@]}" | uris usr
    (cd "$ARCHIVE" && private_apt apt-get --print-uris download "${LONE_PACKAGES[@]}" "$kernel") | uris lone
}

# have_debs LIST: every package of LIST lies in the archive with its size (apt checked the hash when it came).
have_debs() {
    local file size
    while read -r _ file size _; do
        [ "$(stat -c %s "$DEBS/$file" 2>/dev/null)" = "$size" ] || return 1
    done <"$1"
}

download_debs() {
    local kernel ARCHIVE=$DEBS
    kernel=$(kernel_package) || return 1
    private_apt apt-get -y --download-only install "${USR_PACKAGES[@]}" >&2 &&
        (cd "$DEBS" && private_apt apt-get download "${LONE_PACKAGES[@]}" "$kernel" >&2)
}

# try_debs: resolve with the lists at hand and fetch what is missing; on success RESOLVED is the new set.
try_debs() {
    resolve_debs >"$RESOLVED.new" 2>/dev/null && [ -s "$RESOLVED.new" ] || return 1
    have_debs "$RESOLVED.new" || {
        say "downloading the release's Debian packages (75 MB)"
        download_debs && have_debs "$RESOLVED.new" || return 1
    }
    mv "$RESOLVED.new" "$RESOLVED"
}

# The newest set is whole and made after this file and after the machine's last `apt-get update`: nothing to resolve.
is_current() {
    [ "$RESOLVED" -nt "${BASH_SOURCE[0]}" ] && [ "$RESOLVED" -nt /var/lib/apt/lists ] && have_debs "$RESOLVED"
}

# fetch_debs: this machine's package lists first; private fresh ones when those are absent or point at packages that are
# gone; the last complete set when there is no network.
fetch_debs() {
    command -v apt-get >/dev/null ||
        die "this machine has no apt-get" "the lab's release is made of Debian packages: use Debian 12 or newer"
    mkdir -p "$CACHE"
    if is_current || try_debs; then return; fi
    say "fetching fresh package lists"
    local APT_LISTS=$CACHE/apt-lists ARCHIVE=$CACHE/no-debs
    private_apt apt-get update >&2 && try_debs && return
    if ! { [ -s "$RESOLVED" ] && have_debs "$RESOLVED"; }; then
        die "the Debian packages of the lab's release could not be fetched" \
            "the lab needs a Debian 12+ package mirror once; check the network and /etc/apt/sources.list*"
    fi
    say "no package mirror: using the packages of the last build"
}

# deb NAME-PREFIX: the path of one lone package.
deb() {
    local file
    file=$(awk -v prefix="$1" '$1 == "lone" && index($2, prefix) == 1 {print $2; exit}' "$RESOLVED")
    echo "$DEBS/$file"
}

# unpack DEB DIR: its files, without maintainer scripts, into a merged-/usr tree.
unpack() {
    dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink --no-same-owner --same-permissions -C "$2"
}
