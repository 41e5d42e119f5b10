//! Runs a plan: builds the steps whose results are not in the store yet.

use std::time::Instant;

use crate::bake::plan::Plan;
use crate::base::digest::Object;
use crate::base::error::Result;
use crate::base::event::{Event, Observer};
use crate::store::Store;

/// Result of a step.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The object that it made.
    pub object: Object,
    /// Whether the store already had it.
    pub cached: bool,
}

/// Runs every step that is not in the store; outcomes are in the plan's order.
pub(crate) fn run(plan: &Plan<'_>, store: &Store, observer: &dyn Observer) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for step in &plan.steps {
        let key = step.key.to_string();
        if let Some(object) = step.made(store) {
            observer.notice(Event::StepCached { id: &step.id, size: object.size, key: &key });
            outcomes.push(Outcome { object, cached: true });
            continue;
        }
        for corrupt in store.take_corrupt() {
            observer.notice(Event::Corrupt { id: &step.id, why: &corrupt.why });
        }
        observer.notice(Event::StepStarted { id: &step.id, key: &key });
        let started = Instant::now();
        let object = step.work.build(&step.bench(store))?;
        step.record(store, object)?;
        let took = started.elapsed();
        observer.notice(Event::StepDone { id: &step.id, size: object.size, took });
        outcomes.push(Outcome { object, cached: false });
    }
    Ok(outcomes)
}

/// The object of each step, after all steps have run.
pub(crate) fn objects(outcomes: &[Outcome]) -> Vec<Option<Object>> {
    outcomes.iter().map(|outcome| Some(outcome.object)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bake::artifacts::Artifacts;
    use crate::bake::steps::{Bench, Step, Work};
    use crate::base::digest::Sha256;
    use crate::base::event::Everyone;

    /// A kind of step that no room knows: a text, behind what the needed steps made.
    #[derive(Debug)]
    struct Text {
        revision: u32,
        name: &'static str,
        text: &'static str,
    }

    impl Work for Text {
        fn id(&self) -> String {
            format!("text/{}", self.name)
        }

        fn kind(&self) -> (&'static str, u32) {
            ("text", self.revision)
        }

        fn params(&self) -> Value {
            json!({"text": self.text})
        }

        fn build(&self, bench: &Bench<'_>) -> Result<Object> {
            let mut bytes = Vec::new();
            for needed in bench.all_needed()?.into_values() {
                bytes.extend(bench.read(needed)?);
            }
            bytes.extend(self.text.bytes());
            Ok(bench.store.put(&bytes)?)
        }
    }

    fn text(name: &'static str, text: &'static str, needs: &[(&str, Sha256)]) -> Step<'static> {
        let needs = needs.iter().map(|(name, key)| ((*name).to_owned(), *key));
        Step::new(Text { revision: 1, name, text }, needs.collect())
    }

    #[test]
    fn a_step_of_any_kind_is_built_once_out_of_what_it_needs_and_found_by_its_id() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let first = text("first", "1", &[]);
        let second = text("second", "2", &[("before", first.key)]);
        let plan = Plan { steps: vec![first, second] };
        let [once, again] = [(); 2].map(|()| run(&plan, &store, &Everyone(Vec::new())).unwrap());
        assert!(once.iter().all(|outcome| !outcome.cached) && again.iter().all(|outcome| outcome.cached));
        let mut artifacts = Artifacts::default();
        for (step, made) in plan.steps.iter().zip(objects(&again)) {
            step.work.add(&step.done(made, &store), &mut artifacts).unwrap();
        }
        let found = artifacts.others["text/second"];
        assert_eq!((found.object, found.step), (Object::of(b"12"), plan.steps[1].key));
    }

    #[test]
    fn a_step_whose_need_is_gone_says_so() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let never_built = Sha256::of(b"never built");
        let plan = Plan { steps: vec![text("alone", "2", &[("before", never_built)])] };
        let error = run(&plan, &store, &Everyone(Vec::new())).unwrap_err().to_string();
        assert!(error.contains("find again") && error.contains(&never_built.to_string()[2..]), "{error}");
    }

    #[test]
    fn a_key_follows_from_kind_revision_params_and_needs_and_from_no_name() {
        let key = Sha256::of(b"of another step");
        let step = text("a", "1", &[("before", key)]);
        assert_eq!(step.key, text("b", "1", &[("before", key)]).key);
        for other in [
            text("a", "2", &[("before", key)]),
            text("a", "1", &[]),
            text("a", "1", &[("behind", key)]),
            text("a", "1", &[("before", Sha256::of(b"of a third"))]),
            Step::new(Text { revision: 2, name: "a", text: "1" }, step.needs.clone()),
        ] {
            assert_ne!(step.key, other.key, "{other:?}");
        }
    }
}
