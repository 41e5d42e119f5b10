//! What a server tells of its machines: as JSON, as counters, and on a page in a real browser.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::judges::browser::Browser;
use crate::world::http::{Server, get, send, soon};
use crate::world::{VERSION, World};

/// What n1 of the small world says of itself.
const N1: &str = "mac=52-54-00-00-00-01&uuid=AB-1&arch=x86_64";

/// A server on the small world's tree.
struct Served {
    world: World,
    server: Server,
    address: String,
}

impl Served {
    fn new() -> Served {
        let world = World::new();
        world.build();
        let (server, address) = Server::prebake(&world.path("output/small/current"));
        Served { world, server, address }
    }

    fn get(&self, target: &str) -> String {
        let reply = get(&self.address, target, "");
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        reply.text()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status")).unwrap()
    }

    /// The one machine that is known.
    #[track_caller]
    fn machine(&self) -> Value {
        let status = self.status();
        let machines = status["machines"].as_array().unwrap();
        assert_eq!(machines.len(), 1, "{status:#}");
        machines[0].clone()
    }

    fn report(&self, said: &str) {
        let (address, length) = (&self.address, said.len());
        let head = format!(
            "POST /report HTTP/1.1\nHost: {address}\nConnection: close\nContent-Length: {length}\n\n"
        );
        assert_eq!(send(address, &(head + said)).status, 204);
    }

    /// Fetches what n1's script names.
    fn load(&self) {
        let script = self.get(&format!("/ipxe?{N1}"));
        for line in script.lines() {
            if let Some(rest) = line.strip_prefix("kernel ").or(line.strip_prefix("initrd ")) {
                self.get(rest.split(' ').next().unwrap());
            }
        }
    }
}

fn stages(machine: &Value) -> Vec<&str> {
    machine["steps"].as_array().unwrap().iter().map(|step| step["stage"].as_str().unwrap()).collect()
}

#[test]
fn a_machine_goes_through_its_stages_under_the_name_of_its_group() {
    let served = Served::new();
    assert_eq!(served.status()["machines"], serde_json::json!([]));
    assert_eq!(served.status()["serving"]["name"], "small");
    served.get("/boot.ipxe");
    soon(|| served.status()["machines"].as_array().unwrap().len() == 1);
    assert_eq!(served.machine()["id"], "127.0.0.1");
    served.load();
    soon(|| served.machine()["steps"].as_array().unwrap().last().unwrap()["sent"].as_u64() > Some(100_000));
    let machine = served.machine();
    for (key, value) in [("id", "52:54:00:00:00:01"), ("name", "n1"), ("profile", "worker"), ("uuid", "ab-1")]
    {
        assert_eq!(machine[key], value, "{machine:#}");
    }
    assert_eq!(stages(&machine), ["script", "kernel", "initrd"]);
    let initrd = &machine["steps"][2];
    assert_eq!(initrd["sent"], initrd["of"], "{initrd}");
    served.report(&format!("{N1}&stage=booted&detail=n1"));
    let machine = served.machine();
    assert_eq!((&machine["stage"], &machine["state"]), (&"booted".into(), &"done".into()));
    assert_eq!(machine["report"]["detail"], "n1");
    assert_eq!(machine["troubles"], serde_json::json!([]));
}

#[test]
fn a_machine_that_nothing_matches_and_a_file_that_is_not_there_are_told_in_words() {
    let served = Served::new();
    served.load();
    let gone = format!("/assets/flatcar/{VERSION}/gone.cpio");
    assert_eq!(get(&served.address, &gone, "").status, 404);
    let troubles = || served.machine()["troubles"].clone();
    soon(|| troubles()[0]["what"].as_str().is_some_and(|what| what.contains(&gone)));
    assert_eq!(served.machine()["state"], "stuck");

    let strict = World::new();
    strict.edit("recipes/small.yaml", "default_profile: worker\n", "");
    strict.build();
    let (_server, address) = Server::prebake(&strict.path("output/small/current"));
    assert_eq!(get(&address, "/ipxe?mac=52-54-00-00-00-77", "").status, 404);
    soon(|| {
        get(&address, "/status", "").text().contains("no group matches its labels: mac=52:54:00:00:00:77")
    });
}

