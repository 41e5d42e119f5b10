#!/usr/bin/env bash
# packages.sh [DIST]: a .deb and a .rpm of each dist/prebake-ARCH, beside it, and SHA256SUMS anew.
#
# The same binaries give the same packages, byte by byte: every time in them is the commit's (or SOURCE_DATE_EPOCH), owners are
# root, and compression has one thread. Nothing is asked of a network, and no root is needed. A format whose tool is not there
# (dpkg-deb, rpmbuild) is left out with a word on stderr.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dist=$(cd "${1:-$here/../dist}" && pwd)
cd "$here/.."
export LC_ALL=C TZ=UTC
umask 022

# A commit's time; outside of a repository the day on which the zip format begins.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH
stamp=@$SOURCE_DATE_EPOCH

# The names of an architecture in Debian's world and in RPM's.
declare -A RPM=([amd64]=x86_64 [arm64]=aarch64)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
summary="Boot server and artifact baker for Flatcar Container Linux"

# Pages and completions are the same for all of them, and only one that runs here can print them.
run=$dist/prebake-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
[ -x "$run" ] || {
    echo "prebake: $run is not there, and the manual pages come from a prebake that runs here" >&2
    echo "  hint: packaging/dist.sh makes it" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# stage ARCH ROOT: what the package of an architecture installs.
stage() {
    local root=$2 share=$2/usr/share
    install -D -m 755 "$dist/prebake-$1" "$root/usr/bin/prebake"
    "$run" man --output "$share/man/man1"
    find "$share/man" -type f -exec gzip -9n {} +
    mkdir -p "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
    "$run" completions bash >"$share/bash-completion/completions/prebake"
    "$run" completions zsh >"$share/zsh/vendor-completions/_prebake"
    "$run" completions fish >"$share/fish/vendor_completions.d/prebake.fish"
    local unit
    for unit in templates/systemd/prebake-*.service templates/systemd/prebake-*.socket; do
        install -D -m 644 "$unit" "$root/usr/lib/systemd/system/${unit##*/}"
    done
    # There a package's program lies elsewhere than one that a person copies.
    sed -i 's|/usr/local/bin/prebake|/usr/bin/prebake|; s|Copy it to /etc/systemd/system, and$|It is in the package;|' \
        "$root"/usr/lib/systemd/system/prebake-*.service
    install -D -m 644 packaging/package/sysusers.conf "$root/usr/lib/sysusers.d/prebake.conf"
    install -D -m 644 packaging/package/copyright "$share/doc/prebake/copyright"
    install -D -m 644 README.md "$share/doc/prebake/README.md"
    gzip -9n <CHANGELOG.md >"$share/doc/prebake/NEWS.md.gz"
    mkdir -p "$root/etc/prebake"
}

# settle ROOT: every time is the same.
settle() {
    find "$1" -depth -exec touch --no-dereference --date "$stamp" {} +
}

deb() {
    local arch=$1 root=$work/deb-$1
    stage "$arch" "$root"
    mkdir "$root/DEBIAN"
    install -D -m 644 packaging/package/lintian "$root/usr/share/lintian/overrides/prebake"
    # In Debian's own form, which only says where the news are.
    printf 'prebake (%s) unstable; urgency=low\n\n  * The news are in NEWS.md.\n\n -- The prebake authors <prebake@localhost>  %s\n' \
        "$version" "$(date --date "$stamp" --rfc-email)" | gzip -9n >"$root/usr/share/doc/prebake/changelog.gz"
    local size
    size=$(find "$root" -type f -not -path '*/DEBIAN/*' -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
    sed "s|@VERSION@|$version|; s|@ARCH@|$arch|; s|@SIZE@|$size|; s|@SUMMARY@|$summary|" \
        packaging/package/control >"$root/DEBIAN/control"
    (cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\n' | sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"
    local script
    for script in postinst prerm postrm; do
        install -m 755 "packaging/package/$script" "$root/DEBIAN/$script"
    done
    settle "$root"
    dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$root" "$dist/prebake_${version}_$arch.deb" >/dev/null
}

rpm() {
    local arch=$1 root=$work/rpm-$1 build=$work/build-$1
    stage "$arch" "$root"
    # Fedora and SUSE look for completions of zsh elsewhere than Debian.
    mkdir "$root/usr/share/zsh/site-functions"
    mv "$root/usr/share/zsh/vendor-completions/_prebake" "$root/usr/share/zsh/site-functions/"
    rmdir "$root/usr/share/zsh/vendor-completions"
    install -D -m 644 "$root/usr/share/doc/prebake/copyright" "$root/usr/share/licenses/prebake/LICENSE"
    rm "$root/usr/share/doc/prebake/copyright"
    settle "$root"
    sed "s|@VERSION@|${version//-/\~}|; s|@SUMMARY@|$summary|; s|@ROOT@|$root|" packaging/package/prebake.spec >"$work/prebake.spec"
    (cd "$root" && find . -mindepth 1 \( -type f -o -path './etc/prebake' \) -printf '/%P\n' | sort |
        sed 's|^/etc/prebake$|%dir &|; s|^/usr/share/doc/.*|%doc &|; s|^/usr/share/licenses/.*|%license &|') >"$work/files"
    rpmbuild -bb --quiet --target "${RPM[$arch]}-linux" --define "_topdir $build" --define "_rpmdir $build/out" \
        --define "_builddir $work" --define "_buildhost prebake" --define "use_source_date_epoch_as_buildtime 1" \
        --define "clamp_mtime_to_source_date_epoch 1" --define "_build_id_links none" --define "__os_install_post %{nil}" \
        --define "_binary_payload w6.xzdio" --define "_source_payload w6.xzdio" --define "dist %{nil}" \
        "$work/prebake.spec"
    mv "$build"/out/*/*.rpm "$dist/"
}

made=0
rm -f "$dist"/prebake_*.deb "$dist"/prebake-*.rpm
for tool in deb:dpkg-deb rpm:rpmbuild; do
    command -v "${tool#*:}" >/dev/null || {
        echo "prebake: there is no ${tool#*:} here, so no .${tool%:*} is made" >&2
        continue
    }
    for binary in "$dist"/prebake-amd64 "$dist"/prebake-arm64; do
        [ -f "$binary" ] || continue
        "${tool%:*}" "${binary##*-}"
        made=$((made + 1))
    done
done
cd "$dist"
find . -maxdepth 1 -name 'prebake*' -type f -printf '%P\n' | sort | xargs -d '\n' sha256sum | tee SHA256SUMS
