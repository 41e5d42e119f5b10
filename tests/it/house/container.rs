//! The bootstrap image: its Dockerfile, built by buildah and run by podman as far as that needs no other image. A stand-in takes
//! the place of the distribution that its first stages have: a shell, certificates and loaders of this machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::world::repository;

/// Images and containers of this run alone.
struct Engine {
    directory: TempDir,
}

/// The program that is tested, which has a libc.
const PREBAKE: &str = env!("CARGO_BIN_EXE_prebake");

fn run(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn done(command: &mut Command) -> String {
    let (fine, said) = run(command);
    assert!(fine, "{command:?}: {said}");
    said
}

impl Engine {
    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// The engine with the image `plain`, made once for all tests.
    fn get() -> &'static Engine {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        ENGINE.get_or_init(|| {
            let engine = Engine { directory: tempfile::tempdir().unwrap() };
            engine.make_base();
            engine.make_context();
            engine.build(&["--target", "plain", "--tag", "plain"]);
            engine
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(self.path("storage")).arg("--runroot").arg(self.path("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    }

    /// A system with a shell and this program's libraries.
    fn make_base(&self) {
        let root = self.path("base");
        for directory in ["bin", "usr/bin", "usr/lib", "lib64", "etc/ssl/certs", "tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let copy = |from: &Path| {
            let to = root.join(from.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        };
        copy(Path::new("/bin/busybox"));
        for tool in ["sh", "cp", "mkdir", "chmod", "sed", "mktemp", "rm"] {
            symlink("busybox", root.join("bin").join(tool)).unwrap();
        }
        let libraries = done(Command::new("ldd").args(["/bin/busybox", PREBAKE]));
        for word in libraries.split_whitespace().filter(|word| word.starts_with("/lib")) {
            copy(Path::new(word.trim_end_matches(':')));
        }
        copy(Path::new("/etc/ssl/certs/ca-certificates.crt"));
        copy(Path::new("/usr/lib/ipxe/undionly.kpxe"));
        copy(Path::new("/usr/lib/ipxe/ipxe.efi"));
        fs::write(self.path("base.Containerfile"), "FROM scratch\nCOPY . /\n").unwrap();
        let mut build = self.command("buildah");
        build.args(["build", "--isolation", "chroot", "--tag", "stand-in", "--file"]);
        done(build.arg(self.path("base.Containerfile")).arg(root));
    }

    /// The build's context, as a clone after `make dist` has it.
    fn make_context(&self) {
        let context = self.path("context");
        fs::create_dir_all(context.join("packaging")).unwrap();
        done(
            Command::new("cp")
                .arg("-a")
                .arg(repository("packaging/container"))
                .arg(context.join("packaging")),
        );
        for file in ["Dockerfile", ".dockerignore", "docker-compose.yaml"] {
            fs::copy(repository(file), context.join(file)).unwrap();
        }
        fs::create_dir(context.join("dist")).unwrap();
        fs::copy(PREBAKE, context.join("dist/prebake-amd64")).unwrap();
        fs::write(context.join("secret.key"), "not for the image").unwrap();
    }

    fn build(&self, arguments: &[&str]) -> String {
        let mut build = self.command("buildah");
        build.args([
            "build",
            "--isolation",
            "chroot",
            "--platform",
            "linux/amd64",
            "--build-arg",
            "BASE_IMAGE=stand-in",
        ]);
        done(build.args(arguments).arg(self.path("context")))
    }

    fn config(&self, image: &str) -> Value {
        let said = done(self.command("podman").args(["image", "inspect", image]));
        serde_json::from_str::<Value>(&said).unwrap()[0]["Config"].clone()
    }

    /// Runs an image with no more rights than these, and the libraries that only the program that is tested needs.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        // No container may have more of these than this machine's own limits, which podman asks for.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        let libraries = ["-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro"];
        let mut command = self.command("podman");
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm"]);
        run(command.args(limits).args(libraries).args(arguments))
    }
}

#[test]
fn the_bootstrap_image_has_the_seed_s_command_line_and_nothing_else_in_it() {
    let engine = Engine::get();
    let config = engine.config("plain");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/prebake", "cluster"]));
    for port in ["8080/tcp", "69/udp", "67/udp"] {
        assert!(config["ExposedPorts"].get(port).is_some(), "{config}");
    }
    assert_eq!(config["WorkingDir"], "/");
    let root = engine.path("root");
    fs::create_dir(&root).unwrap();
    let container = done(engine.command("podman").args(["create", "plain"]));
    let tar = engine.path("root.tar");
    done(engine.command("podman").args(["export", "--output"]).arg(&tar).arg(container.trim()));
    let files = done(Command::new("tar").arg("tf").arg(&tar));
    let files = files.lines().filter(|file| !file.ends_with('/'));
    // What a runtime puts there itself is no content.
    let runtimes = ["dev/", "etc/", "proc/", "run/", "sys/"];
    let own: Vec<&str> = files.filter(|file| !runtimes.iter().any(|place| file.starts_with(place))).collect();
    assert_eq!(own, ["prebake", "usr/lib/ipxe/ipxe.efi", "usr/lib/ipxe/undionly.kpxe"]);
    let certificates = done(Command::new("tar").arg("tf").arg(&tar).arg("etc/ssl/certs/ca-certificates.crt"));
    assert_eq!(certificates.trim(), "etc/ssl/certs/ca-certificates.crt");
}

#[test]
fn the_image_says_its_verbs_and_judges_a_description_without_network_and_rights() {
    let engine = Engine::get();
    let small = ["--network", "none", "--cap-drop", "all", "--read-only"];
    let (fine, said) = engine.run(&[&small[..], &["plain"]].concat());
    for verb in ["init", "generate", "serve", "wait", "validate", "teardown"] {
        assert!(said.contains(&format!("\n  {verb}")), "{verb}: {fine} {said}");
    }
    let file = engine.path("cluster.yaml");
    let example = fs::read_to_string(repository("cluster.yaml.example")).unwrap();
    fs::write(&file, &example).unwrap();
    let mount = format!("{}:/config/cluster.yaml:ro", file.display());
    let validate = [&small[..], &["-v", &mount, "plain", "validate"]].concat();
    let (fine, said) = engine.run(&validate);
    assert!(fine, "{said}");
    fs::write(&file, example.replace("role: worker", "role: wrker")).unwrap();
    let (fine, said) = engine.run(&validate);
    assert!(!fine && said.contains("/config/cluster.yaml:") && said.contains("worker"), "{said}");
}

/// docs/guides/cluster.md, the table of capabilities. Each is left out in turn.
#[test]
fn the_servers_need_one_capability_and_say_which_if_it_is_missing() {
    let engine = Engine::get();
    let site = engine.path("matchbox");
    for directory in ["groups", "profiles", "ignition", "assets"] {
        fs::create_dir_all(site.join(directory)).unwrap();
    }
    let mount = format!("{}:/site:ro", site.display());
    // In a network of its own, which nobody else hears.
    let serve = |capabilities: &[&str]| {
        let inner = [
            "--network",
            "none",
            "--read-only",
            "--entrypoint",
            "/prebake",
            "-v",
            &mount,
            "--timeout",
            "3",
            "--cap-drop",
            "all",
        ];
        let arguments = ["plain", "serve", "--matchbox", "/site", "--address", "127.0.0.1:8080", "--tftp"];
        let caps: Vec<&str> = capabilities.iter().flat_map(|capability| ["--cap-add", *capability]).collect();
        engine.run(&[&inner[..], &caps, &arguments].concat()).1
    };
    let said = serve(&["net_bind_service"]);
    assert!(said.contains("listening on tftp://") && !said.contains("error:"), "{said}");
    let said = serve(&["net_raw"]);
    assert!(said.contains("cannot listen on 0.0.0.0:69 for TFTP"), "{said}");
    assert!(said.contains("CAP_NET_BIND_SERVICE"), "{said}");
}

#[test]
fn the_compose_file_is_one_that_podman_compose_takes_and_asks_for_no_right() {
    let engine = Engine::get();
    let context = engine.path("context");
    fs::write(context.join("cluster.yaml"), "cluster: {}\n").unwrap();
    let lines = |service: &str| {
        let mut command = Command::new("podman-compose");
        command.args(["--dry-run", "run", "--rm", "--no-deps", service]).current_dir(&context);
        run(&mut command).1
    };
    for (service, network) in [("validate", Some("--network none")), ("generate", None)] {
        let said = lines(service);
        let line =
            said.lines().find(|line| line.starts_with("podman run")).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains("--cap-drop ALL") && line.contains("--read-only"), "{line}");
        assert!(line.ends_with(&format!(" bootstrap {service}")), "{line}");
        assert!(network.is_none_or(|network| line.contains(network)), "{line}");
        assert!(!line.contains("privileged"), "{line}");
    }
}
