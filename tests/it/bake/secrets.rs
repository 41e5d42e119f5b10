//! Secrets never become public: planted in every kind of place, each is refused with the file and line that brought it,
//! before anything large is fetched; nothing that ships is refused.

use std::fs;
use std::path::Path;

use prebake::base::digest::Sha256;
use prebake::tree::secrets::scan;

use crate::sysext::folders::tgz;
use crate::world::http::{Server, get};
use crate::world::registry::Builder;
use crate::world::{Run, World, repository};

const RECIPE: &str = "recipes/small.yaml";
const FOLDER: &str = "sysext/hello/sysext.yaml";
const URL: &str = "https://github.com/x/y/hello.tgz";
/// kubeadm's own example, which is refused as any other.
const TOKEN: &str = "abcdef.0123456789abcdef";
const DIGITS: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
const HEAD: &str = "variant: flatcar\nversion: 1.0.0\n";

fn private_key() -> String {
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{DIGITS}\n-----END OPENSSH PRIVATE KEY-----\n")
}

/// What is planted is refused with these words, is not shown, and is found before anything large is fetched.
#[track_caller]
fn refused(planting: impl FnOnce(&World), words: &[&str]) {
    let world = World::new();
    planting(&world);
    let run = world.prebake(&["build", RECIPE]);
    assert!(!run.stderr.contains(TOKEN) && !run.stderr.contains(&DIGITS[..16]), "{}", run.stderr);
    run.fails(3, words);
    assert_eq!(world.current(), None);
    assert!(world.objects().is_empty(), "nothing was fetched yet");
    assert!(world.mirror.requests().iter().all(|request| !request.path.contains("pxe")));
}

#[test]
fn a_secret_in_a_layer_is_refused_at_its_own_line() {
    let inline = format!(
        "{HEAD}storage:\n  files:\n    - path: /etc/kubernetes/join.yaml\n      contents:\n        inline: |\n          discovery:\n            bootstrapToken:\n              token: {TOKEN}\n"
    );
    refused(
        |world| world.layer("join.bu", &inline),
        &[
            "a bootstrap token of kubeadm would be public in `/etc/kubernetes/join.yaml`",
            "recipes/join.bu:10:22",
            "token: …",
            "`private:`",
            "public_secrets: [{path: /etc/kubernetes/join.yaml, why: …}]",
        ],
    );
}

#[test]
fn a_secret_in_a_file_that_a_layer_names_is_refused_in_that_file() {
    let named = format!(
        "{HEAD}storage:\n  files:\n    - path: /etc/ssh/ssh_host_ed25519_key\n      contents:\n        local: keys/host\n"
    );
    refused(
        |world| {
            world.write("recipes/keys/host", format!("\n{}", private_key()));
            world.layer("host.bu", &named);
        },
        &[
            "a private key would be public in `/etc/ssh/ssh_host_ed25519_key`",
            "recipes/keys/host:2:1",
            "recipes/host.bu:7:16",
            "brought by",
        ],
    );
    let tree = format!("{HEAD}storage:\n  trees:\n    - local: root\n      path: /etc\n");
    refused(
        |world| {
            world.write("recipes/root/ssl/site.key", private_key());
            world.layer("tree.bu", &tree);
        },
        &["`/etc/ssl/site.key`", "recipes/root/ssl/site.key:1:1", "recipes/tree.bu:5:"],
    );
}

/// The note of issue 15: a tree in flow style, or with its path first, lost the line in its file.
#[test]
fn a_secret_in_a_tree_is_refused_in_its_file_however_the_tree_is_written() {
    for written in [
        "{local: root, path: /etc}",
        "{path: /etc, local: root}",
        "{\"path\": \"/etc\", \"local\": \"root\"}",
        "path: /etc\n      local: root",
        "local: \"root\" # all of it\n      path: /etc",
    ] {
        let layer = format!("{HEAD}storage:\n  trees:\n    - {written}\n");
        refused(
            |world| {
                world.write("recipes/root/ssl/site.key", format!("\n{}", private_key()));
                world.layer("tree.bu", &layer);
            },
            &["`/etc/ssl/site.key`", "recipes/root/ssl/site.key:2:1", "recipes/tree.bu:5:"],
        );
    }
    let file =
        format!("{HEAD}storage:\n  files:\n    - {{path: /etc/host.key, contents: {{local: keys/host}}}}\n");
    refused(
        |world| {
            world.write("recipes/keys/host", private_key());
            world.layer("host.bu", &file);
        },
        &["`/etc/host.key`", "recipes/keys/host:1:1", "recipes/host.bu:5:"],
    );
}

