//! The whole line in QEMU: what `make demo` shows must be so.

use std::process::{Command, Stdio};

use crate::lab::machine;

#[test]
fn two_machines_boot_what_was_baked_each_its_own_profile_and_report_back() {
    let _turn = machine::turn();
    let demo = std::path::Path::new(env!("CARGO_BIN_EXE_prebake")).with_file_name("examples").join("demo");
    // The demo compares a nonce of its run and a digest out of the merged sysext with what the consoles say, and fails
    // on `Initramfs unpacking failed`.
    let output = Command::new(demo).stdin(Stdio::null()).output().unwrap();
    let story = String::from_utf8_lossy(&output.stdout);
    println!("{story}");
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    for profile in ["worker", "control"] {
        assert!(story.contains(&format!("PREBAKE-LAB-OK profile={profile}")), "{story}");
    }
}
