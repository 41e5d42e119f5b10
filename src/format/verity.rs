//! dm-verity: a tree of digests over a file system, by which the kernel verifies every block that it reads.
//!
//! Owns the bytes of the hash area (cryptsetup's superblock version 1 and the tree, Linux
//! `Documentation/admin-guide/device-mapper/verity.rst`), always SHA-256 over blocks of 4096 bytes with the salt before
//! the data. Leaves the trust in the root hash to others.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::thread;

use sha2::{Digest as _, Sha256};

/// Bytes of a data block and of a block of digests.
pub(crate) const BLOCK: usize = 4096;
/// Number of blocks that a thread reads at a time.
const BATCH: usize = 256;

/// A SHA-256 digest.
pub(crate) type Hash = [u8; 32];

/// The hash area of some data.
#[derive(Debug)]
pub(crate) struct Verity {
    /// Digest at the root of the tree.
    pub root: Hash,
    /// The superblock and the tree.
    pub area: Vec<u8>,
}

/// Hashes `length` bytes of a file, a multiple of [`BLOCK`] and not 0, from `start` on. The hash area is kept in
/// memory: 1/127 of the data. The result does not depend on the number of threads.
pub(crate) fn hash(file: &File, start: u64, length: u64, salt: &Hash, uuid: [u8; 16]) -> io::Result<Verity> {
    let blocks = (length / BLOCK as u64) as usize;
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = blocks.div_ceil(threads).max(1);
    let parts: Vec<io::Result<Vec<Hash>>> = thread::scope(|scope| {
        let part = |first: usize| {
            let count = share.min(blocks - first);
            let at = start + (first * BLOCK) as u64;
            scope.spawn(move || hash_blocks(file, at, count, salt))
        };
        let threads: Vec<_> = (0..blocks).step_by(share).map(part).collect();
        let panicked = |_| Err(io::Error::other("a hashing thread ended early"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut level = Vec::with_capacity(blocks);
    for part in parts {
        level.extend(part?);
    }
    // The level over the data comes last in the area, the level below the root first.
    let mut levels = Vec::new();
    while level.len() > 1 {
        let mut bytes = level.concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        level = bytes.chunks(BLOCK).map(|block| digest(salt, block)).collect();
        levels.push(bytes);
    }
    let mut area = superblock(blocks as u64, salt, uuid);
    levels.iter().rev().for_each(|level| area.extend(level));
    Ok(Verity { root: level[0], area })
}

fn hash_blocks(file: &File, start: u64, count: usize, salt: &Hash) -> io::Result<Vec<Hash>> {
    let mut hashes = Vec::with_capacity(count);
    let mut buffer = vec![0; BATCH * BLOCK];
    while hashes.len() < count {
        let batch = &mut buffer[..BATCH.min(count - hashes.len()) * BLOCK];
        file.read_exact_at(batch, start + (hashes.len() * BLOCK) as u64)?;
        hashes.extend(batch.chunks(BLOCK).map(|block| digest(salt, block)));
    }
    Ok(hashes)
}

fn digest(salt: &Hash, block: &[u8]) -> Hash {
    Sha256::new().chain_update(salt).chain_update(block).finalize().into()
}

fn superblock(blocks: u64, salt: &Hash, uuid: [u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.extend(b"verity\0\0");
    bytes.extend(1_u32.to_le_bytes());
    // Hash type 1: the salt comes first, digests are not padded.
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(uuid);
    let mut algorithm = [0; 32];
    algorithm[..6].copy_from_slice(b"sha256");
    bytes.extend(algorithm);
    bytes.extend([BLOCK as u32; 2].map(u32::to_le_bytes).concat());
    bytes.extend(blocks.to_le_bytes());
    bytes.extend((salt.len() as u16).to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(salt);
    bytes.resize(BLOCK, 0);
    bytes
}
