//! Reduces the server's privileges once its sockets are bound.
//!
//! Privileges belong to threads, and a new thread inherits those of its creator; so all of this happens while there is
//! only one thread. If a restriction is unavailable (an old kernel, a container without landlock), that is reported,
//! and the server does without it.

pub(crate) mod denied;
pub(crate) mod user;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, fs, io, thread};

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, path_beneath_rules,
};
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use self::user::User;
use crate::base::disk::directory_of;
use crate::base::error::{Advice, Exit};

/// The newest landlock version whose rules are known here (Linux 6.12). Older kernels enforce the rules that they know.
const NEWEST: ABI = ABI::V6;

/// How long to wait for threads that are about to end: usually a moment, but long on an overloaded machine.
const LEAVING: Duration = Duration::from_secs(10);

/// Why the server cannot be confined as requested.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The process cannot become another user.
    #[error("cannot become the user {user}")]
    User {
        /// The requested user.
        user: User,
        /// The error of the kernel.
        source: io::Error,
    },
    /// There is no such user or group.
    #[error(transparent)]
    Unknown(#[from] user::Unknown),
    /// Other threads are running, and would keep their privileges.
    #[error("other threads ({0}) are running already, and would keep their privileges")]
    Threads(usize),
    /// The kernel has landlock, but refuses the rules.
    #[error("cannot restrict which files may be opened")]
    Landlock(#[from] RulesetError),
    /// The kernel refuses another restriction.
    #[error("cannot {action}")]
    Kernel {
        /// The refused action, for "cannot …".
        action: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Unknown(_) => Exit::Usage,
            Error::User { .. } | Error::Threads(_) | Error::Landlock(_) | Error::Kernel { .. } => {
                Exit::Failed
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::User { .. } => Some("start it as root, or leave --user out".into()),
            Error::Unknown(_) => Some("name a user of /etc/passwd, or give numbers: --user UID:GID".into()),
            Error::Landlock(_) => Some("--no-sandbox turns this off".into()),
            Error::Threads(_) | Error::Kernel { .. } => None,
        }
    }
}

/// The privileges to give up.
#[derive(Debug, Default)]
pub(crate) struct Confinement {
    /// The user to become.
    pub user: Option<User>,
    /// The files that may be opened; `None` for no restriction.
    pub files: Option<Files>,
    /// Whether [`begin`] has drawn the line for signals already.
    pub has_begun: bool,
}

/// Files and directories, including everything within these.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Paths that may be read.
    readable: Paths,
    /// Paths where files may be read, written, created and removed.
    writable: Paths,
    /// Those of them where folders may be created, too.
    growing: Paths,
}

/// Paths as they were named, each place once: by its path without links, if it is there.
#[derive(Debug, Default)]
struct Paths(BTreeMap<PathBuf, PathBuf>);

impl Paths {
    fn insert(&mut self, path: &Path) {
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.0.entry(place).or_insert_with(|| path.to_owned());
    }

    fn iter(&self) -> impl Iterator<Item = &Path> {
        self.0.values().map(PathBuf::as_path)
    }
}

/// The privileges that were given up, for a line to people.
#[derive(Debug)]
pub(crate) struct Confined {
    is_root: bool,
    files: Option<(Files, RulesetStatus)>,
}

impl Files {
    /// Allows reading a path. If it is a link, as in a build that can be swapped, its whole directory is allowed, since
    /// it may later lead elsewhere in there. So it is for a link to its neighbour on the way, as in `output/NAME/current/assets`;
    /// others, such as `/var/run`, are part of the system, and stay what they are.
    pub(crate) fn read(&mut self, path: &Path) {
        // With a final slash, a link would be taken for its target.
        let path = path.components().as_path();
        // The directory of a file that is named alone has no name, and the kernel no rule for it.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let swaps = path.ancestors().skip(1).filter(|way| leads_to_neighbour(way));
        for link in swaps.chain(Some(path).filter(|path| path.is_symlink())) {
            self.readable.insert(directory_of(link));
        }
        self.readable.insert(path);
    }

