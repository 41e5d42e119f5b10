//! Why the system does not let this process read a path, and the way out: the path's permissions, or the sandbox.
//!
//! Landlock holds inodes, and not names: what takes another's place while the server runs is closed to it. It has no say in
//! access(2), which tells the two apart.

use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// The state of a directory that the sandbox does not reach, and the way out.
pub(crate) const REPLACED: &str = "it was replaced while the server ran, and the sandbox opens only what was there at the start: restart the server";

/// An error of reading a path, in words for people, after its name. `is_replaced` says whether the directory that is served is
/// another than at the start.
pub(crate) fn why(path: &Path, error: &io::Error, is_replaced: bool) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let user = geteuid().as_raw();
    match closed(path) {
        Some(place) => format!(
            "permission denied: the user {user} may not read {}: give it to that user (chown), open it (chmod), or serve as another (--user)",
            place.display()
        ),
        None if is_replaced => REPLACED.into(),
        None => format!(
            "permission denied for the user {user}, whom the permissions of {} allow it: the sandbox or another rule of this system forbids it",
            path.display()
        ),
    }
}

/// The outermost place on the way to a path, itself included, that this process's user may not read, or search if it is a folder.
fn closed(path: &Path) -> Option<&Path> {
    let mut ways: Vec<&Path> = path.ancestors().filter(|way| !way.as_os_str().is_empty()).collect();
    ways.reverse();
    ways.into_iter().find(|way| {
        let search = if way.is_dir() { Access::EXEC_OK } else { Access::empty() };
        let right = if *way == path { Access::READ_OK | search } else { search };
        accessat(CWD, *way, right, AtFlags::EACCESS) == Err(Errno::ACCESS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_errors_are_told_as_they_are_and_a_refusal_without_a_reason_is_the_sandboxs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(why(path, &io::Error::other("odd"), true), "odd");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(why(path, &denied, true), REPLACED);
        let told = why(path, &denied, false);
        assert!(told.contains(path.to_str().unwrap()) && !told.contains("replaced"), "{told}");
    }
}
