//! The screen at several sizes, drawn into memory.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::look::Look;
use super::model::{Model, Shown, Then};
use super::{press, view};
use crate::serve::machines::status::Status;

const FULL: Look = Look { colours: true, unicode: true };
const PLAIN: Look = Look { colours: false, unicode: false };

fn status(machines: Vec<Value>, missing: Vec<Value>) -> Status {
    serde_json::from_value(json!({
        "schema": 1, "version": "0", "now": "2026-01-01T00:10:00.000Z", "started": "2026-01-01T00:00:00.000Z",
        "serving": {"name": "edge", "build": "b", "releases": ["stable 4593.2.5 amd64-usr"], "profiles": [], "groups": 0,
            "reports": true},
        "traffic": {"transfers": 3, "sent": 0, "per_second": [0, 5, 12_897_000], "until": 0},
        "problems": [], "machines": machines, "missing": missing,
    }))
    .unwrap()
}

fn machine(name: &str, state: &str, stage: &str) -> Value {
    let began = "2026-01-01T00:09:00.000Z";
    let is_loading = state == "working";
    let ended = if is_loading { Value::Null } else { json!("2026-01-01T00:09:05.000Z") };
    let step = json!({
        "stage": stage, "began": began, "ended": ended, "times": 1, "sent": 25_000_000, "of": 100_000_000,
        "rate": if is_loading { json!(5_000_000) } else { Value::Null },
        "eta": if is_loading { json!(15) } else { Value::Null },
    });
    let trouble = |kind: &str, what: &str, hint: &str| json!([{"kind": kind, "since": began, "what": what, "hint": hint}]);
    let troubles = match state {
        "stuck" => trouble(
            "broken-transfer",
            "initrd aborted at 37 % (15.3 of 41.7 MiB), twice",
            "check cable and switch port",
        ),
        "failed" => trouble("failure", "Ignition failed: no such disk", "look at the journal on its console"),
        _ => json!([]),
    };
    json!({
        "id": format!("52:54:00:00:01:{name}"), "name": name, "mac": format!("52:54:00:00:01:{name}"), "uuid": null,
        "address": "10.0.0.1", "firmware": null, "arch": null, "group": null, "profile": "worker", "stage": stage,
        "state": state, "waits": false, "since": began, "last_seen": began, "boots": 1, "steps": [step], "files": [],
        "troubles": troubles, "report": null, "stranger": false, "entry": null,
    })
}

fn stranger(id: &str) -> Value {
    let mut machine = machine(id, "stuck", "script");
    machine["name"] = Value::Null;
    machine["id"] = json!(id);
    machine["stranger"] = json!(true);
    machine["entry"] = json!(format!("- {{name: new-1, mac: \"{id}\", profile: worker}}"));
    machine["troubles"][0]["kind"] = json!("unmatched");
    machine["troubles"][0]["what"] = json!(format!("no group matches its labels: mac={id}"));
    machine["troubles"][0]["several"] = json!("no group matched their labels");
    machine
}

fn missing(name: &str) -> Value {
    json!({"name": name, "mac": "52:54:00:00:02:01", "uuid": null, "serial": null, "group": name, "profile": "worker"})
}

/// A rack with everything in it: 64 rows.
fn rack() -> Status {
    let mut machines = Vec::new();
    for n in 1..=54 {
        let (state, stage) = match n {
            ..=2 => ("failed", "ignition"),
            3..=12 => ("stuck", "initrd"),
            13..=30 => ("working", "initrd"),
            31..=34 => ("loaded", "initrd"),
            _ => ("done", "booted"),
        };
        machines.push(machine(&format!("r1-n{n}"), state, stage));
    }
    machines.extend((0..4).map(|n| stranger(&format!("d4:ae:52:c1:00:9{n}"))));
    status(machines, (1..=6).map(|n| missing(&format!("r2-n{n}"))).collect())
}

fn drawn(model: &mut Model, look: Look, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model, look)).unwrap();
    let text = terminal.backend().to_string();
    // The backend shows each line in quotes.
    text.lines().map(|line| line.trim_matches('"').to_owned()).collect()
}

