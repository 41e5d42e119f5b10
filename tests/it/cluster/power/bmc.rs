//! A small BMC with the manners of one vendor: what differs from the rest is a row of [`Manners`].

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_rustls::rustls::{self, ServerConnection, StreamOwned};

pub const USER: &str = "admin";
pub const PASSWORD: &str = "geheim-7:ä";
pub const MAC: &str = "52:54:00:77:00:11";
const SYSTEM: &str = "/redfish/v1/Systems/1";
const FUTURE: &str = "/redfish/v1/Systems/1/SD";
const TOKEN: &str = "token-of-the-session";

/// Its peculiarities. The default is a BMC as the specification has it.
#[derive(Clone, Default)]
pub struct Manners {
    /// It refuses a mode that does not change (iDRAC, iLO).
    pub refuses_mode: bool,
    /// It wants the mode in every change of the frequency.
    pub wants_mode: bool,
    /// It refuses the target `None` (iLO).
    pub refuses_none: bool,
    /// It refuses the frequency beside a target (Dell's 13th generation).
    pub refuses_pair: bool,
    /// Changes are taken at `/SD` alone, with a tag (AMI).
    pub future: bool,
    /// It names `/SD`, which is not there.
    pub no_future: bool,
    /// Its tag.
    pub tags: Tags,
    /// It takes a change of the boot settings and forgets it.
    pub forgets: bool,
    /// It takes changes only while the machine is off (iLO in its self-test).
    pub only_while_off: bool,
    /// It has no boot override at all.
    pub no_boot: bool,
    /// It offers UEFI HTTP boot.
    pub http: bool,
    /// It answers so many requests with 503 first.
    pub busy: usize,
    /// It speaks TLS with a certificate of its own making.
    pub tls: bool,
    /// It waits so long before each answer.
    pub slow: Duration,
    /// Its root has no end.
    pub huge: bool,
    /// Basic authentication is switched off.
    pub sessions_only: bool,
    /// A refusal says that Basic would do.
    pub challenges: bool,
    /// It repeats in its errors what it was sent.
    pub repeats: bool,
    /// Its power follows after this time.
    pub lag: Duration,
    /// Its power never follows.
    pub stuck: bool,
    /// The only resets that it has.
    pub resets: Option<&'static [&'static str]>,
    /// The resets are told by an ActionInfo.
    pub action_info: bool,
    /// It redirects to another server, or its members are there.
    pub elsewhere: Option<Elsewhere>,
    /// The number of further systems, which are other machines.
    pub others: usize,
    /// Its machine is on.
    pub on: bool,
    /// It keeps the override for each boot.
    pub continuous: bool,
    /// The override that it has to begin with: target and frequency.
    pub has: Option<(&'static str, &'static str)>,
    /// The documents lack their last slash, and redirect.
    pub redirects: bool,
}

