//! Unfinished files and directories, of which nothing is left however a run ends.
//!
//! A file has no name until it is complete (`O_TMPFILE`, linkat(2)), so the kernel removes it with the process. On file
//! systems without such files, and for files and directories that need a name meanwhile, names begin with [`PREFIX`].
//! An interrupted process removes its own; the next run in that directory removes those whose owner is gone, which it
//! recognizes by their locks. Leaves to `store` what a finished file is for.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{self as unix, AtFlags, CWD, Mode, OFlags};
use tempfile::{NamedTempFile, TempDir};

use crate::base::disk;

/// The prefix of the names of unfinished files and directories.
pub(crate) const PREFIX: &str = ".prebake-";
/// The exit code after Ctrl-C, and after the SIGTERM that ends services and CI jobs.
pub(crate) const INTERRUPTED: i32 = 130;
/// The mode of a file until it gets its own.
const PRIVATE: u32 = 0o600;
/// How often to try to remove a directory into which other threads still write.
const TRIES: usize = 100;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Unfinished(Kind);

#[derive(Debug)]
enum Kind {
    Unnamed { file: File, directory: PathBuf },
    Named(NamedTempFile),
}

/// A directory that is being filled; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    scratch: TempDir,
    /// Shows later runs that the directory is in use.
    _lock: File,
}

/// Something with a name of its own, removed when this is dropped or the process is interrupted.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
}

/// Everything that the process would leave behind, and whether it may still create more.
#[derive(Default)]
struct Register {
    /// Directories that contain names of this process.
    directories: BTreeSet<PathBuf>,
    claims: BTreeSet<PathBuf>,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
    /// Number of threads that are creating or naming something.
    busy: usize,
    ends: bool,
}

static REGISTER: LazyLock<(Mutex<Register>, Condvar)> = LazyLock::new(Default::default);
/// The common prefix of this process's names.
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    format!("{PREFIX}{:08x}-", random as u32)
});

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

fn register() -> MutexGuard<'static, Register> {
    REGISTER.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs steps that belong together, such as naming two files: an interrupt waits for them. After an interrupt, no new
/// steps begin.
pub(crate) fn together<T>(steps: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
            if DEPTH.get() == 0 {
                register().busy -= 1;
                REGISTER.1.notify_all();
            }
        }
    }
    if DEPTH.get() == 0 {
        let mut state = register();
        while state.ends {
            state = REGISTER.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.busy += 1;
    }
    DEPTH.set(DEPTH.get() + 1);
    let _leave = Leave;
    steps()
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does.
fn outlives_its_terminal() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// The thread that ends the process on signals.
pub(crate) struct Ending {
    stop: tokio::sync::oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Ending {
    /// Ends the thread, for what comes takes care of signals itself. A signal in the moment between is lost.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Makes SIGINT, SIGTERM and the SIGHUP of a closed terminal end this process with exit code 130, leaving nothing
/// unfinished. Servers end in their own way, and stop this before they begin; for all others it may be dropped. If it fails, a
/// signal ends the process in the default way.
pub(crate) fn end_on_signals() -> Option<Ending> {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = || -> io::Result<Ending> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                let mut hangup =
                    (!outlives_its_terminal()).then(|| signal(SignalKind::hangup()).ok()).flatten();
                let hung_up = async {
                    match &mut hangup {
                        Some(hangup) => drop(hangup.recv().await),
                        None => std::future::pending().await,
                    }
                };
                let _ = ready.send(());
                // Only dropping the other end does not stop this.
                let stopped = async {
                    if stopped.await.is_err() {
                        std::future::pending().await
                    }
                };
                tokio::select! {
                    () = stopped => return,
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    () = hung_up => {}
                }
                end();
            });
        })?;
        // Signals are handled from now on.
        let _ = is_ready.recv();
        Ok(Ending { stop, thread })
    };
    wait().ok()
}

/// Registers a function that runs before an interrupted process ends. It is registered in time, or this does not return.
pub(crate) fn on_interrupt(hook: impl FnOnce() + Send + 'static) {
    together(|| register().hooks.push(Box::new(hook)));
}

/// Gives the signal thread time to end the process, since something was interrupted, most likely by a signal.
pub(crate) fn await_end() {
    thread::sleep(Duration::from_secs(1));
    settle();
}

/// Waits for the end of an interrupted process: errors after its files were removed mean nothing.
pub(crate) fn settle() {
    while register().ends {
        thread::park();
    }
}

