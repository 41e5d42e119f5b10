# The full release's /usr, as Flatcar lays it out: /etc's defaults in /usr/share/flatcar/etc. Sourced.
# shellcheck shell=bash

# Needed by package scripts only, which never run here.
SKIPPED='^(perl|libperl|debconf|adduser|usrmerge|dpkg_|libfile-find|libnumber|libtext-glob|libgdbm|gcc-12-base|util-linux-extra)'
PRUNED=(usr/share/{doc,man,info,locale,bash-completion,lintian,zsh,bug,common-licenses,zoneinfo,i18n,gcc,pixmaps,perl5}
    usr/lib/x86_64-linux-gnu/{perl-base,gconv} usr/lib/udev/hwdb.d usr/lib/systemd/catalog usr/games)

# build_usr ROOT VERSION DATE IGNITION: fills ROOT/usr.
build_usr() {
    local root=$1 version=$2 date=$3 ignition=$4 dir kind file name
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    for dir in bin sbin lib lib64; do ln -s usr/$dir "$root/$dir"; done
    while read -r kind file _; do
        [[ $kind = usr && ! $file =~ $SKIPPED ]] || continue
        unpack "$DEBS/$file" "$root"
    done <"$RESOLVED"

    write_accounts "$root/etc"
    write_os_release "$root" amd64-usr "$version" "$date"
    write_units "$root/usr/lib/systemd"
    ln -sf bash "$root/usr/bin/sh"
    for name in {ip,ip6}tables{,-save,-restore}; do ln -s xtables-nft-multi "$root/usr/sbin/$name"; done
    install -m 755 "$ignition" "$root/usr/bin/ignition"
    install -m 755 "$HERE/flatcar-install-stand-in" "$root/usr/bin/flatcar-install"
    install -m 644 "$LAB/keys/lab.asc" "$root/usr/share/flatcar-install.asc"
    write_selinux_dummies "$root"
    rm -rf "${PRUNED[@]/#/$root/}" "$root"/etc/{systemd/system,machine-id,hostname,debian_version}
    printf 'This is localhost (prebake lab) \\l\n' >"$root/etc/issue"

    mkdir -p "$root/usr/share/flatcar"
    cp -a "$root/etc" "$root/usr/share/flatcar/etc"
    printf 'GROUP=stable\n' >"$root/usr/share/flatcar/update.conf"
    printf 'FLATCAR_RELEASE_VERSION=%s\nFLATCAR_RELEASE_BOARD=amd64-usr\n' "$version" >"$root/usr/share/flatcar/release"
    : >"$root/usr/.noupdate" && chmod 444 "$root/usr/.noupdate"
}

# What the maintainer scripts of base-passwd, PAM and others would have written.
write_accounts() {
    local etc=$1 name
    cat >"$etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/bash
core:x:500:500:CoreOS Admin:/home/core:/bin/bash
messagebus:x:201:201::/nonexistent:/usr/sbin/nologin
systemd-network:x:244:244::/:/usr/sbin/nologin
systemd-timesync:x:245:245::/:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
END
    cat >"$etc/group" <<'END'
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
wheel:x:10:core
kmem:x:15:
dialout:x:20:
cdrom:x:24:
tape:x:26:
sudo:x:27:core
audio:x:29:
shadow:x:42:
utmp:x:43:
video:x:44:
input:x:104:
sgx:x:105:
kvm:x:106:
render:x:107:
messagebus:x:201:
docker:x:233:core
systemd-network:x:244:
systemd-timesync:x:245:
systemd-journal:x:248:
core:x:500:
nogroup:x:65534:
END
    printf 'root:*:19000:0:99999:7:::\ncore:*:19000:0:99999:7:::\n' >"$etc/shadow"
    sed 's/:x:.*/:*::/' "$etc/group" >"$etc/gshadow"
    mkdir -p "$etc/pam.d"
    for name in auth account session password; do
        printf '%s required pam_permit.so\n' $name >"$etc/pam.d/common-$name"
    done
    cp "$etc/pam.d/common-session" "$etc/pam.d/common-session-noninteractive"
    printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n' >"$etc/nsswitch.conf"
}

