//! Programs of a site that run once the cluster is ready.
//!
//! As `run-parts` of Debian does: regular, executable files of plain names, in the order of their names. They are refused if anybody
//! else could have written them, run with a small environment and `KUBECONFIG`, and are ended, with all that they started, when their
//! time is over. They run at each `init` that comes to a ready cluster, so they must be able to run again.

use std::fs::{self, Metadata};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::base::error::{Advice, Exit};
use crate::cluster::group::{Group, is_over};

/// How long one hook may take.
pub const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Variables that hooks keep.
const KEPT: [&str; 6] = ["PATH", "HOME", "LANG", "TERM", "USER", "TMPDIR"];
/// How often a child is looked at while it says nothing.
const POLL: Duration = Duration::from_millis(50);
/// How long output may come after a hook has ended, from what it left running.
const REST: Duration = Duration::from_secs(1);
/// Lines of a hook's output that its error shows.
const SHOWN: usize = 10;

/// A hook that did not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or a file cannot be read.
    #[error("cannot read the hooks in {}", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// Somebody else could have written it.
    #[error("the hook {} is not run: {why}", path.display())]
    Unsafe {
        /// The file or its directory.
        path: PathBuf,
        /// The right that is too wide, or the foreign owner, in words.
        why: &'static str,
    },
    /// It cannot be started.
    #[error("cannot start the hook {}", path.display())]
    Start {
        /// The hook's program.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// It ended badly.
    #[error("the hook {} failed ({status}){}", path.display(), told(last))]
    Failed {
        /// The hook's program.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        last: Vec<String>,
    },
    /// It took too long.
    #[error("the hook {} did not end within {}{}", path.display(), humantime::format_duration(*limit), told(last))]
    Late {
        /// The hook's program.
        path: PathBuf,
        /// The limit.
        limit: Duration,
        /// Its last lines.
        last: Vec<String>,
    },
}

fn told(last: &[String]) -> String {
    last.iter().map(|line| format!("\n  {line}")).collect()
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Late { .. } => Exit::TimedOut,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unsafe { .. } => {
                Some("make it yours and writable by you alone: `chown`, `chmod go-w`".into())
            }
            Error::Failed { .. } | Error::Late { .. } => Some(
                "the cluster itself is ready; the hooks run again with the next `prebake cluster init`"
                    .into(),
            ),
            Error::Start { .. } => Some("a script begins with a line such as `#!/bin/sh`".into()),
            Error::Read { .. } => None,
        }
    }
}

/// The hooks of a directory in their order; none if it is not there.
///
/// # Errors
/// It cannot be read, or another user could have written to it.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |source| Error::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut hooks = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Backups of editors and packages (`x~`, `x.bak`) and hidden files are no hooks; `run-parts` knows the same names.
        let is_plain = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let is_script = name.strip_suffix(".sh").is_some_and(|stem| {
            !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        });
        let metadata = fs::metadata(&path).map_err(read)?;
        if !(is_plain || is_script) || !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            continue;
        }
        judge(&path, &metadata)?;
        hooks.push(path);
    }
    if !hooks.is_empty() {
        judge(directory, &fs::metadata(directory).map_err(read)?)?;
    }
    hooks.sort();
    Ok(hooks)
}

fn judge(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let own = rustix::process::geteuid().as_raw();
    let why = match () {
        () if metadata.mode() & 0o022 != 0 => "others may write to it",
        () if metadata.uid() != own && metadata.uid() != 0 => "it belongs to another user",
        () => return Ok(()),
    };
    Err(Error::Unsafe { path: path.to_owned(), why })
}

/// Runs the hooks of a directory one after another; each line that they print goes to `tell`. Blocks.
///
/// # Errors
/// The first that fails; those after it are not run.
pub fn run(
    directory: &Path,
    kubeconfig: &Path,
    cluster: &str,
    limit: Duration,
    tell: &mut dyn FnMut(&Path, &str),
) -> Result<usize, Error> {
    let hooks = list(directory)?;
    for path in &hooks {
        one(path, kubeconfig, cluster, limit, tell)?;
    }
    Ok(hooks.len())
}

