//! From a folder in `sysext/` to an image: what a description may say, what an image may hold.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use prebake::base::arch::Arch;
use prebake::base::digest::Sha256;
use prebake::base::error::{Advice, Exit};
use prebake::base::finding::Severity;
use prebake::format::archive::{Kind, Selection};
use prebake::format::squashfs::{Compression, Level, Options};
use prebake::format::tree::{self, Content};
use prebake::sysext::description::{Description, Error, Expected, Placement};
use prebake::sysext::image::{self, Assembled, assemble};
use prebake::sysext::inspect::inspect;
use prebake::sysext::packaging::Packaging;

const HEAD: &str = "schema: 1\nname: demo\nversion: v1.2\n";

/// A sysext in a directory of its own, with what a test needs around it.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A sysext `demo` of this text.
    fn new(text: &str) -> Self {
        let world = World { dir: tempfile::tempdir().unwrap() };
        world.file("demo/sysext.yaml", text);
        fs::create_dir(world.dir.path().join("spool")).unwrap();
        world
    }

    fn file(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    fn load(&self) -> Result<Description, Error> {
        Description::load(&self.dir.path().join("demo"))
    }

    fn assemble(&self, fetched: &[(&str, PathBuf)]) -> Result<Assembled, image::Error> {
        let description = self.load()?;
        self.assemble_as(&description, Arch::Amd64, fetched)
    }

    fn assemble_as(
        &self,
        description: &Description,
        arch: Arch,
        fetched: &[(&str, PathBuf)],
    ) -> Result<Assembled, image::Error> {
        let variables = description.variables(arch, &BTreeMap::new())?;
        let fetched = fetched.iter().map(|(name, path)| (name.to_string(), path.clone())).collect();
        assemble(description, arch, &variables, &fetched, &self.dir.path().join("spool"))
    }

    /// The messages of everything that is wrong with the text.
    fn faults(text: &str) -> Vec<String> {
        match World::new(text).load() {
            Err(Error::Findings(findings)) => findings.0.into_iter().map(|finding| finding.message).collect(),
            other => panic!("findings expected: {other:?}"),
        }
    }

    /// The rule that an image with this file in `files/` breaks.
    fn broken_rule(path: &str, contents: &str) -> (Severity, String) {
        let world = World::new(HEAD);
        world.file(&format!("demo/files/{path}"), contents);
        let mut findings = match world.assemble(&[]) {
            Err(image::Error::Rules(findings)) => findings.0,
            Ok(assembled) => assembled.warnings,
            Err(other) => panic!("{path}: {other}"),
        };
        assert_eq!(findings.len(), 1, "{path}: {findings:?}");
        let finding = findings.remove(0);
        assert!(finding.path.is_some() || finding.hint.is_some());
        (finding.severity, finding.message.split(':').next().unwrap().to_owned())
    }
}

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// A .tgz with these files, all executable.
pub fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, body) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(body.len() as u64);
        tar.append_data(&mut header, name, *body).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn shipped(name: &str) -> Description {
    Description::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sysext").join(name)).unwrap()
}

#[test]
fn components_follow_architecture_and_version() {
    let kubernetes = shipped("kubernetes");
    let variables = kubernetes.variables(Arch::Arm64, &overrides(&[("version", "v1.33.1")])).unwrap();
    let components = kubernetes.components(Arch::Arm64, &variables).unwrap();
    let names: Vec<&str> = components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["cni-plugins", "crictl", "kubeadm", "kubectl", "kubelet"]);

    let kubeadm = &components[2];
    assert_eq!(kubeadm.url, "https://dl.k8s.io/v1.33.1/bin/linux/arm64/kubeadm");
    let published = Expected::Published { url: format!("{}.sha256", kubeadm.url) };
    assert_eq!(kubeadm.digest, published);
    let install = Placement::File { path: "usr/bin/kubeadm".into(), mode: 0o755, gzip: false };
    assert_eq!(kubeadm.placement, install);
    let selections = vec![Selection { members: "./*".into(), to: "usr/local/bin/cni/".into() }];
    assert_eq!(components[0].placement, Placement::Members { kind: Kind::TarGz, selections });
    assert_eq!(kubernetes.file_name("v1.33.1", Arch::Amd64), "kubernetes-v1.33.1-x86-64.raw");
}

