//! What the verbs refuse before they write, and what they write under which name: signatures of inputs, names of forms, devices.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::process::Command;

use serde_json::Value;

use super::image::tool;
use super::verbs::{disk, world};
use crate::world::{PRIMARY, Run, prebake_in, repository, sign};

/// Runs a judge, which finds nothing wrong.
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_image_is_taken_only_with_the_signature_beside_it() {
    let (_directory, path) = world();
    let key = repository("tests/lab/keys/lab.asc").display().to_string();
    tool("bzip2", &["-1", "-k", path.join("stock.bin").to_str().unwrap()]);
    let trusted = |args: &[&str]| disk(&path, &[args, &["--pin", PRIMARY, "--key", &key]].concat());
    let verb = |image: &str, to: &str| {
        let args = [&["inject", image, "-o", to, "--kernel-arg", "a=b", "--force"][..], &["--json"]].concat();
        trusted(&args)
    };
    for image in ["stock.bin", "stock.bin.bz2"] {
        let signature = path.join(format!("{image}.sig"));
        let none: Value = serde_json::from_str(&verb(image, "o.qcow2").ok().stdout).unwrap();
        assert!(none["signature"].is_null(), "{none:#}");
        fs::write(&signature, sign(&fs::read(path.join(image)).unwrap())).unwrap();
        let good: Value = serde_json::from_str(&verb(image, "o.qcow2").ok().stdout).unwrap();
        assert_eq!(good["signature"]["signer"], "8F2E8753048542474D9D9200D26D2108E2F05BC2", "{good:#}");
        // A key that is not at hand is no reason to take it unseen.
        let store = path.join("store").display().to_string();
        let mut alone = vec!["convert", image, "-o", "no.qcow2", "--store", &store];
        disk(&path, &alone).fails(1, &["the store has no copy of a key file", "prebake key update"]);
        alone.push("--no-signature");
        disk(&path, &alone).ok();
        fs::remove_file(path.join("no.qcow2")).unwrap();
        fs::write(&signature, sign(b"another file")).unwrap();
        verb(image, "no.qcow2").fails(5, &[&format!("{image}.sig")]);
        trusted(&["write", image, "no.bin"]).fails(5, &[&format!("{image}.sig")]);
        assert!(!path.join("no.qcow2").exists() && !path.join("no.bin").exists());
        fs::remove_file(&signature).unwrap();
    }
    // A signature may lie elsewhere, as for a pipe.
    fs::write(path.join("elsewhere"), sign(&fs::read(path.join("stock.bin.bz2")).unwrap())).unwrap();
    let pipe = |signature: &str| {
        let mut command = prebake_in(&path, &["disk", "convert", "-", "-o", "piped.bin", "--force"]);
        command.args(["--pin", PRIMARY, "--key", &key, "--signature", signature]);
        command.stdin(fs::File::open(path.join("stock.bin.bz2")).unwrap());
        Run::of(command.output().unwrap())
    };
    pipe("elsewhere").ok();
    fs::write(path.join("elsewhere"), sign(b"another file")).unwrap();
    pipe("elsewhere").fails(5, &["elsewhere"]);
}

#[test]
fn an_extension_is_taken_only_with_the_signature_beside_it() {
    let (_directory, path) = world();
    let key = repository("tests/lab/keys/lab.asc").display().to_string();
    fs::write(path.join("oem-kubevirt.raw"), super::made::extension("kubevirt")).unwrap();
    fs::write(path.join("oem-kubevirt.raw.sig"), sign(b"another file")).unwrap();
    fs::write(path.join("generic.bz2"), super::made::generic()).unwrap();
    let inject = |more: &[&str]| {
        let args = ["inject", "generic.bz2", "-o", "o.qcow2", "--platform", "kubevirt", "--extension"];
        let trust = ["oem-kubevirt.raw", "--pin", PRIMARY, "--key", &key, "--force"];
        disk(&path, &[&args[..], &trust, more].concat())
    };
    inject(&[]).fails(5, &["oem-kubevirt.raw.sig"]);
    fs::write(path.join("oem-kubevirt.raw.sig"), sign(&super::made::extension("kubevirt"))).unwrap();
    inject(&[]).ok();
}

