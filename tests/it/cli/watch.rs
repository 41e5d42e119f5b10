//! `prebake status --watch` in a real terminal (tmux), with a rack of machines that a real server sees.
//!
//! ../shared/findings/ux.md 1.6: from fifteen machines on, header, table and failures were scrolled out, and the scrollback grew
//! by two screens each second.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prebake::tree::manifest::Role;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::world::http::{Server, connect_from, read_reply, soon};
use crate::world::tree::{Tree, mac};

/// Length of an initrd that takes a while.
const INITRD: usize = 128 << 20;

/// A rack of 60 nodes and a server on it: 2 failed, 10 stuck, 12 loading, 4 loaded, 26 done, 6 never seen; and 4 strangers.
struct Rack {
    _tree: Tree,
    server: Server,
    address: String,
    ends: Arc<AtomicBool>,
    loading: Vec<JoinHandle<()>>,
}

impl Rack {
    fn new() -> Rack {
        let tree = Tree::new().groups(60);
        let tree = tree.row("assets/kernel", Role::Kernel, &[1; 1000]).row(
            "assets/initrd",
            Role::Initrd,
            &vec![0; INITRD],
        );
        let tree = tree.publish();
        let (server, address) = Server::prebake_with(tree.path(), &["--address", "127.0.0.1:0"]);
        let mut rack = Rack { _tree: tree, server, address, ends: Arc::default(), loading: Vec::new() };
        for n in 0..54 {
            rack.get(n, &format!("/ipxe?mac={}", mac(n)));
            match n {
                0..2 => rack.report(n, "failed", "ignition-files.service%1b]0;owned%07"),
                2..12 => rack.get(n, "/assets/gone.cpio"),
                12..24 => rack.load_slowly(n),
                24..28 => {
                    rack.get(n, "/assets/kernel");
                    rack.get(n, "/assets/initrd");
                }
                _ => rack.report(n, "booted", ""),
            }
        }
        for n in 0..4 {
            rack.get(100 + n, &format!("/ipxe?mac=d4:ae:52:c1:00:9{n}"));
        }
        rack
    }

    fn ask(&self, n: u32, request: &str) -> TcpStream {
        let mut stream = connect_from([127, 0, 1, n as u8], &self.address);
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        stream
    }

    fn get(&self, n: u32, target: &str) {
        let request = format!("GET {target} HTTP/1.1\nHost: {}\nConnection: close\n\n", self.address);
        read_reply(&mut std::io::BufReader::new(self.ask(n, &request)), true);
    }

    fn report(&self, n: u32, stage: &str, detail: &str) {
        let body = format!("mac={}&stage={stage}&detail={detail}", mac(n));
        let (address, length) = (&self.address, body.len());
        let head = format!(
            "POST /report HTTP/1.1\nHost: {address}\nConnection: close\nContent-Length: {length}\n\n"
        );
        read_reply(&mut std::io::BufReader::new(self.ask(n, &(head + &body))), true);
    }