fn one(
    path: &Path,
    kubeconfig: &Path,
    cluster: &str,
    limit: Duration,
    tell: &mut dyn FnMut(&Path, &str),
) -> Result<(), Error> {
    let start = |source| Error::Start { path: path.to_owned(), source };
    let absolute = |path: &Path| std::path::absolute(path).map_err(start);
    let (reader, writer) = io::pipe().map_err(start)?;
    let mut command = Command::new(absolute(path)?);
    command.env_clear();
    command.envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("KUBECONFIG", absolute(kubeconfig)?).env("CLUSTER_NAME", cluster);
    command.current_dir(absolute(path.parent().unwrap_or(Path::new(".")))?);
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(start)?).stderr(writer);
    let (mut child, group) = Group::start(&mut command).map_err(start)?;
    // It holds the pipe open.
    drop(command);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut last: Vec<String> = Vec::new();
    let mut take = |line: String| {
        tell(path, &line);
        last.push(line);
        if last.len() > SHOWN {
            last.remove(0);
        }
    };
    let status = loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => take(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
        }
        if is_over(&child).map_err(start)? {
            break Some(group.reap(&mut child).map_err(start)?);
        }
        if Instant::now() >= deadline {
            group.signal(Signal::KILL);
            let _ = group.reap(&mut child);
            break None;
        }
    };
    let until = Instant::now() + REST;
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        take(line);
    }
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::Failed { path: path.to_owned(), status, last }),
        None => Err(Error::Late { path: path.to_owned(), limit, last }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hook(directory: &Path, name: &str, mode: u32, text: &str) {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn run(directory: &Path, limit: Duration) -> (Result<usize, Error>, Vec<String>) {
        let mut lines = Vec::new();
        let mut tell = |path: &Path, line: &str| {
            lines.push(format!("{}: {line}", path.file_name().unwrap().display()));
        };
        let done = super::run(directory, Path::new("kubeconfig"), "lab", limit, &mut tell);
        (done, lines)
    }

    #[test]
    fn hooks_run_in_order_with_a_small_environment_and_the_kubeconfig() {
        let directory = tempfile::tempdir().unwrap();
        hook(directory.path(), "20-second", 0o755, "#!/bin/sh\necho two; echo err >&2\n");
        hook(
            directory.path(),
            "10-first.sh",
            0o700,
            "#!/bin/sh\necho $CLUSTER_NAME ${KUBECONFIG##*/} ${CARGO_MANIFEST_DIR-none}\n",
        );
        hook(directory.path(), "15-off", 0o644, "#!/bin/sh\nexit 1\n");
        hook(directory.path(), "16-backup~", 0o755, "#!/bin/sh\nexit 1\n");
        let (done, lines) = run(directory.path(), LIMIT);
        assert_eq!(done.unwrap(), 2);
        assert_eq!(lines, ["10-first.sh: lab kubeconfig none", "20-second: two", "20-second: err"]);
        assert_eq!(run(&directory.path().join("none"), LIMIT).0.unwrap(), 0);
    }

    #[test]
    fn a_hook_that_fails_is_named_with_its_last_words_and_the_next_is_not_run() {
        let directory = tempfile::tempdir().unwrap();
        hook(directory.path(), "1", 0o755, "#!/bin/sh\necho no such thing\nexit 3\n");
        hook(directory.path(), "2", 0o755, "#!/bin/sh\necho never\n");
        let (done, lines) = run(directory.path(), LIMIT);
        let error = done.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.to_string().ends_with("failed (exit status: 3)\n  no such thing"), "{error}");
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn a_hook_that_does_not_end_is_ended_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        hook(directory.path(), "1", 0o755, "#!/bin/sh\nsleep 600 &\necho $!\nwait\n");
        let (done, lines) = run(directory.path(), Duration::from_secs(2));
        assert_eq!(done.unwrap_err().exit(), Exit::TimedOut);
        let child = lines[0].rsplit(' ').next().unwrap();
        // Gone, or a zombie that nobody has reaped; a process that was killed has closed its files a moment before it is either.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < deadline, "{stat}");
            thread::sleep(POLL);
        }
    }

    #[test]
    fn a_hook_that_others_may_write_is_not_run() {
        let directory = tempfile::tempdir().unwrap();
        hook(directory.path(), "1", 0o777, "#!/bin/sh\necho evil\n");
        let (done, lines) = run(directory.path(), LIMIT);
        assert!(matches!(done, Err(Error::Unsafe { .. })) && lines.is_empty());
    }
}
