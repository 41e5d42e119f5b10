//! The status page of whole racks in a real browser: machines that are simulated by the requests that they would send.
//!
//! `PREBAKE_PICTURES=DIR` keeps a picture of each view there, and makes docs/images/status.png again.

mod cluster;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fs};

use serde_json::Value;

use crate::judges::browser::Browser;
use crate::world::http::{Server, connect_from, get, read_reply, soon};
use crate::world::{VERSION, World, repository};

const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";
/// Longer than what sockets hold, so that a client that does not read has not been sent all of it.
const INITRD_SIZE: usize = 24 << 20;

/// What becomes of a simulated machine. All but the last three are states of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Failed,
    Stuck,
    Looping,
    Missing,
    Working,
    Loaded,
    Done,
}

use Fate::{Done, Failed, Loaded, Looping, Missing, Stuck, Working};

/// The fates of twenty machines, and of the next twenty.
const FATES: [Fate; 20] = [
    Done, Done, Done, Failed, Working, Done, Missing, Done, Working, Stuck, Done, Working, Done, Looping,
    Done, Loaded, Done, Working, Missing, Done,
];

/// A hall of racks on the small world's tree, with a real server.
struct Hall {
    world: World,
    server: Server,
    address: String,
    nodes: Vec<Node>,
    reader: Option<Reader>,
    /// Whether its machines report.
    reports: bool,
}

struct Node {
    name: String,
    labels: String,
    source: [u8; 4],
    fate: Fate,
}