    /// Allows everything in a directory but new folders.
    pub(crate) fn write(&mut self, directory: &Path) {
        self.writable.insert(directory);
    }

    /// Allows everything in a directory, and new folders in it.
    pub(crate) fn grow(&mut self, directory: &Path) {
        self.write(directory);
        self.growing.insert(directory);
    }
}

/// Whether a path is a link to another name in its own directory, which is not the root.
fn leads_to_neighbour(path: &Path) -> bool {
    let target = fs::read_link(path).unwrap_or_default();
    let mut parts = target.components();
    let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    is_name && directory_of(path).canonicalize().is_ok_and(|directory| directory.parent().is_some())
}

impl Confinement {
    /// Gives up the privileges, irrevocably and for the whole process.
    ///
    /// # Errors
    /// [`Error::Threads`] if other threads are running already.
    pub(crate) fn apply(self) -> Result<Confined, Error> {
        self.apply_within(LEAVING)
    }

    /// Waits for other threads to end: even a joined thread exists for a moment longer.
    fn apply_within(self, patience: Duration) -> Result<Confined, Error> {
        let started = Instant::now();
        loop {
            let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
            if threads <= 1 {
                return self.apply_to_thread();
            }
            if started.elapsed() >= patience {
                return Err(Error::Threads(threads));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn apply_to_thread(self) -> Result<Confined, Error> {
        if let Some(user) = self.user {
            become_user(user).map_err(|error| Error::User { user, source: error.into() })?;
        }
        let is_root = geteuid().is_root();
        if !is_root {
            drop_capabilities().map_err(kernel("drop capabilities"))?;
        }
        set_no_new_privs(true).map_err(kernel("set no_new_privs"))?;
        let scope = if self.has_begun { Scope::AbstractUnixSocket.into() } else { scopes() };
        let files = self.files.map(|files| Ok::<_, Error>((restrict(&files, scope)?, files))).transpose()?;
        Ok(Confined { is_root, files: files.map(|(status, files)| (files, status)) })
    }
}

/// Draws the line for signals before this process starts another one: afterwards they reach each other, and nobody else. Files
/// are restricted for each by itself, by [`Confinement::apply`]; a process that is within no line of its own may be signalled by
/// it. Must be called while there is one thread.
///
/// # Errors
/// The kernel has landlock, but refuses.
pub(crate) fn begin() -> Result<(), Error> {
    set_no_new_privs(true).map_err(kernel("set no_new_privs"))?;
    Ruleset::default().scope(Scope::Signal)?.create()?.restrict_self()?;
    Ok(())
}

fn scopes() -> BitFlags<Scope> {
    Scope::AbstractUnixSocket | Scope::Signal
}

/// Groups first, since only root may change them.
fn become_user(User { uid, gid }: User) -> rustix::io::Result<()> {
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Drops the capabilities that a service manager gave for binding ports below 1024.
fn drop_capabilities() -> rustix::io::Result<()> {
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

fn restrict(files: &Files, scope: BitFlags<Scope>) -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write: BitFlags<AccessFs> =
        read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(scope)?
        .create()?
        .add_rules(path_beneath_rules(files.readable.iter(), read))?
        // The kernel's data on this process, such as its memory use.
        .add_rules(path_beneath_rules(["/proc/self"], read))?
        .add_rules(path_beneath_rules(files.writable.iter(), write))?
        .add_rules(path_beneath_rules(files.growing.iter(), write | AccessFs::MakeDir | AccessFs::RemoveDir))?
        .restrict_self()?;
    Ok(status.ruleset)
}

fn kernel(action: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::Kernel { action, source: errno.into() }
}

/// For example `confined: may read /srv/boot, may write nothing`.
impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files {
            None => f.write_str("not confined: may open every file that its user may")?,
            Some((_, RulesetStatus::NotEnforced)) => {
                f.write_str("not confined: this kernel has no landlock")?;
            }
            Some((Files { readable, writable, .. }, status)) => {
                let list = |paths: &Paths| {
                    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                    if paths.is_empty() { "nothing".to_owned() } else { paths.join(" and ") }
                };
                let (reads, writes) = (list(readable), list(writable));
                write!(f, "confined: may read {reads}, may write {writes}")?;
                if *status == RulesetStatus::PartiallyEnforced {
                    f.write_str(", as far as this older kernel can enforce it")?;
                }
            }
        }
        if self.is_root {
            f.write_str("; runs as root, which --user NAME would give up")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// The result of a function in a confined thread. The other threads of the tests are not affected.
    fn confined<T: Send>(confinement: Confinement, ask: impl FnOnce(Confined) -> T + Send) -> T {
        let ask = move || ask(confinement.apply_to_thread().unwrap());
        thread::scope(|scope| scope.spawn(ask).join().unwrap())
    }

    fn is_denied<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether this kernel has landlock; without it, there is nothing to test.
    fn is_enforced(confined: &Confined) -> bool {
        let enforced = !matches!(confined.files, None | Some((_, RulesetStatus::NotEnforced)));
        if !enforced {
            eprintln!("skipped: this kernel has no landlock");
        }
        enforced
    }

    #[test]
    fn nothing_is_opened_but_what_was_allowed_and_written_only_where_that_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["tree", "state", "outside", "data"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), name).unwrap();
        }
        std::os::unix::fs::symlink(path("outside/file"), path("tree/link")).unwrap();
        let mut files = Files::default();
        files.read(&path("tree"));
        files.write(&path("state"));
        files.grow(&path("data"));
        confined(Confinement { user: None, files: Some(files), has_begun: false }, |confined| {
            if !is_enforced(&confined) {
                return;
            }
            assert_eq!(fs::read(path("tree/file")).unwrap(), b"tree");
            assert!(is_denied(fs::read(path("outside/file"))));
            assert!(is_denied(fs::read(path("tree/link"))));
            assert!(is_denied(fs::read("/etc/passwd")));
            assert!(is_denied(fs::read_dir("/")));
            assert!(is_denied(fs::write(path("tree/file"), "")));
            assert!(is_denied(fs::write(path("tree/new"), "")));
            assert!(is_denied(fs::remove_file(path("tree/file"))));
            fs::write(path("state/.tmp"), "new").unwrap();
            fs::rename(path("state/.tmp"), path("state/file")).unwrap();
            assert!(is_denied(fs::rename(path("state/file"), path("tree/file"))));
            assert!(is_denied(fs::create_dir(path("state/folder"))));
            fs::create_dir(path("data/folder")).unwrap();
            fs::write(path("data/folder/file"), "new").unwrap();
            assert!(is_denied(std::process::Command::new("/bin/true").status()));
        });
        assert_eq!(fs::read(path("outside/file")).unwrap(), b"outside", "other threads are as before");
    }

    #[test]
    fn the_directory_of_a_file_that_is_named_alone_may_be_read() {
        let mut files = Files::default();
        files.read(Path::new("Cargo.toml").parent().unwrap());
        confined(Confinement { user: None, files: Some(files), has_begun: false }, |confined| {
            if is_enforced(&confined) {
                fs::read("Cargo.toml").unwrap();
                assert!(is_denied(fs::read("/etc/passwd")));
            }
        });
    }

    #[test]
    fn a_link_may_be_swapped_within_its_directory_and_not_out_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["output/old", "output/new", "elsewhere"] {
            fs::create_dir_all(path(name)).unwrap();
            fs::write(path(name).join("file"), name).unwrap();
        }
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(path(to), path(name)).unwrap();
        link("output/old", "output/current");
        let mut files = Files::default();
        files.read(&path("output/current/"));
        link("output/new", "output/next");
        link("elsewhere", "output/gone");
        confined(Confinement { user: None, files: Some(files), has_begun: false }, |confined| {
            if is_enforced(&confined) {
                assert_eq!(fs::read(path("output/next/file")).unwrap(), b"output/new");
                assert!(is_denied(fs::read(path("output/gone/file"))));
            }
        });
    }

