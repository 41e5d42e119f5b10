//! GRUB's own parser judges the settings of every platform, with arguments appended.

use std::process::Command;

use prebake::disk::oem::{GRUB, Injection, Node, Oem, Ready, Source};
use prebake::disk::platform::PLATFORMS;

#[test]
fn grub_reads_the_settings_of_every_platform() {
    let directory = tempfile::tempdir().unwrap();
    for platform in PLATFORMS {
        let stock = Oem::<()>::new("x", 1 << 30, [], &mut |()| Ok(Vec::new())).unwrap();
        let injection = Injection {
            arguments: vec!["ip=dhcp".into(), "a=$b;c&d".into()],
            ready: Some(Ready {
                platform,
                version: "4593.2.5".into(),
                extension: None,
                release: platform.oem_release("1").unwrap_or_default(),
            }),
            ..Injection::default()
        };
        let (oem, _) = stock.inject(&injection).unwrap();
        let (_, entry) = oem.iter().find(|(path, _)| *path == GRUB).unwrap();
        let Node::File(_, Source::Bytes(text)) = &entry.node else { panic!("{entry:?}") };
        let file = directory.path().join(platform.id);
        std::fs::write(&file, text).unwrap();
        let done =
            Command::new("grub-script-check").arg(&file).output().expect("grub-script-check, of grub-common");
        assert!(done.status.success(), "{}: {}", platform.id, String::from_utf8_lossy(&done.stderr));
    }
}