#[test]
fn a_secret_is_refused_however_a_config_encodes_it() {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let config = |file: &str| {
        format!(
            "{{\"ignition\": {{\"version\": \"3.3.0\"}},\n \"storage\": {{\"files\": [\n  {{\"path\": \"/etc/x\", \"contents\": {file}}}\n ]}}}}"
        )
    };
    let encoded = format!("{{\"source\": \"data:;base64,{}\"}}", encode(private_key().as_bytes()));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, private_key().as_bytes()).unwrap();
    let packed = format!(
        "{{\"compression\": \"gzip\", \"source\": \"data:;base64,{}\"}}",
        encode(&packed.finish().unwrap())
    );
    let spelled =
        format!("{{\"source\": \"data:,{}\"}}", private_key().replace(' ', "%20").replace('\n', "%0A"));
    let inside = config(&encoded);
    let nested = format!(
        "{{\"ignition\": {{\"version\": \"3.3.0\", \"config\": {{\n \"merge\": [{{\"source\": \"data:;base64,{}\"}}]}}}}}}",
        encode(inside.as_bytes())
    );
    let carried = config(&format!("{{\"source\": \"data:;base64,{}\"}}", encode(inside.as_bytes())));
    for (text, place) in [
        (config(&encoded), "recipes/x.ign:3:"),
        (config(&packed), "recipes/x.ign:3:"),
        (config(&spelled), "recipes/x.ign:3:"),
        (nested, "recipes/x.ign:2:"),
        (carried, "recipes/x.ign:3:"),
    ] {
        refused(|world| world.layer("x.ign", &text), &["a private key would be public in `/etc/x`", place]);
    }
}

#[test]
fn units_headers_volumes_and_nodes_layers_are_looked_at() {
    let unit = format!(
        "{HEAD}systemd:\n  units:\n    - name: join.service\n      dropins:\n        - name: 10-token.conf\n          contents: |\n            [Service]\n            ExecStart=/usr/bin/kubeadm join 10.0.0.1:6443 --token {TOKEN}\n"
    );
    refused(
        |world| world.layer("unit.bu", &unit),
        &["`/etc/systemd/system/join.service.d/10-token.conf`", "recipes/unit.bu:10:67"],
    );
    let header = format!(
        "{HEAD}storage:\n  files:\n    - path: /etc/x\n      contents:\n        source: http://h.example/x\n        http_headers:\n          - name: Authorization\n            value: Basic bWU6cGFzcw==\n"
    );
    refused(
        |world| world.layer("header.bu", &header),
        &["a header with credentials would be public in `header Authorization`", "recipes/header.bu:10:20"],
    );
    let volume = format!(
        "{HEAD}storage:\n  luks:\n    - name: data\n      device: /dev/sdb\n      key_file:\n        inline: correct horse battery staple\n"
    );
    refused(
        |world| world.layer("volume.bu", &volume),
        &["the key of an encrypted volume would be public in `volume data`", "recipes/volume.bu:8:17"],
    );
    let node = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/url","contents":{"source":"https://me:hunter2@h.example/x"}}]}}"#;
    refused(
        |world| world.write("recipes/n2.ign", node),
        &["a password in a URL would be public in `/etc/url`", "recipes/n2.ign:1:"],
    );
}

#[test]
fn kernel_arguments_templates_and_authorities_are_looked_at() {
    refused(
        |world| world.edit(RECIPE, "[console=ttyS0]", &format!("[console=ttyS0, join.token={TOKEN}]")),
        &["a bootstrap token of kubeadm would be public in `kernel_args`", "recipes/small.yaml:9:34"],
    );
    refused(
        |world| {
            world.edit(RECIPE, "    kernel_args", "    generic: env.tmpl\n    kernel_args");
            world.write("recipes/env.tmpl", format!("NAME={{{{.name}}}}\nTOKEN={TOKEN}\n"));
        },
        &["would be public in `generic/worker`", "recipes/env.tmpl:2:7"],
    );
    refused(
        |world| {
            let certificate = format!("-----BEGIN CERTIFICATE-----\n{DIGITS}\n-----END CERTIFICATE-----\n");
            world.write("recipes/ca.pem", format!("{certificate}{}", private_key()));
            world.edit(RECIPE, "sysexts: [hello]", "sysexts: [hello]\ntrust_ca: [ca.pem]");
        },
        &["a private key would be public in `/etc/ssl/certs/ca.pem`"],
    );
}

