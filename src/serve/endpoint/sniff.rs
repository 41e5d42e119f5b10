//! Content types as Go determines them: by the file extension, else by the first bytes.
//!
//! The tables are those of Go 1.26's `mime` and `net/http` packages, without the additions of a host's own MIME
//! database; Matchbox's container behaves the same.

use crate::serve::answer::TEXT;

/// How many bytes are examined.
pub(crate) const LENGTH: usize = 512;

/// The type of web pages.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// The type of XML, which a stylesheet may make browsers show as a page.
pub(crate) const XML: &str = "text/xml; charset=utf-8";
const BYTES: &str = "application/octet-stream";

const BY_EXTENSION: [(&str, &str); 64] = [
    ("ai", "application/postscript"),
    ("apk", "application/vnd.android.package-archive"),
    ("apng", "image/apng"),
    ("avif", "image/avif"),
    ("bin", BYTES),
    ("bmp", "image/bmp"),
    ("com", BYTES),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("ehtml", HTML),
    ("eml", "message/rfc822"),
    ("eps", "application/postscript"),
    ("exe", BYTES),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", HTML),
    ("html", HTML),
    ("ico", "image/vnd.microsoft.icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("jfif", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("pjp", "image/jpeg"),
    ("pjpeg", "image/jpeg"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("ps", "application/postscript"),
    ("rdf", "application/rdf+xml"),
    ("rtf", "application/rtf"),
    ("shtml", HTML),
    ("svg", "image/svg+xml"),
    ("text", TEXT),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("txt", TEXT),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "audio/webm"),
    ("webp", "image/webp"),
    ("xbl", XML),
    ("xbm", "image/x-xbitmap"),
    ("xht", "application/xhtml+xml"),
    ("xhtml", "application/xhtml+xml"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", XML),
    ("xsl", XML),
    ("zip", "application/zip"),
];

/// Openings of HTML, after blanks and in any case. A blank or `>` must follow.
const TAGS: [&str; 17] = [
    "<!DOCTYPE HTML",
    "<HTML",
    "<HEAD",
    "<SCRIPT",
    "<IFRAME",
    "<H1",
    "<DIV",
    "<FONT",
    "<TABLE",
    "<A",
    "<STYLE",
    "<TITLE",
    "<B",
    "<BODY",
    "<BR",
    "<P",
    "<!--",
];

/// First bytes, and their type. `?` stands for any byte.
const MAGIC: [(&[u8], &str); 32] = [
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff??", "text/plain; charset=utf-16be"),
    (b"\xff\xfe??", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf?", TEXT),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x00\x00\x02\x00", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"RIFF????WEBPVP", "image/webp"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"FORM????AIFF", "audio/aiff"),
    (b"ID3", "audio/mpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"RIFF????AVI ", "video/avi"),
    (b"RIFF????WAVE", "audio/wave"),
    (MP4, "video/mp4"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"??????????????????????????????????LP", "application/vnd.ms-fontobject"),
    (b"\x00\x01\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\x00", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
];
/// Marks a rule instead of bytes: see [`is_mp4`].
const MP4: &[u8] = b"mp4";

/// The type of a file by its extension, in any case.
pub fn by_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let known = BY_EXTENSION.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known));
    known.map(|(_, kind)| *kind)
}

/// The type of contents by their first [`LENGTH`] bytes.
pub fn by_contents(bytes: &[u8]) -> &'static str {
    let bytes = &bytes[..bytes.len().min(LENGTH)];
    let blank = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ');
    let text = &bytes[bytes.iter().take_while(|byte| blank(byte)).count()..];
    if TAGS.iter().any(|tag| is_tag(text, tag.as_bytes())) {
        return HTML;
    }
    if text.starts_with(b"<?xml") {
        return XML;
    }
    let is = |magic: &[u8]| match magic == MP4 {
        true => is_mp4(bytes),
        false => bytes.len() >= magic.len() && magic.iter().zip(bytes).all(|(m, b)| *m == b'?' || m == b),
    };
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| is(magic)) {
        return kind;
    }
    let binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if text.iter().any(binary) { BYTES } else { TEXT }
}

fn is_tag(text: &[u8], tag: &[u8]) -> bool {
    let Some((start, rest)) = text.split_at_checked(tag.len()) else { return false };
    start.eq_ignore_ascii_case(tag) && matches!(rest.first(), Some(b' ' | b'>'))
}

/// The first box is `ftyp` and names a brand that begins with `mp4`. Offset 12 has a version, not a brand.
fn is_mp4(bytes: &[u8]) -> bool {
    let Some((head, _)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_be_bytes(*head) as usize;
    bytes.len() >= 12
        && length <= bytes.len()
        && length.is_multiple_of(4)
        && &bytes[4..8] == b"ftyp"
        && (8..length).step_by(4).any(|at| at != 12 && bytes[at..].starts_with(b"mp4"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_type_in_any_case_and_only_by_their_last_part() {
        assert_eq!(by_name("a.tar.GZ"), Some("application/gzip"));
        assert_eq!(by_name(".txt"), Some(TEXT));
        for unknown in ["vmlinuz", "a.sig", "a.raw", "a.", "gz"] {
            assert_eq!(by_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn first_bytes_tell_the_type() {
        let mp4 = b"\0\0\0\x14ftypisom\0\0\0\0mp42";
        for (bytes, kind) in [
            (b"".as_slice(), TEXT),
            (b"plain", TEXT),
            (b"{\"a\":1}", TEXT),
            (b"esc \x1b[0m", TEXT),
            (b"  \n<html>", HTML),
            (b"<bR x", HTML),
            (b"<htmlx>", TEXT),
            (b"<html", TEXT),
            (b" <?xml version", XML),
            (b"\x1f\x8b\x08", "application/x-gzip"),
            (b"\x00\x01", BYTES),
            (b"\xef\xbb\xbf", TEXT),
            (b"\xff\xfe\x01\x02", "text/plain; charset=utf-16le"),
            (b"%PDF-1", "application/pdf"),
            (mp4, "video/mp4"),
        ] {
            assert_eq!(by_contents(bytes), kind, "{}", bytes.escape_ascii());
        }
        let late = [vec![b'a'; LENGTH], vec![0]].concat();
        assert_eq!(by_contents(&late), TEXT, "only the first bytes count");
    }
}
