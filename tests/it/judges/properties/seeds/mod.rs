//! Bytes that the parsers take, small enough to be changed thousands of times a second: texts of the tests, and images that
//! prebake's own writers make.

pub mod disks;

use std::fs::{self, File};
use std::io::Write as _;
use std::time::SystemTime;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use prebake::base::arch::Arch;
use prebake::format::tree::{Contents, Entry, Tree};
use prebake::format::{cpio, squashfs};
use prebake::initrd::seal::Seal;
use prebake::sysext::packaging::{Filesystem, Packaging};
use prebake::sysext::signing::{self, Signer};
use prebake::tree::bundle::create::Contents as Draft;
use prebake::trust::dsse::Envelope;
use prebake::trust::minisign::{PublicKey, Secret, SecretKey};
use prebake::trust::rotation::Rotation;

use super::repository;

const EPOCH: u64 = 1_700_000_000;

type Seeds = Vec<Vec<u8>>;

/// Files of the repository.
fn files<const N: usize>(paths: [&str; N]) -> Seeds {
    paths.map(|path| fs::read(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))).into()
}

/// The files below a directory whose names end so, sorted by path.
fn below(directory: &str, suffix: &str, most: usize) -> Seeds {
    let mut found = Vec::new();
    let mut rest = vec![repository(directory)];
    while let Some(directory) = rest.pop() {
        let items =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for item in items.map(|item| item.expect("an entry").path()) {
            match item.is_dir() {
                true => rest.push(item),
                false if item.to_string_lossy().ends_with(suffix) => found.push(item),
                false => {}
            }
        }
    }
    found.sort();
    let read = found.iter().map(|path| fs::read(path).expect("a file"));
    read.filter(|bytes| bytes.len() < 32 << 10).take(most).collect()
}

fn texts<const N: usize>(texts: [&str; N]) -> Seeds {
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Level::fast());
    packer.write_all(bytes).expect("memory");
    packer.finish().expect("memory")
}

/// A tree with what images have: files short and long, links of both kinds, directories, attributes.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let file = |bytes: Vec<u8>| Entry::file(0o644, Contents::Bytes(bytes), "seed");
    let mut marked = file(b"some text ".repeat(600));
    marked.xattrs.insert("user.x".into(), b"0".to_vec());
    let mut insert = |path: &str, entry| tree.insert(path, entry).expect("a fresh path");
    insert("usr/bin/a", marked);
    insert(
        "usr/lib/extension-release.d/extension-release.x",
        file(b"ID=_any\nARCHITECTURE=x86-64\n".to_vec()),
    );
    insert("usr/lib/systemd/system/a.service", file(b"[Service]\nExecStart=/usr/bin/a\n".to_vec()));
    insert("usr/lib/zeros", file(vec![0; 9000]));
    insert("usr/lib/link", Entry::symlink("../bin/a", "seed"));
    for number in 0..12 {
        insert(&format!("usr/many/name-{number}"), file(number.to_string().into_bytes()));
    }
    tree.link("usr/bin/b", "usr/bin/a", "seed").expect("a fresh path");
    tree
}

fn image(packaging: &Packaging) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path().join("x.raw");
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
    packaging.write(&tree(), Arch::Amd64, EPOCH, &mut file).expect("an image");
    fs::read(&path).expect("an image")
}

fn packaging(filesystem: Filesystem) -> Packaging {
    Packaging { filesystem, verity: None }
}

/// Of each compression that is written, one also without blocks shared.
pub fn squashfs() -> Seeds {
    use squashfs::{Compression, Level, Options};
    let options = [Compression::default(), Compression::Gzip(Level::MAX), Compression::Xz];
    options
        .map(|compression| {
            image(&packaging(Filesystem::Squashfs(Options { compression, ..Options::default() })))
        })
        .into()
}

/// The checksum of the second one's superblock is switched off: what it protects shall be doubted too.
pub fn erofs() -> Seeds {
    let whole = image(&packaging(Filesystem::Erofs(Default::default())));
    let mut doubted = whole.clone();
    doubted[1032] = 0;
    vec![whole, doubted]
}

/// Signed: a partition table, erofs, its tree and its signature.
pub fn disks() -> Seeds {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let (key, certificate) =
        (directory.path().join(signing::KEY), directory.path().join(signing::CERTIFICATE));
    let now = SystemTime::now();
    signing::generate(directory.path(), now).expect("a key");
    let signer = Signer::load(&key, &certificate, now).expect("the key");
    let packaging = Packaging { verity: Some(signer), ..packaging(Filesystem::Erofs(Default::default())) };
    vec![image(&packaging)]
}

