//! Machines that ask over HTTP while something writes by Matchbox's API: each answer is that of before or that of after as a whole, or
//! there is none; and what was once replaced does not come back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::kit::Side;
use super::script::{Script, client};
use super::site::{Certificates, bench, each, mac, puts};
use super::terraform::Told;
use crate::judges::{self, terraform::Module};
use crate::world::http::get;

/// Threads that ask.
const READERS: usize = 2;
/// A pause behind each question, since the writers need the processors, too.
const PAUSE: Duration = Duration::from_millis(1);

/// A status and a body.
type Answer = (u16, Vec<u8>);

/// No answer, whatever its text says.
const NONE: u16 = 404;

/// What machines ask, and a server that they ask.
struct Readers {
    http: String,
    questions: Vec<Question>,
}

/// A target, and another by the place in the list whose answer it may have while its own group is not there.
struct Question {
    target: String,
    instead: Option<usize>,
}

/// How a writer may change answers.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    /// From the old to the new, without a gap.
    AtOnce,
    /// Things are removed first.
    WithGaps,
}

/// Sets a flag when it is dropped, even by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Readers {
    /// These machines of a bench.
    fn of(side: &Side, nodes: impl Iterator<Item = usize>) -> Readers {
        let questions = nodes.enumerate().flat_map(|(place, node)| {
            let by_mac =
                |path: &str| Question { target: format!("/{path}?mac={}", mac(node)), instead: None };
            let mut questions: Vec<Question> = ["ignition", "ipxe", "metadata", "generic"].map(by_mac).into();
            let installed = format!("/ignition?mac={}&os=installed", mac(node));
            questions.push(Question { target: installed, instead: Some(place * (questions.len() + 1)) });
            questions
        });
        Readers { http: side.http.clone(), questions: questions.collect() }
    }

    fn ask(&self, question: &Question) -> Answer {
        let reply = get(&self.http, &question.target, "");
        match reply.status {
            NONE => (NONE, Vec::new()),
            status => (status, reply.body),
        }
    }

    /// All answers now.
    fn settled(&self) -> Vec<Answer> {
        self.questions.iter().map(|question| self.ask(question)).collect()
    }

    /// Works, while the readers ask and ask; each asks everything once at least. How many machines have an answer afterwards.
    #[track_caller]
    fn during(&self, what: &str, change: Change, work: impl FnOnce()) -> usize {
        let (over, asked, before) = (AtomicBool::new(false), AtomicUsize::new(0), self.settled());
        // Of each reader and question, the answers in their order, each repetition once.
        let seen: Mutex<BTreeMap<(usize, usize), Vec<Answer>>> = Mutex::default();
        let read = |reader: usize| {
            let count = self.questions.len();
            let mut turn = 0;
            while turn < count || !over.load(Ordering::Relaxed) {
                // One goes up, the other down.
                let place = if reader.is_multiple_of(2) { turn % count } else { count - 1 - turn % count };
                let answer = self.ask(&self.questions[place]);
                let mut seen = seen.lock().unwrap();
                let answers = seen.entry((reader, place)).or_default();
                if answers.last() != Some(&answer) {
                    answers.push(answer);
                }
                drop(seen);
                turn += 1;
                asked.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        };
        thread::scope(|scope| {
            for reader in 0..READERS {
                scope.spawn(move || read(reader));
            }
            let _over = Over(&over);
            work();
        });
        let after = self.settled();
        let (mut changed, none) = (0, (NONE, Vec::new()));
        for ((_, place), answers) in seen.into_inner().unwrap() {
            let question = &self.questions[place];
            let others = question.instead.iter().flat_map(|place| [&before[*place], &after[*place]]);
            let between: Vec<&Answer> = match change {
                Change::AtOnce => Vec::new(),
                Change::WithGaps => others.chain([&none]).collect(),
            };
            let fault = fault(&answers, &before[place], &after[place], &between);
            changed += usize::from(answers.len() > 1);
            if let Some((status, body)) = fault {
                let all: Vec<String> =
                    answers.iter().map(|(status, body)| format!("{status}, {} bytes", body.len())).collect();
                let body = String::from_utf8_lossy(body);
                panic!("{what}: {} had {all:?}, among them {status}: {body}", question.target);
            }
        }
        let asked = asked.into_inner();
        eprintln!("{what}: {asked} answers; of {} series {changed} changed", READERS * before.len());
        after.iter().filter(|(status, _)| *status == 200).count()
    }
}

