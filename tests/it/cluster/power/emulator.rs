//! sushy-emulator, OpenStack's Redfish service for tests, as the judge: its systems are switched, and it tells of each change.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use prebake::cluster::power::{Boot, Limits, State, Switch};
use tempfile::TempDir;

use super::{QUICK, node, redfish, run};
use crate::judges;
use crate::lab::ports;
use crate::world::http::{get, soon};

const MACS: [&str; 2] = ["52:54:00:77:00:11", "52:54:00:77:00:21"];

struct Emulator {
    child: Child,
    address: String,
    story: TempDir,
    /// Bodies of its notices.
    told: Receiver<String>,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Emulator {
    fn start() -> Option<Emulator> {
        let place = judges::python("sushy")?;
        let directory = tempfile::tempdir().unwrap();
        let address = ports::unused();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let notified = listener.local_addr().unwrap();
        let systems: Vec<String> = MACS.iter().enumerate().map(|(n, mac)| format!(
            "{{'uuid': 'aaaaaaaa-0000-4000-8000-00000000000{n}', 'name': 'm{n}', 'power_state': 'Off', 'external_notifier': True, 'nics': [{{'mac': '{mac}', 'ip': '10.77.0.{n}'}}]}}"
        )).collect();
        let config = directory.path().join("sushy.py");
        fs::write(&config, format!(
            "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {}\nSUSHY_EMULATOR_FAKE_DRIVER = True\n\
             SUSHY_EMULATOR_FAKE_IPA = False\nEXTERNAL_NOTIFICATION_URL = 'http://{notified}'\nSUSHY_EMULATOR_FAKE_SYSTEMS = [{}]\n",
            address.port(), systems.join(", "))).unwrap();
        let (tell, told) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let tell = tell.clone();
                thread::spawn(move || {
                    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
                    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        bytes.extend(&buffer[..length]);
                    }
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n");
                    let _ = tell.send(String::from_utf8_lossy(&bytes).into_owned());
                });
            }
        });
        let story = fs::File::create(directory.path().join("story")).unwrap();
        let mut command = Command::new("python3");
        command
            .args(["-m", "sushy_tools.emulator.main", "--fake", "--config"])
            .arg(&config)
            .env("PYTHONPATH", place);
        command.current_dir(directory.path()).env("TMPDIR", directory.path());
        command.stdin(Stdio::null()).stdout(story.try_clone().unwrap()).stderr(story);
        let child = command.spawn().unwrap();
        Some(Emulator { child, address: address.to_string(), story: directory, told })
    }

    fn switch(&self, mac: &str) -> Switch {
        let url = format!("http://{}", self.address);
        let limits = Limits {
            follow: Duration::from_secs(60),
            settle: Duration::from_secs(5),
            poll: Duration::from_millis(200),
            ..QUICK
        };
        let node = node("m", mac, Some(redfish(&url, "any password", false)));
        Switch::of(&node, "/".as_ref(), limits).unwrap().unwrap()
    }

    fn story(&self) -> String {
        fs::read_to_string(self.story.path().join("story")).unwrap_or_default()
    }
}

#[test]
fn sushys_emulator_switches_the_system_with_the_nodes_card_and_no_other() {
    let Some(emulator) = Emulator::start() else { return };
    soon(|| std::net::TcpStream::connect(&emulator.address).is_ok());
    let second = emulator.switch(MACS[1]);
    assert_eq!(run(second.state()).unwrap(), State::Off, "{}", emulator.story());
    let done = run(second.boot_once(None)).unwrap();
    // It keeps overrides for each boot, whatever it is told.
    let boot = done.boot.clone().unwrap();
    assert!(matches!(boot, Boot::Pxe { .. }), "{boot}: {}", emulator.story());
    assert_eq!(done.state, State::On);
    assert_eq!(run(emulator.switch(MACS[0]).state()).unwrap(), State::Off);
    let system =
        get(&emulator.address, "/redfish/v1/Systems/aaaaaaaa-0000-4000-8000-000000000001", "").text();
    let system: serde_json::Value = serde_json::from_str(&system).unwrap();
    assert_eq!(
        (&system["PowerState"], &system["Boot"]["BootSourceOverrideTarget"]),
        (&"On".into(), &"Pxe".into())
    );
    assert_eq!(run(second.cycle()).unwrap().state, State::On);
    assert_eq!(run(second.off()).unwrap().state, State::Off);
    assert!(!run(second.off()).unwrap().changed);
    // An observer of its changes, such as a test that starts a machine, is told of each order.
    let told: Vec<String> = emulator.told.try_iter().collect();
    assert!(told.iter().any(|notice| notice.contains("PUT ")), "{told:?}");
}