/// Images of every kind that a sysext may be.
pub fn extensions() -> Seeds {
    let mut images = disks();
    images.extend(erofs());
    images.extend(squashfs());
    images
}

/// Plain, packed, two in a row, and sealed.
pub fn initrds() -> Seeds {
    let mut plain = Vec::new();
    cpio::write(&tree(), EPOCH, &mut plain).expect("memory");
    let packed = gzipped(&plain);
    let mut both = plain.clone();
    both.resize(both.len().next_multiple_of(4), 0);
    both.extend(&packed);
    let seal = Seal {
        base_length: plain.len() as u64,
        base_sha256: prebake::base::digest::Sha256::of(&plain),
        overlay_length: 0,
    };
    let mut sealed = plain.clone();
    sealed.resize(seal.overlay_offset() as usize, 0);
    sealed.extend(seal.to_bytes());
    vec![plain, packed, both, sealed, vec![0; 512]]
}

/// With links, long names, pax records, sparse members of the old kind and of pax, and packed.
pub fn archives() -> Seeds {
    let member = |kind: tar::EntryType, path: &str, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(path).expect("a short path");
        header.set_size(size);
        header.set_mode(0o755);
        header.set_cksum();
        header
    };
    let mut plain = tar::Builder::new(Vec::new());
    plain.append(&member(tar::EntryType::Directory, "a/", 0), &[][..]).expect("memory");
    plain.append(&member(tar::EntryType::Regular, "a/b", 4), &b"text"[..]).expect("memory");
    let mut link = member(tar::EntryType::Symlink, "a/l", 0);
    link.set_link_name("b").expect("a short path");
    link.set_cksum();
    plain.append(&link, &[][..]).expect("memory");
    link.set_entry_type(tar::EntryType::Link);
    link.set_path("a/h").expect("a short path");
    link.set_link_name("a/b").expect("a short path");
    link.set_cksum();
    plain.append(&link, &[][..]).expect("memory");
    let mut long = tar::Header::new_gnu();
    long.set_size(3);
    plain.append_data(&mut long, format!("a/{}", "long/".repeat(40)), &b"abc"[..]).expect("memory");
    let plain = plain.into_inner().expect("memory");
    let pax = |records: &[(&str, &[u8])]| {
        let mut sparse = tar::Builder::new(Vec::new());
        sparse.append_pax_extensions(records.iter().copied()).expect("memory");
        let map = b"1\n0\n3\n".to_vec();
        let body = [map, vec![0; 506], b"abc".to_vec()].concat();
        sparse
            .append(&member(tar::EntryType::Regular, "GNUSparseFile.0/a", body.len() as u64), &body[..])
            .expect("memory");
        sparse.into_inner().expect("memory")
    };
    let newest = pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"a/s"),
        ("GNU.sparse.realsize", b"3"),
    ]);
    let named = pax(&[("path", b"a/other"), ("linkpath", b"a/b"), ("size", b"515")]);
    vec![gzipped(&plain), plain, newest, named]
}

/// Without signatures, so that more of it is read, and signed.
pub fn bundles() -> Seeds {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let draft = || {
        let mut contents = Draft::default();
        contents.key("a.pub", files(["tests/data/minisign/open.pub"]).remove(0));
        contents.key("vendor.asc", vec![b'x'; 700]);
        contents.finish("seed", 1, None).expect("a draft")
    };
    let written = |name: &str, signed: bool| {
        let draft = draft();
        let mut signatures = prebake::tree::bundle::signatures::Signatures::default();
        if signed {
            signatures.sign(&open_key(), &draft.index().to_bytes(), EPOCH);
        }
        let path = directory.path().join(name);
        draft.write(&signatures, &path).expect("a bundle");
        fs::read(path).expect("a bundle")
    };
    vec![written("unsigned", false), written("signed", true)]
}

fn open_key() -> SecretKey {
    let text = fs::read_to_string(repository("tests/data/minisign/open.key")).expect("a key");
    let Ok(Secret::Open(key)) = SecretKey::parse("open.key", &text) else { panic!("open.key") };
    key
}

