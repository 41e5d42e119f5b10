//! Hints of a server's start that only its command line can give: which flag named a port that is taken, which user lacks a right.
//!
//! Leaves the errors themselves to the rooms that meet them, whose messages, causes and exit codes stay.

use std::io;

use rustix::io::Errno;

use super::rpc::File;
use crate::base::error::Error;
use crate::serve::lan::ports::{Port, Protocol};
use crate::serve::rpc::process::{self, Said};

/// An error with another hint.
fn advised(error: &Error, hint: String) -> Error {
    process::Error::Said(Said::of(error.chain(), Some(hint), error.exit())).into()
}

fn is_taken(error: &Error) -> bool {
    let in_use = io::Error::from(Errno::ADDRINUSE).to_string();
    error.chain().iter().any(|line| line.ends_with(&in_use))
}

/// An error of a socket; for a port that is taken, with the flag by which its address was given.
pub(super) fn taken(error: Error, flag: &str) -> Error {
    if !is_taken(&error) {
        return error;
    }
    let by = port(&error).and_then(|number| Port { number, protocol: Protocol::Tcp }.owner());
    taken_by(&error, by, flag)
}

/// An error of a port that is taken by this process, if it is known.
fn taken_by(error: &Error, by: Option<String>, flag: &str) -> Error {
    let hint = match by {
        Some(by) => format!("{by} has this port: stop it first, or choose another with {flag}"),
        None => format!(
            "another server has this port, perhaps Matchbox, which must be stopped first (`ss -lntp` names it); or choose another with {flag}"
        ),
    };
    advised(error, hint)
}

/// An error of a file of certificates or keys, with the flag that names it where nothing else is known of the way out.
pub(super) fn of_file(error: Error, files: &[File]) -> Error {
    let chain = error.chain();
    let Some(first) = chain.first().filter(|_| error.hint().is_none()) else { return error };
    let is_of = |file: &&File| {
        let path = file.path.display();
        first.starts_with(&format!("{path} cannot be used: "))
            || first.starts_with(&format!("cannot read {path}: "))
    };
    let listed = |files: Vec<&File>| {
        let each: Vec<String> =
            files.iter().map(|file| format!("{} for {}", file.flag, file.holds)).collect();
        each.join(", ")
    };
    let hint = match files.iter().filter(is_of).collect::<Vec<_>>()[..] {
        [] => return error,
        [file] => {
            let others = listed(files.iter().filter(|other| other.flag != file.flag).collect());
            format!("{} names it and is for {}; {others}", file.flag, file.holds)
        }
        ref all => {
            let flags: Vec<&str> = all.iter().map(|file| file.flag).collect();
            format!("{} name it: {}", flags.join(" and "), listed(files.iter().collect()))
        }
    };
    advised(&error, hint)
}

/// The port in an error such as `cannot listen on 10.0.0.1:8080 for gRPC`.
fn port(error: &Error) -> Option<u16> {
    let chain = error.chain();
    let address = chain.first()?.split(' ').find_map(|word| word.rsplit_once(':'))?;
    address.1.parse().ok()
}

/// An error of the process that serves gRPC, with what that does not know: the address of HTTP, and names of users, which are in
/// a file that it may not read.
/// `holder` has the port of gRPC, as this process saw before it was confined.
pub(super) fn of_write_side(error: Error, http: &str, holder: Option<String>) -> Error {
    let same = format!("cannot listen on {http} for gRPC");
    let own = format!("(process {})", std::process::id());
    let is_own = holder.as_ref().is_some_and(|holder| holder.ends_with(&own));
    if is_taken(&error) && (is_own || error.chain().first() == Some(&same)) {
        return advised(
            &error,
            format!("--address has {http} already: choose another port with --rpc-address"),
        );
    }
    let table = || std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match error.hint().and_then(|hint| with_name(&hint, table)) {
        Some(hint) => advised(&error, hint),
        None if is_taken(&error) => taken_by(&error, holder, "--rpc-address"),
        None => error,
    }
}

