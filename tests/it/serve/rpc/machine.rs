//! A bench of Typhoon's shape, from the recipe to a machine: Terraform writes it over mutual TLS, the machine boots from the network,
//! installs the stock image, and boots the installed system, which has its own config.
//!
//! The bench is the tree's (`boot/terraform/typhoon`); in the place of Typhoon's module stands one that makes the same kinds of
//! profiles and groups of the same variables, since neither that module nor its provider `ct` can be had here.

use std::fs::{self, File};
use std::process::Command;

use serde_json::{Value, json};

use crate::bake::boots::{PATIENCE, lab_with};
use crate::judges::{self, terraform::Terraform};
use crate::lab::machine::{self, Machine, Stall};
use crate::lab::mirror::Mirror;
use crate::lab::ports;
use crate::world::http::{Server, get};
use crate::world::{Run, World};

const RECIPE: &str = "recipes/lab.yaml";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt ops@example.com";
const MAC: &str = "52:54:00:00:00:01";
/// More than the lab's disk image, as every disk is.
const DISK_BYTES: u64 = 512 << 20;
/// A kernel that the disk's GRUB has loaded says this.
const FROM_DISK: &str = "BOOT_IMAGE=(hd0,gpt1)/flatcar/vmlinuz-a";

/// The installed system tells of the configs that came together in it: the profile's layer, the command line's, and the
/// hostname, which the bench gives.
const SAYS: &str = r#"variant: flatcar
version: 1.0.0
storage:
  files:
    - path: /opt/lab-says
      mode: 0755
      contents:
        inline: |
          #!/bin/sh
          cd /etc/prebake-lab
          echo "TYPHOON-LAB-OK profile=$(cat profile) nonce=$(cat nonce) host=$(cat /etc/hostname)" >/dev/console
systemd:
  units:
    - name: lab-says.service
      enabled: true
      contents: |
        [Service]
        Type=oneshot
        ExecStart=/opt/lab-says
        [Install]
        WantedBy=multi-user.target
"#;

/// Profiles and groups as Typhoon's module makes them: one pair that installs, by the MAC address, and one for the installed system.
/// Typhoon writes `flatcar.config.url`, an older name that Flatcar's Ignition knows and the lab's does not.
const SHAPE: &str = r#"
terraform {
  required_providers {
    matchbox = { source = "poseidon/matchbox" }
  }
}

variable "cluster_name" { type = string }
variable "matchbox_http_endpoint" { type = string }
variable "os_channel" { type = string }
variable "os_version" { type = string }
variable "k8s_domain_name" { type = string }
variable "ssh_authorized_key" { type = string }
variable "install_disk" { type = string }
variable "kernel_args" { type = list(string) }
variable "cached_install" { type = bool }
variable "controllers" { type = list(object({ name = string, mac = string, domain = string })) }
variable "workers" { type = list(object({ name = string, mac = string, domain = string })) }
variable "snippets" { type = map(list(string)) }

locals {
  machines = { for machine in concat(var.controllers, var.workers) : machine.name => machine }
  assets   = "/assets/flatcar/${var.os_version}"
  core     = { users = [{ name = "core", sshAuthorizedKeys = [var.ssh_authorized_key] }] }
  installer = { for name, machine in local.machines : name => <<-EOT
    #!/bin/bash -ex
    curl --fail --retry 10 "${var.matchbox_http_endpoint}/ignition?mac=${machine.mac}&os=installed" -o /tmp/ignition.json
    flatcar-install -d ${var.install_disk} -C ${split("-", var.os_channel)[1]} -V ${var.os_version} \
      -b ${var.matchbox_http_endpoint}/assets/flatcar -i /tmp/ignition.json
    udevadm settle
    systemctl reboot
    EOT
  }
  unit = <<-EOT
    [Unit]
    Requires=network-online.target
    After=network-online.target
    [Service]
    ExecStart=/opt/installer
    StandardOutput=journal+console
    StandardError=journal+console
    [Install]
    WantedBy=multi-user.target
    EOT
}

resource "matchbox_profile" "install" {
  for_each = local.machines
  name     = "${var.cluster_name}-install-${each.key}"
  kernel   = "${local.assets}/flatcar_production_pxe.vmlinuz"
  initrd   = ["${local.assets}/flatcar_production_pxe_image.cpio.gz"]
  args = concat([
    "initrd=flatcar_production_pxe_image.cpio.gz",
    "ignition.config.url=${var.matchbox_http_endpoint}/ignition?uuid=$${uuid}&mac=$${mac:hexhyp}",
    "flatcar.first_boot=yes",
  ], var.kernel_args)
  raw_ignition = jsonencode({
    ignition = { version = "3.3.0" }
    passwd   = local.core
    storage = { files = [{
      path = "/opt/installer", mode = 320
      contents = { source = "data:;base64,${base64encode(local.installer[each.key])}" }
    }] }
    systemd = { units = [
      { name = "installer.service", enabled = true, contents = local.unit },
      { name = "systemd-networkd-wait-online.service", enabled = true },
    ] }
  })
}

resource "matchbox_group" "install" {
  for_each = local.machines
  name     = "install-${each.key}"
  profile  = matchbox_profile.install[each.key].name
  selector = { mac = each.value.mac }
}

resource "matchbox_profile" "node" {
  for_each = local.machines
  name     = "${var.cluster_name}-node-${each.key}"
  raw_ignition = jsonencode({
    ignition = { version = "3.3.0", config = { merge = [for snippet in lookup(var.snippets, each.key, []) :
      yamldecode(snippet).ignition.config.merge[0]
    ] } }
    passwd  = local.core
    storage = { files = [{
      path = "/etc/hostname", mode = 420, overwrite = true
      contents = { source = "data:,${each.value.domain}%0A" }
    }] }
  })
}