write_os_release() {
    local root=$1 board=$2 version=$3 date=$4
    cat >"$root/usr/lib/os-release" <<END
NAME="Flatcar Container Linux by Kinvolk"
ID=flatcar
ID_LIKE=coreos
VERSION=$version
VERSION_ID=$version
BUILD_ID=$date-0000
SYSEXT_LEVEL=1.0
PRETTY_NAME="Flatcar Container Linux by Kinvolk $version (prebake lab)"
ANSI_COLOR="38;5;75"
FLATCAR_BOARD="$board"
CPE_NAME="cpe:2.3:o:flatcar-linux:flatcar_linux:$version:*:*:*:*:*:*:*"
END
    ln -sf ../usr/lib/os-release "$root/etc/os-release"
}

write_units() {
    local systemd=$1 system=$1/system
    mkdir -p "$systemd"/{system-preset,network} "$system"/{sysinit,multi-user}.target.wants
    # Flatcar's presets enable nothing that /usr does not link.
    rm -f "$systemd"/system-preset/*
    printf 'disable *\n' >"$systemd/system-preset/99-default.preset"
    # The names and the DHCP client id of Flatcar's yy-pxe.network and zz-default.network.
    printf '[Match]\nName=e*\nKernelCommandLine=!root\n[Network]\nDHCP=yes\nKeepConfiguration=dhcp-on-stop\n[DHCP]\nClientIdentifier=mac\n' \
        >"$systemd/network/yy-pxe.network"
    printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$systemd/network/zz-default.network"
    cat >"$system/ensure-sysext.service" <<'END'
[Unit]
Description=Start what merged system extensions bring
BindsTo=systemd-sysext.service
After=systemd-sysext.service
DefaultDependencies=no
ConditionDirectoryNotEmpty=|/etc/extensions
ConditionDirectoryNotEmpty=|/run/extensions
ConditionDirectoryNotEmpty=|/var/lib/extensions
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/systemctl daemon-reload
ExecStart=/usr/bin/systemctl restart --no-block sockets.target timers.target multi-user.target
[Install]
WantedBy=sysinit.target
END
    # The boot's end: what the harness waits for and reads, whatever the config did.
    cat >"$system/lab-booted.service" <<'END'
[Unit]
Description=Say on the console what booted
After=multi-user.target
[Service]
Type=oneshot
RemainAfterExit=yes
StandardOutput=tty
TTYPath=/dev/console
ExecStart=/bin/bash -c 'echo "LAB-BOOTED version=$(. /etc/os-release; echo $VERSION_ID) uptime=$(cut -d" " -f1 /proc/uptime)"; systemd-sysext status --no-pager; systemctl --failed --no-legend --no-pager; echo LAB-BOOTED-END'
END
    # Flatcar's makes the partition longer first, up to the end of the disk.
    cat >"$system/extend-filesystems.service" <<'END'
[Unit]
Description=Stand-in for extend-filesystems: ROOT grows to the length of its partition
ConditionKernelCommandLine=mount.usr
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/bash -c 'exec resize2fs "$(findmnt --noheadings --output SOURCE /)"'
END
    ln -sf ../systemd-sysext.service ../ensure-sysext.service "$system/sysinit.target.wants/"
    ln -sf ../systemd-networkd.service ../extend-filesystems.service ../lab-booted.service \
        "$system/multi-user.target.wants/"
    # The daemon does not make it, and the package's own is not in /usr.
    echo 'd /var/log/audit 0700 root root -' >"${systemd%/*}/tmpfiles.d/lab-audit.conf"
    # It would ask for a locale on the console and wait for ever.
    rm -f "$system"/systemd-firstboot.service "$system"/*.wants/systemd-firstboot.service
}

# Debian compiles Ignition with SELinux relabelling, Flatcar without: it fails unless these are there.
write_selinux_dummies() {
    local root=$1
    mkdir -p "$root/etc/selinux/mcs/contexts/files"
    printf 'SELINUX=permissive\nSELINUXTYPE=mcs\n' >"$root/etc/selinux/config"
    : >"$root/etc/selinux/mcs/contexts/files/file_contexts"
    printf '#!/bin/sh\nexit 0\n' >"$root/usr/sbin/setfiles"
    chmod 755 "$root/usr/sbin/setfiles"
}
