//! Asking kubeadm which images its version needs: `kubeadm config images list`.
//!
//! Runs a program that was fetched, on the machine that builds: the one of the machine's own architecture, after its
//! digest was verified and pinned, with an empty environment and a time limit. It needs no network, because the version
//! is named (kubeadm would ask for `stable-1` otherwise).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Advice, Exit};
use crate::source::oci::ImageRef;

/// What control planes alone run, by the last part of the repository.
const CONTROL_PLANE: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];
/// What must be in the list beside those.
const NODE: [&str; 3] = ["kube-proxy", "coredns", "pause"];
/// Longest answer that is read, in bytes; it has some 300.
const MAX_OUTPUT: u64 = 16 << 10;
/// It takes 0.1 s; a busy machine gets more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why kubeadm gave no list.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be run.
    #[error("cannot run the kubeadm of Kubernetes {version}")]
    Run {
        /// The version.
        version: String,
        /// What the system says.
        source: io::Error,
    },
    /// It ended with an error, or not at all.
    #[error("the kubeadm of Kubernetes {version} does not list its images: {why}")]
    Refused {
        /// The version.
        version: String,
        /// What it said.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn hint(&self) -> Option<String> {
        Some("add the version to `versions:` in the sysext.yaml of `kubernetes`".into())
    }
}

/// Asks the program `file` for the images of `version`. `scratch` is a directory for the time of the question.
pub fn ask(file: &Path, version: &str, scratch: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Run { version: version.into(), source };
    let refused = |why: String| Error::Refused { version: version.into(), why };
    // An object of the store is not executable.
    let program = scratch.join("kubeadm");
    fs::copy(file, &program).map_err(failed)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    let (said, complained) = (scratch.join("stdout"), scratch.join("stderr"));
    let mut child = Command::new(&program)
        .args(["config", "images", "list", "--kubernetes-version", version])
        .env_clear()
        .current_dir(scratch)
        .stdin(Stdio::null())
        .stdout(File::create(&said).map_err(failed)?)
        .stderr(File::create(&complained).map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if started.elapsed() > PATIENCE => {
                child.kill().and_then(|()| child.wait()).map_err(failed)?;
                return Err(refused(format!("it ran for more than {} s", PATIENCE.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if !status.success() {
        let why = beginning(&complained).map_err(failed)?;
        return Err(refused(why.lines().next().unwrap_or("it gives no reason").to_owned()));
    }
    let images = parse(&beginning(&said).map_err(failed)?, version).map_err(refused)?;
    Ok(images)
}

fn beginning(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The images of an answer: a reference a line, every known one among them, Kubernetes' own at the version asked for.
fn parse(output: &str, version: &str) -> Result<Vec<String>, String> {
    let mut images = Vec::new();
    for line in output.lines() {
        let image: ImageRef = line.parse()?;
        if name(&image).starts_with("kube-") && image.tag() != Some(version) {
            return Err(format!("{image} is not of the version that was asked for"));
        }
        images.push(image);
    }
    let known = CONTROL_PLANE.iter().chain(&NODE);
    if let Some(absent) = known.into_iter().find(|known| !images.iter().any(|image| name(image) == **known)) {
        return Err(format!("there is no {absent} among them"));
    }
    Ok(images.iter().map(ToString::to_string).collect())
}

/// A list of kubeadm's as what every node needs, and what control planes need beside that.
pub fn lists(images: &[String]) -> Result<(Vec<ImageRef>, Vec<ImageRef>), String> {
    let images: Vec<ImageRef> = images.iter().map(|image| image.parse()).collect::<Result<_, _>>()?;
    Ok(images.into_iter().partition(|image| !CONTROL_PLANE.contains(&name(image))))
}

fn name(image: &ImageRef) -> &str {
    let repository = image.repository();
    repository.rsplit('/').next().unwrap_or(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kubeadm v1.33.13 says, to the byte.
    const ANSWER: &str = "\
registry.k8s.io/kube-apiserver:v1.33.13
registry.k8s.io/kube-controller-manager:v1.33.13
registry.k8s.io/kube-scheduler:v1.33.13
registry.k8s.io/kube-proxy:v1.33.13
registry.k8s.io/coredns/coredns:v1.12.0
registry.k8s.io/pause:3.10
registry.k8s.io/etcd:3.5.24-0
";

    #[test]
    fn kubeadms_answer_is_parted_into_what_nodes_and_what_control_planes_need() {
        let images = parse(ANSWER, "v1.33.13").unwrap();
        let (node, control_plane) = lists(&images).unwrap();
        let names = |list: &[ImageRef]| list.iter().map(|image| name(image).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&node), ["kube-proxy", "coredns", "pause"]);
        assert_eq!(
            names(&control_plane),
            ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]
        );
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let cases = [
            (ANSWER.replace("v1.33.13", "v1.33.12"), "is not of the version"),
            (ANSWER.replace("registry.k8s.io/pause:3.10\n", ""), "no pause"),
            (format!("I0101 warning\n{ANSWER}"), "not an image reference"),
            (String::new(), "no kube-apiserver"),
        ];
        for (answer, expected) in cases {
            let why = parse(&answer, "v1.33.13").unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    /// A program that answers as kubeadm would.
    fn script(directory: &Path, text: &str) -> std::path::PathBuf {
        let file = directory.join("program");
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        file
    }

    #[test]
    fn the_program_gets_no_environment_and_the_version() {
        let directory = tempfile::tempdir().unwrap();
        // A shell sets a few variables of its own.
        let text = format!(
            "[ \"$*\" = 'config images list --kubernetes-version v1.33.13' ] || exit 3\n[ -z \"$HOME$USER\" ] || exit 4\ncat <<'X'\n{ANSWER}X"
        );
        let file = script(directory.path(), &text.replace("cat", "/bin/cat"));
        assert_eq!(ask(&file, "v1.33.13", directory.path()).unwrap().len(), 7);
    }

    #[test]
    fn what_the_program_complains_of_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = script(directory.path(), "echo too old >&2; echo more >&2; exit 1");
        let error = ask(&file, "v1.33.13", directory.path()).unwrap_err();
        assert_eq!(error.to_string(), "the kubeadm of Kubernetes v1.33.13 does not list its images: too old");
        let file = directory.path().join("absent");
        assert!(matches!(ask(&file, "v1.33.13", directory.path()), Err(Error::Run { .. })));
    }
}