resource "matchbox_group" "node" {
  for_each = local.machines
  name     = "${var.cluster_name}-${each.key}"
  profile  = matchbox_profile.node[each.key].name
  selector = { mac = each.value.mac, os = "installed" }
}

output "kubeconfig-admin" {
  value     = "of ${var.k8s_domain_name}"
  sensitive = true
}
"#;

/// The lab's tree with a bench for these addresses.
fn tree(http: &str, rpc: &str) -> World {
    let base_url = machine::seen_from_inside(http.parse().unwrap());
    let typhoon =
        format!("base_url: {base_url}, rpc: \"{rpc}\", domain: lab.example, install_disk: /dev/vda");
    lab_with(&format!("matchbox: {{}}, disk: {{}}, terraform: {{typhoon: {{{typhoon}}}}}"), |world| {
        world.write("recipes/lab/says.bu", SAYS);
        world.edit(RECIPE, "sysexts: [lab-hello, report]\n", &format!("ssh_keys: [\"{KEY}\"]\n"));
        world.edit(RECIPE, "[lab/base.bu, ", "[lab/base.bu, lab/says.bu, ");
        world.edit(RECIPE, "  control:\n", "  control:\n    role: control-plane\n");
    })
}

/// The bench of the tree, ready to apply.
fn bench(world: &World, terraform: &Terraform) {
    let module = fs::read(world.path("output/lab/current/boot/terraform/typhoon/main.tf.json")).unwrap();
    let mut module: Value = serde_json::from_slice(&module).unwrap();
    module["module"]["cluster"]["source"] = json!("./shape");
    module["provider"].as_object_mut().unwrap().remove("ct");
    module["terraform"]["required_providers"].as_object_mut().unwrap().remove("ct");
    world.write("bench/main.tf.json", module.to_string());
    world.write("bench/shape/main.tf", SHAPE);
    let init = terraform.command(&world.path("bench"), &["init", "-input=false"]).output().unwrap();
    Run::of(init).ok();
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn terraform_applies_a_bench_and_its_machine_installs_itself_and_boots_with_the_installed_config() {
    let Some(terraform) = judges::provider() else { return };
    let [http, rpc] = [0; 2].map(|_| ports::unused().to_string());
    let world = tree(&http, &rpc);
    world.prebake(&["key", "tls", "pki", "--server", "127.0.0.1", "--client", "client"]).ok();
    bench(&world, &terraform);
    fs::create_dir(world.path("data")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["serve", "--address", &http, "--rpc-address", &rpc, "--matchbox"]);
    command.arg(world.path("data")).arg("--assets-path").arg(world.path("output/lab/current/assets"));
    for (flag, file) in [("--ca-file", "ca.crt"), ("--cert-file", "server.crt"), ("--key-file", "server.key")]
    {
        command.arg(flag).arg(world.path("pki").join(file));
    }
    let mut server = Server::start(&mut command);
    server.says("listening on grpc://");

    let run = |args: &[&str]| {
        let variables = ["-input=false", "-var", "tree=../output/lab/current", "-var", "certificates=../pki"];
        let args = [args, &variables].concat();
        Run::of(terraform.command(&world.path("bench"), &args).output().unwrap())
    };
    run(&["apply", "-auto-approve"]).ok();
    run(&["plan", "-detailed-exitcode"]).ok();
    let config = |more: &str| get(&http, &format!("/ignition?mac={MAC}{more}"), "").text();
    assert!(config("").contains("installer.service"));
    assert!(config("&os=installed").contains("/etc/hostname"));

    let disk = world.path("disk");
    File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
    let script = machine::start_script(http.parse().unwrap());
    let harness =
        Mirror::builder().directory("/", &world.path("recipes")).page("/start.ipxe", script).start().unwrap();
    let url = format!("{}/start.ipxe", machine::seen_from_inside(harness.address()));
    let _turn = machine::turn();
    let says = |machine: &mut Machine, words: &[&str]| {
        for word in words {
            let event = machine.wait_for(&[word], PATIENCE);
            let event = event.unwrap_or_else(|stall| {
                panic!("no {word:?}: {stall}\n{}", machine.last_lines(60).join("\n"))
            });
            eprintln!("{:5.1} s  {}", event.after.as_secs_f64(), event.line);
        }
    };
    // An empty disk: the firmware goes on to the network.
    let booted = |console: &str| Machine::builder(&url, &world.path(console)).mac(MAC).disk(&disk);
    let mut machine = booted("installing").start().unwrap();
    says(&mut machine, &["] switch_root", "writing and verifying", "is on /dev/vda"]);
    match machine.wait_for(&[], PATIENCE) {
        Err(Stall::Ended(_)) => {}
        other => panic!("it does not reboot: {other:?}\n{}", machine.last_lines(60).join("\n")),
    }
    drop(machine);

    // The boot order of a site: the disk, now that there is something on it.
    let mut machine = booted("installed").no_network_boot().start().unwrap();
    says(
        &mut machine,
        &[FROM_DISK, "ignition files", "TYPHOON-LAB-OK profile=worker nonce=by-uefi host=n1.lab.example"],
    );
    drop(machine);
    run(&["destroy", "-auto-approve"]).ok();
    assert_eq!(world.names("data/groups").len() + world.names("data/profiles").len(), 0);
}