fn end() -> ! {
    let mut state = register();
    state.ends = true;
    while state.busy > 0 {
        state = REGISTER.1.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    let Register { directories, claims, hooks, .. } = std::mem::take(&mut *state);
    state.ends = true;
    drop(state);
    hooks.into_iter().for_each(|hook| hook());
    claims.iter().for_each(|path| clear(path));
    for directory in directories {
        for path in names(&directory, &TOKEN) {
            clear(&path);
        }
    }
    let _ = writeln!(io::stderr(), "\ninterrupted; run the same command again to resume");
    std::process::exit(INTERRUPTED)
}

/// The kind of a path that is neither a file nor a link, in words.
pub(crate) fn special(kind: fs::FileType) -> Option<&'static str> {
    match () {
        _ if kind.is_file() || kind.is_symlink() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_char_device() => Some("a character device"),
        _ if kind.is_block_device() => Some("a disk or another block device"),
        _ if kind.is_fifo() => Some("a pipe"),
        _ => Some("a socket"),
    }
}

/// Removes a path as far as possible.
fn clear(path: &Path) {
    for _ in 0..TRIES {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        let done = if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if done.is_ok() {
            return;
        }
        thread::yield_now();
    }
}

fn names(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()));
    ours.map(|entry| entry.path()).collect()
}

/// Registers a directory that gets names of this process, and removes leftovers in it whose locks nobody holds.
fn begin_in(directory: &Path) {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    if register().directories.insert(absolute.clone()) {
        sweep(&absolute);
    }
}

/// Removes unfinished files and directories whose owners are gone. If something cannot be removed now, the next run
/// tries again.
pub(crate) fn sweep(directory: &Path) {
    for path in names(directory, PREFIX) {
        let is_ours = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() || meta.is_dir());
        // The lock is held until the name is gone: an owner that waits for it then sees that, and begins anew.
        if is_ours
            && let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            clear(&path);
        }
    }
}

/// Whether a process is using an unfinished file or directory, which it shows by a lock. Always false on file systems
/// without locks.
pub(crate) fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// A file with a name that begins with [`PREFIX`], for code that needs one. Only its owner may read it, and it is
/// removed when this is dropped.
pub(crate) fn named_in(directory: &Path, suffix: &str) -> io::Result<NamedTempFile> {
    together(|| {
        begin_in(directory);
        loop {
            let file = tempfile::Builder::new().prefix(&*TOKEN).suffix(suffix).tempfile_in(directory)?;
            // On a file system without locks, nobody sweeps either.
            let _ = file.as_file().lock();
            // Another process may have swept it as a leftover before it was locked.
            if file.as_file().metadata()?.nlink() > 0 {
                return Ok(file);
            }
        }
    })
}

/// The same, in the directory for temporary files.
pub(crate) fn scratch(suffix: &str) -> io::Result<NamedTempFile> {
    named_in(&std::env::temp_dir(), suffix)
}

/// Whether an error means that a disk or a user's quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Advice for a full disk: which one it is, and how to choose another.
pub(crate) fn full(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_store = |place: &Path| place.join("objects").is_dir() && place.join("steps").is_dir();
    let place = absolute.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"));
    // For a file without a name, the path is its directory.
    let scratch = std::env::temp_dir();
    let is_scratch = absolute == scratch
        || absolute.parent() == Some(&scratch)
            && absolute
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    let choice = match absolute.ancestors().any(is_store) {
        true => " (`prebake store gc`), or choose another with --store or PREBAKE_STORE",
        false if is_scratch => ", or choose another with TMPDIR",
        false => ", or name another --output",
    };
    format!(
        "the disk is full: make room on the one with {}{choice}; no partial files were left there",
        place.display()
    )
}

