//! Contents inside the config: which data URL Butane makes of them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::data_url::{base64, escape};
use crate::tree::{Node, Origin, Record};

/// Sets a resource's source to contents: plain, base64 or gzip, whichever is shortest.
///
/// A compression that the user named means that the contents are compressed already. Otherwise the compression is
/// written out, also as the empty text, so that a child config does not inherit its parent's.
pub(super) fn embed(resource: &mut Record, contents: &[u8], origin: &Origin) {
    let plain = format!(",{}", escape(contents));
    let encoded = base64_part(contents);
    let mut best = if encoded.len() < plain.len() { encoded } else { plain };
    if resource.filled("compression").is_none() {
        let mut compression = "";
        // The shortest gzip stream has 20 bytes, so it cannot win against less than 40 characters.
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

/// Sets a resource's source to contents as Butane did when it began: always plain, and silent about compression.
pub(super) fn embed_plain(resource: &mut Record, contents: &[u8], origin: &Origin) {
    resource.set("source", Node::text(format!("data:,{}", escape(contents)), origin));
}

fn base64_part(bytes: &[u8]) -> String {
    format!(";base64,{}", base64(bytes))
}

/// Level 9, no name and no time.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
