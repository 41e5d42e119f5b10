//! `/assets/` of a data directory: the same as Go's `http.FileServer`, except that links must not leave the directory.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use super::escape::{escape_html, escape_path};
use super::request::Request;
use super::{assets, sniff};
use crate::serve::answer::conditions::Version;
use crate::serve::answer::{Answer, Piece, TEXT};
use crate::serve::site::Asset;

const INDEX: &[u8] = b"index.html";

/// Answers for a decoded path below `/assets/`. The page of a directory is its `index.html`, or else a list.
pub(crate) fn answer(root: &Path, path: &[u8], request: &Request<'_>) -> Answer {
    if path.contains(&0) {
        return failed(404);
    }
    let parts = cleaned(path);
    let ends_in_slash = path.is_empty() || path.ends_with(b"/");
    if path == INDEX || path.ends_with(b"/index.html") {
        return redirect("./", request);
    }
    let found = match open(root, &parts) {
        Ok(found) => found,
        Err(error) => return refused(&error),
    };
    let last = parts.last().map(|part| String::from_utf8_lossy(part)).unwrap_or_default();
    match (found.data.is_dir(), ends_in_slash) {
        (true, false) => redirect(&format!("{last}/"), request),
        (false, true) => redirect(&format!("../{last}"), request),
        (true, true) => {
            let index = [parts.as_slice(), &[INDEX]].concat();
            match open(root, &index) {
                Ok(index) if index.data.is_dir() => list(&index, request),
                Ok(index) => send(index, "index.html", request),
                Err(_) => list(&found, request),
            }
        }
        (false, false) => send(found, &last, request),
    }
}

/// A file or directory, after all links were followed.
struct Found {
    path: std::path::PathBuf,
    data: Metadata,
}

/// The parts of a path, cleaned like Go's `path.Clean`; `..` cannot leave the root.
fn cleaned(path: &[u8]) -> Vec<&[u8]> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

fn open(root: &Path, parts: &[&[u8]]) -> io::Result<Found> {
    let path = parts.iter().fold(root.to_owned(), |path, part| path.join(OsStr::from_bytes(part)));
    let path = path.canonicalize()?;
    if !path.starts_with(root) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let data = path.metadata()?;
    // Reading a pipe or a device could block for ever.
    match data.is_dir() || data.is_file() {
        true => Ok(Found { path, data }),
        false => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn refused(error: &io::Error) -> Answer {
    failed(match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => 404,
        io::ErrorKind::PermissionDenied => 403,
        _ => 500,
    })
}

fn failed(status: u16) -> Answer {
    let text = match status {
        403 => "403 Forbidden\n",
        404 => "404 page not found\n",
        _ => "500 Internal Server Error\n",
    };
    Answer::new(status, TEXT, text).header("x-content-type-options", "nosniff")
}

/// Go's `localRedirect`: a relative target with the query, without a body and a content type.
fn redirect(target: &str, request: &Request<'_>) -> Answer {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    // A line break must not be in a header; Go replaces it with a blank.
    let target = format!("{target}{query}").replace(['\r', '\n'], " ");
    Answer { headers: Vec::new(), ..Answer::new(301, TEXT, "") }.header("location", target)
}

fn send(Found { path, data }: Found, name: &str, request: &Request<'_>) -> Answer {
    let kind = match sniff::by_name(name) {
        Some(kind) => kind,
        None => match first_bytes(&path) {
            Ok(bytes) => sniff::by_contents(&bytes),
            Err(error) => return refused(&error),
        },
    };
    let size = data.len();
    let pieces = vec![Piece::File { path, within: None, size, sha256: None }];
    let modified = data.modified().ok().filter(|modified| *modified != SystemTime::UNIX_EPOCH);
    let asset = Asset { etag: None, modified, kind: Cow::Borrowed(kind), size, pieces };
    assets::send(&asset, request)
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(sniff::LENGTH as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn list(found: &Found, request: &Request<'_>) -> Answer {
    let modified = found.data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let stamp = |answer: Answer| answer.header("last-modified", crate::base::clock::http_date(modified));
    let version = Version { etag: None, modified: Some(modified) };
    if version.is_newer(request, "if-modified-since") == Some(false) {
        return Answer { headers: Vec::new(), ..Answer::new(304, TEXT, "") };
    }
    let Ok(names) = names(&found.path) else {
        let answer = Answer::new(500, TEXT, "Error reading directory\n");
        return answer.header("x-content-type-options", "nosniff");
    };
    let line = |name: &Vec<u8>| {
        format!("<a href=\"{}\">{}</a>\n", escape_path(name), escape_html(&String::from_utf8_lossy(name)))
    };
    let lines: String = names.iter().map(line).collect();
    let page = format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{lines}</pre>\n"
    );
    stamp(Answer::new(200, "text/html; charset=utf-8", page))
}

/// The names in a directory, sorted. Names of directories, but not of links to directories, end in a slash.
fn names(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(directory)?.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name(), entry.file_type()?.is_dir()))
    });
    let mut names: Vec<_> = entries.collect::<io::Result<_>>()?;
    names.sort();
    let shown =
        |(name, is_dir): (OsString, bool)| [name.as_bytes(), if is_dir { b"/" } else { b"" }].concat();
    Ok(names.into_iter().map(shown).collect())
}