    /// Newcomer to issue 21: `may read /x/etc and etc`, which is one place.
    #[test]
    fn a_place_with_two_spellings_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        let mut files = Files::default();
        files.read(&path("a"));
        files.read(&path("a/b/.."));
        files.read(&path("a/./"));
        let confined = Confined { is_root: false, files: Some((files, RulesetStatus::FullyEnforced)) };
        let told = format!("confined: may read {}, may write nothing", path("a").display());
        assert_eq!(confined.to_string(), told);
    }

    #[test]
    fn a_directory_that_takes_anothers_place_is_closed_and_told_as_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["data", "other"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), name).unwrap();
        }
        let mut files = Files::default();
        files.read(&path("data"));
        let (begun, replaced) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                confined(Confinement { user: None, files: Some(files), has_begun: false }, |confined| {
                    begun.wait();
                    replaced.wait();
                    if is_enforced(&confined) {
                        let denied = fs::read(path("data/file")).unwrap_err();
                        assert_eq!(denied::why(&path("data/file"), &denied, true), denied::REPLACED);
                    }
                });
            });
            begun.wait();
            fs::rename(path("data"), path("old")).unwrap();
            fs::rename(path("other"), path("data")).unwrap();
            replaced.wait();
        });
    }

    /// `--assets-path output/NAME/current/assets`: after the next build its assets were 403 until a restart.
    #[test]
    fn a_link_on_the_way_may_be_swapped_for_its_neighbour_and_others_open_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["output/old/assets", "output/new/assets", "home/site/assets", "home/other"] {
            fs::create_dir_all(path(name)).unwrap();
            fs::write(path(name).join("file"), name).unwrap();
        }
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path(name)).unwrap();
        link("old", "output/current");
        link("home/site", "elsewhere");
        let mut files = Files::default();
        files.read(&path("output/current/assets"));
        files.read(&path("elsewhere/assets"));
        fs::remove_file(path("output/current")).unwrap();
        link("new", "output/current");
        confined(Confinement { user: None, files: Some(files), has_begun: false }, |confined| {
            if is_enforced(&confined) {
                assert_eq!(fs::read(path("output/current/assets/file")).unwrap(), b"output/new/assets");
                assert_eq!(fs::read(path("elsewhere/assets/file")).unwrap(), b"home/site/assets");
                assert!(is_denied(fs::read(path("home/other/file"))));
            }
        });
    }

    #[test]
    fn another_user_has_no_way_back_and_no_privileges() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root becomes somebody else");
            return;
        }
        let user = User::parse("65534:65533", "", "").unwrap();
        confined(Confinement { user: Some(user), files: None, has_begun: false }, |confined| {
            assert!(!confined.is_root);
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            let of = |key: &str| {
                let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
                value.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            assert_eq!(of("Uid:"), ["65534"; 4].join(" "));
            assert_eq!(of("Gid:"), ["65533"; 4].join(" "));
            assert_eq!((of("Groups:"), of("NoNewPrivs:")), ("65533".into(), "1".into()));
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert_eq!(of(set).trim_start_matches('0'), "", "{set}");
            }
            assert!(become_user(User::parse("0:0", "", "").unwrap()).is_err());
        });
    }

    #[test]
    fn a_process_with_threads_is_not_confined_by_halves() {
        let refused = thread::scope(|scope| {
            scope.spawn(|| Confinement::default().apply_within(Duration::ZERO)).join().unwrap()
        });
        assert!(matches!(refused, Err(Error::Threads(2..))), "{refused:?}");
    }
}
