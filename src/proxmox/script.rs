//! Shell scripts that do what [`super::upload`] does, for those who prefer to see it: `qm` on a node, and `openstack` for glance.
//!
//! Owns quoting, and that a script leaves nothing half made. The options are those of [`Vm`], as the API is sent them.

use std::fmt::Write;

use super::Error;
use super::image::Image;
use super::record::Record;
use super::vm::{Ids, Vm};

/// A word of a POSIX shell that is nothing but this text.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:=,+@".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A text in a comment: one line.
fn remark(text: &str) -> String {
    crate::base::words::printable(text)
}

/// The beginning of a script: its purpose, its arguments, and whether the image is the one that was looked at.
fn opening(image: &Image, purpose: &str, usage: &str) -> String {
    format!(
        "#!/bin/sh\n# {purpose}, of {}.\n# {usage}\nset -eu\n\nimage={}\n[ $# -lt 1 ] || image=$1\n\
         case $image in /*) ;; *) image=$PWD/$image ;; esac\n\
         # Another image would get the record of this one.\nprintf '%s  %s\\n' {} \"$image\" | sha256sum --check --quiet -\n",
        remark(&image.subject),
        quoted(&image.subject),
        image.sha256
    )
}

/// The signals that end a script, with the status of a shell that one of them ended (POSIX.1-2024, XCU 2.8.2).
const SIGNALS: [(&str, u8); 4] = [("HUP", 129), ("INT", 130), ("QUIT", 131), ("TERM", 143)];

/// The lines that take a half-made VM away, wherever the script is stopped. `build` tells the VM by its description.
///
/// Only a VM that this run makes is one: it is `made` once `qm create` is through. Before that, `qm create` itself takes its own away
/// when it fails (255), the id's other owner being the reason maybe. Killed, it leaves a VM that is locked and has no description yet
/// (`PVE::API2::Qemu`, `create_and_lock_config`), or one with the description of this build, at an id that was free just before.
/// dash, which is `sh` there, runs no EXIT trap at a signal, so that each signal becomes an exit.
fn undoing(build: &str) -> String {
    let mut text = format!(
        "# Half of it is none: a VM that this run makes goes again if it is stopped.\nstate=none\ntidy() {{\n    code=$?\n    \
         trap - EXIT\n    trap '' HUP INT QUIT TERM\n    if [ $state = begun ] && [ $code -gt 128 ] && [ $code -lt 255 ]; then\n        \
         ! config=$(qm config \"$vmid\" 2>/dev/null) || \
         case $config in '' | *'lock: create'* | *{}*) state=made ;; esac\n    fi\n    \
         if [ $state = made ]; then\n        \
         qm destroy \"$vmid\" --purge 1 --skiplock 1 || echo \"VM $vmid is half made: remove it\" >&2\n    fi\n    \
         exit $code\n}}\ntrap tidy EXIT\n",
        quoted(build)
    );
    for (signal, status) in SIGNALS {
        let _ = writeln!(text, "trap 'exit {status}' {signal}");
    }
    text
}