#[test]
fn a_pinned_digest_is_taken_for_the_architecture_or_its_absence_told() {
    let digest = Sha256::of(b"x");
    let text = format!(
        "{HEAD}components:\n  x:\n    url: https://example.org/x-{{arch_uname}}-{{arch_systemd}}.gz\n    sha256: {{amd64: {digest}}}\n    install: /usr/bin/x\n    mode: 0555\n"
    );
    let demo = World::new(&text).load().unwrap();
    let components = |arch| demo.components(arch, &demo.variables(arch, &BTreeMap::new()).unwrap());
    let x = components(Arch::Amd64).unwrap().remove(0);
    assert_eq!(x.url, "https://example.org/x-x86_64-x86-64.gz");
    assert_eq!(x.digest, Expected::Pinned(digest));
    assert_eq!(x.placement, Placement::File { path: "usr/bin/x".into(), mode: 0o555, gzip: true });
    assert!(matches!(components(Arch::Arm64), Err(Error::Unpinned { arch: Arch::Arm64, .. })));
}

#[test]
fn a_recipe_cannot_move_a_component_away_from_its_pinned_digest() {
    let text = format!(
        "{HEAD}components: {{x: {{url: \"https://x/{{version}}\", sha256: {{amd64: {}}}, install: /usr/x}}}}\n",
        Sha256::of(b"x")
    );
    let demo = World::new(&text).load().unwrap();
    let components = |version| {
        let variables = demo.variables(Arch::Amd64, &overrides(&[("version", version)])).unwrap();
        demo.components(Arch::Amd64, &variables)
    };
    assert!(components("v1.2").is_ok());
    assert!(matches!(components("v1.3"), Err(Error::Moved { url, .. }) if url == "https://x/v1.3"));
}

#[test]
fn a_recipe_may_set_only_known_variables_to_plain_values() {
    let kubernetes = shipped("kubernetes");
    let refused = kubernetes.variables(Arch::Amd64, &overrides(&[("cin", "v1.0.0")])).unwrap_err();
    assert_eq!(refused.hint().unwrap(), "did you mean `cni`?");
    for value in ["", "../x", "a/b", "v1 2", "-x", "a?b", "v1..2"] {
        let refused = kubernetes.variables(Arch::Amd64, &overrides(&[("version", value)]));
        assert!(matches!(refused, Err(Error::Value { .. })), "{value}");
    }
}

/// attacks.md, C-M9: the password lay in the lock, the SBOM and the provenance of every tree.
#[test]
fn a_password_in_a_components_url_is_refused_and_not_told() {
    for url in ["https://robot:TOPSECRET@x/a", "https://TOPSECRET@x/a"] {
        let text = format!(
            "schema: 1\nname: demo\nversion: '1'\nos: any\ncomponents:\n  a: {{url: \"{url}\", sha256_url: \"https://x/b\", install: /usr/bin/a}}\n"
        );
        let faults = World::faults(&text);
        assert!(faults.iter().any(|fault| fault.contains("a user or a password")), "{faults:?}");
        assert!(!faults.iter().any(|fault| fault.contains("TOPSECRET")), "{faults:?}");
    }
}

