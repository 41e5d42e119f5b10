//! The second half of the page: the cluster that the machines form. `prebake cluster init` tells a server of it; here the page is
//! given the document as an event would bring it.

use serde_json::{Value, json};

use super::{Hall, assert_fits, keep, number, open, soon_shown};
use crate::judges::browser::Browser;

/// A cluster of four nodes under way; src/serve/machines/formation.rs holds it against its types.
const FORMATION: &str = include_str!("../../../data/cluster-formation.json");

/// The cluster with the hall's nodes, all but those of the file ready.
fn formation(hall: &Hall) -> Value {
    let mut formation: Value = serde_json::from_str(FORMATION).unwrap();
    let nodes = formation["nodes"]["parts"].as_array_mut().unwrap();
    let ready = nodes.iter().find(|part| part["state"] == "ready").unwrap().clone();
    for node in &hall.nodes {
        if !nodes.iter().any(|part| part["name"] == node.name.as_str()) {
            let mut part = ready.clone();
            part["name"] = node.name.as_str().into();
            part["kind"] = if node.name.ends_with("-n01") { "controller" } else { "worker" }.into();
            nodes.push(part);
        }
    }
    let (total, late) = (nodes.len(), 3);
    formation["nodes"]["total"] = total.into();
    formation["nodes"]["ready"] = (total - late).into();
    formation
}

/// Has the page take a change with this in it, as `/events` sends one.
fn tell(browser: &mut Browser, cluster: &Value) {
    let change = json!({"machines": [], "cluster": cluster});
    let take = format!("take({{...status, missing: undefined, gone: [], ...{change}}}, false)");
    browser.eval(&format!("{{ {take} }}"));
}

const STEPS: &str =
    "[...document.querySelectorAll('#cluster .step')].map((step) => step.getAttribute('aria-label'))";

/// Texts of the strip and the parts that run over their boxes.
const CUT: &str = "[...document.querySelectorAll('#cluster *, #formation *')]
  .filter((node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== 'inline')
  .map((node) => node.textContent)";

#[test]
fn a_cluster_of_3_and_60_forms_on_the_page_of_its_machines_on_a_desk_a_phone_and_a_wall() {
    let mut browser = Browser::start();
    let mut hall = Hall::new(63, 21);
    hall.boot(0);
    let (expected, cluster) = (hall.expected(0), formation(&hall));
    for (view, size, name) in [
        ("", (1440, 900), "desk"),
        ("?tab=cluster", (1440, 900), "parts"),
        ("", (390, 844), "phone"),
        ("?tab=cluster", (390, 844), "parts-phone"),
        ("?wall", (1920, 1080), "wall"),
    ] {
        for dark in [false, true] {
            browser.prefer_dark(dark);
            browser.resize(size.0, size.1);
            open(&mut browser, &hall.url(view));
            soon_shown(&mut browser, &expected);
            assert_eq!(
                browser.eval("document.getElementById('cluster').hidden && document.querySelector('[data-tab=cluster]').hidden"),
                true,
                "a server of machines that form no cluster shows none"
            );
            tell(&mut browser, &cluster);
            let is_rack = !view.contains("tab");
            assert_fits(&mut browser, is_rack && size.0 > 1000);
            assert_eq!(browser.eval(CUT), json!([]), "{name}");
            assert_eq!(
                browser.eval(STEPS),
                json!([
                    "API server: 1 of 1 ready",
                    "etcd: 2 of 3 ready",
                    "Nodes: 60 of 63 ready, some late",
                    "Pods: 2 of 4 ready, some failed",
                    "Add-ons: 0 of 2 ready"
                ])
            );
            if !is_rack {
                let parts = number(&mut browser, "document.querySelectorAll('#formation .part').length");
                assert_eq!(parts, 1 + 3 + 63 + 4 + 2, "{name}");
                let first = "document.querySelector('#formation [aria-label=Nodes] .part').innerText";
                let first = browser.eval(first).as_str().unwrap().to_owned();
                let hint = "kubectl -n kube-flannel get pods";
                assert!(
                    first.contains("r1-n04") && first.contains("cni plugin") && first.contains(hint),
                    "{first}"
                );
            }
            keep(&mut browser, &format!("cluster-{name}{}", if dark { "-dark" } else { "" }));
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_late_part_is_beside_the_machines_that_need_a_look_and_leads_to_its_machine() {
    let mut browser = Browser::start();
    let hall = Hall::new(4, 4);
    browser.resize(1440, 900);
    open(&mut browser, &hall.url(""));
    let mut cluster: Value = serde_json::from_str(FORMATION).unwrap();
    tell(&mut browser, &cluster);
    browser.wait_for("document.title === '(2) hall-3'");
    let troubles = browser.eval("document.getElementById('troubles').innerText");
    let troubles = troubles.as_str().unwrap();
    assert!(troubles.starts_with("Needs a look: 2 kinds"), "{troubles}");
    assert!(troubles.contains("Pods: its container crashes again and again (5 times)"), "{troubles}");
    assert!(troubles.contains("logs coredns-7d764666f9-x2k4p --previous"), "{troubles}");
    browser.eval("document.querySelector('#troubles a[data-open]').click()");
    browser.wait_for("document.getElementById('detail-title').innerText.includes('r1-n04')");

    // A change without a cluster leaves it as it is, and what is well is asked for no more.
    browser.eval("{ take({...status, machines: [], missing: undefined, cluster: undefined}, false) }");
    assert_eq!(browser.eval("document.getElementById('cluster').hidden"), false);
    for group in ["api", "members", "nodes", "pods", "addons"] {
        let group = &mut cluster[group];
        for part in group["parts"].as_array_mut().unwrap() {
            part["state"] = "ready".into();
            part["why"] = "".into();
        }
        group["ready"] = group["total"].clone();
    }
    cluster["phase"] = "complete".into();
    cluster["ask"] = Value::Null;
    tell(&mut browser, &cluster);
    browser.wait_for("document.title === 'hall-3'");
    let said = browser.eval("document.querySelector('#cluster .said').innerText");
    assert!(said.as_str().unwrap().starts_with("Complete since "), "{said}");
    assert_eq!(browser.eval("document.getElementById('troubles').hidden"), true);
    // A whole status without one is of a server that forms none.
    browser.eval("{ take({...status, machines: [], missing: [], cluster: undefined}, true) }");
    assert_eq!(browser.eval("document.getElementById('cluster').hidden"), true);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