impl Unfinished {
    /// A file that will get a name in this directory, with this mode regardless of the umask.
    pub(crate) fn in_directory(directory: &Path, mode: u32) -> io::Result<Self> {
        let file = Self::begun(directory, PRIVATE)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// The same with the mode that any program's new file gets there: less the umask, or by the directory's default ACL.
    pub(crate) fn with_usual_mode(directory: &Path, mode: u32) -> io::Result<Self> {
        let file = Self::begun(directory, mode)?;
        if let Kind::Named(file) = &file.0 {
            file.as_file().set_permissions(Permissions::from_mode(mode & !disk::umask()))?;
        }
        Ok(file)
    }

    fn begun(directory: &Path, mode: u32) -> io::Result<Self> {
        let file = match unnamed_in(directory, mode) {
            Some(file) => Unfinished(Kind::Unnamed { file, directory: directory.to_owned() }),
            None => Unfinished(Kind::Named(named_in(directory, "")?)),
        };
        // Leftovers with names are still removed.
        begin_in(directory);
        Ok(file)
    }

    /// The open file, without its final name.
    pub(crate) fn as_file(&self) -> &File {
        match &self.0 {
            Kind::Unnamed { file, .. } => file,
            Kind::Named(file) => file.as_file(),
        }
    }

    /// The open file, for writing.
    pub(crate) fn as_file_mut(&mut self) -> &mut File {
        match &mut self.0 {
            Kind::Unnamed { file, .. } => file,
            Kind::Named(file) => file.as_file_mut(),
        }
    }

    /// Gives the file its name. A file or link that had the name is replaced atomically; a device, pipe or socket is not:
    /// with `/dev/null` a machine would go.
    pub(crate) fn replace(self, target: &Path) -> io::Result<()> {
        if let Ok(meta) = fs::symlink_metadata(target)
            && let Some(kind) = special(meta.file_type())
        {
            let why = format!("it is {kind}, and only files are replaced");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        together(|| match self.0 {
            Kind::Named(file) => file.persist(target).map(drop).map_err(|failed| failed.error),
            Kind::Unnamed { mut file, directory } => match link(&file, target) {
                Ok(()) => Ok(()),
                // A link cannot replace a file, so the file needs a temporary name to be renamed from.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // A lock from before it has a name, so that no other process takes it for a leftover.
                    let _ = file.lock();
                    begin_in(&directory);
                    let named = tempfile::Builder::new()
                        .prefix(&*TOKEN)
                        .make_in(&directory, |place| link(&file, place));
                    match named {
                        Ok(named) => named.into_temp_path().persist(target).map_err(|failed| failed.error),
                        Err(_) => copy(&mut file, &directory)?.persist(target).map(drop).map_err(|e| e.error),
                    }
                }
                // Some sandboxes forbid linking.
                Err(_) => {
                    copy(&mut file, &directory)?.persist(target).map(drop).map_err(|failed| failed.error)
                }
            },
        })
    }

    /// Gives the file its name, unless that is taken; then the error is [`io::ErrorKind::AlreadyExists`].
    pub(crate) fn appear(self, target: &Path) -> io::Result<()> {
        together(|| match self.0 {
            Kind::Named(file) => file.persist_noclobber(target).map(drop).map_err(|failed| failed.error),
            Kind::Unnamed { mut file, directory } => match link(&file, target) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => copy(&mut file, &directory)?
                    .persist_noclobber(target)
                    .map(drop)
                    .map_err(|failed| failed.error),
                done => done,
            },
        })
    }
}

/// A file without a name, if the file system supports it and /proc exists, which is needed to name it later.
fn unnamed_in(directory: &Path, mode: u32) -> Option<File> {
    if !Path::new("/proc/self/fd").is_dir() {
        return None;
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    unix::openat(CWD, directory, flags, Mode::from_raw_mode(mode)).ok().map(File::from)
}

/// linkat(2) by way of /proc, which needs no privilege, unlike `AT_EMPTY_PATH`.
fn link(file: &File, target: &Path) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(unix::linkat(CWD, unnamed, CWD, target, AtFlags::SYMLINK_FOLLOW)?)
}

/// A copy of the bytes in a file with a name.
fn copy(file: &mut File, directory: &Path) -> io::Result<NamedTempFile> {
    let mut named = named_in(directory, "")?;
    file.seek(SeekFrom::Start(0))?;
    io::copy(file, named.as_file_mut())?;
    named.as_file().set_permissions(file.metadata()?.permissions())?;
    named.as_file().sync_all()?;
    Ok(named)
}

impl Read for Unfinished {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_file_mut().read(buffer)
    }
}

impl Write for Unfinished {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.as_file_mut().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.as_file_mut().flush()
    }
}

impl Seek for Unfinished {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.as_file_mut().seek(to)
    }
}

impl Directory {
    /// An empty directory within another one, accessible to its owner only.
    pub(crate) fn in_directory(parent: &Path) -> io::Result<Self> {
        together(|| {
            begin_in(parent);
            loop {
                let scratch = tempfile::Builder::new().prefix(&*TOKEN).tempdir_in(parent)?;
                let lock = match File::open(scratch.path()) {
                    // Another process has swept it as a leftover.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    lock => lock?,
                };
                let _ = lock.lock();
                if fs::metadata(scratch.path())
                    .is_ok_and(|meta| meta.ino() == lock.metadata().map_or(0, |m| m.ino()))
                {
                    return Ok(Directory { scratch, _lock: lock });
                }
            }
        })
    }

    /// The same, in the directory for temporary files.
    pub(crate) fn scratch() -> io::Result<Self> {
        Directory::in_directory(&std::env::temp_dir())
    }

    /// The directory's temporary path.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Gives the directory its name, which may be taken by an empty directory only.
    pub(crate) fn rename(mut self, target: &Path) -> io::Result<()> {
        together(|| {
            fs::rename(self.scratch.path(), target)?;
            self.scratch.disable_cleanup(true);
            Ok(())
        })
    }
}