/// Keys and signatures of minisign, and a rotation.
pub fn minisign() -> Seeds {
    let next = fs::read_to_string(repository("tests/data/minisign/next.pub")).expect("a key");
    let next = PublicKey::parse("next.pub", &next).expect("a key");
    let rotation = Rotation::sign(&open_key(), &next).expect("a rotation");
    let mut seeds = files([
        "tests/data/minisign/open.pub",
        "tests/data/minisign/open.key",
        "tests/data/minisign/message.minisig",
        "tests/data/minisign/legacy.minisig",
    ]);
    seeds.push([&rotation.statement()[..], b"\0", &rotation.signature().to_bytes()].concat());
    seeds
}

/// Captured off firmware.
pub fn dhcp() -> Seeds {
    below("tests/data/dhcp", ".bin", 10)
}

/// Requests with options, then what may answer the server's packets.
pub fn tftp() -> Seeds {
    texts([
        "\0\x01ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0timeout\x002\0",
        "\0\x01a/b\0netascii\0",
        "\0\x02a\0octet\0",
        "\0\x04\0\x01\0\x04\0\x02",
    ])
}

/// Heads of requests for files.
pub fn requests() -> Seeds {
    texts([
        "GET http://boot.example/assets/a?mac=52-54-00-00-00-01 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1,5-,-7\r\nContent-Length: 12\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nand a body!!",
        "HEAD /a HTTP/1.0\r\n\r\n",
        "POST /report HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\nIf-Range: \"a\"\n\n",
    ])
}

/// Heads of answers, a line each, then a NUL and the body.
pub fn answers() -> Seeds {
    let mut seeds = texts([
        "content-range: bytes 10-19/100\ncontent-encoding: identity\n\0body",
        "content-range: bytes 0-4194303/1152921504606846976\ncontent-type: multipart/byteranges; boundary=x\n\0",
        "www-authenticate: Bearer realm=\"https://auth.example/token?x=1\",service=\"reg\",scope=\"repository:a/b:pull\"\nwww-authenticate: Basic realm=/\"\n\0",
        "www-authenticate: Bearer realm='http://t/token';service = reg\n\0",
    ]);
    for body in [gzipped(b"packed once"), gzipped(&gzipped(b"packed twice"))] {
        seeds.push([b"content-encoding: gzip\n\0", &body[..]].concat());
    }
    seeds
}

/// Documents of a BMC.
pub fn redfish() -> Seeds {
    texts([
        r##"{"Systems": {"@odata.id": "/redfish/v1/Systems"}, "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}}"##,
        r##"{"Members": [{"@odata.id": "/redfish/v1/Systems/1"}, {"@odata.id": ""}, null], "Members@odata.nextLink": "/redfish/v1/Systems?$skip=2"}"##,
        r##"{"@odata.etag": "W/\"1\"", "Id": "1", "Name": "c1", "PowerState": "Off", "Boot": {"BootSourceOverrideTarget": "None",
            "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideMode": "UEFI", "HttpBootUri": null,
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "UefiHttp"]},
            "@Redfish.Settings": {"SettingsObject": {"@odata.id": "/redfish/v1/Systems/1/SD"}},
            "Actions": {"#ComputerSystem.Reset": {"target": "/r", "ResetType@Redfish.AllowableValues": ["On", "ForceOff"]}}}"##,
        r##"{"Parameters": [{"Name": "ResetType", "AllowableValues": ["On"]}], "MACAddress": "52-54-00-77-00-11"}"##,
        r##"{"error": {"code": "x", "message": "see", "@Message.ExtendedInfo": [{"MessageId": "iLO.2.30.Unsupported", "Message": "no"}]}}"##,
    ])
}

/// Answers of Proxmox VE, and the description of a VM.
pub fn proxmox() -> Seeds {
    texts([
        r#"{"data": {"version": "9.2.1", "release": "9.2", "repoid": "0123456789abcdef"}}"#,
        r#"{"data": [{"node": "pve", "status": "online"}, {"node": "b", "status": "offline"}]}"#,
        r#"{"data": [{"storage": "local", "content": "iso,import", "active": 1, "enabled": "1", "avail": 1000, "type": "dir"}]}"#,
        r#"{"data": [{"volid": "local:import/x.qcow2", "size": 7, "format": "qcow2"}, {"volid": "l:vm-1-disk-0", "parent": "base-211-disk-0", "vmid": 300}]}"#,
        r#"{"data": [{"vmid": 211, "name": "node", "node": "pve", "template": 1, "type": "qemu"}, {"vmid": "300", "type": "lxc"}]}"#,
        r#"{"data": {"name": "node", "scsi0": "l:base-211-disk-0,size=8G", "template": 1, "memory": "4096", "meta": "creation-qemu=10.1.2,ctime=1700000000"}}"#,
        r#"{"data": "UPID:pve:0000A1B2:01C2D3E4:66AABBCC:qmcreate:211:capi@pve!prebake:"}"#,
        r#"{"data": [{"upid": "UPID:pve:0000A1B2:01C2D3E4:66AABBCC:imgcopy::root@pam!x:", "type": "imgcopy"}]}"#,
        r#"{"data": {"status": "stopped", "exitstatus": "WARNINGS: 1", "upid": "x"}}"#,
        r#"{"data": null, "message": "Parameter verification failed.", "errors": {"scsihw": "value 'x' is none"}}"#,
        r#"{"data": {"/": {"VM.Audit": 1, "Datastore.Audit": 0}}}"#,
        "- prebake: finished\n- build-id: 0123456789abcdef\n- image: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n- release: 4593.2.5\n- options: fedcba9876543210\n",
    ])
}