/// A hint about a user without a name, with the name of /etc/passwd.
fn with_name(hint: &str, passwd: impl FnOnce() -> String) -> Option<String> {
    let (before, rest) = hint.split_once("the user ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    if number.is_empty() || after.starts_with(" (") {
        return None;
    }
    let table = passwd();
    let mut rows = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = rows.find(|row| row.get(2) == Some(&number))?.first().copied()?;
    Some(format!("{before}the user {number} ({name}){after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Exit;

    fn said(chain: &[&str], hint: &str) -> Error {
        let chain = chain.iter().map(|line| (*line).to_owned()).collect();
        process::Error::Said(Said::of(chain, Some(hint.into()), Exit::Failed)).into()
    }

    const IN_USE: &str = "Address already in use (os error 98)";

    #[test]
    fn a_port_that_is_taken_is_told_with_its_own_flag() {
        let hint = |error: Error| error.hint().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = format!("cannot listen on {} for gRPC", socket.local_addr().unwrap());
        let whose = hint(taken(said(&[&bound, IN_USE], "old"), "--rpc-address"));
        let own = format!("(process {}) has this port: stop it first", std::process::id());
        assert!(whose.contains(&own), "{whose}");
        let http = taken(said(&["cannot listen on h:1", IN_USE], "old"), "--tls-address");
        assert_eq!(http.chain(), ["cannot listen on h:1", IN_USE]);
        assert!(hint(http).ends_with("choose another with --tls-address"));
        assert_eq!(hint(taken(said(&["x", "Permission denied (os error 13)"], "old"), "--address")), "old");
        let of = |http, holder: Option<&str>| {
            let error = said(&["cannot listen on h:1 for gRPC", IN_USE], "old");
            hint(of_write_side(error, http, holder.map(str::to_owned)))
        };
        let unknown = of("h:2", None);
        assert!(unknown.contains("perhaps Matchbox") && unknown.ends_with("with --rpc-address"));
        assert!(of("h:2", Some("matchbox (process 1)")).starts_with("matchbox (process 1) has this port"));
        let own = format!("prebake (process {})", std::process::id());
        for (http, holder) in [("h:1", None), ("h:1", Some("x (process 1)")), (":1", Some(&*own))] {
            let told = of(http, holder);
            assert!(told.starts_with(&format!("--address has {http}")), "{told}");
        }
    }

    #[test]
    fn a_file_is_told_with_the_flag_that_names_it() {
        let file = |flag, path: &str, holds| File { flag, path: path.into(), holds };
        let files = [file("--cert-file", "a.pem", "a certificate"), file("--key-file", "b.pem", "its key")];
        let plain = |text: &str| process::Error::Said(Said::of(vec![text.into()], None, Exit::Trust)).into();
        let hint = |text: &str| of_file(plain(text), &files).hint();
        let told = hint("b.pem cannot be used: it holds no key").unwrap();
        assert_eq!(told, "--key-file names it and is for its key; --cert-file for a certificate");
        assert!(
            hint("cannot read a.pem: Is a directory (os error 21)").unwrap().starts_with("--cert-file names")
        );
        assert_eq!(hint("c.pem cannot be used: x"), None);
        let kept = of_file(said(&["b.pem cannot be used: x"], "old"), &files);
        assert_eq!(kept.hint().as_deref(), Some("old"));
    }

    #[test]
    fn a_user_is_told_by_name_where_it_has_one() {
        let table = || "root:x:0:0::/:\nnobody:x:65534:65533::/:\n".to_owned();
        let named = |hint: &str| with_name(hint, table);
        assert_eq!(named("as the user 65534: x").as_deref(), Some("as the user 65534 (nobody): x"));
        for hint in ["as the user 7: x", "as the user 65534 (me): x", "the user that serves", "x"] {
            assert_eq!(named(hint), None, "{hint}");
        }
    }
}