fn key(model: &mut Model, code: KeyCode) -> Then {
    press(model, &Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn keys(model: &mut Model, letters: &str) {
    for letter in letters.chars() {
        key(model, KeyCode::Char(letter));
    }
}

fn rack_model() -> Model {
    Model::new("http://10.9.0.1:8080".into(), rack())
}

#[test]
fn a_rack_fits_any_size_with_the_worst_on_top_and_its_counts() {
    // ux.md 1.6: at 160×45 the header, the table and the failures were scrolled out.
    for (width, height) in [(40, 10), (40, 12), (80, 24), (160, 45), (300, 100)] {
        for look in [FULL, PLAIN] {
            let screen = drawn(&mut rack_model(), look, width, height);
            let text = screen.join("\n");
            assert_eq!(screen.len(), usize::from(height));
            assert!(screen[0].starts_with("edge stable 4593.2.5"), "{text}");
            assert!(screen[0].contains("12 MiB/s"), "{text}");
            assert!(
                screen[1].contains("2") && screen[1].contains("10") && screen[1].contains("18"),
                "{text}"
            );
            let heading = screen.iter().position(|line| line.contains("MACHINE")).unwrap();
            assert!(screen[heading + 1].contains("r1-n1 "), "{text}");
            assert!(screen[heading + 2].contains("r1-n2 "), "{text}");
            let rows = &screen[heading + 1..screen.len() - 1];
            // As many as fit: no line is empty while machines are left.
            assert!(rows.iter().take(64).all(|row| !row.trim().is_empty()), "{text}");
            let last = rows.len().min(64);
            assert!(screen.last().unwrap().trim_end().ends_with(&format!("1-{last} of 64")), "{text}");
            assert!(look.unicode || text.is_ascii(), "{text}");
        }
    }
    let wide = drawn(&mut rack_model(), FULL, 160, 45);
    assert!(
        wide[1].starts_with(
            "! 2 failed  ? 10 stuck  › 18 working  ~ 4 loaded  ✓ 20 done  ∅ 6 not seen  + 4 strangers"
        ),
        "{}",
        wide[1]
    );
    let narrow = drawn(&mut rack_model(), FULL, 40, 12);
    assert_eq!(narrow[1].trim_end(), "! 2  ? 10  › 18  ~ 4  ✓ 20  ∅ 6  + 4");
}

#[test]
fn no_size_however_small_breaks_it() {
    for (width, height) in [(1, 1), (2, 3), (5, 5), (20, 4), (39, 9), (500, 2)] {
        for letters in ["", "t", "?", "/x"] {
            let mut model = rack_model();
            keys(&mut model, letters);
            drawn(&mut model, FULL, width, height);
            model.act(super::keys::Action::Detail);
            drawn(&mut model, PLAIN, width, height);
        }
    }
    let mut empty = Model::new(String::new(), status(Vec::new(), Vec::new()));
    assert!(drawn(&mut empty, FULL, 80, 24).join("\n").contains("no machine has been seen yet"));
    key(&mut empty, KeyCode::Enter);
    key(&mut empty, KeyCode::Char('G'));
    key(&mut empty, KeyCode::Down);
    drawn(&mut empty, FULL, 80, 24);
}

/// Issue 18: the cluster is on the same screen as its machines.
#[test]
fn a_cluster_has_a_line_and_its_late_parts_are_among_the_troubles() {
    let cluster = || -> Status {
        let text = include_str!("../../../../tests/data/cluster-formation.json");
        Status { cluster: serde_json::from_str(text).unwrap(), ..rack() }
    };
    let model = || Model::new("http://10.9.0.1:8080".into(), cluster());
    for (width, height) in [(1, 1), (40, 12), (80, 24), (160, 45)] {
        for look in [FULL, PLAIN] {
            let screen = drawn(&mut model(), look, width, height);
            let has_machines = height < 12 || screen.iter().any(|line| line.contains("r1-n1 "));
            assert!(screen.len() == usize::from(height) && has_machines, "{screen:?}");
        }
    }
    let screen = drawn(&mut model(), FULL, 160, 45);
    let counts = "API server 1/1, etcd 2/3, nodes 1/4, pods 2/4, add-ons 0/2";
    assert!(
        screen[2].starts_with("› cluster: Power on your nodes now") && screen[2].trim_end().ends_with(counts)
    );
    let worst = "! pods: coredns-7d764666f9-x2k4p: its container crashes again and again (5 times)";
    assert_eq!(screen[3].trim_end(), format!("{worst} (and 1 more: t)"));
    assert!(screen[4].contains("--previous"), "{}", screen[4]);
    let mut model = model();
    keys(&mut model, "t");
    let page = drawn(&mut model, FULL, 100, 50).join("\n");
    assert!(page.contains("? nodes: r1-n04: container runtime network not ready"), "{page}");
    assert!(page.contains("kubectl -n kube-flannel get pods -o wide"), "{page}");
}

#[test]
fn like_troubles_are_one_line_with_one_hint() {
    // ux.md 1.6: hints were repeated verbatim for each machine.
    let screen = drawn(&mut rack_model(), FULL, 80, 24).join("\n");
    assert_eq!(screen.matches("check cable and switch port").count(), 2, "{screen}");
    assert!(screen.contains("? 10 machines: initrd aborted at 37 % (15.3 of 41.7 MiB), twice"), "{screen}");
    assert!(screen.contains("+ 4 machines: no group matched their labels"), "{screen}");
    // Where there is no room for all, the others are reached by a key.
    let mut model = rack_model();
    let screen = drawn(&mut model, FULL, 80, 10).join("\n");
    assert!(screen.contains("2 more kinds of trouble (14 machines): press t"), "{screen}");
    keys(&mut model, "t");
    let page = drawn(&mut model, FULL, 80, 50).join("\n");
    for said in [
        "2 machines",
        "10 machines",
        "r1-n3, r1-n4",
        "6 nodes never came",
        "r2-n1, r2-n2",
        "- {name: new-1, mac: \"d4:ae:52:c1:00:93\", profile: worker}",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
}

/// The line of the chosen machine.
fn chosen(screen: &[String]) -> &str {
    screen.iter().find(|line| line.starts_with('▸')).unwrap()
}

#[test]
fn the_choice_stays_on_its_machine_while_rows_move() {
    let mut model = rack_model();
    drawn(&mut model, FULL, 80, 24);
    for _ in 0..4 {
        key(&mut model, KeyCode::Char('j'));
    }
    assert!(chosen(&drawn(&mut model, FULL, 80, 24)).contains("r1-n5 "));
    let mut later = rack();
    // It recovers, and goes far down.
    later.machines[4] = serde_json::from_value(machine("r1-n5", "done", "booted")).unwrap();
    model.hear(later.clone());
    assert!(chosen(&drawn(&mut model, FULL, 80, 24)).contains("r1-n5 "));
    // It goes away; its neighbour takes its place.
    later.machines.remove(4);
    model.hear(later);
    assert!(!chosen(&drawn(&mut model, FULL, 80, 24)).contains("r1-n5 "));
    // A choice that was never moved stays on top.
    let mut model = rack_model();
    assert!(chosen(&drawn(&mut model, FULL, 80, 24)).contains("r1-n1 "));
    let mut later = rack();
    later.machines[0] = serde_json::from_value(machine("r1-n1", "done", "booted")).unwrap();
    model.hear(later);
    assert!(chosen(&drawn(&mut model, FULL, 80, 24)).contains("r1-n2 "));
}

#[test]
fn keys_move_filter_sort_and_show() {
    let mut model = rack_model();
    drawn(&mut model, FULL, 80, 24);
    key(&mut model, KeyCode::Char('G'));
    let screen = drawn(&mut model, FULL, 80, 24);
    assert!(screen.last().unwrap().contains("-64 of 64"), "{screen:#?}");
    assert!(chosen(&screen).contains("r1-n54 "));
    key(&mut model, KeyCode::Home);
    assert!(chosen(&drawn(&mut model, FULL, 80, 24)).contains("r1-n1 "));
    key(&mut model, KeyCode::PageDown);
    let screen = drawn(&mut model, FULL, 80, 24);
    assert!(!chosen(&screen).contains("r1-n1 "), "{screen:#?}");

    keys(&mut model, "/R2-N");
    assert!(model.is_typing);
    assert_eq!(model.rows().len(), 6);
    key(&mut model, KeyCode::Enter);
    assert!(!model.is_typing);
    let screen = drawn(&mut model, FULL, 80, 24).join("\n");
    assert!(screen.contains("never came: 52:54:00:00:02:01") && screen.contains("/R2-N"), "{screen}");
    assert_eq!(key(&mut model, KeyCode::Esc), Then::Draw);
    assert_eq!(model.rows().len(), 64);

    let mut seen = Vec::new();
    for _ in 0..8 {
        keys(&mut model, "f");
        seen.push(model.rows().len());
    }
    assert_eq!(seen, [2, 10, 18, 4, 20, 6, 4, 64]);

    keys(&mut model, "gs");
    let names: Vec<String> = model.rows().iter().map(super::model::Row::name).collect();
    let place = |name: &str| names.iter().position(|one| one == name).unwrap();
    assert!(place("r1-n2") < place("r1-n10") && place("r1-n54") < place("r2-n1"), "{names:?}");
    assert_eq!(key(&mut model, KeyCode::Esc), Then::Quit);
    assert_eq!(key(&mut model, KeyCode::Char('q')), Then::Quit);
    assert_eq!(
        press(&mut model, &Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))),
        Then::Quit
    );
}

#[test]
fn details_have_all_that_is_known_and_the_line_to_paste() {
    let mut all = rack();
    let report = json!({
        "mac": "52:54:00:00:01:r1-n1", "uuid": "", "stage": "failed", "detail": "ignition-files.service",
        "at": "2026-01-01T00:09:30.000Z", "log": "first line\nfiles: op(3): \u{1b}]0;owned\u{7}no such disk",
    });
    all.machines[0].report = serde_json::from_value(report).unwrap();
    let file = json!({
        "path": "assets/flatcar/kernel", "stage": "kernel", "status": 404, "sent": 0, "length": 0, "rate": 0, "times": 2,
        "began": "2026-01-01T00:09:00.000Z", "moved": "2026-01-01T00:09:00.000Z", "is_over": true,
    });
    all.machines[0].files = vec![serde_json::from_value(file).unwrap()];
    let mut model = Model::new("http://10.9.0.1:8080".into(), all);
    key(&mut model, KeyCode::Enter);
    let screen = drawn(&mut model, FULL, 80, 60).join("\n");
    for said in [
        "! r1-n1: failed in ignition for 60s",
        "10.0.0.1",
        "worker",
        "Ignition failed: no such disk",
        "look at the journal on its console",
        "/assets/flatcar/kernel",
        "404",
        "failed: ignition-files.service",
        "first line",
        "no such disk",
    ] {
        assert!(screen.contains(said), "{said}: {screen}");
    }
    assert!(!screen.contains('\u{1b}') && !screen.contains('\u{7}'), "{screen}");
    // The next machine, and back.
    key(&mut model, KeyCode::Char('n'));
    assert!(drawn(&mut model, FULL, 80, 60)[2].contains("r1-n2"));
    key(&mut model, KeyCode::Esc);
    assert_eq!(model.shown, Shown::List);

    keys(&mut model, "/d4:ae");
    key(&mut model, KeyCode::Enter);
    key(&mut model, KeyCode::Enter);
    for width in [40, 80] {
        let screen = drawn(&mut model, FULL, width, 60);
        let text = screen.join("\n");
        assert!(text.contains("none: no group matched it"), "{text}");
        let start = screen.iter().position(|line| line.starts_with("- {name: new-1")).unwrap();
        let entry: String = screen[start..]
            .iter()
            .take_while(|line| !line.trim().is_empty())
            .fold(String::new(), |all, line| all + line.trim() + " ");
        assert_eq!(entry.trim(), "- {name: new-1, mac: \"d4:ae:52:c1:00:90\", profile: worker}");
    }
}

#[test]
fn words_of_strangers_move_no_cursor_and_change_no_title() {
    let mut machine = stranger("52:54:00:00:00:66");
    let evil = "\u{1b}[2J\u{9b}31mevil\u{202e}\r\n\u{7}";
    for field in ["name", "address", "profile", "firmware"] {
        machine[field] = json!(evil);
    }
    machine["troubles"][0]["what"] = json!(evil);
    machine["troubles"][0]["hint"] = json!(evil);
    machine["entry"] = json!(evil);
    let mut model = Model::new(String::new(), status(vec![machine], vec![missing(evil)]));
    for letters in ["", "t", "t"] {
        keys(&mut model, letters);
        check(&drawn(&mut model, FULL, 200, 50));
    }
    key(&mut model, KeyCode::Enter);
    check(&drawn(&mut model, FULL, 200, 50));
    keys(&mut model, "n");
    check(&drawn(&mut model, FULL, 200, 50));

    fn check(screen: &[String]) {
        let text = screen.join("\n");
        assert!(text.contains("evil"), "{text}");
        assert!(
            text.chars().all(|letter| letter == '\n' || !letter.is_control() && letter != '\u{202e}'),
            "{text:?}"
        );
    }
}

#[test]
fn a_server_that_is_gone_is_told_in_words_with_the_time() {
    let mut model = rack_model();
    model.silence = Some(std::time::Duration::from_secs(12));
    for width in [40, 80, 160] {
        let screen = drawn(&mut model, PLAIN, width, 24);
        assert!(screen[0].starts_with("NO ANSWER for 12s from "), "{}", screen[0]);
        assert!(screen.join("\n").contains("r1-n1 "));
    }
    model.hear(rack());
    assert!(drawn(&mut model, PLAIN, 80, 24)[0].starts_with("edge "));
}

#[test]
fn without_colours_nothing_is_coloured() {
    for (look, coloured) in [(FULL, true), (Look { colours: false, ..FULL }, false)] {
        let mut terminal = Terminal::new(TestBackend::new(160, 45)).unwrap();
        let mut model = rack_model();
        terminal.draw(|frame| view::draw(frame, &mut model, look)).unwrap();
        let cells = &terminal.backend().buffer().content;
        assert_eq!(cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset), coloured);
    }
}
