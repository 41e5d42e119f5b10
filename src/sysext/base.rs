//! The content of a node's `/usr` before anything is merged: the release's own files and its own extensions.
//!
//! Read from the release's PXE image or from an unpacked `/usr`. Without either, a table of well-known paths serves,
//! which says what certainly exists but not what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::extension::{self, Extension};
use crate::base::error::{Advice, Exit};
use crate::format::cpio::{self, Compression, Limits, Reader, Streamed};
use crate::format::image::Kind;

/// The PXE image's member that becomes `/usr` (`build_library/vm_image_util.sh`).
const USR: &str = "usr.squashfs";
/// Directory in `/usr` with the release's own extensions.
const STOCK_DIR: &str = "usr/share/flatcar/sysext/";
/// How much of a PXE image is looked at before [`USR`] comes; real ones have three members.
const LIMITS: Limits = Limits { members: 10_000, name: 4096 };

/// The content of `/usr`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Base {
    /// Paths without a leading slash, each with whether it is a directory.
    paths: BTreeMap<String, bool>,
    /// The release's own extensions by name, each with its files.
    pub stock: BTreeMap<String, BTreeSet<String>>,
    /// Whether the paths are complete, so that any other path does not exist.
    pub complete: bool,
}

/// Reasons why the base cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {subject}")]
    Read {
        /// Path of the file.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
    /// The image is no archive that can be read to its `/usr`.
    #[error(transparent)]
    Archive(#[from] cpio::Error),
    /// The file contains no `/usr`.
    #[error("{subject} has no readable {USR}")]
    NoUsr {
        /// Path of the file.
        subject: String,
    },
    /// The image of `/usr` cannot be read.
    #[error(transparent)]
    Usr(#[from] extension::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Usr(error) => error.exit(),
            Error::Archive(error) => error.exit(),
            Error::NoUsr { .. } => Exit::Config,
            Error::Read { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Usr(error) => error.hint(),
            Error::Archive(error) => error.hint(),
            _ => Some("name a release's flatcar_production_pxe_image.cpio.gz, its usr.squashfs, or a folder with usr/".into()),
        }
    }
}

/// Programs that every Flatcar release has in `/usr/bin` (`coreos-base/coreos`, coreutils, systemd, util-linux).
const PROGRAMS: &str = "[ arping awk base32 base64 basename bash blkid bootctl bridge bunzip2 bzip2 cat chcon chgrp chmod \
chown chroot cmp comm conntrack cp crictl csplit curl cut date dd df diff dir dirname dmesg du ebtables echo egrep env ethtool \
expand expr factor false fgrep find findmnt flatcar-install flock fmt fold fuser getent gpg grep groups gunzip gzip head \
hostid hostname hostnamectl id insmod install ip ip6tables ip6tables-restore iptables iptables-restore iptables-save \
ipset ipvsadm iscsiadm iscsid iscsistart jq journalctl join kill kmod last less ln locksmithctl logger login loginctl losetup \
ls lsblk lsmod lsof md5sum mkdir mkfifo mkfs.ext4 mknod mktemp modinfo modprobe more mount mountpoint mv nc ncat \
networkctl nft nice nohup nproc nsenter numfmt od openssl paste pathchk pgrep pidof ping pkill pr printenv printf ps ptx pwd \
readlink realpath resolvectl rm rmdir rmmod rsync runcon sed seq setpriv setsid sh sha1sum sha256sum sha512sum shred \
shuf sleep socat sort split ss ssh sshd ssh-keygen stat stdbuf strace stty su sudo sum sync sysctl systemctl systemd-analyze \
systemd-cat systemd-detect-virt systemd-notify systemd-run systemd-sysext systemd-sysusers systemd-tmpfiles tac tail tar \
tc tcpdump tee test timedatectl timeout toolbox touch tr true truncate tsort tty udevadm umount uname unexpand uniq \
unlink unshare update-ca-certificates update_engine_client useradd usermod uptime vdir vim wc wget wg wg-quick who \
whoami xargs xfs_growfs xz yes zstd";

/// Units of every release that extensions rely on.
const UNITS: &str = "basic.target coreos-metadata.service ensure-sysext.service local-fs.target multi-user.target \
network-online.target network.target remote-fs.target sockets.target sshd.socket sysinit.target systemd-modules-load.service \
systemd-networkd.service systemd-resolved.service systemd-sysctl.service systemd-sysext.service systemd-sysusers.service \
systemd-timesyncd.service systemd-tmpfiles-setup.service systemd-udevd.service timers.target update-engine.service";

/// Directories that are links, or that must remain directories.
const DIRECTORIES: &str =
    "usr usr/bin usr/lib usr/lib64 usr/lib/systemd usr/lib/systemd/system usr/libexec usr/local usr/share";

/// The extensions of every release since 3794, each with its files (`coreos/sysext/{containerd,docker}`,
/// `build_library/sysext_prod_builder`).
const STOCK: [(&str, &[&str]); 2] = [
    (
        "containerd-flatcar",
        &[
            "usr/bin/containerd",
            "usr/bin/containerd-shim-runc-v2",
            "usr/bin/ctr",
            "usr/bin/runc",
            "usr/lib/systemd/system/containerd.service",
            "usr/lib/systemd/system/multi-user.target.d/10-containerd-service.conf",
            "usr/share/containerd/config.toml",
            "usr/share/containerd/config-cgroupfs.toml",
        ],
    ),
    (
        "docker-flatcar",
        &[
            "usr/bin/docker",
            "usr/bin/docker-init",
            "usr/bin/docker-proxy",
            "usr/bin/dockerd",
            "usr/lib/systemd/system/docker.service",
            "usr/lib/systemd/system/docker.socket",
            "usr/lib/systemd/system/sockets.target.d/10-docker-socket.conf",
            "usr/libexec/docker/cli-plugins/docker-buildx",
        ],
    ),
];

impl Base {
    /// The paths that are known without any image of the release.
    pub fn well_known() -> Self {
        let mut base = Base::default();
        base.paths.extend(PROGRAMS.split_whitespace().map(|name| (format!("usr/bin/{name}"), false)));
        let unit = |name| (format!("usr/lib/systemd/system/{name}"), false);
        base.paths.extend(UNITS.split_whitespace().map(unit));
        base.paths.extend(DIRECTORIES.split_whitespace().map(|path| (path.to_owned(), true)));
        base.add_known_stock();
        base
    }

    /// Reads what a release has in `/usr`: from its PXE image (cpio, also compressed, with `usr.squashfs` in it), from
    /// that image of `/usr` alone, or from a directory with `usr/` in it. `spool` holds what is unpacked meanwhile.
    pub fn open(path: &Path, spool: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Base::of_usr(&Extension::open(path)?, spool);
        }
        let subject = path.display().to_string();
        let read = |source| Error::Read { subject: subject.clone(), source };
        let mut file = BufReader::new(File::open(path).map_err(read)?);
        let start = file.fill_buf().map_err(read)?.to_vec();
        let archive: Box<dyn Read> = match Compression::of(&start) {
            _ if start.starts_with(cpio::MAGICS[0]) => Box::new(file),
            Some(compression) => match compression.decoder(&mut file).map_err(read)? {
                Some(decoder) => decoder,
                None => return Err(Error::NoUsr { subject }),
            },
            None => return Base::of_usr(&Extension::open(path)?, spool),
        };
        let usr = unpack_usr(&subject, archive, spool)?;
        let usr = usr.ok_or(Error::NoUsr { subject })?;
        Base::of_usr(&Extension::open(usr.path())?, spool)
    }

    fn of_usr(usr: &Extension, spool: &Path) -> Result<Self, Error> {
        if usr.fault.is_some() {
            return Err(Error::NoUsr { subject: usr.subject.clone() });
        }
        let prefix = if usr.entries.contains_key("usr") { "" } else { "usr/" };
        let mut base = Base { complete: true, ..Base::default() };
        let mut images = Vec::new();
        for (path, seen) in &usr.entries {
            let inside = format!("{prefix}{path}");
            if let Some(name) = inside.strip_prefix(STOCK_DIR).and_then(|file| file.strip_suffix(".raw")) {
                images.push((name.to_owned(), path));
            }
            base.paths.insert(inside, seen.kind == Kind::Dir);
        }
        for (name, path) in images {
            let read = |source| Error::Read { subject: format!("{}: {path}", usr.subject), source };
            let mut image = NamedTempFile::new_in(spool).map_err(read)?;
            image.write_all(&usr.read(path)?).map_err(read)?;
            let extension = Extension::open(image.path())?;
            let files = extension.entries.iter().filter(|(_, seen)| seen.kind != Kind::Dir);
            base.stock.insert(name, files.map(|(path, _)| path.clone()).collect());
        }
        base.add_known_stock();
        Ok(base)
    }

    /// Adds the known files of extensions that the image lacks or that have an unreadable form.
    fn add_known_stock(&mut self) {
        for (name, files) in STOCK {
            let known = self.stock.entry(name.to_owned()).or_default();
            if known.is_empty() {
                known.extend(files.iter().map(|path| (*path).to_owned()));
            }
        }
    }

    /// Whether the release has a path, possibly in one of its own extensions.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.paths.contains_key(path) || self.stock.values().any(|files| files.contains(path))
    }

    /// Whether a path of the release's own `/usr` is a directory; `None` if the path does not exist.
    pub(crate) fn is_dir(&self, path: &str) -> Option<bool> {
        self.paths.get(path).copied()
    }
}

/// Extracts the image of `/usr` from a PXE image into a file of its own.
fn unpack_usr(subject: &str, archive: impl Read, spool: &Path) -> Result<Option<NamedTempFile>, Error> {
    let mut archive = Reader::new(subject, Streamed(archive), LIMITS);
    while let Some(member) = archive.next_member()? {
        if member.path.trim_start_matches("./") == USR {
            let read = |source| Error::Read { subject: format!("{subject}: {USR}"), source };
            let mut file = NamedTempFile::new_in(spool).map_err(read)?;
            io::copy(&mut archive.body(), &mut file).map_err(read)?;
            return Ok(Some(file));
        }
    }
    Ok(None)
}