#[test]
fn every_fault_of_a_description_is_told_at_once_in_the_order_of_the_text() {
    let text = "schema: 2\nname: other\nversion: a/b\nos: debian\nreload: 1\nvariables: {arch: x}\n\
        components:\n  a: {url: \"https://x/{verison}\", sha256_url: \"ftp://x/\", install: usr/bin/a}\n  \
        b: {url: \"https://x/{\", install: /usr/b, extract: {}}\n  \
        c: {url: \"https://x/c.tgz\", sha256_url: \"https://x/c\", extract: {\"a*b\": /usr/c, \"d*\": /usr/d}, mode: 4755}\n\
        text: {usr/x: \"{nope}\"}\nextra: 1\n";
    let faults = World::faults(text);
    let expected = [
        "schema 2; this prebake reads 1",
        "the name is `other` but the folder is `demo`",
        "`a/b` cannot be used in URLs and file names",
        "unknown os `debian`: any or flatcar",
        "must be `true` or `false`",
        "`arch` is built in",
        "unknown variable `{verison}`: did you mean `{version}`?",
        "ftp://x/ has the scheme `ftp`; http and https can be fetched",
        "`usr/bin/a` is not an absolute path without `..`, `.` and empty parts",
        "component `b` needs one of `sha256` and `sha256_url`",
        "component `b` needs one of `install` and `extract`",
        "`https://x/{` has an unmatched brace; write a literal brace twice",
        "`*` is allowed only at the end",
        "members chosen with `*` go into a directory: end it with `/`",
        "`mode` belongs to `install`; extracted members keep theirs",
        "`usr/x` is not an absolute path without `..`, `.` and empty parts",
        "unknown variable `{nope}`: known are arch, arch_systemd, arch_uname, version",
        "unknown key `extra` in the sysext",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_setuid_mode_is_refused() {
    let text = format!(
        "{HEAD}components: {{a: {{url: \"https://x/a\", sha256_url: \"https://x/b\", install: /usr/a, mode: 4755}}}}\n"
    );
    assert_eq!(World::faults(&text), ["`4755` is not a mode: octal, at most 0777 (no setuid in a sysext)"]);
}

#[test]
fn the_kubernetes_image_is_what_a_node_needs_and_the_same_bytes_twice() {
    let kubernetes = shipped("kubernetes");
    let world = World::new(HEAD);
    let plugins = tgz(&[("./bridge", b"bridge"), ("./LICENSE", b"licence")]);
    let fetched = [
        ("kubeadm", world.file("fetched/1", "adm")),
        ("kubelet", world.file("fetched/2", "let")),
        ("kubectl", world.file("fetched/3", "ctl")),
        ("cni-plugins", world.file("fetched/4", plugins)),
        ("crictl", world.file("fetched/5", tgz(&[("crictl", b"cri")]))),
    ];
    let compression = Compression::Zstd(Level::new(1).unwrap());
    let packaging = Options { compression, ..Options::default() }.into();
    let build = |file: &str| {
        let assembled = world.assemble_as(&kubernetes, Arch::Amd64, &fetched).unwrap();
        assert!(assembled.warnings.is_empty(), "{:?}", assembled.warnings);
        let path = world.dir.path().join(file);
        assembled.write("kubernetes", 1_700_000_000, &packaging, &mut File::create(&path).unwrap()).unwrap();
        path
    };
    let image = build("one.raw");
    assert_eq!(fs::read(&image).unwrap(), fs::read(build("two.raw")).unwrap());

    let (inspected, findings) = inspect(&image).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(inspected.name.as_deref(), Some("kubernetes"));
    let fields = [("ARCHITECTURE", "x86-64"), ("EXTENSION_RELOAD_MANAGER", "1"), ("ID", "_any")];
    assert_eq!(inspected.release, overrides(&fields));
    let files = inspected.entries.iter().filter(|row| row.kind != "dir");
    let files: Vec<String> = files.map(|row| format!("{} {:o}", row.path, row.mode)).collect();
    assert_eq!(
        files,
        [
            "/usr/bin/kubeadm 755",
            "/usr/bin/kubectl 755",
            "/usr/bin/kubelet 755",
            "/usr/lib/extension-release.d/extension-release.kubernetes 644",
            "/usr/lib/systemd/system/kubelet.service 644",
            "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf 644",
            "/usr/lib/systemd/system/multi-user.target.d/10-kubernetes.conf 644",
            "/usr/libexec/kubernetes/kubelet-plugins/volume/exec 777",
            "/usr/local/bin/cni/LICENSE 755",
            "/usr/local/bin/cni/bridge 755",
            "/usr/local/bin/crictl 755",
            "/usr/local/share/kubernetes-cni-version 644",
            "/usr/local/share/kubernetes-version 644",
        ]
    );
}

#[test]
fn os_flatcar_comes_with_its_level() {
    let world = World::new(&format!("{HEAD}os: flatcar\n"));
    let assembled = world.assemble_as(&world.load().unwrap(), Arch::Arm64, &[]).unwrap();
    let entry = assembled.tree().get("usr/lib/extension-release.d/extension-release.demo").unwrap();
    let Content::File(tree::Contents::Bytes(bytes)) = &entry.content else { panic!("a file") };
    assert_eq!(String::from_utf8_lossy(bytes), "ARCHITECTURE=arm64\nID=flatcar\nSYSEXT_LEVEL=1.0\n");
}

#[test]
fn an_image_with_opt_is_refused() {
    assert_eq!(World::broken_rule("opt/cni/bin/bridge", ""), (Severity::Error, "no-opt".into()));
}

#[test]
fn an_image_with_usr_sbin_is_refused() {
    assert_eq!(World::broken_rule("usr/sbin/tool", ""), (Severity::Error, "no-sbin".into()));
}

#[test]
fn an_image_with_os_release_is_refused() {
    assert_eq!(World::broken_rule("usr/lib/os-release", ""), (Severity::Error, "no-os-release".into()));
}

#[test]
fn an_image_with_etc_or_var_is_refused() {
    for path in ["etc/x.conf", "var/lib/x", "optional/x"] {
        assert_eq!(World::broken_rule(path, ""), (Severity::Error, "usr-only".into()));
    }
}

#[test]
fn an_image_with_wants_links_is_refused() {
    let path = "usr/lib/systemd/system/multi-user.target.wants/x.service";
    assert_eq!(World::broken_rule(path, "[Service]\n"), (Severity::Error, "no-wants".into()));
}

#[test]
fn a_drop_in_that_systemd_would_not_read_is_refused() {
    let path = "usr/lib/systemd/system/multi-user.target.d/x.service";
    assert_eq!(World::broken_rule(path, "[Unit]\n"), (Severity::Error, "drop-in-suffix".into()));
}

#[test]
fn a_sysctl_that_comes_too_late_is_a_warning() {
    assert_eq!(World::broken_rule("usr/lib/sysctl.d/x.conf", "a=1"), (Severity::Warning, "too-early".into()));
}

#[test]
fn an_extension_release_of_another_name_is_refused() {
    let path = "usr/lib/extension-release.d/extension-release.demo-v1";
    assert_eq!(World::broken_rule(path, "ID=_any\n"), (Severity::Error, "one-release-file".into()));
}

#[test]
fn a_unit_that_does_not_parse_is_refused_with_its_line() {
    let world = World::new(HEAD);
    world
        .file("demo/files/usr/lib/systemd/system/x.service", "[Unit]\nAfter=a\n[Service\nExecStart=/bin/x\n");
    let Err(image::Error::Rules(findings)) = world.assemble(&[]) else { panic!("a refusal") };
    assert_eq!(findings.0[0].place.as_ref().unwrap().line, 3);
    assert_eq!(findings.exit(), Exit::Config);
}

#[test]
fn an_unreadable_kind_of_file_is_refused() {
    let world = World::new(HEAD);
    world.file("demo/files/usr/x", "");
    std::os::unix::net::UnixListener::bind(world.dir.path().join("demo/files/usr/s")).unwrap();
    let refused = world.load().unwrap_err();
    let Error::Files { source: tree::Error::Special { kind, .. }, .. } = refused else { panic!("{refused}") };
    assert_eq!(kind, "socket");
}

#[test]
fn two_components_for_one_path_name_both() {
    let component = |name: &str| {
        format!(
            "  {name}: {{url: \"https://x/{name}\", sha256_url: \"https://x/s\", install: /usr/bin/same}}\n"
        )
    };
    let world = World::new(&format!("{HEAD}components:\n{}{}", component("one"), component("two")));
    let file = world.file("fetched", "x");
    let refused = world.assemble(&[("one", file.clone()), ("two", file)]).unwrap_err();
    let image::Error::Tree { source: tree::Error::Conflict { path, first, second }, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!([path.as_str(), &first, &second], ["usr/bin/same", "component one", "component two"]);
}

#[test]
fn a_component_that_was_not_fetched_is_named() {
    let text = format!(
        "{HEAD}components: {{a: {{url: \"https://x/a\", sha256_url: \"https://x/s\", install: /usr/a}}}}\n"
    );
    let refused = World::new(&text).assemble(&[]).unwrap_err();
    assert!(matches!(refused, image::Error::Missing { component, .. } if component == "a"));
}

#[test]
fn links_are_kept_as_they_are_written_and_upheld_units_get_a_drop_in() {
    let world = World::new(&format!(
        "{HEAD}links: {{/usr/bin/demo: \"tool-{{version}}\"}}\nupholds: [a.service, b.socket]\n"
    ));
    let assembled = world.assemble(&[]).unwrap();
    let Content::Symlink(target) = &assembled.tree().get("usr/bin/demo").unwrap().content else {
        panic!("a link")
    };
    assert_eq!(target, "tool-v1.2");
    let path = "usr/lib/systemd/system/multi-user.target.d/10-demo.conf";
    let Content::File(tree::Contents::Bytes(text)) = &assembled.tree().get(path).unwrap().content else {
        panic!("a file")
    };
    assert_eq!(text, b"[Unit]\nUpholds=a.service b.socket\n");

    world.file(&format!("demo/files/{path}"), "[Unit]\nUpholds=a.service\n");
    let refused = world.assemble(&[]).unwrap_err();
    assert!(matches!(refused, image::Error::Tree { source: tree::Error::Conflict { .. }, .. }), "{refused}");
}

#[test]
fn texts_are_expanded_and_doubled_braces_are_kept() {
    let world = World::new(&format!("{HEAD}text: {{/usr/share/x.json: '{{{{\"v\": \"{{version}}\"}}}}'}}\n"));
    let assembled = world.assemble(&[]).unwrap();
    let Content::File(contents) = &assembled.tree().get("usr/share/x.json").unwrap().content else {
        panic!()
    };
    assert_eq!(contents.sha256().unwrap(), Sha256::of(b"{\"v\": \"v1.2\"}"));
}

#[test]
fn the_digest_of_a_folder_follows_its_text_and_files() {
    let world = World::new(HEAD);
    let digest = || world.load().unwrap().digest().unwrap();
    let empty = digest();
    world.file("demo/files/usr/x", "1");
    let one = digest();
    world.file("demo/files/usr/x", "2");
    assert!(empty != one && one != digest());
}

fn prebake(args: &[&str]) -> (i32, String, String) {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_prebake"))
        .args(args)
        .current_dir(root)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn sysext_ls_lists_what_is_shipped() {
    let (code, table, _) = prebake(&["sysext", "ls"]);
    assert_eq!(code, 0);
    assert!(table.lines().any(|line| line.starts_with("kubernetes ")), "{table}");
    let (_, json, _) = prebake(&["sysext", "ls", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len() + 1, table.lines().count(), "a heading and a line for each");
}

#[test]
fn sysext_inspect_shows_the_release_file_and_names_what_is_wrong() {
    let world = World::new(HEAD);
    world.file("demo/files/usr/bin/tool", "12345");
    let image = world.dir.path().join("x.raw");
    let assembled = world.assemble(&[]).unwrap();
    assembled.write("demo", 7, &Packaging::default(), &mut File::create(&image).unwrap()).unwrap();
    let (code, json, story) = prebake(&["sysext", "inspect", "--json", image.to_str().unwrap()]);
    assert_eq!((code, story.as_str()), (0, ""));
    let seen: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(seen["name"], "demo");
    assert_eq!(seen["release"]["ARCHITECTURE"], "x86-64");
    let tool = serde_json::json!({"path": "/usr/bin/tool", "kind": "file", "mode": 0o644, "size": 5});
    assert!(seen["entries"].as_array().unwrap().contains(&tool), "{json}");

    let mut foreign = tree::Tree::new();
    foreign.insert("opt/x", tree::Entry::dir("test")).unwrap();
    prebake::format::squashfs::write(&foreign, 7, Options::default(), &mut File::create(&image).unwrap())
        .unwrap();
    let (code, table, story) = prebake(&["sysext", "inspect", image.to_str().unwrap()]);
    assert_eq!(code, 0, "inspect reports; it does not judge by its exit code");
    assert!(
        table.contains("/opt/x") && story.contains("no-opt") && story.contains("release-file"),
        "{story}"
    );

    let (code, _, story) = prebake(&["sysext", "inspect", "Cargo.toml"]);
    assert_eq!(code, 4);
    assert!(story.contains("Cargo.toml is not an image of a system extension"), "{story}");
}
