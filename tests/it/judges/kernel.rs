//! The kernel as the judge of images: mounted, which takes root and loop devices.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Whether this user may have the kernel mount images. Where not, that is said even though the test passes; never in CI.
pub(crate) fn mounts() -> bool {
    let loops = || Command::new("losetup").arg("-f").output().is_ok_and(|output| output.status.success());
    let able = rustix::process::geteuid().is_root() && loops();
    if !able {
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "CI must be able to mount images");
        // Not by a macro, whose words libtest keeps to itself if the test passes.
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let words = "skipped: only root with loop devices has the kernel mount an image";
        io::stderr().write_all(format!("{test}: {words}\n").as_bytes()).unwrap();
    }
    able
}

/// A mounted image, unmounted at the end.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts an image of a file system on a directory, which is made. The options are mount's, without `loop`.
    pub(crate) fn new(filesystem: &str, options: &str, image: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", filesystem, "-o", &format!("loop,{options}")]).args([image, at]);
        succeed(&mut mount);
        Mounted(at.to_owned())
    }

    /// A path in it.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Unmounts it, so that all of it is in the image.
    pub(crate) fn unmount(self) {
        succeed(Command::new("umount").arg(&self.0));
        std::mem::forget(self);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).output());
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
