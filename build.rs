//! Lists the folders of `sysext/` for `src/sysext/shipped.rs`, which has them in the binary.
//!
//! The crate `include_dir` would do the same, but it knows neither executable bits nor symlinks, and both are part of an image.

use std::error::Error;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The lab's own sysexts begin with this, and stay out.
const LAB: &str = "lab-";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("sysext");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=sysext");
    let mut table = String::from("static FOLDERS: &[Shipped] = &[\n");
    for name in names(&root)?.iter().filter(|name| !name.starts_with(LAB)) {
        let folder = root.join(name);
        if !folder.is_dir() {
            continue;
        }
        writeln!(table, "Shipped {{ name: {name:?}, entries: &[")?;
        list(&folder, "", &mut table)?;
        table += "] },\n";
    }
    table += "];\n";
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("shipped.rs"), table)?;
    Ok(())
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().into_string();
        names.push(
            name.map_err(|name| {
                format!("{} has the name {name:?}, which is not UTF-8", directory.display())
            })?,
        );
    }
    names.sort();
    Ok(names)
}

/// A row for each file and link below a directory. Directories follow from them, as in Git.
fn list(directory: &Path, prefix: &str, table: &mut String) -> Result<(), Box<dyn Error>> {
    for name in names(directory)? {
        let (path, inside) = (directory.join(&name), format!("{prefix}{name}"));
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            list(&path, &format!("{inside}/"), table)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path)?.into_os_string().into_string();
            let target = target.map_err(|target| format!("{target:?} is not UTF-8"))?;
            writeln!(table, "({inside:?}, Item::Link({target:?})),")?;
        } else {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            let bytes = format!("include_bytes!({:?})", path.display().to_string());
            writeln!(table, "({inside:?}, Item::File {{ executable: {executable}, bytes: {bytes} }}),")?;
        }
    }
    Ok(())
}