impl Drop for Directory {
    /// [`TempDir`] tries only once, and one failed call would leave everything.
    fn drop(&mut self) {
        clear(self.scratch.path());
    }
}

impl Claim {
    /// Claims a path that only this process fills from now on. After an interrupt there are no claims: nobody would clear them.
    pub(crate) fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        together(|| register().claims.insert(path.clone()));
        Claim { path }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        clear(&self.path);
        register().claims.remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = names(directory, "")
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_no_name_until_it_is_complete_and_replaces_or_not() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("a");
        let write = |text: &str, mode| {
            let mut file = Unfinished::in_directory(place.path(), mode).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let file = write("one", 0o644);
        if matches!(file.0, Kind::Unnamed { .. }) {
            assert_eq!(listed(place.path()), [""; 0]);
        }
        file.appear(&target).unwrap();
        assert_eq!(write("two", 0o600).appear(&target).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"one");
        write("three", 0o600).replace(&target).unwrap();
        write("four", 0o640).replace(&place.path().join("b")).unwrap();
        drop(write("five", 0o600));
        assert_eq!(
            (fs::read(&target).unwrap(), listed(place.path())),
            (b"three".to_vec(), vec!["a".into(), "b".into()])
        );
        let mode = |name: &str| fs::metadata(place.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode("b")), (0o600, 0o640));
    }

    #[test]
    fn a_file_with_a_name_meanwhile_becomes_the_same() {
        let place = tempfile::tempdir().unwrap();
        let mut named = Unfinished(Kind::Named(named_in(place.path(), "").unwrap()));
        named.write_all(b"1").unwrap();
        assert_eq!(listed(place.path()).len(), 1);
        named.replace(&place.path().join("a")).unwrap();
        let mut file = Unfinished::in_directory(place.path(), 0o640).unwrap();
        file.write_all(b"22").unwrap();
        // As if a sandbox forbade naming a file without a name.
        let copied = copy(file.as_file_mut(), place.path()).unwrap();
        assert_eq!(
            (fs::read(copied.path()).unwrap(), copied.as_file().metadata().unwrap().mode() & 0o777),
            (b"22".to_vec(), 0o640)
        );
        drop((copied, file));
        assert_eq!(listed(place.path()), ["a"]);
    }

    #[test]
    fn what_a_killed_run_left_is_swept_and_what_somebody_works_on_stays() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(".prebake-dead"), "1").unwrap();
        fs::create_dir_all(place.path().join(".prebake-gone/a")).unwrap();
        fs::write(place.path().join(".tmp-of-others"), "1").unwrap();
        let held = place.path().join(".prebake-held");
        let lock = File::create(&held).unwrap();
        lock.lock().unwrap();
        let living = Directory::in_directory(place.path()).unwrap();
        sweep(place.path());
        let mut expected = vec![".prebake-held".to_owned(), ".tmp-of-others".into()];
        expected.push(living.path().file_name().unwrap().to_string_lossy().into_owned());
        expected.sort();
        assert_eq!(listed(place.path()), expected);
        living.rename(&place.path().join("done")).unwrap();
        drop(lock);
        sweep(place.path());
        assert_eq!(listed(place.path()), [".tmp-of-others", "done"]);
    }

    #[test]
    fn processes_that_sweep_one_directory_take_nothing_that_others_make_there() {
        let place = tempfile::tempdir().unwrap();
        let [writer, sweeper] = [0, 1].map(|_| place.path().to_owned());
        let writing = thread::spawn(move || {
            for at in 0..2000 {
                let mut file = Unfinished::in_directory(&writer, 0o600)?;
                write!(file, "{at}")?;
                file.replace(&writer.join("target"))?;
                let named = named_in(&writer, "")?;
                fs::read(named.path())?;
                let directory = Directory::in_directory(&writer)?;
                fs::write(directory.path().join("a"), "1")?;
            }
            io::Result::Ok(())
        });
        while !writing.is_finished() {
            sweep(&sweeper);
        }
        writing.join().unwrap().unwrap();
        assert_eq!(listed(place.path()), ["target"]);
    }

    #[test]
    fn a_claim_takes_what_was_made_and_leaves_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let [directory, file, other] = ["directory", "file", "other"].map(|name| place.path().join(name));
        for path in [&directory, &other] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("a"), "1").unwrap();
        }
        fs::write(&file, "1").unwrap();
        for path in [&directory, &file] {
            drop(Claim::new(path));
        }
        assert_eq!(listed(place.path()), ["other"]);
    }
}