/// Reads the files of machines that are loading, slowly and for as long as the test lasts.
struct Reader {
    thread: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

impl Reader {
    /// Starts to read. Some may be read faster than others, by these factors in turn.
    fn start(mut streams: Vec<TcpStream>, paces: &'static [usize]) -> Reader {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while !ends.load(Ordering::Relaxed) {
                for (stream, pace) in streams.iter_mut().zip(paces.iter().cycle()) {
                    let _ = stream.read(&mut buffer[..pace << 14]);
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        Reader { thread: Some(thread), is_over }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Hall {
    /// Builds a tree for so many nodes in racks of this size, and serves it. No machine has come yet.
    fn new(count: usize, rack: usize) -> Hall {
        Hall::with(count, rack, false)
    }

    /// The same with the sysext `report`, after which a machine that loaded everything is not done.
    fn with(count: usize, rack: usize, reports: bool) -> Hall {
        let world = World::new();
        if reports {
            let copied = Command::new("cp")
                .arg("-a")
                .arg(repository("sysext/report"))
                .arg(world.path("sysext"))
                .status();
            assert!(copied.unwrap().success());
            world.edit("recipes/small.yaml", "sysexts: [hello]", "sysexts: [hello, report]");
        }
        world.release_file(INITRD, &vec![b'i'; INITRD_SIZE]);
        let mut nodes = Vec::new();
        let mut lines = String::from("nodes:\n");
        for index in 0..count {
            let (row, unit) = (index / rack + 1, index % rack + 1);
            let name = format!("r{row}-n{unit:02}");
            let mac = format!("52:54:00:00:{row:02x}:{unit:02x}");
            let profile = if unit == 1 { "control" } else { "worker" };
            writeln!(lines, "  - {{name: {name}, mac: \"{mac}\", profile: {profile}}}").unwrap();
            let labels = format!("mac={}&uuid=ab-{index}&arch=x86_64", mac.replace(':', "-"));
            let source = [127, 0, u8::try_from(row).unwrap(), u8::try_from(unit).unwrap()];
            nodes.push(Node { name, labels, source, fate: FATES[index % FATES.len()] });
        }
        let recipe = world.path("recipes/small.yaml");
        let text = fs::read_to_string(&recipe).unwrap();
        let (head, _) = text.split_once("nodes:\n").unwrap();
        fs::write(&recipe, format!("{head}{lines}").replace("name: small", "name: hall-3")).unwrap();
        world.build_hall();
        let (server, address) = Server::prebake(&world.path("output/hall-3/current"));
        Hall { world, server, address, nodes, reader: None, reports }
    }

    /// Has the machines come, as far as they get; with strangers.
    fn boot(&mut self, strangers: u8) {
        let script = |node: &Node| self.ask(node.source, &format!("/ipxe?{}", node.labels), 200);
        let release = format!("/assets/flatcar/{VERSION}");
        let mut loading = Vec::new();
        for node in &self.nodes {
            match node.fate {
                Missing => {}
                Failed => {
                    script(node);
                    self.load(node);
                    self.report(node, "failed&detail=the+disk+has+10+GiB,+and+16+are+needed");
                }
                Stuck => {
                    script(node);
                    self.ask(node.source, &format!("{release}/gone.cpio"), 404);
                }
                Looping => (0..6).for_each(|_| script(node)),
                Working => {
                    script(node);
                    let mut stream = connect_from(node.source, &self.address);
                    let host = &self.address;
                    self.ask(node.source, &format!("{release}/flatcar_production_pxe.vmlinuz"), 200);
                    write!(stream, "GET {release}/{INITRD} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
                    loading.push(stream);
                }
                Loaded => {
                    script(node);
                    self.load(node);
                }
                Done => {
                    script(node);
                    self.report(node, "booted");
                }
            }
        }
        for stranger in 0..strangers {
            let target = format!("/ipxe?mac=d4-ae-52-c1-00-{stranger:02x}&arch=x86_64");
            self.ask([127, 0, 200, stranger + 1], &target, 404);
        }
        self.reader = Some(Reader::start(loading, if self.reports { &[1, 9, 4, 16, 6] } else { &[1] }));
        let expected = self.expected(strangers);
        soon(|| counts(&self.status()) == expected);
    }

    fn load(&self, node: &Node) {
        let script = self.get(node.source, &format!("/ipxe?{}", node.labels), 200);
        for line in script.lines() {
            if let Some(rest) = line.strip_prefix("kernel ").or(line.strip_prefix("initrd ")) {
                self.ask(node.source, rest.split(' ').next().unwrap(), 200);
            }
        }
    }

    fn ask(&self, source: [u8; 4], target: &str, status: u16) {
        self.get(source, target, status);
    }

    fn get(&self, source: [u8; 4], target: &str, status: u16) -> String {
        let mut stream = connect_from(source, &self.address);
        let host = &self.address;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let reply = read_reply(&mut std::io::BufReader::new(stream), true);
        assert_eq!(reply.status, status, "{target}");
        String::from_utf8_lossy(&reply.body[..reply.body.len().min(4096)]).into_owned()
    }

    fn report(&self, node: &Node, said: &str) {
        let body = format!("{}&stage={said}", node.labels);
        let mut stream = connect_from(node.source, &self.address);
        let (host, length) = (&self.address, body.len());
        let head = format!(
            "POST /report HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        assert_eq!(read_reply(&mut std::io::BufReader::new(stream), true).status, 204);
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&get(&self.address, "/status", "").body).unwrap()
    }

    /// What the counts of the page must be.
    fn expected(&self, strangers: u8) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            let look = if self.reports && node.fate == Loaded { "working" } else { look(node.fate) };
            *counts.entry(look.to_owned()).or_default() += 1;
        }
        if strangers > 0 {
            counts.insert("stranger".to_owned(), strangers.into());
        }
        counts
    }

    fn url(&self, view: &str) -> String {
        format!("http://{}/{view}", self.address)
    }

    fn of(&self, fate: Fate) -> &Node {
        self.nodes.iter().find(|node| node.fate == fate).unwrap()
    }
}

impl World {
    fn build_hall(&self) {
        self.prebake(&["build", "recipes/small.yaml"]).ok();
    }
}

/// The page's word for a fate.
fn look(fate: Fate) -> &'static str {
    match fate {
        Failed => "failed",
        Stuck | Looping => "stuck",
        Missing => "missing",
        Working => "working",
        Loaded => "loaded",
        Done => "done",
    }
}

/// How many machines of each look a status has.
fn counts(status: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for machine in status["machines"].as_array().unwrap() {
        let state = if machine["stranger"] == true { "stranger" } else { machine["state"].as_str().unwrap() };
        *counts.entry(state.to_owned()).or_default() += 1;
    }
    let missing = status["missing"].as_array().unwrap().len();
    if missing > 0 {
        counts.insert("missing".to_owned(), missing);
    }
    counts
}

/// Opens a view and waits until it has the status.
fn open(browser: &mut Browser, url: &str) {
    browser.open("about:blank");
    browser.wait_for("location.href === 'about:blank'");
    browser.open(url);
    browser.wait_for("document.getElementById('link')?.textContent === 'live'");
}

/// Keeps a picture of a view where somebody wants to look at it.
fn keep(browser: &mut Browser, name: &str) {
    if let Some(directory) = env::var_os("PREBAKE_PICTURES") {
        let path = PathBuf::from(directory).join(format!("{name}.png"));
        fs::write(path, browser.picture()).unwrap();
    }
}

/// A number of the page.
#[track_caller]
fn number(browser: &mut Browser, expression: &str) -> u64 {
    let value = browser.eval(expression);
    value.as_f64().unwrap_or_else(|| panic!("{expression}: {value}")) as u64
}

/// The counts that the page shows.
fn shown(browser: &mut Browser) -> BTreeMap<String, usize> {
    let pairs = browser.eval(
        "[...document.querySelectorAll('#counts button')].map((button) => \
         [button.id.replace('count-', ''), Number(button.querySelector('b').textContent.replace(',', ''))])",
    );
    let pairs: Vec<(String, usize)> = serde_json::from_value(pairs).unwrap();
    pairs.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// The rectangles of tiles that are not wholly in the window, too small to hit, or on top of another one.
const MISPLACED: &str = "(() => {
  const boxes = [...document.querySelectorAll('.tile')].map((tile) => tile.getBoundingClientRect());
  const outside = ({left, top, right, bottom}) => left < 0 || top < 0 || right > innerWidth || bottom > innerHeight;
  const small = ({width, height}) => width < 12 || height < 12;
  const places = new Set(boxes.map(({left, top}) => `${left},${top}`));
  return boxes.filter(outside).length + boxes.filter(small).length + boxes.length - places.size;
})()";

/// Texts of counts, tabs and the header that are cut off or run over their box.
const CUT: &str = "[...document.querySelectorAll('#counts b, #counts span, #tabs a, h1, #link')]
  .filter((node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== 'inline')
  .map((node) => node.textContent)";

/// Each tile's name with its classes and its sign.
const TILES: &str = "[...document.querySelectorAll('.tile')].map((tile) => \
  [tile.getAttribute('aria-label').split(',')[0], tile.className, tile.querySelector('i').textContent])";

#[track_caller]
fn assert_fits(browser: &mut Browser, is_fixed: bool) {
    assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true, "it is too wide");
    assert_eq!(browser.eval(CUT), serde_json::json!([]), "cut off");
    if is_fixed {
        assert_eq!(browser.eval("document.documentElement.scrollHeight <= innerHeight"), true, "it scrolls");
        browser.wait_for(&format!("{MISPLACED} === 0"));
    }
}

/// ux.md, §3.2: 60 machines were 60 rows, 4,000 pixels long, and a wall showed four of them.
#[test]
fn racks_of_60_and_of_500_are_on_one_screen_of_a_desk_and_of_a_wall_and_fit_a_phone() {
    let signs = [
        ("failed", "!"),
        ("stuck", "?"),
        ("stranger", "≠"),
        ("missing", "○"),
        ("working", "›"),
        ("loaded", "↓"),
        ("done", "✓"),
    ];
    let signs = BTreeMap::from(signs);
    for (count, rack) in [(60, 20), (500, 42)] {
        let mut browser = Browser::start();
        let mut hall = Hall::new(count, rack);
        hall.boot(4);
        let expected = hall.expected(4);
        for (view, size, name) in [
            ("", (1440, 900), "desk"),
            ("?wall", (1920, 1080), "wall"),
            ("", (1920, 1080), "large"),
            ("", (390, 844), "phone"),
            ("?tab=list", (1440, 900), "list"),
            ("?tab=list", (390, 844), "list-phone"),
            ("?tab=served", (1440, 900), "served"),
            ("?tab=served", (390, 844), "served-phone"),
        ] {
            if count > 60 && view.contains("tab") {
                continue;
            }
            for dark in [false, true] {
                if dark && !["desk", "wall", "phone", "served"].contains(&name) {
                    continue;
                }
                browser.prefer_dark(dark);
                browser.resize(size.0, size.1);
                open(&mut browser, &hall.url(view));
                soon_shown(&mut browser, &expected);
                let is_rack = !view.contains("tab");
                assert_fits(&mut browser, is_rack && size.0 > 1000);
                if is_rack {
                    let tiles: Vec<(String, String, String)> =
                        serde_json::from_value(browser.eval(TILES)).unwrap();
                    assert_eq!(tiles.len(), count + 4, "{name}");
                    for (index, node) in hall.nodes.iter().enumerate() {
                        let (name, class, sign) = &tiles[index];
                        assert_eq!(*name, node.name, "a rack is in the order of its names");
                        let look = look(node.fate);
                        assert_eq!(
                            (class.split(' ').nth(1), sign.as_str()),
                            (Some(look), signs[look]),
                            "{name}"
                        );
                    }
                }
                if view.contains("served") {
                    browser.wait_for("document.querySelectorAll('#served .boots tbody tr').length === 2");
                }
                keep(&mut browser, &format!("{count}-{name}{}", if dark { "-dark" } else { "" }));
            }
        }
        let wall = "parseFloat(getComputedStyle(document.querySelector('#counts b')).fontSize)";
        browser.resize(1920, 1080);
        open(&mut browser, &hall.url("?wall"));
        assert!(number(&mut browser, wall) > 90, "it is read from the other end of the hall");
        assert_eq!(browser.eval("document.querySelectorAll('table').length && getComputedStyle(document.querySelector('#view-list')).display"), "none");
        let bad: usize = ["failed", "stuck", "stranger"].iter().map(|look| expected[*look]).sum();
        browser.wait_for(&format!("document.title === '({bad}) hall-3'"));
        assert_eq!(browser.complaints(), Vec::<String>::new());
    }
}

fn soon_shown(browser: &mut Browser, expected: &BTreeMap<String, usize>) {
    let pairs = expected.iter().map(|(look, count)| format!("count('{look}') === {count}"));
    let all = pairs.collect::<Vec<_>>().join(" && ");
    let read = "const count = (look) => Number(document.querySelector(`#count-${look} b`).textContent)";
    browser.wait_for(&format!("(() => {{ {read}; return {all}; }})()"));
    assert_eq!(shown(browser), *expected);
}

/// ux.md, §3.9: a view could not be sent to a colleague.
#[test]
fn tab_filter_sorting_and_the_open_machine_are_in_the_url_and_the_back_button_takes_them_back() {
    let mut hall = Hall::new(60, 20);
    hall.boot(2);
    let mut browser = Browser::start();
    browser.resize(1440, 900);
    open(&mut browser, &hall.url(""));
    let click = |browser: &mut Browser, selector: &str| {
        browser.eval(&format!("document.querySelector(\"{selector}\").click()"));
    };
    let bright = "document.querySelectorAll('.tile:not(.dim)').length";
    click(&mut browser, "#count-stuck");
    browser.wait_for("location.search === '?state=stuck'");
    let stuck = hall.expected(2)["stuck"] as u64;
    assert_eq!(number(&mut browser, bright), stuck);
    click(&mut browser, "[data-tab=list]");
    click(&mut browser, "th button[data-sort=for]");
    click(&mut browser, "th button[data-sort=for]");
    browser.eval("(find => { find.value = 'R2'; find.dispatchEvent(new Event('input')); })(document.getElementById('find'))");
    let rows = "[...document.querySelectorAll('tr.machine .who b')].map((b) => b.textContent)";
    let names = browser.eval(rows);
    assert_eq!(names.as_array().unwrap().len(), 2, "{names}");
    assert!(
        names.as_array().unwrap().iter().all(|name| name.as_str().unwrap().starts_with("r2-")),
        "{names}"
    );
    let first = names[0].as_str().unwrap().to_owned();
    click(&mut browser, "tr.machine a");
    browser.wait_for(&format!("document.getElementById('detail-title')?.textContent.includes('{first}')"));
    assert_eq!(
        browser.eval("location.search.replace(/&machine=.*/, '')"),
        "?tab=list&state=stuck&find=R2&sort=-for"
    );

    // A colleague sees the same.
    let link = browser.eval("location.href").as_str().unwrap().to_owned();
    open(&mut browser, &link);
    browser.wait_for(&format!("document.getElementById('detail-title')?.textContent.includes('{first}')"));
    assert_eq!(browser.eval(rows), names);
    assert_eq!(browser.eval("document.querySelector('th[aria-sort=descending] button').dataset.sort"), "for");

    open(&mut browser, &hall.url("?state=failed"));
    click(&mut browser, ".tile.failed");
    browser.wait_for("!document.getElementById('detail').hidden");
    browser.eval("history.back()");
    browser.wait_for("document.getElementById('detail').hidden && location.search === '?state=failed'");
    browser.eval("history.forward()");
    browser.wait_for("!document.getElementById('detail').hidden");
    browser.press("Escape");
    browser.wait_for("document.getElementById('detail').hidden");

    // A machine that is known by its name, and one that nobody knows.
    open(&mut browser, &hall.url("?machine=r1-n07"));
    browser.wait_for("document.getElementById('detail').textContent.includes('has not asked for anything')");
    open(&mut browser, &hall.url("?machine=%3Cb%3Enobody&tab=nowhere&state=odd&sort=odd"));
    browser.wait_for("document.getElementById('detail').textContent.includes('has not seen such a machine')");
    assert_eq!(browser.eval("document.querySelectorAll('#detail b').length"), 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_rack_is_walked_with_the_arrows_and_says_to_a_screen_reader_what_the_eye_sees() {
    let mut hall = Hall::new(60, 20);
    hall.boot(0);
    let mut browser = Browser::start();
    browser.resize(1440, 900);
    open(&mut browser, &hall.url(""));
    assert_eq!(number(&mut browser, "document.querySelectorAll('.tile[tabindex=\"0\"]').length"), 1);
    browser.eval("document.querySelector('.tile[tabindex=\"0\"]').focus()");
    let focused = "document.activeElement.getAttribute('aria-label')";
    assert!(browser.eval(focused).as_str().unwrap().starts_with("r1-n01, done"));
    for _ in 0..3 {
        browser.press("ArrowRight");
    }
    let failed = browser.eval(focused);
    assert_eq!(failed, "r1-n04, failed: the disk has 10 GiB, and 16 are needed");
    // What is in the tip is what hovers.
    browser.wait_for("!document.getElementById('tip').hidden && document.getElementById('tip').textContent.includes('16 are needed')");
    browser.press("Enter");
    browser.wait_for("document.activeElement.id === 'detail-title'");
    assert!(
        browser
            .eval("document.getElementById('detail').textContent")
            .as_str()
            .unwrap()
            .contains("journalctl")
    );
    browser.press("Escape");
    browser.wait_for(&format!("{focused}?.startsWith('r1-n04')"));
    let top = "document.activeElement.getBoundingClientRect().top";
    let before = number(&mut browser, top);
    browser.press("ArrowDown");
    assert!(number(&mut browser, top) > before);
    browser.press("ArrowUp");
    assert_eq!(number(&mut browser, top), before);
    // Each state is told by a sign and by a word, never by colour alone.
    let unnamed = "[...document.querySelectorAll('.tile')].filter((tile) => !tile.querySelector('i').textContent \
                   || !/, (failed|stuck|a stranger|not seen|working|loaded|done)/.test(tile.getAttribute('aria-label'))).length";
    assert_eq!(number(&mut browser, unnamed), 0);
    assert_eq!(
        browser.eval("[...document.querySelectorAll('#rack section')].map((rack) => rack.getAttribute('aria-label'))[0]"),
        "r1, 20 machines, 3 need a look"
    );
}

/// ux.md, §3.7 and §3.10: details froze, and a page whose server had died stayed bright and counted on.
#[test]
fn an_open_detail_stays_live_and_a_server_that_is_gone_is_a_plain_sign_until_it_is_back() {
    let mut hall = Hall::new(20, 20);
    hall.boot(1);
    let mut browser = Browser::start();
    browser.resize(1440, 900);
    let node = hall.of(Working).name.clone();
    open(&mut browser, &hall.url(&format!("?machine={node}")));
    let text = "document.getElementById('detail').innerText";
    browser.wait_for(&format!("{text}.includes('working') && {text}.includes('{INITRD}')"));
    browser.eval("window.node = document.querySelector('#detail .gantt'); window.before = document.getElementById('detail').innerText");
    // Times tick, in the nodes that were there before.
    browser.wait_for(&format!("{text} !== window.before"));
    assert_eq!(browser.eval("window.node === document.querySelector('#detail .gantt')"), true);
    let bar = "[...document.querySelectorAll('#detail .lane.now')].length";
    assert_eq!(number(&mut browser, bar), 1);
    // Steps that are not seen here are words, not empty boxes.
    assert!(browser.eval(text).as_str().unwrap().contains("not here"));
    let machine = hall.nodes.iter().find(|other| other.name == node).unwrap();
    hall.report(machine, "booted&detail=by+itself");
    browser.wait_for(&format!("{text}.includes('booted: by itself') && {text}.includes('done')"));
    keep(&mut browser, "detail");

    browser.eval("document.querySelector('[data-explain]').click()");
    browser.wait_for("document.querySelectorAll('#detail pre').length === 2");
    let script = browser.eval("document.querySelector('#detail pre').textContent");
    assert!(script.as_str().unwrap().starts_with("#!ipxe\nkernel "), "{script}");
    assert!(
        browser
            .eval("document.querySelectorAll('#detail pre')[1].textContent")
            .as_str()
            .unwrap()
            .contains("/etc/role")
    );
    // To look is no boot: the machine did not ask.
    let of = |status: &Value| {
        status["machines"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == node.as_str())
            .cloned()
            .unwrap()
    };
    let seen = of(&hall.status());
    assert_eq!((&seen["boots"], &seen["stage"]), (&1.into(), &"booted".into()), "{seen:#}");
    keep(&mut browser, "detail-script");

    hall.server.end();
    browser.wait_for("document.getElementById('link').className === 'lost'");
    browser.wait_for("!document.getElementById('gone').hidden");
    let sign = browser.eval("document.getElementById('gone-since').textContent");
    assert!(sign.as_str().unwrap().starts_with("No answer since "), "{sign}");
    assert!(
        number(&mut browser, "parseFloat(getComputedStyle(document.getElementById('gone-since')).fontSize)")
            > 20
    );
    assert!(
        browser
            .eval("getComputedStyle(document.querySelector('main')).filter")
            .as_str()
            .unwrap()
            .contains("grayscale")
    );
    assert!(browser.eval("document.title").as_str().unwrap().contains("no answer"));
    browser.wait_for("document.documentElement.scrollHeight <= innerHeight");
    // Its clock stands still.
    let still = "window.still = document.getElementById('detail').innerText + document.getElementById('about').textContent";
    browser.eval(still);
    thread::sleep(Duration::from_millis(2500));
    let now = "document.getElementById('detail').innerText + document.getElementById('about').textContent";
    assert_eq!(browser.eval("window.still"), browser.eval(now));
    keep(&mut browser, "gone");

    let mut again = Command::new(env!("CARGO_BIN_EXE_prebake"));
    let mut again = Server::start(
        again.args(["serve", "--address", &hall.address]).arg(hall.world.path("output/hall-3/current")),
    );
    again.says("listening on http://");
    browser.wait_for(
        "document.getElementById('link').className === 'live' && document.getElementById('gone').hidden",
    );
    browser.wait_for("document.querySelectorAll('.tile').length === 20 && document.querySelectorAll('.tile.missing').length === 20");
}

/// ux.md, §3.1 and §3.3: troubles beyond six kinds could not be reached, and only the first of each machine was told.
#[test]
fn every_trouble_is_reached_with_what_to_do_and_strangers_stand_beside_missing_nodes() {
    let mut hall = Hall::new(40, 20);
    hall.boot(3);
    // A machine with two troubles: a file that is not there, and a failure.
    let twice = hall.nodes.iter().find(|node| node.fate == Stuck).unwrap();
    hall.report(twice, "failed&detail=the+second+trouble");
    let arm = hall.of(Looping);
    let other = arm.labels.replace("x86_64", "arm64");
    hall.ask(arm.source, &format!("/ipxe?{other}"), 200);
    let status = hall.status();
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for machine in status["machines"].as_array().unwrap().iter().filter(|one| one["stranger"] == false) {
        for trouble in machine["troubles"].as_array().unwrap() {
            let hint = trouble["hint"].as_str().unwrap().to_owned();
            kinds.entry(hint).or_default().push(machine["name"].as_str().unwrap().to_owned());
        }
    }
    assert!(kinds.len() > 3, "{kinds:#?}");
    let mut browser = Browser::start();
    browser.resize(1440, 900);
    open(&mut browser, &hall.url(""));
    browser.wait_for("document.querySelector('[data-more=kinds]')?.textContent.includes('more kind')");
    browser.eval("document.querySelector('[data-more=kinds]').click()");
    browser.wait_for("document.querySelector('[data-more=kinds]').getAttribute('aria-expanded') === 'true'");
    browser.eval("[...document.querySelectorAll('#troubles [data-more^=\"kind \"]')].forEach((button) => button.click())");
    let told = browser.eval("document.getElementById('trouble-list').innerText");
    let links = "[...document.querySelectorAll('#troubles a')].map((link) => link.textContent)";
    let links: Vec<String> = serde_json::from_value(browser.eval(links)).unwrap();
    for (hint, names) in &kinds {
        assert!(told.as_str().unwrap().contains(hint.as_str()), "no {hint:?} in {told}");
        assert!(names.iter().all(|name| links.contains(name)), "{names:?} of {links:?}");
    }
    let name = &twice.name;
    let both = links.iter().filter(|link| *link == name).count();
    assert!(both >= 2, "{name} has two troubles");
    browser.eval(&format!(
        "[...document.querySelectorAll('#troubles a')].find((link) => link.textContent === '{name}').click()"
    ));
    browser.wait_for("document.querySelectorAll('#detail .trouble .hint').length >= 2");
    browser.press("Escape");

    let lost = browser.eval("[...document.querySelectorAll('#lost > div')].map((part) => part.innerText)");
    let (strangers, missing) = (lost[0].as_str().unwrap(), lost[1].as_str().unwrap());
    let nodes: Vec<&Node> = hall.nodes.iter().filter(|node| node.fate == Missing).collect();
    assert!(
        strangers.contains("Strangers: 3") && missing.contains(&format!("Not seen: {}", nodes.len())),
        "{lost}"
    );
    assert!(nodes.iter().all(|node| missing.contains(&node.name)), "{missing}");
    let entry = status["machines"].as_array().unwrap().iter().find_map(|one| one["entry"].as_str()).unwrap();
    assert!(entry.starts_with("- {name: "), "{entry}");
    assert!(strangers.contains(entry), "{strangers}");
    // The line is copied as it is, for the recipe.
    browser
        .eval("document.addEventListener('copy', () => { window.copied = document.activeElement.value; })");
    browser.eval("Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.querySelector('#lost [data-copy]').focus()");
    // A key of a person, as browsers copy for nobody else.
    browser.press("Enter");
    browser.wait_for("[...document.querySelectorAll('#lost [data-copy]')].some((button) => button.textContent !== 'copy line')");
    assert_eq!(browser.eval("window.copied"), entry);
    keep(&mut browser, "troubles");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// ux.md, §3.2: with hundreds of machines that change all the time the page must stay smooth.
#[test]
fn only_tiles_of_machines_that_changed_are_touched() {
    let mut hall = Hall::new(500, 42);
    hall.boot(0);
    hall.reader = None;
    let mut browser = Browser::start();
    browser.resize(1440, 900);
    open(&mut browser, &hall.url(""));
    browser.wait_for("document.querySelectorAll('.tile').length === 500");
    // Machines whose transfers ended are told once more; the document that has no transfers has them.
    browser.wait_for("status.traffic.transfers === 0");
    browser.eval(
        "window.touched = new Set(); window.moved = 0;
         new MutationObserver((records) => { for (const {type, target, addedNodes, removedNodes} of records) {
           const element = target.nodeType === 1 ? target : target.parentNode;
           const tile = element.closest('.tile');
           if (tile) touched.add(tile.dataset.key);
           else if (type === 'childList') moved += addedNodes.length + removedNodes.length;
         } }).observe(document.getElementById('rack'), {subtree: true, childList: true, attributes: true, characterData: true});",
    );
    let done: Vec<&Node> = hall.nodes.iter().filter(|node| node.fate == Done).take(3).collect();
    for node in &done {
        hall.report(node, "joined");
    }
    let key = |node: &Node| node.labels.split('&').next().unwrap().replace("mac=", "").replace('-', ":");
    for node in &done {
        browser.wait_for(&format!("touched.has('{}')", key(node)));
    }
    assert_eq!(number(&mut browser, "moved"), 0, "tiles were made again");
    let touched: Vec<String> = serde_json::from_value(browser.eval("[...touched]")).unwrap();
    let working: Vec<String> = hall.nodes.iter().filter(|node| node.fate == Working).map(key).collect();
    let expected: Vec<String> = done.iter().map(|node| key(node)).collect();
    let others: Vec<&String> =
        touched.iter().filter(|key| !expected.contains(key) && !working.contains(key)).collect();
    assert_eq!(others, Vec::<&String>::new());
}

/// attacks.md: strangers make up names by the thousand, and a page must not hang on them.
#[test]
fn ten_thousand_nodes_and_all_strangers_that_are_remembered_are_capped_with_words() {
    let world = World::new();
    for index in 0..10_000 {
        let mac = format!("52:54:00:01:{:02x}:{:02x}", index / 256, index % 256);
        let group = format!(r#"{{"profile": "p", "selector": {{"mac": "{mac}"}}}}"#);
        world.write(&format!("data/groups/n{index}.json"), group);
    }
    world.write("data/profiles/p.json", r#"{"id": "p", "boot": {"kernel": "/assets/kernel", "initrd": []}}"#);
    world.write("data/assets/kernel", "kernel");
    let mut command = world.command(&["serve", "--address", "127.0.0.1:0", "--matchbox"]);
    let mut server = Server::start(command.arg(world.path("data")));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    thread::scope(|scope| {
        for part in 0..8 {
            let address = &address;
            scope.spawn(move || {
                for index in 0..256 {
                    get(address, &format!("/ipxe?mac=02-00-00-00-{part:02x}-{index:02x}"), "");
                }
            });
        }
    });
    let mut browser = Browser::start();
    browser.resize(1440, 900);
    open(&mut browser, &format!("http://{address}/"));
    browser.wait_for("document.getElementById('count-missing').innerText.startsWith('10,000')");
    browser.wait_for("document.getElementById('count-stranger').innerText.startsWith('2,048')");
    let tiles = number(&mut browser, "document.querySelectorAll('.tile').length");
    assert!((500..=2048).contains(&tiles), "{tiles}");
    assert!(number(&mut browser, "document.querySelectorAll('*').length") < 20_000);
    let note = browser.eval("document.getElementById('rack-note').innerText");
    assert!(note.as_str().unwrap().contains(" more have no tile"), "{note}");
    keep(&mut browser, "thousands");
    // The search still finds each of them.
    browser.eval("(find => { find.value = 'n9876'; find.dispatchEvent(new Event('input')); })(document.getElementById('find'))");
    browser.wait_for("document.querySelectorAll('.tile').length === 1 && document.querySelector('.tile').textContent.includes('n9876')");
    browser.eval("document.querySelector('[data-tab=list]').click()");
    browser.wait_for("document.querySelectorAll('tr.machine').length === 1");
    browser.eval("(find => { find.value = ''; find.dispatchEvent(new Event('input')); })(document.getElementById('find'))");
    browser.wait_for("document.querySelectorAll('tr.machine').length > 100");
    assert!(number(&mut browser, "document.querySelectorAll('tr.machine').length") <= 500);
    assert!(
        browser.eval("document.getElementById('list-note').innerText").as_str().unwrap().contains("more")
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Issue 17: rows stayed where they were, and the counts above them, when machines changed under another order.
#[test]
fn a_machine_that_changes_moves_in_a_sorted_list_and_leaves_a_filtered_one() {
    let mut hall = Hall::new(20, 20);
    hall.boot(0);
    let mut working = hall.nodes.iter().filter(|node| node.fate == Working);
    let (first, second) = (working.next().unwrap(), working.next().unwrap());
    let count = hall.expected(0)["working"];
    let mut browser = Browser::start();
    browser.resize(1440, 900);
    let found =
        |count: usize| format!("document.getElementById('found').textContent === '{count} of 20 machines'");
    open(&mut browser, &hall.url("?tab=list&state=working&sort=machine"));
    browser.wait_for(&found(count));
    hall.report(first, "booted");
    browser.wait_for(&found(count - 1));
    browser.wait_for(&format!("document.querySelectorAll('tr.machine').length === {}", count - 1));

    open(&mut browser, &hall.url("?tab=list&sort=-boot"));
    let place = format!(
        "[...document.querySelectorAll('tr.machine .who b')].findIndex((name) => name.textContent === '{}')",
        second.name
    );
    browser.wait_for(&format!("{place} >= 0"));
    let before = number(&mut browser, &place);
    hall.report(second, "booted");
    browser.wait_for(&format!("{place} < {before}"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Issue 17: five requests were under way at a time, and the page said `every 2 s`.
#[test]
fn a_page_that_hears_nothing_asks_again_only_after_its_last_question_and_listens_again() {
    let mut hall = Hall::new(20, 20);
    hall.boot(0);
    let mut browser = Browser::start();
    open(&mut browser, &hall.url(""));
    // A connection that died silently.
    browser.eval(
        "events.close(); window.asked = 0; window.listened = 0; window.real = [window.fetch, window.EventSource];
         window.fetch = () => { asked += 1; return new Promise(() => {}); };
         window.EventSource = function () { listened += 1; this.addEventListener = this.close = () => {}; };
         heard = performance.now() - 60000",
    );
    browser.wait_for("asked === 1 && listened === 1");
    thread::sleep(Duration::from_secs(5));
    assert_eq!((number(&mut browser, "asked"), number(&mut browser, "listened")), (1, 1));
    browser.eval("[window.fetch, window.EventSource] = real; asking = false");
    browser.wait_for("document.getElementById('link').textContent === 'every 2 s'");
    browser.eval("listen()");
    browser.wait_for("document.getElementById('link').textContent === 'live' && polling === null");
}

/// Issue 17: the tab of a data directory stayed as it was at its first look.
#[test]
fn what_a_data_directory_serves_is_asked_for_again_while_somebody_looks() {
    let world = World::new();
    world.write("data/groups/one.json", r#"{"profile": "p"}"#);
    let profile =
        |id: &str| format!(r#"{{"id": "{id}", "boot": {{"kernel": "/assets/kernel", "initrd": []}}}}"#);
    world.write("data/profiles/p.json", profile("p"));
    world.write("data/assets/kernel", "kernel");
    let mut command = world.command(&["serve", "--address", "127.0.0.1:0", "--matchbox"]);
    let mut server = Server::start(command.arg(world.path("data")));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let mut browser = Browser::start();
    open(&mut browser, &format!("http://{address}/?tab=served"));
    browser.wait_for("document.querySelectorAll('#served .boots tbody tr').length === 1");
    world.write("data/profiles/another.json", profile("another"));
    browser.wait_for("document.querySelectorAll('#served .boots tbody tr').length === 2");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn what_is_served_is_told_with_the_sizes_of_each_boot_for_a_tree_and_for_a_data_directory() {
    let world = World::new();
    world.build();
    let (_server, address) = Server::prebake(&world.path("output/small/current"));
    let served =
        |address: &str| -> Value { serde_json::from_slice(&get(address, "/served", "").body).unwrap() };
    let told = served(&address);
    assert_eq!((&told["schema"], &told["name"]), (&1.into(), &"small".into()), "{told:#}");
    assert_eq!(told["releases"], serde_json::json!([format!("stable {VERSION} amd64-usr")]));
    let overlay = |id: &str| {
        fs::metadata(world.path(&format!("output/small/current/assets/overlay/{id}.cpio"))).unwrap().len()
    };
    let profiles = told["profiles"].as_array().unwrap();
    let ids: Vec<&str> = profiles.iter().map(|profile| profile["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["control", "control+n2", "worker"]);
    for (profile, id) in profiles.iter().zip(&ids) {
        let sizes: Vec<(&str, u64)> = profile["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| (part["kind"].as_str().unwrap(), part["size"].as_u64().unwrap()))
            .collect();
        let kinds: Vec<&str> = sizes.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, ["kernel", "base", "sysext", "overlay"], "{profile:#}");
        assert_eq!(sizes[2].1 + sizes[3].1, overlay(id), "its parts are the whole overlay");
        assert_eq!(profile["loads"], sizes.iter().map(|(_, size)| size).sum::<u64>());
        assert_eq!(profile["memory"], 3_u64 << 30);
        assert_eq!(profile["parts"][2]["name"], "hello");
        assert_eq!(profile["parts"][2]["version"], "1", "{profile:#}");
        let nodes = usize::from(*id != "control");
        assert_eq!(profile["machines"], nodes, "{id}");
        assert_eq!(profile["is_default"], *id == "worker");
    }
    assert_eq!(told["sysexts"][0]["version"], "1");
    let names: Vec<&str> =
        told["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["n1", "n2"]);
    let paths: Vec<&str> =
        told["endpoints"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!(
        ["/", "/ipxe", "/status", "/served", "/explain"].iter().all(|path| paths.contains(path)),
        "{paths:?}"
    );
    assert!(
        told["endpoints"].as_array().unwrap().iter().all(|one| one["about"].as_str().unwrap().ends_with('.'))
    );
    // To look at it is no machine's request.
    assert_eq!(
        serde_json::from_slice::<Value>(&get(&address, "/status", "").body).unwrap()["machines"],
        serde_json::json!([])
    );
    // The one file of `layout: single` has the same parts.
    let memory = |told: &Value| told["profiles"][2]["memory"].clone();
    let apart = memory(&told);
    world.edit("recipes/small.yaml", "[console=ttyS0]\n", "[console=ttyS0]\n    layout: single\n");
    let build = world.build();
    soon(|| served(&address)["build"] == build.as_str());
    let told = served(&address);
    let worker = &told["profiles"][2];
    let kinds: Vec<&str> =
        worker["parts"].as_array().unwrap().iter().map(|part| part["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["kernel", "base", "sysext", "overlay"], "{worker:#}");
    let loaded = fs::metadata(world.path("output/small/current/assets/initrd/worker.img"));
    let sizes = worker["parts"].as_array().unwrap().iter().skip(1).map(|part| part["size"].as_u64().unwrap());
    assert_eq!(sizes.sum::<u64>(), loaded.unwrap().len(), "its parts are the whole file");
    assert_eq!(memory(&told), apart);
    // Another build is another document.
    world.edit("recipes/worker.ign", "data:,worker", "data:,another");
    let build = world.build();
    soon(|| served(&address)["build"] == build.as_str());

    world.write("data/groups/one.json", r#"{"profile": "p", "selector": {"mac": "52:54:00:00:00:01"}}"#);
    let boot = r#"{"id": "p", "boot": {"kernel": "/assets/kernel", "initrd": ["--name main /assets/a b.img", "http://10.0.0.1/other"]}}"#;
    world.write("data/profiles/p.json", boot);
    world.write("data/assets/kernel", "kernel");
    let mut command = world.command(&["serve", "--address", "127.0.0.1:0", "--matchbox"]);
    let mut server = Server::start(command.arg(world.path("data")));
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let told = served(&address);
    let profile = &told["profiles"][0];
    assert_eq!(
        profile["parts"],
        serde_json::json!([{"kind": "kernel", "name": "kernel", "version": null, "size": 6}])
    );
    assert_eq!(
        (&profile["loads"], &profile["memory"]),
        (&Value::Null, &Value::Null),
        "one part is elsewhere"
    );
    assert_eq!((&told["build"], &told["epoch"]), (&"".into(), &Value::Null));
}

/// The README's picture: a hall in the middle of its boots.
#[test]
fn the_picture_in_the_readme_is_a_png_of_the_page() {
    let path = repository("docs/images/status.png");
    if env::var_os("PREBAKE_PICTURES").is_some() {
        let mut hall = Hall::with(60, 20, true);
        hall.boot(2);
        let mut browser = Browser::start();
        browser.resize(1440, 900);
        open(&mut browser, &hall.url(""));
        browser.wait_for("document.getElementById('plot-box').hidden === false");
        browser.wait_for("[...document.querySelectorAll('.tile small')].some(({textContent}) => textContent.includes('initrd 4'))");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, with_palette(&browser.picture())).unwrap();
    }
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.len() <= 200 << 10, "{} bytes", bytes.len());
    let png = Png::read(&bytes);
    assert_eq!((png.width, png.height), (1440, 900));
    let colours: std::collections::BTreeSet<u8> = png.rows.iter().flatten().copied().collect();
    assert!(colours.len() > 16, "it is blank");
}

/// A PNG with eight bits a channel, without interlacing (W3C, Portable Network Graphics, third edition).
struct Png {
    width: usize,
    height: usize,
    /// Samples of each row, without filters.
    rows: Vec<Vec<u8>>,
}

impl Png {
    fn read(bytes: &[u8]) -> Png {
        let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("a PNG's signature");
        let (mut head, mut data) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (kind, body) = (&rest[4..8], &rest[8..8 + length]);
            let sum = u32::from_be_bytes(rest[8 + length..12 + length].try_into().unwrap());
            assert_eq!(crc(&rest[4..8 + length]), sum, "a chunk's checksum");
            match kind {
                b"IHDR" => head = body.to_vec(),
                b"IDAT" => data.extend_from_slice(body),
                _ => {}
            }
            rest = &rest[12 + length..];
        }
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let (width, height) = (number(0), number(4));
        let samples = match head[8..13] {
            [8, 2, 0, 0, 0] => 3,
            [8, 3, 0, 0, 0] => 1,
            [8, 6, 0, 0, 0] => 4,
            _ => panic!("another kind of PNG: {head:?}"),
        };
        let mut raw = Vec::new();
        flate2::read::ZlibDecoder::new(data.as_slice()).read_to_end(&mut raw).unwrap();
        let mut rows: Vec<Vec<u8>> = Vec::new();
        assert_eq!(raw.len(), height * (1 + samples * width));
        for line in raw.chunks(1 + samples * width) {
            let above = rows.last().cloned().unwrap_or_else(|| vec![0; samples * width]);
            let mut row = line[1..].to_vec();
            for at in 0..row.len() {
                let left = if at >= samples { i32::from(row[at - samples]) } else { 0 };
                let up = i32::from(above[at]);
                let corner = if at >= samples { i32::from(above[at - samples]) } else { 0 };
                let guess = match line[0] {
                    0 => 0,
                    1 => left,
                    2 => up,
                    3 => (left + up) / 2,
                    4 => {
                        let far = |one: i32| (left + up - corner - one).abs();
                        match (far(left), far(up), far(corner)) {
                            (a, b, c) if a <= b && a <= c => left,
                            (_, b, c) if b <= c => up,
                            _ => corner,
                        }
                    }
                    other => panic!("filter {other}"),
                };
                row[at] = row[at].wrapping_add(guess as u8);
            }
            rows.push(row);
        }
        Png { width, height, rows }
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The same picture in its 256 most frequent colours, which is a third as long.
fn with_palette(bytes: &[u8]) -> Vec<u8> {
    let png = Png::read(bytes);
    let samples = png.rows[0].len() / png.width;
    let pixels =
        |row: &Vec<u8>| row.chunks(samples).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect::<Vec<_>>();
    let mut often: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    for pixel in png.rows.iter().flat_map(pixels) {
        *often.entry(pixel).or_default() += 1;
    }
    let mut colours: Vec<([u8; 3], usize)> = often.into_iter().collect();
    colours.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let palette: Vec<[u8; 3]> = colours.iter().take(256).map(|(colour, _)| *colour).collect();
    let nearest = |colour: &[u8; 3]| {
        let far = |other: &[u8; 3]| -> i32 {
            colour.iter().zip(other).map(|(a, b)| (i32::from(*a) - i32::from(*b)).pow(2)).sum()
        };
        (0..palette.len()).min_by_key(|index| far(&palette[*index])).unwrap() as u8
    };
    let known: BTreeMap<[u8; 3], u8> = colours.iter().map(|(colour, _)| (*colour, nearest(colour))).collect();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for row in &png.rows {
        encoder.write_all(&[0]).unwrap();
        encoder.write_all(&pixels(row).iter().map(|pixel| known[pixel]).collect::<Vec<_>>()).unwrap();
    }
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], body: &[u8]| {
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        let named = [kind.as_slice(), body].concat();
        out.extend_from_slice(&named);
        out.extend_from_slice(&crc(&named).to_be_bytes());
    };
    let size = [png.width, png.height].map(|side| u32::try_from(side).unwrap().to_be_bytes()).concat();
    chunk(b"IHDR", &[size.as_slice(), &[8, 3, 0, 0, 0]].concat());
    chunk(b"PLTE", &palette.concat());
    chunk(b"IDAT", &encoder.finish().unwrap());
    chunk(b"IEND", &[]);
    out
}