/// Butane, of the vectors.
pub fn butane() -> Seeds {
    below("tests/vectors/ignition/butane", "config.bu", 200)
}

/// Ignition, of the vectors.
pub fn configs() -> Seeds {
    below("tests/vectors/ignition/validate", "config.ign", 200)
}

/// Pairs of Ignition configs, a NUL between them.
pub fn layers() -> Seeds {
    let parents = below("tests/vectors/ignition/merge", "parent.ign", 200);
    let children = below("tests/vectors/ignition/merge", "child.ign", 200);
    parents.into_iter().zip(children).map(|(parent, child)| [parent, child].join(&0)).collect()
}

/// The recipes that are shipped, and small ones with what YAML has.
pub fn recipes() -> Seeds {
    let mut seeds = below("recipes", ".yaml", 20);
    seeds.extend(texts(["name: x\rflatcar: stable\r\nnodes:\n  - &a {name: n1}\n  - <<: *a\n", "a: 1\rb"]));
    seeds
}

/// An identity that opens the encrypted seeds, and a text that is sealed in them.
pub const SOPS_IDENTITY: &str = include_str!("../../../../data/sops/keys.txt");
pub const SOPS_SECRET: &str = "correct-horse";

/// Descriptions of clusters, and files of SOPS.
pub fn clusters() -> Seeds {
    let mut seeds = below("tests/data/sops", ".yaml", 20);
    seeds.extend(texts([
        include_str!("../../../../../cluster.yaml.example"),
        "cluster: {name: a, k8s_version: v1.33.13, token: abcdef.0123456789abcdef}\ncontrol_plane_vip: {address: 10.0.0.9, external: true}\n\
         bootstrap: {ip: 10.0.0.2/16, dhcp: true}\nproxy: http://10.0.0.1:3128\naddons: [metallb, {name: own, manifests: [m]}]\n\
         nodes:\n  - {name: c1, ip: 10.0.0.11, mac: 5254.0000.0011, role: controller, ephemeral: true, taints: [], labels: {a/b: c}}\n",
    ]));
    seeds
}

/// Manifests of an older Cluster API, and inputs of clusterctl.
pub fn old_manifests() -> Seeds {
    let all = include_str!("../../../capi/old.yaml");
    let mut seeds: Seeds = all.split("---\n").map(|text| text.as_bytes().to_vec()).collect();
    seeds.extend(texts([
        all,
        "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Machine\nmetadata: {name: a}\nspec:\n  infrastructureRef: &r {apiVersion: g/v1, kind: K, name: n}\n  \
         bootstrap: {configRef: *r}\n",
        "X: 0644\nY: [a]\nproviders:\n- {name: a, url: 'https://u:p@h/', type: IPAMProvider}\n",
    ]));
    seeds
}

/// Lists of machines, one of each format.
pub fn rosters() -> Seeds {
    texts([
        "\u{feff}sep=;\r\nname;mac;ip;arch;memory\r\nn1;52:54:00:00:00:01;\"10.0.0.1/24\";amd64;8 GiB\r\n",
        "mac,uuid,name\n5254.0000.0002,01234567-89ab-cdef-0123-456789abcdef,a_b\n",
        "1700000000 52:54:00:00:00:01 10.0.0.7 n1 01:52:54:00:00:00:01\nduid 00:01\n",
        "dhcp-host=52:54:00:00:00:01,set:red,n1,10.0.0.7,[fd00::7],infinite # x\ndhcp-host=n2,ignore\n",
        r#"{"profile": "db", "selector": {"mac": "52:54:00:00:00:01"}, "metadata": {"hostname": "db1", "ip": "10.0.0.1/24"}}"#,
        r#"{"count": 2, "results": [{"name": "n1", "primary_ip4": {"address": "10.0.0.1/24"}, "memory": 64},
            {"name": "eno1", "device": {"name": "n1"}, "mac_address": "52:54:00:00:00:01", "cable": 1}]}"#,
    ])
}

