//! The graph of a build: which inputs each step takes, which boots its artifacts go into, and which machines boot those.
//!
//! A pure value, made of a [`Blueprint`]; `cli` draws it. Inputs that go into the tree as they are, such as signatures, lead to no
//! step and are left out. All machines of one boot are one node of the graph, so that a graph of 500 machines stays readable.

use std::collections::BTreeMap;

use crate::bake::blueprint::Blueprint;
use crate::bake::lock_ids::stock_id;
use crate::bake::steps::Part;
use crate::base::arch::Arch;
use crate::base::count::counted;
use crate::base::digest::Object;
use crate::flatcar::board;
use crate::machine::node::Node as Machine;

/// Most machines of a boot that are named.
const NAMED: usize = 6;

/// Nodes and edges. Nodes stand in the order of the build: inputs, steps, boots, machines.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The nodes, each once.
    pub nodes: Vec<Node>,
    /// Pairs of indices: the first goes into the second.
    pub edges: Vec<(usize, usize)>,
}

/// A node of the graph.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its place in the build.
    pub kind: Kind,
    /// Id of an input or step, id of a boot, or the names of machines.
    pub name: String,
    /// Length in bytes, if it is known.
    pub size: Option<u64>,
}

/// The place of a node in the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A fetched file, or a container image of several.
    Input,
    /// A step.
    Step,
    /// A profile's boot, or a machine's own.
    Boot,
    /// Machines of one boot.
    Machines,
}

impl Graph {
    /// The graph of a build; `made` has the object of each step that is built.
    pub(crate) fn of(blueprint: &Blueprint<'_>, made: &[Option<Object>]) -> Graph {
        let mut graph = Graph::default();
        let input = |graph: &mut Graph, id: &str| {
            let size = blueprint.lock.inputs.get(id).map(|entry| entry.size);
            graph.node(Kind::Input, id, size)
        };
        let system = |arch: Arch| stock_id(arch, board::INITRD);
        let steps = &blueprint.plan.steps;
        let mut by_key = BTreeMap::new();
        for (step, made) in steps.iter().zip(made) {
            let parts = step.work.parts();
            let from: Vec<usize> = parts
                .iter()
                .map(|part| match part {
                    Part::System(arch) => input(&mut graph, &system(*arch)),
                    Part::Input(id) => input(&mut graph, id),
                    Part::Image(reference, arch) => {
                        graph.node(Kind::Input, &format!("{reference} ({arch})"), None)
                    }
                })
                .collect();
            let node = graph.node(Kind::Step, &step.id, made.map(|object| object.size));
            by_key.insert(step.key, node);
            let needed = step.needs.values().filter_map(|key| by_key.get(key).copied());
            let from: Vec<usize> = from.into_iter().chain(needed).collect();
            from.into_iter().for_each(|from| graph.edge(from, node));
        }
        for boot in blueprint.boots {
            let node = graph.node(Kind::Boot, &boot.id, None);
            for file in [board::KERNEL, board::INITRD] {
                let id = stock_id(boot.arch, file);
                if blueprint.lock.inputs.contains_key(&id) {
                    let stock = input(&mut graph, &id);
                    graph.edge(stock, node);
                }
            }
            let own = steps.iter().filter(|step| step.work.merges().is_some_and(|(of, _)| of.id == boot.id));
            own.for_each(|step| graph.edge(by_key[&step.key], node));
            graph.add_machines(node, &blueprint.machines_of(boot));
        }
        graph
    }

    /// The index of the node, which is added if it is missing.
    fn node(&mut self, kind: Kind, name: &str, size: Option<u64>) -> usize {
        let known = self.nodes.iter().position(|node| node.kind == kind && node.name == name);
        known.unwrap_or_else(|| {
            self.nodes.push(Node { kind, name: name.into(), size });
            self.nodes.len() - 1
        })
    }

    fn edge(&mut self, from: usize, to: usize) {
        if !self.edges.contains(&(from, to)) {
            self.edges.push((from, to));
        }
    }

    fn add_machines(&mut self, boot: usize, machines: &[&Machine]) {
        let names: Vec<&str> = machines.iter().map(|machine| machine.name.value.as_str()).collect();
        let name = match names.as_slice() {
            [] => return,
            names if names.len() <= NAMED => names.join(", "),
            [first, .., last] => format!("{}: {first} … {last}", counted(names.len(), "machine")),
            [only] => (*only).to_owned(),
        };
        self.nodes.push(Node { kind: Kind::Machines, name, size: None });
        self.edge(boot, self.nodes.len() - 1);
    }
}