#[test]
fn the_page_is_for_browsers_and_others_get_matchbox_s_answer() {
    let served = Served::new();
    assert_eq!(served.get("/"), "matchbox\n");
    let accept = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\n";
    let page = get(&served.address, "/", accept);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; "));
    let outside = page.text().replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http://") && !outside.contains("https://"), "it names another server");
}

/// Reads Prometheus' text format, strictly; samples with their labels.
fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(text.ends_with('\n'));
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut helped) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split(' ').next().unwrap().to_owned();
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(is_name(name) && helped == name && families.insert(name.to_owned()), "{line}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = name.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert_eq!(name, family, "{line}");
        let mut rest = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
        while let Some((label, quoted)) = rest.split_once("=\"") {
            assert!(is_name(label), "{line}");
            let mut escaped = false;
            let end = quoted.find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            rest = &quoted[end.unwrap_or_else(|| panic!("{line}")) + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        assert_eq!(rest, "", "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn counters_follow_what_was_answered_and_are_as_prometheus_reads_them() {
    let served = Served::new();
    served.load();
    served.report(&format!("{N1}&stage=booted"));
    let none = get(&served.address, "/none/%22%0a", "");
    assert_eq!(none.status, 404);
    let metrics = || parse_metrics(&served.get("/metrics"));
    let expected = [
        (r#"prebake_http_requests_total{route="other",code="404"}"#, 1.0),
        (r#"prebake_http_requests_total{route="/ipxe",code="200"}"#, 1.0),
        (r#"prebake_http_requests_total{route="/assets",code="200"}"#, 3.0),
        (r#"prebake_http_requests_total{route="/report",code="204"}"#, 1.0),
        (r#"prebake_machines{stage="booted"}"#, 1.0),
        (r#"prebake_machines{stage="kernel"}"#, 0.0),
        (r#"prebake_machine_states{state="done"}"#, 1.0),
        ("prebake_http_transfers", 0.0),
    ];
    // Each answer is counted once it has left, in whatever order the server's threads come to it.
    soon(|| {
        let now = metrics();
        expected.iter().all(|(series, value)| now.get(*series) == Some(value))
    });
    let now = metrics();
    for (series, value) in expected {
        assert_eq!(now.get(series), Some(&value), "{series} of {now:#?}");
    }
    assert!(now[r#"prebake_http_sent_bytes_total{route="/assets"}"#] > 100_000.0);
}

#[test]
fn a_server_with_a_state_file_knows_after_a_crash_who_is_installed() {
    let world = World::new();
    let install = "kernel_args: [console=ttyS0]\n    install: {model: Lab Disk, min_size: 1GiB}";
    world.edit("recipes/small.yaml", "kernel_args: [console=ttyS0]", install);
    let outputs = "outputs: {pxe: {}, matchbox: {}, disk: {}}\ndefault_profile:";
    world.edit("recipes/small.yaml", "default_profile:", outputs);
    for sysext in ["install", "report"] {
        let from = crate::world::repository("sysext").join(sysext);
        assert!(Command::new("cp").arg("-a").arg(from).arg(world.path("sysext")).status().unwrap().success());
    }
    world.build();
    let state = world.path("state.json");
    let tree = world.path("output/small/current");
    let flags = ["--address", "127.0.0.1:0", "--state", state.to_str().unwrap()];
    let (mut server, address) = Server::prebake_with(&tree, &flags);
    let script = |address: &str| get(address, &format!("/ipxe?{N1}"), "").text();
    assert!(script(&address).contains("\nkernel "));
    let said = format!("{N1}&stage=installed&detail=generation+1");
    let head =
        format!("POST /report HTTP/1.1\nHost: x\nConnection: close\nContent-Length: {}\n\n", said.len());
    assert_eq!(send(&address, &(head + &said)).status, 204);
    soon(|| fs::read_to_string(&state).is_ok_and(|text| text.contains("generation 1")));
    server.end();
    let (mut server, address) = Server::prebake_with(&tree, &flags);
    assert!(script(&address).contains("sanboot"), "it would install itself again");
    // What is seen last is kept when the server is told to stop.
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    assert!(fs::read_to_string(&state).unwrap().contains(r#""disk""#));

    fs::write(&state, "{}").unwrap();
    let refused = world.prebake(&["serve", "output/small/current", "--state", state.to_str().unwrap()]);
    refused.fails(1, &["state.json is not a state file of this version of prebake"]);
}

#[test]
fn rows_appear_live_on_the_page_in_a_browser_and_nothing_that_machines_say_becomes_markup() {
    let mut served = Served::new();
    let mut browser = Browser::start();
    let url = format!("http://{}/", served.address);
    browser.open(&format!("{url}?tab=list"));
    browser.wait_for("document.getElementById('link')?.textContent === 'live'");
    assert_eq!(browser.eval("document.getElementById('name').textContent"), "small");
    assert!(
        browser
            .eval("document.getElementById('none').textContent")
            .to_string()
            .contains("No machine has been seen")
    );
    browser.eval("window.isTheSamePage = true");

    served.load();
    // Beside it is n2, which never comes.
    let row = "document.querySelector('tr.machine:not(.missing)')";
    browser.wait_for(&format!("{row}?.querySelector('.who b').textContent === 'n1'"));
    browser.wait_for(&format!("{row}?.innerText.includes('initrd')"));
    served.report(&format!("{N1}&stage=booted&detail=%3Cb%3Ebold%3C/b%3E"));
    browser.wait_for(&format!("{row}.classList.contains('done') && {row}.innerText.includes('booted')"));

    // A machine may call itself whatever it likes.
    let evil = "%3Cimg%20src=x%20onerror=%22window.evil=1%22%3E%3Cscript%3Ewindow.evil=1%3C/script%3E";
    served.get(&format!("/ipxe?mac=52-54-00-00-00-66&hostname={evil}"));
    browser.wait_for("document.querySelectorAll('tr.machine:not(.missing)').length === 2");
    let shown =
        "[...document.querySelectorAll('.who b')].some((b) => b.textContent.startsWith('<img src=x'))";
    browser.wait_for(shown);
    assert_eq!(browser.eval("document.querySelectorAll('main img, main script').length"), 0);
    assert_eq!(browser.eval("window.evil === undefined"), true);

    // Details open with the keyboard, and hold what the machine said as text.
    browser
        .eval("[...document.querySelectorAll('.who')].find((who) => who.innerText.includes('n1')).focus()");
    browser.press("Enter");
    browser.wait_for(
        "document.querySelector('#detail:not([hidden])')?.innerText.includes('booted: <b>bold</b>')",
    );
    browser.eval("(find => { find.value = 'n1'; find.dispatchEvent(new Event('input')); })(document.getElementById('find'))");
    browser.wait_for("document.querySelectorAll('tr.machine').length === 1");
    for width in [390, 1280] {
        browser.resize(width, 800);
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true, "{width}");
    }
    assert_eq!(browser.eval("window.isTheSamePage"), true, "it was loaded again");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    for asked in browser.requests() {
        assert!(asked.starts_with(&url) || asked.starts_with("data:"), "{asked}");
    }

    // A server that is restarted is found again, by the same page.
    served.server.end();
    browser.wait_for("document.getElementById('link').className === 'lost'");
    let tree = served.world.path("output/small/current");
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let mut again = Server::start(command.args(["serve", "--address", &served.address]).arg(tree));
    again.says("listening on http://");
    browser.wait_for("document.getElementById('link').className === 'live'");
    browser.wait_for("document.querySelectorAll('tr.machine').length > 0");
    browser.wait_for("document.querySelectorAll('tr.machine:not(.missing)').length === 0");
    assert_eq!(browser.eval("window.isTheSamePage"), true);
}

#[test]
fn a_client_that_watches_gets_the_whole_picture_and_then_changes_until_the_server_stops() {
    use std::io::{BufRead, BufReader, Write};
    let mut served = Served::new();
    let mut stream = crate::world::http::connect(&served.address);
    write!(stream, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = |kind: &str| -> Value {
        let is_kind = |line: &String| *line == format!("event: {kind}");
        while !is_kind(&lines.next().expect("the stream ended").unwrap()) {}
        let data = lines.next().unwrap().unwrap();
        serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
    };
    assert_eq!(next("status")["machines"], serde_json::json!([]));
    served.load();
    let mut seen = BTreeSet::new();
    while !seen.contains("initrd") {
        let change = next("change");
        for machine in change["machines"].as_array().unwrap() {
            seen.insert(machine["stage"].as_str().unwrap().to_owned());
        }
    }
    served.server.terminate();
    assert_eq!(served.server.wait(), Some(0));
    // It ends, instead of being torn off.
    assert!(lines.all(|line| line.is_ok()));
}

#[test]
fn a_script_can_wait_for_machines_and_is_told_when_they_do_not_come() {
    let served = Served::new();
    let url = format!("http://{}", served.address);
    let status = |flags: &[&str]| {
        let flags = [&["status", "--server", &url], flags].concat();
        served.world.prebake(&flags)
    };
    // ux 1.5: nodes that never came were nowhere, and `--wait` could not name them.
    let table = status(&[]).ok().stdout;
    assert!(table.contains("\n2 not seen\n"), "{table}");
    let row = table.lines().find(|line| line.starts_with("n2 ")).unwrap_or_else(|| panic!("{table}"));
    assert!(row.contains("52:54:00:00:00:02") && table.contains("NOT SEEN"), "{table}");
    let late = ["0 of 2 machines reached booted within 0s", "n1: never seen", "n2: never seen"];
    status(&["--wait", "booted", "--timeout", "0s"]).fails(8, &late);
    let one = ["--wait", "booted", "--timeout", "0s", "--nodes", "1"];
    status(&one).fails(8, &["0 of 1 machine reached booted within 0s"]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| status(&["--wait", "booted", "--timeout", "10m", "--names", "n1"]));
        served.load();
        assert!(!waiting.is_finished(), "nothing has booted yet");
        served.report(&format!("{N1}&stage=booted"));
        waiting.join().unwrap().ok();
    });
    let table = status(&[]).ok().stdout;
    let row = table.lines().find(|line| line.starts_with("n1 ")).unwrap_or_else(|| panic!("{table}"));
    assert!(row.contains("52:54:00:00:00:01") && row.ends_with("done   booted"), "{row}");
    let json: Value = serde_json::from_str(&status(&["--json"]).ok().stdout).unwrap();
    assert_eq!(json["machines"][0]["stage"], "booted");
    status(&["--wait", "booted", "--count", "1"]).ok();
    status(&["--wait", "up"]).fails(2, &["there is no stage `up`", "booted"]);
    // It does not wait for half an hour for machines that have failed.
    served.report("mac=52-54-00-00-00-02&stage=failed&detail=no+disk");
    let failed = ["1 of 2 machines reached booted when others had failed", "n2: ", "no disk"];
    status(&["--wait", "booted"]).fails(1, &failed);

    let none = served.world.prebake(&["status", "--server", "http://127.0.0.1:1"]);
    none.fails(6, &["does not answer", "--server"]);
}

#[test]
fn explain_says_which_group_matches_why_others_do_not_and_what_is_sent() {
    let served = Served::new();
    let tree = "output/small/current";
    let explain = |flags: &[&str]| served.world.prebake(&[&["explain"], flags].concat()).ok().stdout;
    let told = explain(&[tree, "--mac", "52-54-00-00-00-01", "--label", "arch=arm64"]);
    for words in [
        "gets profile `worker` by group `n1`",
        "+ n1 (mac=52:54:00:00:00:01) matches, before all others",
        "= default (everything) matches too, and comes later",
        "- n2 (mac=52:54:00:00:00:02) does not: mac is 52:54:00:00:00:01, not 52:54:00:00:00:02",
        "warning: its architecture is arm64, but its kernel is for amd64",
        "/ipxe answers 200",
        "    kernel /assets/flatcar/",
    ] {
        assert!(told.contains(words), "no {words:?} in:\n{told}");
    }
    // A server says the same, and what it saw.
    served.load();
    let url = format!("http://{}", served.address);
    let seen = || explain(&["--server", &url, "--mac", "52:54:00:00:00:01", "--json"]);
    soon(|| seen().contains("\"initrd\""));
    let json: Value = serde_json::from_str(&seen()).unwrap();
    assert_eq!((&json["group"], &json["seen"]["id"]), (&"n1".into(), &"52:54:00:00:00:01".into()));
    assert!(json["script"]["text"].as_str().unwrap().contains(&format!("prebake.url={url}")), "{json:#}");

    assert_eq!(json["came"], true);
    let never = explain(&["--server", &url, "--mac", "52:54:00:00:00:02"]);
    assert!(never.contains("never seen"), "{never}");
    assert!(!told.contains("never seen"), "no server was asked: {told}");

    let strict = World::new();
    strict.edit("recipes/small.yaml", "default_profile: worker\n", "");
    strict.build();
    let run = strict.prebake(&["explain", tree, "--mac", "52:54:00:00:00:11"]);
    let told = run.stdout.clone();
    run.fails(1, &["this machine gets nothing: no group matches it"]);
    assert!(told.contains("gets nothing: no group matches"), "{told}");
    assert!(told.contains("- n1 (mac=52:54:00:00:00:01) does not"), "a slip of the finger: {told}");
    strict.prebake(&["explain", tree, "--mac", "52:54"]).fails(2, &["not a MAC address"]);
}

#[test]
fn a_matchbox_directory_is_watched_too_and_its_malformed_files_are_told() {
    let world = World::new();
    let write = |path: &str, text: &str| {
        let path = world.path("data").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("groups/one.json", r#"{"profile": "p", "selector": {"mac": "52:54:00:00:00:01"}}"#);
    write("groups/bad.json", "{");
    write(
        "profiles/p.json",
        r#"{"id": "p", "boot": {"kernel": "/assets/kernel", "initrd": ["/assets/gone"]}}"#,
    );
    write("assets/kernel", "kernel");
    let data = world.path("data");
    let mut command = world.command(&["serve", "--address", "127.0.0.1:0", "--matchbox"]);
    let mut server = Server::start(command.arg(&data));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    for (target, status) in [(&*format!("/ipxe?{N1}"), 200), ("/assets/kernel", 200), ("/assets/gone", 404)] {
        assert_eq!(get(&address, target, "").status, status, "{target}");
    }
    let status = || -> Value { serde_json::from_slice(&get(&address, "/status", "").body).unwrap() };
    soon(|| status()["machines"][0]["troubles"][0]["kind"] == "refused-file");
    let now = status();
    assert_eq!((&now["serving"]["name"], &now["machines"][0]["name"]), (&"data".into(), &"one".into()));
    assert!(now["problems"][0].as_str().unwrap().contains("groups/bad.json"), "{now:#}");
    let metrics = parse_metrics(&get(&address, "/metrics", "").text());
    assert_eq!(metrics["prebake_malformed_files"], 1.0);
    let explain = ["explain", "--matchbox", data.to_str().unwrap(), "--mac", "52:54:00:00:00:01"];
    let told = world.prebake(&explain).ok().stdout;
    assert!(told.contains("profile `p` names /assets/gone, which does not exist"), "{told}");
    assert!(!told.contains("/assets/kernel, which"), "{told}");
}

/// ux 1.5: 60 nodes, 55 came and 4 strangers; a swapped card was half shown.
#[test]
fn nodes_that_never_came_and_strangers_are_told_together_and_edits_count_at_once() {
    let world = World::new();
    world.edit("recipes/small.yaml", "default_profile: worker\n", "");
    world.build();
    let nodes = |text: &str| {
        fs::write(world.path("new"), format!("schema: 1\nnodes:\n{text}")).unwrap();
        fs::rename(world.path("new"), world.path("nodes.yaml")).unwrap();
    };
    nodes("  - {name: w7, mac: '52:54:00:00:00:77', profile: worker}\n");
    let inventory = world.path("nodes.yaml");
    let tree = world.path("output/small/current");
    let (_server, address) = Server::prebake_with(&tree, &["--nodes", inventory.to_str().unwrap()]);
    let status = || -> Value { serde_json::from_str(&get(&address, "/status", "").text()).unwrap() };
    let missing = || -> Vec<String> {
        let missing = status()["missing"].clone();
        missing.as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(missing(), ["n1", "n2", "w7"]);
    assert_eq!(get(&address, &format!("/ipxe?{N1}"), "").status, 200);
    assert_eq!(get(&address, "/ipxe?mac=52-54-00-00-00-78&hostname=spare", "").status, 404);
    soon(|| missing() == ["n2", "w7"]);
    let metrics = parse_metrics(&get(&address, "/metrics", "").text());
    assert_eq!((metrics["prebake_machines_missing"], metrics["prebake_machines_strangers"]), (2.0, 1.0));
    assert_eq!(metrics[r#"prebake_machine_states{state="loaded"}"#], 0.0);
    let stranger =
        || status()["machines"].as_array().unwrap().iter().find(|m| m["name"] == "spare").cloned().unwrap();
    let entry = r#"- {name: spare, mac: "52:54:00:00:00:78", profile: worker}"#;
    assert_eq!((&stranger()["stranger"], &stranger()["entry"]), (&true.into(), &entry.into()));
    let hint = stranger()["troubles"][0]["hint"].as_str().unwrap().to_owned();
    assert!(hint.starts_with("w7 was never seen, and its address differs little"), "{hint}");
    assert!(hint.ends_with(entry), "{hint}");
    // The line is pasted, another node is taken out.
    nodes(&format!("  {entry}\n"));
    get(&address, "/boot.ipxe", "");
    soon(|| missing() == ["n2"]);
    let known =
        status()["machines"].as_array().unwrap().iter().find(|m| m["name"] == "spare").cloned().unwrap();
    assert_eq!(
        (&known["stranger"], &known["entry"], &known["node"]),
        (&false.into(), &Value::Null, &true.into())
    );
    assert!(known["troubles"][0]["what"].as_str().unwrap().contains("one does now"), "{known:#}");
}

/// ux 1.13: a machine of which nothing is known had a green tick.
#[test]
fn without_a_sysext_that_reports_a_machine_is_loaded_and_never_done() {
    let world = World::new();
    let report = crate::world::repository("sysext").join("report");
    assert!(Command::new("cp").arg("-a").arg(report).arg(world.path("sysext")).status().unwrap().success());
    // Another profile of the same tree has it.
    world.edit("recipes/small.yaml", "  control:\n", "  control:\n    sysexts: [report]\n");
    let run = world.prebake(&["build", "recipes/small.yaml"]).ok();
    let warning = "warning: without the sysext `report` nobody hears whether machines of `worker` boot";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let status = || -> Value { serde_json::from_str(&get(&address, "/status", "").text()).unwrap() };
    assert_eq!(status()["serving"]["reports"], true);
    let load = |query: &str| {
        let script = get(&address, &format!("/ipxe?{query}"), "").text();
        for line in script.lines() {
            if let Some(rest) = line.strip_prefix("kernel ").or(line.strip_prefix("initrd ")) {
                assert_eq!(get(&address, rest.split(' ').next().unwrap(), "").status, 200);
            }
        }
    };
    let state = |name: &str| {
        let status = status();
        let machine = status["machines"].as_array().unwrap().iter().find(|m| m["name"] == name).cloned();
        machine.map(|machine| machine["state"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    load(N1);
    soon(|| state("n1") == "loaded");
    load("mac=52-54-00-00-00-02");
    soon(|| !state("n2").is_empty());
    assert_eq!(state("n2"), "working", "it will be heard of");
}

/// ux 5.6: nobody could read the log of one machine, or the log as JSON.
#[test]
fn the_log_of_one_machine_is_read_by_its_name_and_every_line_of_json_is_an_object() {
    use std::io::BufRead;
    let world = World::new();
    world.build();
    let tree = world.path("output/small/current");
    let mut command = world.command(&["serve", "--address", "127.0.0.1:0", "--log-format", "json"]);
    let mut process = command.arg(&tree).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(process.stderr.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let address = loop {
        let line = next();
        let msg = line["msg"].as_str().unwrap().to_owned();
        assert_eq!(line["event"], "message");
        if let Some(url) = msg.strip_prefix("listening on http://") {
            break url.trim_end_matches('/').to_owned();
        }
    };
    get(&address, "/boot.ipxe", "");
    assert_eq!(get(&address, &format!("/ipxe?{N1}"), "").status, 200);
    assert_eq!(get(&address, "/ipxe?mac=52-54-00-00-00-02", "").status, 200);
    assert_eq!(get(&address, "/assets/none", "").status, 404);
    let said = format!("{N1}&stage=failed&detail=no+disk&log=one%0Atwo%1b%5b31m%0aAKIAIOSFODNN7EXAMPLQ");
    let head =
        format!("POST /report HTTP/1.1\nHost: x\nConnection: close\nContent-Length: {}\n\n", said.len());
    assert_eq!(send(&address, &(head + &said)).status, 204);
    let request = loop {
        let line = next();
        if line["event"] == "request" && line["path"] == "/ipxe" && line["machine"] == "n1" {
            break line;
        }
    };
    for (key, value) in [("mac", "52:54:00:00:00:01"), ("machine", "n1"), ("method", "GET"), ("group", "n1")]
    {
        assert_eq!(request[key], value, "{request}");
    }
    assert_eq!((&request["status"], &request["level"]), (&200.into(), &"info".into()));
    assert!(request["bytes"].as_u64() > Some(10) && request["seconds"].is_f64(), "{request}");
    let logs = |flags: &[&str]| {
        let url = format!("http://{address}");
        world.prebake(&[&["logs", "--server", &url], flags].concat())
    };
    soon(|| logs(&["--mac", "n1"]).stdout.contains("POST /report"));
    let told = logs(&["--mac", "n1"]).ok().stdout;
    for words in [
        " n1 127.0.0.1 GET /ipxe 200 ",
        " n1 stage script",
        " n1 reports failed: no disk\n    one\n    two\n",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    assert!(!told.contains("52:54:00:00:00:02"), "another machine's: {told}");
    assert!(!told.contains("log=") && !told.contains("AKIAIOSFODNN7EXAMPLQ"), "{told}");
    assert_eq!(logs(&["--mac", "52-54-00-00-00-01"]).ok().stdout, told);
    let json = logs(&["--mac", "n1", "--json"]).ok().stdout;
    assert!(
        json.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["msg"].is_string()),
        "{json}"
    );
    assert!(logs(&[]).ok().stdout.contains("/assets/none 404"));
    logs(&["--mac", "n9"]).fails(1, &["`n9` was never seen", "prebake status"]);
    process.kill().unwrap();
    process.wait().unwrap();
}
