//! The files that TFTP offers: iPXE for firmware, the script that it runs, and the published files that loaders need.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::serve::answer::Body;
use crate::serve::files::proofs::{Proofs, Verdict};
use crate::serve::files::segments::{self, Promised};
use crate::serve::lan::netboot::Http;
use crate::serve::lan::tftp::name::Name;
use crate::serve::loaders::Loaders;
use crate::serve::notice::{Notice, Notices};
use crate::serve::site::{Asset, Site};
use crate::tree::beneath::{Refused, Root};
use crate::tree::manifest::Role;
use crate::tree::names::{AUTOEXEC, BOOT, FIRST_SCRIPT, below, ipxe_chain};

/// The script that iPXE runs by itself, and the one for those who name it.
const SCRIPTS: [&str; 2] = [AUTOEXEC, FIRST_SCRIPT];

/// The roles of published files that loaders load. Configs and images are not among them.
const ROLES: [Role; 6] =
    [Role::Boot, Role::Kernel, Role::BaseInitrd, Role::Overlay, Role::Initrd, Role::EarlyInitrd];

/// All files that are offered.
pub(crate) struct Files {
    /// iPXE.
    pub loaders: Loaders,
    /// The address of our HTTP server, if it is not the one on which the client reached us.
    pub advertise: Option<Ipv4Addr>,
    /// Scheme and port of that server.
    pub http: Http,
    /// Returns the current tree.
    pub site: Arc<dyn Fn() -> Arc<Site> + Send + Sync>,
    /// Which of its files have been verified. `None` if files are trusted.
    pub proofs: Option<Arc<Proofs>>,
}

/// An opened file.
#[derive(Debug)]
pub(crate) enum Content {
    /// In memory.
    Bytes(Bytes),
    /// On disk.
    File(Promised),
}

impl Files {
    /// Opens the file that a name means, for a client that reached us at address `here`: the first existing one of the
    /// name's meanings, otherwise the one file whose name differs in case only. `None` if there is no such file.
    pub(crate) fn open(&self, name: &Name, here: IpAddr) -> io::Result<Option<Content>> {
        let meanings = name.meanings();
        let site = (self.site)();
        for name in &meanings {
            if let Some(content) = self.open_exactly(&site, name, here)? {
                return Ok(Some(content));
            }
        }
        for name in &meanings {
            if let Some(known) = self.in_any_case(&site, name) {
                return self.open_exactly(&site, &known, here);
            }
        }
        Ok(None)
    }

    fn open_exactly(&self, site: &Site, name: &str, here: IpAddr) -> io::Result<Option<Content>> {
        if let Some(loader) = self.loaders.get(name) {
            return Ok(Some(Content::Bytes(loader)));
        }
        if SCRIPTS.contains(&name) {
            let address = self.advertise.map_or(here, IpAddr::V4);
            let url = format!("{}/{FIRST_SCRIPT}", self.http.at(address));
            return Ok(Some(Content::Bytes(ipxe_chain(&url).into())));
        }
        published(site, name)
    }

    /// The known name that differs from this one in case only, unless there are several.
    fn in_any_case(&self, site: &Site, name: &str) -> Option<String> {
        let files = site.manifest.files.iter().filter(|(_, file)| ROLES.contains(&file.role));
        let ours = self.loaders.names().chain(SCRIPTS).map(|name| -> &str { name });
        let is_meant = |known: &&str| {
            let short = below(known, BOOT).unwrap_or(known);
            known.eq_ignore_ascii_case(name) || short.eq_ignore_ascii_case(name)
        };
        let mut known = ours.chain(files.map(|(path, _)| path.as_str())).filter(is_meant);
        let first = known.next()?;
        known.all(|other| other == first).then(|| first.to_owned())
    }
}

impl Files {
    /// Checks an opened file against the manifest, if verification is on, and reports a corrupt one.
    pub(crate) async fn prove(&self, content: &Content, notices: &Notices) -> io::Result<()> {
        let (Some(proofs), Content::File(promised)) = (&self.proofs, content) else { return Ok(()) };
        match proofs.check(promised).await? {
            Verdict::Intact => Ok(()),
            Verdict::Corrupt { first } => {
                if first {
                    notices(&Notice::Corrupt(&promised.path));
                }
                Err(io::Error::other("its bytes differ from the published ones"))
            }
        }
    }
}

/// A file of the tree, if loaders load such files. Names may leave out the folder of loaders' own.
fn published(site: &Site, name: &str) -> io::Result<Option<Content>> {
    let short = format!("{BOOT}/{name}");
    let served = |name: &&str| site.manifest.files.get(*name).is_some_and(|file| ROLES.contains(&file.role));
    let Some(name) = [name, short.as_str()].into_iter().find(served) else { return Ok(None) };
    let Some(Asset { pieces, size, .. }) = site.asset(name) else { return Ok(None) };
    let root = site.place.directory().map(Root::open).transpose()?;
    match segments::open(Body::File { pieces, range: 0..size }, root.as_ref()) {
        Ok((_, mut files)) => Ok(files.pop().map(Content::File)),
        Err(Refused::Outside) => Ok(None),
        Err(Refused::Damaged(error)) => Err(error),
    }
}

/// Bytes to read at once: many blocks, to save round trips to the disk's thread.
const CHUNK: u64 = 256 << 10;

/// Reads a file forwards in blocks, and a little backwards when some are sent again.
pub(crate) struct Reader {
    content: Content,
    /// The last chunk that was read, and its offset.
    chunk: (u64, Bytes),
}

impl Reader {
    /// A reader of an open file.
    pub(crate) fn new(content: Content) -> Reader {
        Reader { content, chunk: (0, Bytes::new()) }
    }

    /// Length of the file, in bytes.
    pub(crate) fn size(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(promised) => promised.size,
        }
    }

    /// The bytes of a range within the file; at most `CHUNK`.
    pub(crate) async fn read(&mut self, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        let Promised { file, start: begin, size, .. } = match &self.content {
            Content::Bytes(bytes) => return Ok(bytes.slice(range.start as usize..range.end as usize)),
            Content::File(promised) => promised,
        };
        let (start, known) = &self.chunk;
        if range.start < *start || range.end > start + known.len() as u64 {
            let (file, begin) = (file.clone(), *begin);
            let (at, length) = (range.start, CHUNK.min(size - range.start));
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, begin + at).map(|()| Bytes::from(bytes))
            });
            self.chunk = (at, read.await.map_err(io::Error::other)??);
        }
        let (start, known) = &self.chunk;
        Ok(known.slice((range.start - start) as usize..(range.end - start) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_gives_any_part_of_a_file_in_any_order() {
        let bytes: Vec<u8> = (0..600_000u32).map(|n| (n / 7) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[b"before", &*bytes, b"behind"].concat()).unwrap();
        let (file, size) = (Arc::new(file), bytes.len() as u64);
        let promised = Promised { file, start: 6, size, path: "file".into(), sha256: None };
        let mut reader = Reader::new(Content::File(promised));
        for range in [0..512, 262_000..263_000, 261_000..261_100, 599_999..600_000, 600_000..600_000, 0..1] {
            let expected = &bytes[range.start as usize..range.end as usize];
            assert_eq!(reader.read(range.clone()).await.unwrap(), expected, "{range:?}");
        }
    }
}
