//! Verifies files against the manifest while they are served (`--rehash`).
//!
//! A file is hashed before its first byte leaves: once for all clients that ask meanwhile, and again when the file was
//! changed or the proof is old. So nothing of a corrupt file leaves at all; the price is a wait at the first request.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::segments::Promised;
use crate::base::digest::Sha256;
use crate::base::disk::Version;
use crate::tree::open::Part;

/// How long a proof is valid. Disks rot without changing a file's time.
const HOLDS: Duration = Duration::from_secs(3600);

/// Proofs by path.
#[derive(Default)]
pub(crate) struct Proofs(Mutex<HashMap<PathBuf, Proof>>);

#[derive(Clone)]
struct Proof {
    /// The version of the bytes that it covers.
    of: Version,
    since: Instant,
    is_intact: Arc<OnceCell<bool>>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The bytes match the digest, or there is no digest.
    Intact,
    /// The bytes differ from the digest.
    Corrupt {
        /// Whether this request is the first to find out.
        first: bool,
    },
}

impl Proofs {
    /// Checks an open file against its digest.
    pub(crate) async fn check(&self, promised: &Promised) -> io::Result<Verdict> {
        let Some(sha256) = promised.sha256 else { return Ok(Verdict::Intact) };
        let proof = self.proof(&promised.path, version(promised)?);
        let mut first = false;
        let is_intact = proof
            .is_intact
            .get_or_try_init(|| {
                first = true;
                let part = Part::new(promised.file.clone(), promised.start, promised.size);
                async move {
                    let hashed = tokio::task::spawn_blocking(move || Sha256::of_reader(part));
                    let (found, _) = hashed.await.map_err(io::Error::other)??;
                    Ok::<_, io::Error>(found == sha256)
                }
            })
            .await?;
        Ok(if *is_intact { Verdict::Intact } else { Verdict::Corrupt { first } })
    }

    /// The proof of this version of a file, possibly still to be made. A corrupt file stays marked as corrupt.
    fn proof(&self, path: &Path, of: Version) -> Proof {
        let mut proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |proof: &&Proof| {
            let is_corrupt = proof.is_intact.get() == Some(&false);
            proof.of == of && (is_corrupt || proof.since.elapsed() < HOLDS)
        };
        if let Some(known) = proofs.get(path).filter(holds) {
            return known.clone();
        }
        let proof = Proof { of, since: Instant::now(), is_intact: Arc::default() };
        proofs.insert(path.into(), proof.clone());
        proof
    }
}

fn version(promised: &Promised) -> io::Result<Version> {
    Ok(promised.file.metadata()?.into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn promised(path: &Path, bytes: &[u8]) -> Promised {
        let file = Arc::new(File::open(path).unwrap());
        let size = file.metadata().unwrap().len();
        Promised { file, start: 0, size, path: path.into(), sha256: Some(Sha256::of(bytes)) }
    }

    #[tokio::test]
    async fn a_corrupt_file_is_found_once_and_remembered_until_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let proofs = Proofs::default();
        fs::write(&path, "right").unwrap();
        assert_eq!(proofs.check(&promised(&path, b"right")).await.unwrap(), Verdict::Intact);
        fs::write(&path, "wrong").unwrap();
        for first in [true, false] {
            assert_eq!(proofs.check(&promised(&path, b"right")).await.unwrap(), Verdict::Corrupt { first });
        }
        fs::write(directory.path().join("b"), "right").unwrap();
        fs::rename(directory.path().join("b"), &path).unwrap();
        assert_eq!(proofs.check(&promised(&path, b"right")).await.unwrap(), Verdict::Intact);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_wait_for_one_hash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, vec![1; 1 << 20]).unwrap();
        let proofs = Proofs::default();
        let wanted = promised(&path, b"other");
        let checks = futures_util::future::join_all((0..20).map(|_| proofs.check(&wanted))).await;
        let first = checks.iter().filter(|check| matches!(check, Ok(Verdict::Corrupt { first: true })));
        assert_eq!(first.count(), 1);
        assert!(checks.iter().all(|check| matches!(check, Ok(Verdict::Corrupt { .. }))));
    }
}
