//! Terraform as sites run it: OpenTofu, and Matchbox's own provider from a mirror below the home of the run, so that nothing is
//! asked of a network.
//!
//! A bench takes this file, too.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The provider's version, as a mirror names it.
const PROVIDER: &str = "0.5.4";

/// OpenTofu and a home with its settings.
pub(crate) struct Terraform {
    program: PathBuf,
    home: TempDir,
}

impl Terraform {
    /// By the programs of the peer `terraform`.
    pub(crate) fn of(programs: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let arch = match ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let mirror = home.path().join("mirror");
        let package = mirror.join(format!("registry.opentofu.org/poseidon/matchbox/{PROVIDER}/{OS}_{arch}"));
        fs::create_dir_all(&package).unwrap();
        let provider = package.join(format!("terraform-provider-matchbox_v{PROVIDER}"));
        fs::copy(programs.join("terraform-provider-matchbox"), provider).unwrap();
        let settings = format!(
            "disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n"
        );
        fs::write(home.path().join("terraform.rc"), settings).unwrap();
        Terraform { program: programs.join("tofu"), home }
    }

    /// A run in a directory; nothing of the environment counts.
    pub(crate) fn command(&self, directory: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(directory)
            .env_clear()
            .env("HOME", self.home.path())
            .env("TF_CLI_CONFIG_FILE", self.home.path().join("terraform.rc"))
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_CLI_ARGS", "-no-color");
        command
    }
}

/// A root module in a directory of its own, with its state.
pub(crate) struct Module<'a> {
    terraform: &'a Terraform,
    directory: TempDir,
}

impl<'a> Module<'a> {
    /// Initialised, with the settings of Matchbox's provider and these resources.
    pub(crate) fn new(terraform: &'a Terraform, provider: &Value, resources: &Value) -> Module<'a> {
        let module = Module { terraform, directory: tempfile::tempdir().unwrap() };
        let needed = json!({"matchbox": {"source": "poseidon/matchbox", "version": PROVIDER}});
        let main = json!({"terraform": {"required_providers": needed}, "provider": {"matchbox": provider}});
        module.write("main.tf.json", &main);
        module.has(resources);
        let output = module.command(&["init", "-input=false"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        module
    }

    fn write(&self, name: &str, value: &Value) {
        fs::write(self.directory.path().join(name), value.to_string()).unwrap();
    }

    /// From now on it has these resources.
    pub(crate) fn has(&self, resources: &Value) {
        self.write("resources.tf.json", &json!({"resource": resources}));
    }

    /// A run in it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.terraform.command(self.directory.path(), args)
    }
}