#[test]
fn a_name_says_the_form_and_one_that_says_another_or_none_is_told() {
    let (_directory, path) = world();
    let convert =
        |to: &str, more: &[&str]| disk(&path, &[&["convert", "stock.bin", "-o", to], more].concat());
    convert("a.qcow2", &[]).ok();
    for name in ["b.raw", "b.img.zst", "b.vmdk"] {
        disk(&path, &["convert", "a.qcow2", "-o", name]).ok();
    }
    run(Command::new("cmp").args(["stock.bin", "b.raw"]).current_dir(&path));
    run(Command::new("zstd").args(["-q", "-d", "b.img.zst"]).current_dir(&path));
    run(Command::new("cmp").args(["stock.bin", "b.img"]).current_dir(&path));
    run(Command::new("qemu-img")
        .args(["compare", "-f", "vmdk", "-F", "raw", "b.vmdk", "b.raw"])
        .current_dir(&path));
    for name in ["c.vmdk.gz", "c.vdi", "c.zst", "c.tar"] {
        convert(name, &[]).fails(2, &[&format!("the name {name} does not say"), "--format"]);
        assert!(!path.join(name).exists());
    }
    let told = convert("c.vdi", &["--format", "qcow2"]).ok();
    assert!(!told.stderr.contains("is called like"), "{}", told.stderr);
    let told = convert("d.vmdk", &["--format", "qcow2"]).ok();
    assert!(told.stderr.contains("d.vmdk will be qcow2, though it is called like vmdk"), "{}", told.stderr);
    convert("-", &[]).fails(2, &["to a file, and not to standard output"]);
}

#[test]
fn a_pipe_or_directory_is_no_file_that_force_replaces() {
    let (_directory, path) = world();
    run(Command::new("mkfifo").arg(path.join("pipe")));
    fs::create_dir(path.join("directory")).unwrap();
    for (name, kind) in [("pipe", "a pipe"), ("directory", "a directory")] {
        for force in [&[][..], &["--force"]] {
            let args = [&["convert", "stock.bin", "--format", "qcow2", "-o", name], force].concat();
            disk(&path, &args).fails(2, &[&format!("{name} is {kind}, and no file for an image")]);
        }
    }
    assert!(fs::symlink_metadata(path.join("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn a_file_is_written_whole_or_not_at_all_even_onto_its_own_image() {
    let (_directory, path) = world();
    let stock = fs::read(path.join("stock.bin")).unwrap();
    disk(&path, &["convert", "stock.bin", "-o", "own.qcow2"]).ok();
    fs::hard_link(path.join("own.qcow2"), path.join("link.qcow2")).unwrap();
    disk(&path, &["write", "own.qcow2", "own.qcow2"]).fails(2, &["own.qcow2 is a file", "--force"]);
    disk(&path, &["write", "own.qcow2", "own.qcow2", "--force"]).ok();
    assert!(fs::read(path.join("own.qcow2")).unwrap() == stock);
    disk(&path, &["write", "link.qcow2", "again.bin"]).ok();
    assert!(fs::read(path.join("again.bin")).unwrap() == stock);
    // An image that turns out to be damaged takes nothing away.
    tool("bzip2", &["-1", "-k", path.join("stock.bin").to_str().unwrap()]);
    let mut cut = fs::read(path.join("stock.bin.bz2")).unwrap();
    cut.truncate(cut.len() / 2);
    fs::write(path.join("cut"), &cut).unwrap();
    let mut command = prebake_in(&path, &["disk", "write", "-", "again.bin", "--force"]);
    command.stdin(fs::File::open(path.join("cut")).unwrap());
    Run::of(command.output().unwrap()).fails(4, &["truncated"]);
    assert!(fs::read(path.join("again.bin")).unwrap() == stock);
    disk(&path, &["write", "stock.bin", "again.bin", "--force", "--grow"]).fails(2, &["has no length"]);
}

#[test]
fn an_injection_does_not_take_the_platform_of_the_one_before_away() {
    let (_directory, path) = world();
    fs::write(path.join("generic.bz2"), super::made::generic()).unwrap();
    fs::write(path.join("oem-kubevirt.raw"), super::made::extension("kubevirt")).unwrap();
    let run = |args: &[&str]| disk(&path, args);
    let platform = ["--platform", "kubevirt", "--extension", "oem-kubevirt.raw"];
    run(&[&["inject", "generic.bz2", "-o", "a.qcow2", "--ignition", "node.bu"][..], &platform].concat()).ok();
    let again = ["inject", "a.qcow2", "-o", "b.qcow2", "--file", "notes=notes"];
    run(&again).fails(3, &["became an image for kubevirt", "--platform kubevirt"]);
    let told = run(&[&again[..], &platform].concat()).ok().stdout;
    assert!(told.contains("in place of an earlier injection with config.ign"), "{told}");
    run(&["remove", "a.qcow2", "-o", "c.qcow2"]).ok();
    run(&["inject", "c.qcow2", "-o", "d.qcow2", "--file", "notes=notes"]).ok();
}