/// The script for a node of Proxmox VE.
///
/// # Errors
/// [`Error::Image`]: a disk that is shorter than the image.
pub(crate) fn proxmox(
    image: &Image,
    vm: &Vm,
    storage: &str,
    ids: Ids,
    template: bool,
) -> Result<String, Error> {
    image.fits(vm.size)?;
    let usage = "Run it as root on a node: sh FILE [IMAGE [VMID]]";
    let kind = if template { "Makes a template on Proxmox VE" } else { "Makes a VM on Proxmox VE" };
    let mut text = opening(image, kind, usage);
    text += "# Proxmox VE ends an option at a comma.\ncase $image in *,*) echo \"no comma may be in $image\" >&2; exit 1 ;; esac\n";
    match ids.only() {
        Some(id) => {
            let _ = writeln!(text, "vmid={id}\n[ $# -lt 2 ] || vmid=$2");
        }
        None => {
            let _ = writeln!(
                text,
                "if [ $# -lt 2 ]; then\n    vmid={}\n    \
                 while [ -e \"/etc/pve/.vmlist\" ] && grep -q \"\\\"$vmid\\\"\" /etc/pve/.vmlist; do vmid=$((vmid + 1)); done\n    \
                 [ \"$vmid\" -le {} ] || {{ echo \"no VM id up to {} is free\" >&2; exit 1; }}\nelse\n    vmid=$2\nfi",
                ids.first, ids.last, ids.last
            );
        }
    }
    let record = image.record(vm.digest(storage));
    let _ = write!(
        text,
        "if qm status \"$vmid\" >/dev/null 2>&1; then echo \"VM $vmid exists\" >&2; exit 1; fi\n\
         pvesm status --storage {} --content images >/dev/null\n\n{}\nstate=begun\nqm create \"$vmid\" \\\n",
        quoted(storage),
        undoing(&record.build)
    );
    let options = vm.options(storage, "$image");
    let described = ("description", record.to_string());
    let all: Vec<_> = options.iter().chain([&described]).collect();
    for (at, (key, value)) in all.iter().enumerate() {
        let value = match value.split_once("$image") {
            // The path stays a variable, in quotes.
            Some((before, after)) => format!("{}\"$image\"{}", quoted(before), quoted(after)),
            None => quoted(value),
        };
        let end = if at + 1 == all.len() { "" } else { " \\" };
        let _ = writeln!(text, "    --{key} {value}{end}");
    }
    text += "state=made\n";
    if let Some(size) = vm.resize() {
        let _ = writeln!(text, "qm resize \"$vmid\" {} {size}", super::vm::DISK);
    }
    if template {
        text += "qm template \"$vmid\"\n";
    }
    let finished = Record { is_finished: true, ..record };
    let _ = writeln!(text, "qm set \"$vmid\" --description {}", quoted(&finished.to_string()));
    text += "state=finished\necho \"VM $vmid\"\n";
    Ok(text)
}

/// The script for glance, OpenStack's store of images.
pub(crate) fn openstack(image: &Image, name: &str, firmware: super::vm::Firmware) -> String {
    let usage = "Run it where `openstack token issue` works: sh FILE [IMAGE]";
    let mut text = opening(image, "Makes an image of OpenStack", usage);
    let record = image.record(String::new());
    let build = format!("prebake_build_id={}", record.build);
    let _ = writeln!(
        text,
        "name={}\nfound=$(openstack image list --name \"$name\" --property {} --format value --column ID)\n\
         if [ -n \"$found\" ]; then echo \"$found\"; exit 0; fi\n\nopenstack image create \"$name\" \\",
        quoted(name),
        quoted(&build)
    );
    const GIB: u64 = 1 << 30;
    let mut options = vec![
        ("disk-format", image.extension.to_owned()),
        ("container-format", "bare".into()),
        ("min-disk", image.disk.div_ceil(GIB).to_string()),
        ("property", "os_type=linux".into()),
        ("property", "os_distro=flatcar".into()),
    ];
    if firmware == super::vm::Firmware::Uefi {
        options.push(("property", "hw_firmware_type=uefi".into()));
        options.push(("property", "hw_machine_type=q35".into()));
    }
    options.extend(image.release.iter().map(|release| ("property", format!("os_version={release}"))));
    options
        .extend(image.kubernetes.iter().map(|version| ("property", format!("kubernetes_version={version}"))));
    options.push(("property", build));
    for (key, value) in options {
        let _ = writeln!(text, "    --{key} {} \\", quoted(&value));
    }
    text + "    --private --file \"$image\"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_text_and_nothing_else() {
        for text in ["a b", "$(reboot)", "it's", "", "a;b", "`x`", "line\nline", "*"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output();
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), text);
        }
        assert_eq!(quoted("local-lvm:0,discard=on"), "local-lvm:0,discard=on");
    }
}