    /// Reads an initrd so slowly that it is not there before the test ends.
    fn load_slowly(&mut self, n: u32) {
        self.get(n, "/assets/kernel");
        let mut stream = self.ask(n, &format!("GET /assets/initrd HTTP/1.1\nHost: {}\n\n", self.address));
        let ends = self.ends.clone();
        self.loading.push(thread::spawn(move || {
            let mut bytes = vec![0; 128 << 10];
            while !ends.load(Ordering::Relaxed) && stream.read(&mut bytes).is_ok_and(|length| length > 0) {
                thread::sleep(Duration::from_millis(100));
            }
        }));
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.loading.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A terminal of a tmux server of its own, with a shell.
struct Terminal {
    directory: tempfile::TempDir,
}

impl Terminal {
    fn new(width: u16, height: u16, environment: &[&str]) -> Terminal {
        let terminal = Terminal { directory: tempfile::tempdir().unwrap() };
        let size = [width.to_string(), height.to_string()];
        let mut shell = vec!["env", "-u", "NO_COLOR", "LC_ALL=C.UTF-8", "PS1=$ "];
        shell.extend(environment);
        shell.extend(["sh", "-i"]);
        let mut words = vec!["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1]];
        words.extend(shell);
        words.extend([";", "set", "-g", "status", "off", ";", "set", "-g", "remain-on-exit", "on"]);
        terminal.tmux(&words);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .arg("-S")
            .arg(self.directory.path().join("socket"));
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Starts the binary; its process's id.
    fn watch(&self, address: &str, variables: &str) -> Pid {
        self.watch_with(address, variables, "")
    }

    /// The same with flags.
    fn watch_with(&self, address: &str, variables: &str, flags: &str) -> Pid {
        let id = self.directory.path().join("id");
        let binary = env!("CARGO_BIN_EXE_prebake");
        let line = format!(
            "{variables} sh -c 'echo $$ >{}; exec {binary} status --watch --server {address} {flags}'",
            id.display()
        );
        self.keys(&["-l", &line]);
        self.keys(&["Enter"]);
        self.shows("MACHINE");
        let id = fs::read_to_string(id).unwrap();
        Pid::from_raw(id.trim().parse().unwrap()).unwrap()
    }

    /// What is on the screen, each line of which is one of the terminal's.
    fn screen(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn shows(&self, words: &str) {
        let is_there = || self.screen().join("\n").contains(words);
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !is_there() {
            assert!(std::time::Instant::now() < deadline, "no {words:?} in:\n{}", self.screen().join("\n"));
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn variable(&self, name: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    /// The terminal is as the shell wants it: its own screen, a cursor, and echo.
    #[track_caller]
    fn is_given_back(&self) {
        soon(|| self.variable("alternate_on") == "0" && self.variable("cursor_flag") == "1");
        self.shows("before");
        self.keys(&["-l", "echo af''ter; stty -a | grep -c -- ' echo '"]);
        self.keys(&["Enter"]);
        self.shows("after\n1");
        let text = self.screen().join("\n");
        assert!(text.contains("echo af''ter") && !text.contains("MACHINE"), "{text}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.directory.path().join("socket"))
            .arg("kill-server")
            .status();
    }
}

/// What every size must show: title, counts, the failures, and a row of a machine in each line that is left.
#[track_caller]
fn is_whole(screen: &[String], width: usize, height: usize, most: usize) {
    let text = screen.join("\n");
    println!("{text}\n{}", "-".repeat(width));
    assert!(screen.len() <= height, "{text}");
    assert!(screen.iter().all(|line| line.chars().count() <= width), "{text}");
    assert!(screen[0].starts_with("tree"), "{text}");
    for count in ["! 2", "? 10", "› 12", "~ 4", "✓ 26", "∅ 6", "+ 4"] {
        assert!(screen[1].contains(count), "{count}: {text}");
    }
    let heading = screen.iter().position(|line| line.contains("MACHINE")).unwrap();
    assert!(screen[heading + 1].contains("n0 ") && screen[heading + 2].contains("n1 "), "{text}");
    let rows = &screen[heading + 1..height - 1];
    assert!(rows.iter().take(most).all(|row| row.trim().len() > 3), "{text}");
    let fits = rows.len().min(most);
    assert!(screen[height - 1].trim_end().ends_with(&format!("1-{fits} of {most}")), "{text}");
}

#[test]
fn a_rack_of_sixty_fits_the_terminal_and_leaves_it_as_it_was() {
    let rack = Rack::new();
    let terminal = Terminal::new(80, 24, &[]);
    terminal.keys(&["-l", "echo be''fore"]);
    terminal.keys(&["Enter"]);
    terminal.shows("before");
    terminal.watch(&rack.address, "");
    let history = terminal.variable("history_size");
    is_whole(&terminal.screen(), 80, 24, 64);
    assert_eq!(terminal.variable("alternate_on"), "1");
    assert_eq!(terminal.variable("cursor_flag"), "0");
    let text = terminal.screen().join("\n");
    // Machines with the same trouble are one line.
    assert!(text.contains("? 10 machines: ") && text.contains("+ 4 machines: no group matched"), "{text}");

    for (width, height) in [(160, 45), (40, 12), (300, 100), (80, 24)] {
        terminal.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
        soon(|| {
            terminal.screen().last().is_some_and(|line| line.contains("of 64"))
                && terminal.screen().len() == height
        });
        is_whole(&terminal.screen(), width, height, 64);
    }

    // The choice, details, and back.
    terminal.keys(&["j", "j"]);
    terminal.shows("▸?  n2 ");
    terminal.keys(&["Enter"]);
    terminal.shows("? n2: stuck in script");
    terminal.shows(&mac(2));
    terminal.keys(&["k", "Escape"]);
    terminal.shows("MACHINE");
    terminal.keys(&["-l", "/d4:ae:52"]);
    terminal.shows("4 machines");
    terminal.keys(&["Enter"]);
    terminal.shows("1-4 of 4");
    terminal.keys(&["Enter"]);
    terminal.shows("none: no group matched it");
    terminal.shows("mac: \"d4:ae:52:c1:00:90\"");
    terminal.keys(&["Escape"]);
    terminal.shows("MACHINE");
    terminal.keys(&["Escape"]);
    terminal.shows("of 64");
    terminal.keys(&["f", "f", "f"]);
    terminal.shows("f only working");
    terminal.shows("1-12 of 12");
    terminal.shows("░");
    terminal.shows(" left");
    terminal.keys(&["Escape", "?"]);
    terminal.shows("Keys");
    terminal.keys(&["?", "t"]);
    terminal.shows("6 nodes never came");
    terminal.keys(&["t"]);
    terminal.shows("MACHINE");
    // A report's own words move nothing: the window's title is the terminal's.
    assert!(!terminal.variable("pane_title").contains("owned"));
    assert_eq!(terminal.variable("history_size"), history, "the scrollback grew");

    terminal.keys(&["q"]);
    terminal.is_given_back();
}

#[test]
fn the_terminal_is_given_back_after_each_signal_and_not_needed_after_its_loss() {
    let rack = Rack::new();
    for signal in [Signal::INT, Signal::TERM] {
        let terminal = Terminal::new(80, 24, &[]);
        terminal.keys(&["-l", "echo be''fore"]);
        terminal.keys(&["Enter"]);
        let process = terminal.watch(&rack.address, "");
        kill_process(process, signal).unwrap();
        terminal.is_given_back();
        terminal.keys(&["-l", "clear; echo co''de $?"]);
        soon(|| test_kill_process(process).is_err());
    }
    // Ctrl-Z is the shell's, and `fg` goes on.
    let terminal = Terminal::new(80, 24, &[]);
    terminal.keys(&["-l", "echo be''fore"]);
    terminal.keys(&["Enter"]);
    let process = terminal.watch(&rack.address, "");
    terminal.keys(&["C-z"]);
    soon(|| terminal.variable("alternate_on") == "0");
    terminal.shows("before");
    terminal.keys(&["-l", "fg"]);
    terminal.keys(&["Enter"]);
    terminal.shows("MACHINE");
    // The terminal goes away.
    drop(terminal);
    soon(|| test_kill_process(process).is_err());
}

#[test]
fn a_lost_server_is_told_with_the_time_and_comes_back_by_itself() {
    let mut rack = Rack::new();
    let terminal = Terminal::new(80, 24, &[]);
    terminal.watch(&rack.address, "");
    rack.server.terminate();
    rack.ends.store(true, Ordering::Relaxed);
    assert!(rack.server.wait().is_some());
    terminal.shows("NO ANSWER for ");
    // What was known stays.
    terminal.shows("n0 ");
    let (_server, _) = Server::prebake_with(rack._tree.path(), &["--address", &rack.address]);
    soon(|| !terminal.screen()[0].contains("NO ANSWER"));
    terminal.keys(&["C-c"]);
    soon(|| terminal.variable("alternate_on") == "0");
}

#[test]
fn colours_and_glyphs_are_only_where_they_are_wanted() {
    let rack = Rack::new();
    // Review of issue 17, 6: only NO_COLOR was obeyed.
    for (variables, flags, has_colours, is_ascii) in [
        ("", "", true, false),
        ("NO_COLOR=1", "", false, false),
        ("NO_COLOR=", "", true, false),
        ("", "--color never", false, false),
        ("NO_COLOR=1", "--color always", true, false),
        ("LC_ALL=C", "", true, true),
        ("LC_ALL=POSIX NO_COLOR=1", "", false, true),
    ] {
        let terminal = Terminal::new(100, 40, &[]);
        terminal.watch_with(&rack.address, variables, flags);
        let screen = terminal.tmux(&["capture-pane", "-p", "-e"]);
        // tmux tells the first eight colours in one of two ways; 1 is red.
        let is_red = screen.contains("38;5;1m") || screen.contains("\u{1b}[31m");
        let has_any = screen.contains("38;5;") || (30..38).any(|sgr| screen.contains(&format!("[{sgr}m")));
        assert_eq!((is_red, has_any), (has_colours, has_colours), "{variables} {flags}: {screen:?}");
        assert_eq!(screen.is_ascii(), is_ascii, "{variables}: {screen}");
        assert!(screen.contains("2 failed") && screen.contains("10 stuck"), "{variables}: {screen}");
    }
}

#[test]
fn without_a_terminal_each_change_is_a_line() {
    let rack = Rack::new();
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["status", "--watch", "--server", &rack.address]).stdout(out.reopen().unwrap());
    let mut process = command.spawn().unwrap();
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    soon(|| lines(out.path()) >= 58);
    rack.report(24, "booted", "");
    soon(|| lines(out.path()) >= 59);
    process.kill().unwrap();
    process.wait().unwrap();
    let text = fs::read_to_string(out.path()).unwrap();
    assert!(!text.contains('\u{1b}') && text.contains(" n24 done booted\n"), "{text}");
}
