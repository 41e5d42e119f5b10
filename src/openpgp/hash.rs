//! SHA-2 by aws-lc, which is in the program for TLS anyway, behind the trait that rPGP asks for. Its assembler is half as
//! fast again as rPGP's own SHA-512, and SHA-512 is what a signature over a disk image costs.

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA384, SHA512};
use digest_of_pgp::{DynDigest, InvalidBufferSize};
use pgp::crypto::hash::HashAlgorithm;

/// A hasher, if the algorithm is one that signatures may use.
pub(super) fn hasher(hash: HashAlgorithm) -> Option<Box<dyn DynDigest + Send>> {
    let algorithm: &'static Algorithm = match hash {
        HashAlgorithm::Sha256 => &SHA256,
        HashAlgorithm::Sha384 => &SHA384,
        HashAlgorithm::Sha512 => &SHA512,
        _ => return None,
    };
    Some(Box::new(Sha2(Context::new(algorithm))))
}

#[derive(Clone)]
struct Sha2(Context);

impl DynDigest for Sha2 {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize_into(mut self, buffer: &mut [u8]) -> Result<(), InvalidBufferSize> {
        self.finalize_into_reset(buffer)
    }

    fn finalize_into_reset(&mut self, buffer: &mut [u8]) -> Result<(), InvalidBufferSize> {
        if buffer.len() != self.output_size() {
            return Err(InvalidBufferSize);
        }
        let fresh = Context::new(self.0.algorithm());
        let digest = std::mem::replace(&mut self.0, fresh).finish();
        buffer.copy_from_slice(digest.as_ref());
        Ok(())
    }

    fn reset(&mut self) {
        self.0 = Context::new(self.0.algorithm());
    }

    fn output_size(&self) -> usize {
        self.0.algorithm().output_len()
    }

    fn box_clone(&self) -> Box<dyn DynDigest> {
        Box::new(self.clone())
    }
}