/// Everything that is YAML here.
pub fn yaml() -> Seeds {
    let mut seeds = below("sysext", ".yaml", 30);
    seeds.extend(recipes());
    seeds.extend(butane().into_iter().take(20));
    seeds.extend(texts([
        "? [a, b]\n: - |2-\n    x\n  - >+\n    y\n\n--- !!map\n{a: \"\\x41\\\n  b\", 'c''d': ~}\n...\n",
        "\u{feff}%YAML 1.2\n---\n&a !!binary aGk=\n",
    ]));
    seeds
}

/// Templates as groups and profiles have them.
pub fn templates() -> Seeds {
    let mut seeds = below("tests/vectors/matchbox/data", ".tmpl", 40);
    seeds.extend(below("tests/vectors/matchbox/data", ".ign", 40));
    let text = fs::read_to_string(repository("tests/data/gotemplate/templates.txt")).expect("templates");
    seeds.extend(text.lines().filter(|line| line.contains("{{")).map(|line| line.as_bytes().to_vec()));
    seeds.extend(texts(["{{printf \"%.70000d\" 1}}", "{{printf \"%-*d|%+x|%q\" 5 1 1.5 .a}}"]));
    seeds
}

/// Groups and profiles.
pub fn records() -> Seeds {
    below("tests/vectors/matchbox/data", ".json", 60)
}

/// OpenPGP keys.
pub fn keys() -> Seeds {
    let mut seeds = below("tests/data/openpgp", ".asc", 20);
    seeds.extend(below("tests/data/openpgp", ".gpg", 5));
    seeds
}

/// OpenPGP signatures, armored and binary.
pub fn signatures() -> Seeds {
    let mut seeds = below("tests/data/openpgp", ".sig", 40);
    seeds.extend(files(["tests/data/openpgp/good-armored.asc"]));
    seeds
}

/// Manifests of trees.
pub fn manifests() -> Seeds {
    files(["tests/golden/small.manifest.json"])
}

/// What prebake writes of itself, and may get back changed.
pub fn documents() -> Seeds {
    let mut seeds = files(["tests/golden/small.lock", "tests/golden/small.spdx.json"]);
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"a","digest":{{"sha256":"{0}"}}}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{{"buildDefinition":{{"buildType":"urn:prebake:build:1","externalParameters":{{"recipe":"x"}},"internalParameters":{{}},"resolvedDependencies":[{{"uri":"https://x/a","digest":{{"sha256":"{0}"}}}}]}},"runDetails":{{"builder":{{"id":"https://x","version":{{"prebake":"1"}}}}}}}}}}"#,
        "0".repeat(64)
    );
    seeds.push(Envelope::sign(statement.as_bytes(), &[open_key()]).to_bytes());
    seeds.push(statement.into_bytes());
    seeds.extend(texts([
        r#"{"schema": 1, "nodes": [{"name": "n1", "mac": "52:54:00:00:00:01", "ip": "10.0.0.11/24"}]}"#,
    ]));
    seeds
}

/// References to images, short and long.
pub fn references() -> Seeds {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let mut seeds = texts([
        "nginx:1.27",
        "registry.k8s.io/pause:3.10",
        "host:5000/a/b/c:T_1",
        "localhost/x",
        "[::1]:5000/x",
        "r.example/x:3127..1.10",
    ]);
    seeds.push(format!("ghcr.io/x/y:1@sha256:{digest}").into_bytes());
    seeds
}

/// A registry's index, manifest, config and refusal, and a page in their place.
pub fn registry() -> Seeds {
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut seeds = texts([
        r#"{"os":"linux","architecture":"s390x","rootfs":{"type":"layers","diff_ids":[]}}"#,
        r#"{"errors":[{"code":"DENIED","message":"Xray blocks it","detail":{"x":1}}]}"#,
        "<!DOCTYPE html><html><head><title>Please sign in</title>",
    ]);
    for text in [
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"D","size":7,"platform":{"os":"linux","architecture":"amd64","variant":"v3"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"D","size":7,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}}]}"#,
        r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"D","size":7},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip+encrypted","digest":"D","size":7}]}"#,
    ] {
        seeds.push(text.replace('D', &digest).into_bytes());
    }
    seeds
}

