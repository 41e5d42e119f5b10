//! Embeds contents into the config, as the data URL that Butane would make.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::data_url::{base64, escape};
use crate::tree::{Node, Origin, Record};

/// Sets a resource's source to contents: plain, base64 or gzip, whichever is shortest.
///
/// A compression that the user named means that the contents are already compressed. Otherwise the compression is
/// written out, even as the empty text, so that a child config does not inherit its parent's.
pub(super) fn embed(resource: &mut Record, contents: &[u8], origin: &Origin) {
    let plain = format!(",{}", escape(contents));
    let encoded = base64_part(contents);
    let mut best = if encoded.len() < plain.len() { encoded } else { plain };
    if resource.filled("compression").is_none() {
        let mut compression = "";
        // The shortest gzip stream has 20 bytes, so it cannot beat fewer than 40 characters.
        if best.len() > 40 {
            let zipped = base64_part(&gzip(contents));
            if zipped.len() + "gzip".len() < best.len() {
                best = zipped;
                compression = "gzip";
            }
        }
        resource.set("compression", Node::text(compression, origin));
    }
    resource.set("source", Node::text(format!("data:{best}"), origin));
}

/// Sets a resource's source to contents as Butane's first version did: always plain, without setting the compression.
pub(super) fn embed_plain(resource: &mut Record, contents: &[u8], origin: &Origin) {
    resource.set("source", Node::text(format!("data:,{}", escape(contents)), origin));
}

fn base64_part(bytes: &[u8]) -> String {
    format!(";base64,{}", base64(bytes))
}

/// Compresses at level 9, without name and time.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