#[test]
fn the_folder_of_a_sysext_is_looked_at() {
    refused(
        |world| {
            world.write(
                "sysext/hello/files/usr/share/hello/kubeconfig",
                format!("users:\n- name: x\n  user:\n    token: {TOKEN}\n"),
            )
        },
        &["`/usr/share/hello/kubeconfig`", "sysext/hello/files/usr/share/hello/kubeconfig:4:12"],
    );
    let text = format!("reload: true\ntext:\n  /usr/share/hello/env: |\n    A=1\n    TOKEN={TOKEN}\n");
    refused(
        |world| world.edit(FOLDER, "reload: true\n", &text),
        &["`/usr/share/hello/env`", "sysext/hello/sysext.yaml:9:11"],
    );
    let node = format!(
        "{HEAD}storage:\n  files:\n    - path: /etc/hello\n      contents:\n        inline: |\n          --token {TOKEN}\n"
    );
    refused(
        |world| world.write("sysext/hello/node.bu", &node),
        &["`/etc/hello`", "sysext/hello/node.bu:8:19"],
    );
}

/// The small world whose sysext unpacks an archive with a private key.
fn with_component() -> World {
    let world = World::new();
    let bytes = tgz(&[("hello.key", private_key().as_bytes()), ("hello.txt", b"hello")]);
    world.write("release/x/y/hello.tgz", &bytes);
    let text = format!(
        "reload: true\ncomponents:\n  it: {{url: '{URL}', sha256: {{amd64: {}}}, extract: {{'./*': /usr/share/x/}}}}\n",
        Sha256::of(&bytes)
    );
    world.edit(FOLDER, "reload: true\n", &text);
    world
}

fn build(world: &World) -> Run {
    let mut command = world.command(&["build", RECIPE]);
    Run::of(command.env("PREBAKE_MIRROR_GITHUB", world.mirror.url()).output().unwrap())
}

#[test]
fn what_a_component_brings_is_refused_before_it_is_published_and_so_is_its_second_build() {
    let world = with_component();
    for _ in 0..2 {
        let words = [
            "would be public in `/usr/share/x/hello.key`",
            "it comes from component it of sysext hello, line 1",
        ];
        build(&world).fails(3, &words);
        assert_eq!(world.current(), None);
    }
}

#[test]
fn a_recipe_says_what_may_be_public_and_why_and_nothing_more_than_it_needs() {
    let world = with_component();
    let allowed =
        "public_secrets:\n  - {path: /usr/share/x/hello.key, why: a key of the upstream's tests}\nsysexts:";
    world.edit(RECIPE, "sysexts:", allowed);
    build(&world).ok();
    build(&world).ok();
    world.edit(RECIPE, "sysexts:", "  - {path: /etc/nothing, why: it was there once}\nsysexts:");
    build(&world).fails(
        3,
        &["nothing public at `/etc/nothing` looks like a secret", "recipes/small.yaml:7:12", "take it out"],
    );
    world.edit(RECIPE, ", why: it was there once", "");
    build(&world).fails(3, &["an entry of `public_secrets` needs the key `why`", "recipes/small.yaml:7:5"]);
}

#[test]
fn the_config_of_a_container_image_is_looked_at() {
    let world = World::new();
    let mut registry = Builder::default().env(format!("TOKEN={TOKEN}"));
    registry.push("app", "1", &["amd64"]);
    let registry = registry.start();
    world.edit(RECIPE, "sysexts:", "images: [registry.example/app:1]\nsysexts:");
    let mut command = world.command(&["build", RECIPE]);
    let run = Run::of(command.env("PREBAKE_MIRROR_OCI", registry.url()).output().unwrap());
    run.fails(3, &["would be public in `registry.example/app:1`", "the image's config contains it"]);
}

#[test]
fn the_hash_of_a_password_is_told_and_published() {
    let world = World::new();
    let user = r#"{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core","passwordHash":"$6$salt$hash"}]}}"#;
    world.layer("user.ign", user);
    let run = world.prebake(&["build", RECIPE]).ok();
    assert!(
        run.stderr.contains("warning: the hash of a password would be public in `/etc/shadow`"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("recipes/user.ign:1:") && !run.stderr.contains("$6$"), "{}", run.stderr);
}

#[test]
fn a_private_layer_is_where_a_secret_belongs() {
    let world = World::new();
    world.edit(RECIPE, "kernel_args", "private: [join.bu]\n    kernel_args");
    let layer = format!(
        "{HEAD}storage:\n  files:\n    - path: /etc/token\n      contents: {{inline: \"token: {TOKEN}\"}}\n"
    );
    world.write("recipes/join.bu", layer);
    world.build();
    let tree = world.path("output/small/current");
    let (_server, address) = Server::prebake(&tree);
    assert!(!get(&address, "/ignition?mac=52-54-00-00-00-01", "").text().contains(TOKEN));
}

#[test]
fn nothing_that_ships_looks_like_a_secret() {
    let mut looked = 0;
    let mut open = ["recipes", "sysext", "templates"].map(repository).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if !path.is_file() {
            continue;
        }
        let hits = scan(&path.display().to_string(), fs::File::open(&path).unwrap()).unwrap();
        assert!(hits.is_empty(), "{}: {hits:?}", path.display());
        looked += 1;
    }
    assert!(looked > 30, "{looked}");
    let planted = repository("tests/lab/keys/lab.secret.asc");
    assert!(!scan("x", fs::File::open(Path::new(&planted)).unwrap()).unwrap().is_empty());
}