/// The first answer that is none of these as a whole, or that comes back after what replaced it.
fn fault<'a>(answers: &'a [Answer], old: &Answer, new: &Answer, between: &[&Answer]) -> Option<&'a Answer> {
    let mut step = 0;
    answers.iter().find(|answer| {
        let next = match answer {
            answer if *answer == old && step == 0 => 0,
            answer if *answer == new => 2,
            answer if between.contains(answer) && step < 2 => 1,
            _ => return true,
        };
        step = next;
        false
    })
}

#[test]
fn half_an_answer_and_one_that_comes_back_are_faults() {
    let of = |text: &str| (200, text.as_bytes().to_vec());
    let (old, new, none) = (of("old"), of("new"), (NONE, Vec::new()));
    let sees = |answers: &[&Answer], between: &[&Answer]| {
        let answers: Vec<Answer> = answers.iter().map(|answer| (*answer).clone()).collect();
        fault(&answers, &old, &new, between).cloned()
    };
    assert_eq!(sees(&[&old, &new], &[]), None);
    assert_eq!(sees(&[&old, &none, &new], &[&none]), None);
    assert_eq!(sees(&[&new], &[]), None);
    assert_eq!(sees(&[&old, &none, &new], &[]), Some(none.clone()));
    assert_eq!(sees(&[&old, &of("ne"), &new], &[&none]), Some(of("ne")));
    assert_eq!(sees(&[&old, &of("")], &[&none]), Some(of("")));
    assert_eq!(sees(&[&old, &new, &old], &[&none]), Some(old.clone()));
    assert_eq!(sees(&[&old, &none, &old], &[&none]), Some(old.clone()));
    assert_eq!(sees(&[&new, &none], &[&none]), Some(none.clone()));
}

#[test]
fn machines_see_the_old_or_the_new_or_nothing_while_terraform_makes_changes_and_destroys() {
    const NODES: usize = 25;
    let (Some(terraform), certificates) = (judges::provider(), Certificates::new()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let ours = Side::prebake(directory.path(), &certificates, &[]);
    let readers = Readers::of(&ours, 0..NODES);
    let all = readers.questions.len();
    let module = Module::new(&terraform, &certificates.provider(&ours.rpc), &bench(NODES, "one"));
    let apply = || drop(module.apply().ok());
    assert_eq!(readers.during("the first apply", Change::WithGaps, apply), all);
    module.has(&bench(NODES, "two"));
    // The provider removes what it changes, and makes it anew.
    assert_eq!(readers.during("a change of all", Change::WithGaps, apply), all);
    assert_eq!(readers.during("destroy", Change::WithGaps, || drop(module.destroy().ok())), 0);
}

#[test]
fn machines_see_the_old_or_the_new_while_200_nodes_are_put_by_the_client_library() {
    const NODES: usize = 200;
    let Some(programs) = judges::build("matchbox") else { return };
    let (directory, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let ours = Side::prebake(directory.path(), &certificates, &[]);
    // Few enough to be asked over and over meanwhile.
    let readers = Readers::of(&ours, (0..NODES).step_by(8));
    let all = readers.questions.len();
    let play = |calls: &dyn Fn(usize) -> Vec<Value>| {
        let calls: Vec<Value> = (0..NODES).flat_map(calls).collect();
        Script::new(&calls).play(client(&programs, &ours.rpc, &certificates.path("")));
    };
    for mark in ["one", "two"] {
        let answered = readers.during(mark, Change::AtOnce, || play(&|node| puts(node, mark)));
        assert_eq!(answered, all, "{mark}");
    }
    play(&|node| each("Get", node));
    let left = readers.during("gone", Change::AtOnce, || play(&|node| each("Delete", node)));
    assert_eq!(left, 0);
}