/// Digest files, os-release files, units, lists of images, keys, and a page in their place.
pub fn lists() -> Seeds {
    let digest = "a".repeat(64);
    let mut seeds = texts([
        "FLATCAR_BUILD=4593\nFLATCAR_VERSION=4593.2.5\nFLATCAR_BUILD_ID=\"2026-08-10-1200\"\n",
        "ID=flatcar\nSYSEXT_LEVEL='1.0'\n# c\nARCHITECTURE=\"x86-64\"\n",
        "# c\n[Unit]\nAfter=b.service\n\n[Service]\nExecStart=/bin/x \\\n; c\n  --flag=[no section] \\\n  last\nRestart=\n",
        "DefaultEtcdVersion = \"3.5.20-0\"\nCoreDNSVersion = \"v1.12.0\"\nPauseVersion = \"3.10\"\nSupportedEtcdVersion = map[uint8]string{\n32: \"3.5.21-0\",\n33: \"3.5.24-0\",\n}\n",
        "# mine\n\nfrom=\"10.0.0.0/8, 1.2.3.4\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host\r\n",
        "<html>404</html>",
    ]);
    seeds.push(format!("# list\n{digest}  ./x.tgz\n{digest} *dir/y.tgz\n").into_bytes());
    seeds
}

/// Queries and forms of machines.
pub fn labels() -> Seeds {
    texts([
        "mac=52-54-00-00-00-01&uuid=AB&stage=joined%0a&detail=ok%1b[31m",
        "MAC=52:54:00:00:00:01&hostname=%E2%80%AE&a;b=c&x&=y&%zz=1&a+b=c%20d",
        "serial=&stage=installed&mac=nothing&stage=failed",
    ])
}

/// Short texts of many kinds.
pub fn short() -> Seeds {
    texts([
        "52-54-00-00-00-01",
        "10.0.0.0/24",
        "10.0.0.100-10.0.0.103",
        "fd00::1/64",
        "4593.2.5",
        "[::1]:8080",
        "0.0.0.0:80",
        "3.4.0",
        "512M",
        "amd64",
        "1f-00112233445566778899aabbccddeeff",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "--name a -t 5 http://h/b?c=${mac:hexhyp} initrd=x quiet",
        "<p>\"a\" & 'b'",
        "x.tar.gz",
    ])
}

/// A piece's length, then text with secrets in it, plain and encoded.
pub fn secrets() -> Seeds {
    let digits = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let text = format!(
        "\x05-----BEGIN PRIVATE KEY-----\n{digits}\ntoken: abcdef.0123456789abcdef\nkind: Secret\nstringData:\n  x: y\nx: http://a:bcd@h/\n"
    );
    let packed = [b"\x07", &gzipped(text.as_bytes())[..]].concat();
    let assigned = "\x09HCLOUD_TOKEN=0123456789\nAuthorization: Basic YTpi\npassword = $6$rounds=5000$a$b\n";
    vec![text.into_bytes(), packed, assigned.as_bytes().to_vec()]
}

/// A state file of one machine in the midst of a boot.
pub fn states() -> Seeds {
    let time = "2026-11-01T00:00:00.000Z";
    vec![
        serde_json::json!({"schema": 1, "machines": [{
            "mac": "52:54:00:00:00:01", "uuid": null, "address": "10.0.0.11", "hostname": "n1", "firmware": "UEFI",
            "arch": "x86_64", "group": "n1", "is_named": true, "profile": "worker", "first_seen": time,
            "last_seen": time, "boots": 2, "fruitless": 0,
            "boot": {
                "began": time, "marks": {"script": {"first": time, "last": time, "times": 1}},
                "told": {
                    "from_disk": false, "arch": "amd64", "names_initrd": true, "reports": false,
                    "loads": [{"path": "assets/kernel", "stage": "kernel", "size": 9}],
                }, "unmatched": null, "tftp_failure": [time, "lost"], "boot_file": "ipxe.efi",
                "fetches": [{"path": "assets/kernel", "stage": "kernel", "status": 200, "sent": 7, "length": 9,
                    "rate": 3, "times": 1, "began": time, "moved": time, "is_over": false}],
            },
            "report": {"mac": "52:54:00:00:00:01", "uuid": "", "stage": "installed", "detail": "x", "at": time},
        }]})
        .to_string()
        .into_bytes(),
    ]
}

/// A UEFI program as small as one can be: headers, and room behind them for sections.
pub fn programs() -> Seeds {
    vec![super::smallest_program()]
}
