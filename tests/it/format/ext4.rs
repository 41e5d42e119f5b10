//! Files put into an ext4 by `debugfs`, judged by `e2fsck` and by reading them back.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::format::ext4::{Change, Error, change};

const OFFSET: u64 = 3 << 20;
const LENGTH: u64 = 16 << 20;

fn tool(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program)
        .args(arguments)
        .env("E2FSPROGS_FAKE_TIME", "1700000000")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {text}");
    text
}

fn image(directory: &Path, name: &str) -> PathBuf {
    let image = directory.join(name);
    File::create_new(&image).unwrap().set_len(OFFSET + LENGTH + (1 << 20)).unwrap();
    let uuid = "00000000-0000-4000-8000-000000000009";
    let (offset, blocks) =
        (format!("offset={OFFSET},root_owner=0:0,hash_seed={uuid}"), (LENGTH / 4096).to_string());
    tool(
        "mkfs.ext4",
        &["-q", "-b", "4096", "-L", "ROOT", "-U", uuid, "-E", &offset, image.to_str().unwrap(), &blocks],
    );
    image
}

/// The file system alone.
fn judged(image: &Path) {
    let alone = image.with_extension("fs");
    let mut file = File::open(image).unwrap();
    file.seek(SeekFrom::Start(OFFSET)).unwrap();
    let mut bytes = vec![0; LENGTH as usize];
    file.read_exact(&mut bytes).unwrap();
    fs::write(&alone, bytes).unwrap();
    tool("e2fsck", &["-fn", alone.to_str().unwrap()]);
}

fn debugfs(image: &Path, command: &str) -> String {
    tool("debugfs", &["-R", command, &format!("{}?offset={OFFSET}", image.display())])
}

fn files(directory: &Path) -> Vec<Change> {
    let (large, empty) = (directory.join("a \"large\" file"), directory.join("empty"));
    let bytes: Vec<u8> =
        (0..3_000_000_u32).map(|n| if n % 70_000 < 30_000 { 0 } else { (n % 251) as u8 }).collect();
    fs::write(&large, bytes).unwrap();
    fs::write(&empty, "").unwrap();
    vec![
        Change::File { path: "/opt/extensions/a/a-1.2+b.raw".into(), from: large, mode: 0o644 },
        Change::File { path: "/opt/extensions/empty".into(), from: empty, mode: 0o600 },
        Change::Link { path: "/etc/extensions/a.raw".into(), target: "/opt/extensions/a/a-1.2+b.raw".into() },
    ]
}

#[test]
fn files_and_links_are_there_and_the_bytes_repeat() {
    let directory = tempfile::tempdir().unwrap();
    let changes = files(directory.path());
    let mut results = Vec::new();
    for name in ["one", "two"] {
        let image = image(directory.path(), name);
        // 0 would be the clock to libext2fs.
        change(&image, OFFSET, &changes, 0, name).unwrap();
        judged(&image);
        let stat = debugfs(&image, "stat /opt/extensions/empty");
        assert!(stat.contains("Mode:  0600") && stat.contains("User:     0   Group:     0"), "{stat}");
        assert!(debugfs(&image, "stat /opt/extensions").contains("Mode:  0755"));
        assert!(
            debugfs(&image, "stat /etc/extensions/a.raw")
                .contains("Fast link dest: \"/opt/extensions/a/a-1.2+b.raw\"")
        );
        results.push(fs::read(&image).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert!(results[0] == results[1]);
    // Once more replaces, and without a difference.
    let image = directory.path().join("one");
    change(&image, OFFSET, &changes, 1_700_000_000, "one").unwrap();
    judged(&image);
    let gone: Vec<_> = ["/opt/extensions/a/a-1.2+b.raw", "/etc/extensions/a.raw", "/not/there"]
        .map(|path| Change::Gone { path: path.into() })
        .into();
    change(&image, OFFSET, &gone, 1_700_000_000, "one").unwrap();
    judged(&image);
    assert!(!debugfs(&image, "ls -p /etc/extensions").contains("a.raw"));
}

#[test]
fn a_full_file_system_and_an_unclean_one_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let full = image(directory.path(), "full");
    let large = directory.path().join("large");
    fs::write(&large, vec![7; LENGTH as usize]).unwrap();
    let changes = [Change::File { path: "/large".into(), from: large, mode: 0o644 }];
    let error = change(&full, OFFSET, &changes, 0, "full.bin").unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().starts_with("full.bin: debugfs says: "), "{error}");
    use prebake::base::error::Advice;
    assert!(error.hint().is_some_and(|hint| hint.contains("full")), "{error}: {:?}", error.hint());

    let unclean = image(directory.path(), "unclean");
    let target = format!("{}?offset={OFFSET}", unclean.display());
    tool("debugfs", &["-w", "-R", "feature needs_recovery", &target]);
    let error = change(&unclean, OFFSET, &changes, 0, "unclean.bin").unwrap_err();
    assert!(error.to_string().contains("needs_recovery"), "{error}");
    let file = OpenOptions::new().write(true).open(&unclean).unwrap();
    file.write_all_at(&[0; 4096], OFFSET).unwrap();
    assert!(matches!(change(&unclean, OFFSET, &changes, 0, "x"), Err(Error::Foreign { .. })));
}