#[derive(Clone, Copy)]
pub enum Elsewhere {
    Redirect(SocketAddr),
    Member(SocketAddr),
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Tags {
    #[default]
    None,
    /// Changes need the tag that was read.
    Needed,
    /// The same, and it is another one after the first reading.
    Moves,
    /// It sends a weak one and compares it as a strong one.
    Weak,
    /// It accepts none.
    Never,
    /// It sends none and wants one.
    Missing,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

struct Machine {
    on: bool,
    next: Option<(bool, Instant)>,
    boot: Value,
    tag: usize,
    busy: usize,
    sessions: usize,
    log: Vec<Asked>,
}

pub struct Bmc {
    pub address: SocketAddr,
    is_tls: bool,
    machine: Arc<Mutex<Machine>>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

fn answer(status: u16, body: Value) -> Answer {
    Answer { status, headers: Vec::new(), body }
}

fn refusal(status: u16, words: &str) -> Answer {
    answer(
        status,
        json!({"error": {"code": "Base.1.0.GeneralError", "message": "see", "@Message.ExtendedInfo": [{"Message": words}]}}),
    )
}

impl Bmc {
    pub fn start(manners: Manners) -> Bmc {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (target, enabled) = manners.has.unwrap_or(("None", "Disabled"));
        let boot = json!({"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled, "BootSourceOverrideMode": "UEFI"});
        let (on, busy) = (manners.on, manners.busy);
        let machine = Machine { on, next: None, boot, tag: 1, busy, sessions: 0, log: Vec::new() };
        let machine = Arc::new(Mutex::new(machine));
        let (shared, is_tls) = (machine.clone(), manners.tls);
        let tls = is_tls.then(tls);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let (machine, manners, tls) = (shared.clone(), manners.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => serve(&stream, &stream, &machine, &manners),
                    Some(tls) => {
                        let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                        let mut head = Vec::new();
                        if let Some(asked) = read(&mut BufReader::new(&mut stream), &mut head) {
                            write(&mut stream, react(asked, &machine, &manners));
                        }
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        Bmc { address, is_tls, machine }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.address)
    }

    pub fn log(&self) -> Vec<Asked> {
        self.machine.lock().unwrap().log.clone()
    }

    /// The bodies that were sent by a method, in their order.
    pub fn sent(&self, method: &str) -> Vec<Value> {
        self.log().into_iter().filter(|asked| asked.method == method).map(|asked| asked.body).collect()
    }

    pub fn boot(&self) -> Value {
        self.machine.lock().unwrap().boot.clone()
    }

    pub fn sessions(&self) -> usize {
        self.machine.lock().unwrap().sessions
    }

    pub fn is_on(&self) -> bool {
        let machine = self.machine.lock().unwrap();
        machine.next.map_or(machine.on, |(on, _)| on)
    }
}

fn tls() -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["bmc.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap())
}

fn serve(input: &TcpStream, mut output: &TcpStream, machine: &Mutex<Machine>, manners: &Manners) {
    let mut reader = BufReader::new(input);
    let mut head = Vec::new();
    let Some(asked) = read(&mut reader, &mut head) else { return };
    if manners.huge {
        let _ = output.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        while output.write_all(chunk.as_bytes()).is_ok() {}
        return;
    }
    write(&mut output, react(asked, machine, manners));
}

fn read(reader: &mut impl BufRead, head: &mut Vec<u8>) -> Option<Asked> {
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', head).ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8(head.clone()).ok()?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let pair =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn write(output: &mut impl Write, answer: Answer) {
    let body = if answer.body.is_null() { String::new() } else { answer.body.to_string() };
    let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    for (name, value) in answer.headers {
        text += &format!("{name}: {value}\r\n");
    }
    // In chunks of odd lengths, as iLOs send it.
    text += "transfer-encoding: chunked\r\n\r\n";
    for chunk in body.as_bytes().chunks(97) {
        text += &format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk));
    }
    text += "0\r\n\r\n";
    let text =
        if answer.status == 204 { text.replace("transfer-encoding: chunked\r\n\r\n0\r\n", "") } else { text };
    let _ = output.write_all(text.as_bytes());
}

fn react(asked: Asked, machine: &Mutex<Machine>, manners: &Manners) -> Answer {
    thread::sleep(manners.slow);
    let mut machine = machine.lock().unwrap();
    machine.log.push(asked.clone());
    if machine.busy > 0 {
        machine.busy -= 1;
        return Answer {
            headers: vec![("retry-after", "0".into())],
            ..refusal(503, "The service is starting")
        };
    }
    if let Some((on, when)) = machine.next.filter(|(_, when)| when.elapsed() >= manners.lag) {
        let _ = when;
        machine.on = on;
        machine.next = None;
    }
    let path = match (asked.path.as_str(), manners.redirects) {
        ("/redfish/v1/" | "/redfish/v1/Systems", true) => {
            let to = if asked.path.ends_with('/') { "/redfish/v1" } else { "/redfish/v1/Systems/" };
            return Answer { headers: vec![("location", to.into())], ..answer(308, Value::Null) };
        }
        (path, _) => path.trim_end_matches('/'),
    };
    if path == "/redfish/v1" {
        if let Some(Elsewhere::Redirect(to)) = manners.elsewhere {
            return Answer {
                headers: vec![("location", format!("http://{to}/redfish/v1/"))],
                ..answer(302, Value::Null)
            };
        }
        return answer(
            200,
            json!({"RedfishVersion": "1.6.0", "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}}),
        );
    }
    if path == "/redfish/v1/SessionService/Sessions" && asked.method == "POST" {
        if asked.body != json!({"UserName": USER, "Password": PASSWORD}) {
            return refusal(401, "wrong");
        }
        machine.sessions += 1;
        let headers = vec![
            ("x-auth-token", TOKEN.to_owned()),
            ("location", "/redfish/v1/SessionService/Sessions/9".into()),
        ];
        return Answer { headers, ..answer(201, json!({"Id": "9"})) };
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let is_in = match manners.sessions_only {
        true => asked.header("x-auth-token") == Some(TOKEN),
        false => asked.header("authorization") == Some(&basic),
    };
    if !is_in {
        let words = match manners.repeats {
            true => format!("no {PASSWORD} {}", asked.header("authorization").unwrap_or_default()),
            false => "who are you".into(),
        };
        let challenge = if manners.challenges {
            vec![("www-authenticate", "Basic realm=\"x\"".to_owned())]
        } else {
            vec![]
        };
        return Answer { headers: challenge, ..refusal(401, &words) };
    }
    if path == "/redfish/v1/SessionService/Sessions/9" && asked.method == "DELETE" {
        machine.sessions -= 1;
        return answer(204, Value::Null);
    }
    match (asked.method.as_str(), path) {
        ("GET", "/redfish/v1/Systems") => {
            let mut members: Vec<Value> = (0..manners.others)
                .map(|n| json!({"@odata.id": format!("/redfish/v1/Systems/x{n}")}))
                .collect();
            members.push(match manners.elsewhere {
                Some(Elsewhere::Member(to)) => json!({"@odata.id": format!("//{to}{SYSTEM}")}),
                _ => json!({"@odata.id": SYSTEM}),
            });
            answer(200, json!({"Members": members}))
        }
        ("GET", path) if path.starts_with("/redfish/v1/Systems/x") => match path.strip_suffix("/E") {
            Some(path) => answer(200, json!({"Members": [{"@odata.id": format!("{path}/E/1")}]})),
            None if path.ends_with("/E/1") => answer(200, json!({"MACAddress": "52:54:00:99:99:99"})),
            None => answer(
                200,
                json!({"Name": "another", "PowerState": "On", "EthernetInterfaces": {"@odata.id": format!("{path}/E")}}),
            ),
        },
        ("GET", "/redfish/v1/Systems/1/E") => {
            answer(200, json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1/E/1"}]}))
        }
        ("GET", "/redfish/v1/Systems/1/E/1") => {
            answer(200, json!({"MACAddress": MAC.to_uppercase().replace(':', "-")}))
        }
        ("GET", SYSTEM) => system(&mut machine, manners),
        ("GET", FUTURE) if manners.future => {
            let boot = machine.boot.clone();
            tagged(&mut machine, manners, json!({"Id": "SD", "Boot": boot}))
        }
        ("GET", "/redfish/v1/Systems/1/ResetInfo") => answer(
            200,
            json!({"Parameters": [{"Name": "ResetType", "AllowableValues": manners.resets.unwrap_or(&["On", "ForceOff", "ForceRestart"])}]}),
        ),
        ("PATCH", SYSTEM) if manners.future => refusal(405, "The settings are at /SD"),
        ("PATCH", SYSTEM | FUTURE) => patch(&mut machine, manners, &asked),
        ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset") => {
            reset(&mut machine, manners, &asked)
        }
        _ => refusal(404, "no such resource"),
    }
}

fn tag(machine: &Machine, manners: &Manners) -> Option<String> {
    match manners.tags {
        Tags::None | Tags::Missing => None,
        Tags::Weak => Some(format!("W/\"{}\"", machine.tag)),
        Tags::Needed | Tags::Moves | Tags::Never => Some(format!("\"{}\"", machine.tag)),
    }
}

fn tagged(machine: &mut Machine, manners: &Manners, body: Value) -> Answer {
    let headers = tag(machine, manners).map(|tag| ("etag", tag)).into_iter().collect();
    // The first reading is out of date as soon as it is made.
    if manners.tags == Tags::Moves && machine.tag == 1 {
        machine.tag = 2;
    }
    Answer { headers, ..answer(200, body) }
}

fn system(machine: &mut Machine, manners: &Manners) -> Answer {
    let mut boot = machine.boot.clone();
    let targets: &[&str] =
        if manners.http { &["None", "Pxe", "Hdd", "UefiHttp"] } else { &["None", "Pxe", "Hdd"] };
    boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(targets);
    let mut reset = json!({"target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"});
    match manners.action_info {
        true => reset["@Redfish.ActionInfo"] = json!("/redfish/v1/Systems/1/ResetInfo"),
        false => {
            reset["ResetType@Redfish.AllowableValues"] =
                json!(manners.resets.unwrap_or(&["On", "ForceOff", "GracefulShutdown", "ForceRestart"]));
        }
    }
    let mut body = json!({"Id": "1", "Name": "c1", "PowerState": if machine.on { "On" } else { "Off" }, "Boot": boot,
        "EthernetInterfaces": {"@odata.id": "/redfish/v1/Systems/1/E"}, "Actions": {"#ComputerSystem.Reset": reset}});
    if manners.no_boot {
        body.as_object_mut().unwrap().remove("Boot");
    }
    if manners.future || manners.no_future {
        body["@Redfish.Settings"] = json!({"SettingsObject": {"@odata.id": FUTURE}});
    }
    tagged(machine, manners, body)
}

fn patch(machine: &mut Machine, manners: &Manners, asked: &Asked) -> Answer {
    let strong = format!("\"{}\"", machine.tag);
    let given = asked.header("if-match");
    let is_current = match manners.tags {
        Tags::None => true,
        Tags::Needed | Tags::Moves | Tags::Weak => given == Some(&strong),
        Tags::Never => given.is_none(),
        Tags::Missing if given != Some("*") => return refusal(428, "If-Match is required"),
        Tags::Missing => true,
    };
    if !is_current || (manners.future && given.is_none()) {
        return refusal(412, "The tag does not match");
    }
    let boot = &asked.body["Boot"];
    let has = |key: &str| boot.get(key).is_some();
    let (mode, target, enabled) =
        (has("BootSourceOverrideMode"), has("BootSourceOverrideTarget"), has("BootSourceOverrideEnabled"));
    if manners.refuses_mode && mode {
        return refusal(400, "The property BootSourceOverrideMode is read-only");
    }
    if manners.wants_mode && !mode {
        return refusal(400, "The property BootSourceOverrideMode is missing");
    }
    let none = boot["BootSourceOverrideTarget"] == "None"
        || (!target && enabled && machine.boot["BootSourceOverrideTarget"] == "None");
    if manners.refuses_none && none {
        return refusal(400, "The target must not be None");
    }
    if manners.refuses_pair && target && enabled {
        return refusal(400, "BootSourceOverrideEnabled is not settable here");
    }
    if manners.only_while_off && machine.on {
        return refusal(400, "UnableToModifyDuringSystemPOST");
    }
    if !manners.forgets {
        for (key, value) in boot.as_object().into_iter().flatten() {
            machine.boot[key] = value.clone();
        }
        if manners.refuses_pair && target {
            machine.boot["BootSourceOverrideEnabled"] = json!("Once");
        }
        if manners.continuous {
            machine.boot["BootSourceOverrideEnabled"] = json!("Continuous");
        }
        machine.tag += 1;
    }
    answer(204, Value::Null)
}

fn reset(machine: &mut Machine, manners: &Manners, asked: &Asked) -> Answer {
    let on = match asked.body["ResetType"].as_str() {
        Some("On") if machine.on => return refusal(409, "The system is on already"),
        Some("On" | "ForceOn" | "ForceRestart" | "PowerCycle") => true,
        Some("ForceOff") if !machine.on => return refusal(400, "InvalidOperationForSystemState"),
        Some("ForceOff") => false,
        _ => return refusal(400, "no such reset"),
    };
    if !manners.stuck {
        machine.next = Some((on, Instant::now()));
    }
    answer(204, Value::Null)
}