/// findings C, M9: what prebake writes itself was looked through by nobody.
#[test]
fn a_secret_that_only_a_document_of_the_tree_would_tell_is_refused_at_the_recipes_line() {
    let world = with_component();
    world.write("release/x/y/hello.tgz", tgz(&[("hello.txt", b"hello")]));
    let sha256 = Sha256::of(&fs::read(world.path("release/x/y/hello.tgz")).unwrap());
    let text = format!(
        "reload: true\ncomponents:\n  it: {{url: '{URL}?token=q7Zk2Xv9Lm4Rt8Bw&as=.tgz', sha256: {{amd64: {sha256}}}, extract: {{'./*': /usr/share/x/}}}}\n"
    );
    let folder = fs::read_to_string(world.path(FOLDER)).unwrap();
    let (head, _) = folder.split_once("reload: true").unwrap();
    world.write(FOLDER, format!("{head}{text}"));
    let run = build(&world);
    assert!(!run.stderr.contains("q7Zk2Xv9"), "{}", run.stderr);
    run.fails(
        3,
        &[
            "a secret would be public in `small.lock`",
            "hello/sysext.yaml:",
            "it is said here",
            "sbom.spdx.json",
        ],
    );
    assert_eq!(world.current(), None);
}

#[test]
fn what_the_kernels_arguments_may_say_loaders_scripts_may_repeat() {
    let world = World::new();
    world.edit(RECIPE, "[console=ttyS0]", &format!("[console=ttyS0, join.token={TOKEN}]"));
    world.edit(RECIPE, "sysexts:", "public_secrets:\n  - {path: kernel_args, why: an example}\nsysexts:");
    world.build();
}

/// What is before a secret in its line may be another.
#[test]
fn a_finding_shows_no_other_secret_of_its_line() {
    let world = World::new();
    let layer = "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: /etc/env\n      contents:\n        inline: |\n          DB_PASSWORD=Sup3rGeheim1 API_TOKEN=Zug4aBcD3fGh1jKl\n          curl -u admin:Sup3rGeheim3 -H \"X-Auth-Token: Zug4aBcD3fGh1jKl\" https://x\n          postgres://app:Sup3rGeheim4@db/x?password=Sup3rGeheim5\n";
    world.write("recipes/leak.bu", layer);
    world.edit("recipes/small.yaml", "ignition: [n2.ign]", "ignition: [n2.ign, leak.bu]");
    let run = world.prebake(&["build", "recipes/small.yaml"]);
    run.fails(3, &["leak.bu:8:", "API_TOKEN=…"]);
    assert!(!run.stderr.contains("Geheim") && !run.stderr.contains("Zug4"), "{}", run.stderr);
}

/// The break run of issue 15: the second place of a finding showed its line whole, and so did findings whose message masks.
#[test]
fn no_place_of_a_finding_shows_a_secret_of_its_line() {
    let world = World::new();
    let layer = format!(
        "{HEAD}storage:\n  files: [{{path: /etc/a, contents: {{inline: 'password: hunterXYZ12'}}}}, {{path: /etc/b, contents: {{local: b.env}}}}]\n"
    );
    world.write("recipes/leak.bu", layer);
    world.write("recipes/b.env", "DB_PASSWORD=Zug4aBcD3fGh1jKl\n");
    world.edit(RECIPE, "ignition: [n2.ign]", "ignition: [n2.ign, leak.bu]");
    let run = world.prebake(&["build", RECIPE]);
    assert!(!run.stderr.contains("hunter") && !run.stderr.contains("Zug4"), "{}", run.stderr);
    run.fails(3, &["leak.bu:4:", "b.env:1:13", "brought by"]);

    let world = World::new();
    let mirror = "mirrors: {flatcar: ['htp://me:hunterXYZ12@h.example/x']}\nsysexts:";
    world.edit(RECIPE, "sysexts:", mirror);
    world.edit(
        RECIPE,
        "[console=ttyS0]",
        "[ignition.config.url=http://me:hunterXYZ12@h.example/x, 'x.password=hunterXYZ12 y']",
    );
    let run = world.prebake(&["build", RECIPE]);
    assert!(!run.stderr.contains("hunter"), "{}", run.stderr);
    run.fails(
        3,
        &[
            "a mirror is `htp://",
            "`ignition.config.url=…` makes Ignition ignore",
            "`x.password=…` has a blank outside",
        ],
    );
}
