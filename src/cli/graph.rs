//! Draws the graph of a build in the languages of Graphviz and Mermaid.

use std::fmt::Write as _;

use clap::ValueEnum;
use indicatif::HumanBytes;

use crate::bake::graph::{Graph, Kind, Node};

/// A language for graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Graphviz (`dot -Tsvg`)
    Dot,
    /// Mermaid, which GitHub and GitLab draw in Markdown
    Mermaid,
}

/// Words for a place in the build: the class of its nodes, and their shape in DOT and in Mermaid.
struct Style {
    class: &'static str,
    shape: &'static str,
    brackets: [&'static str; 2],
    fill: &'static str,
}

fn style(kind: Kind) -> Style {
    // Fills are light, so that the black text is readable in dark mode, too.
    match kind {
        Kind::Input => Style { class: "input", shape: "note", brackets: ["[/", "/]"], fill: "#dbe7f5" },
        Kind::Step => Style { class: "step", shape: "box", brackets: ["[", "]"], fill: "#f4ecd0" },
        Kind::Boot => Style { class: "boot", shape: "cds", brackets: ["([", "])"], fill: "#dcefdc" },
        Kind::Machines => {
            Style { class: "machines", shape: "box3d", brackets: ["[[", "]]"], fill: "#ece0f2" }
        }
    }
}

/// All kinds, in the order of a build.
const KINDS: [Kind; 4] = [Kind::Input, Kind::Step, Kind::Boot, Kind::Machines];

/// The graph as a text of that language.
pub(crate) fn draw(graph: &Graph, language: Language) -> String {
    match language {
        Language::Dot => dot(graph),
        Language::Mermaid => mermaid(graph),
    }
}

fn dot(graph: &Graph) -> String {
    let mut text = String::from(
        "digraph build {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=10, style=filled];\n",
    );
    for (index, node) in graph.nodes.iter().enumerate() {
        let Style { shape, fill, .. } = style(node.kind);
        let label = lines(node).map(|line| quoted(&line)).collect::<Vec<_>>().join("\\n");
        let _ = writeln!(text, "  n{index} [shape={shape}, fillcolor=\"{fill}\", label=\"{label}\"];");
    }
    for (from, to) in &graph.edges {
        let _ = writeln!(text, "  n{from} -> n{to};");
    }
    text + "}\n"
}

fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let Style { class, brackets: [open, close], .. } = style(node.kind);
        let label = lines(node).map(|line| entities(&line)).collect::<Vec<_>>().join("<br>");
        let _ = writeln!(text, "  n{index}{open}\"{label}\"{close}:::{class}");
    }
    for (from, to) in &graph.edges {
        let _ = writeln!(text, "  n{from} --> n{to}");
    }
    for kind in KINDS {
        let Style { class, fill, .. } = style(kind);
        let _ = writeln!(text, "  classDef {class} fill:{fill},stroke:#666,color:#000");
    }
    text
}

/// The lines of a node: its name and its length.
fn lines(node: &Node) -> impl Iterator<Item = String> {
    [Some(node.name.clone()), node.size.map(|size| HumanBytes(size).to_string())].into_iter().flatten()
}

/// A text within quotes of DOT (the grammar of Graphviz: only `"` and `\` have a meaning there).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A text within quotes of Mermaid, which knows the entities of HTML, also by number and with `#` instead of `&`.
fn entities(text: &str) -> String {
    let is_plain = |c: char| {
        c.is_alphanumeric()
            || matches!(c, ' ' | '-' | '_' | '.' | '/' | ':' | ',' | '+' | '(' | ')' | '@' | '…')
    };
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { format!("#{};", u32::from(c)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let node = |kind, name: &str, size| Node { kind, name: name.into(), size };
        Graph {
            nodes: vec![
                node(Kind::Input, "a\"b\\c", Some(1024)),
                node(Kind::Step, "sysext/x/amd64", None),
                node(Kind::Boot, "worker", None),
                node(Kind::Machines, "n1, n2", None),
            ],
            edges: vec![(0, 1), (1, 2), (2, 3)],
        }
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let text = dot(&graph());
        assert!(text.contains(r#"label="a\"b\\c\n1.00 KiB""#), "{text}");
        let text = mermaid(&graph());
        assert!(text.contains(r#"n0[/"a#34;b#92;c<br>1.00 KiB"/]:::input"#), "{text}");
    }

    #[test]
    fn every_node_and_edge_is_drawn_once() {
        for (language, arrow) in [(Language::Dot, " -> "), (Language::Mermaid, " --> ")] {
            let text = draw(&graph(), language);
            assert_eq!(text.matches(arrow).count(), 3, "{text}");
            assert!((0..4).all(|index| text.contains(&format!("\n  n{index}"))), "{text}");
        }
    }
}
