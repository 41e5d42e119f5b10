//! Manifests are decoded as kubectl decodes them, and applied to a real API server as `kubectl apply --server-side` would.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prebake::addon::Addon;
use prebake::addon::manifest;
use prebake::base::error::{Advice, Exit};
use prebake::base::finding::Source;
use prebake::cluster::api::addons::{Plan, Shelf};
use prebake::cluster::api::apply::{Applied, Error, apply};
use prebake::cluster::api::client::Connection;
use prebake::cluster::api::follow::Follower;
use prebake::cluster::api::wait::{Limits, Stage, Waiter, Wish};
use prebake::cluster::course::Course;
use prebake::cluster::course::record::Record;
use prebake::cluster::description::{self, Cluster as Description, Cni, Role};
use prebake::cluster::place::Place;
use prebake::serve::machines::monitor::Monitor;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::api::{cluster, connection, create, ready, runtime};
use super::generate::Site;
use super::said;
use crate::lab::cluster::Cluster;
use crate::store::trials::in_namespace;

const LIMIT: Duration = Duration::from_secs(120);

/// Applies a text; what came of it, and the lines that were told.
fn applied(
    runtime: &Runtime,
    connection: &Connection,
    text: &str,
    limit: Duration,
) -> (Result<Applied, Error>, Vec<String>) {
    let documents = manifest::read(&Source::new("own.yaml", text)).unwrap();
    let mut lines = Vec::new();
    let mut tell = |line| lines.push(line);
    let done = runtime.block_on(apply(connection, &Addon::of("own", documents), limit, &mut tell));
    (done, lines)
}

/// A definition after its object, the namespace after all: kubectl fails at the first.
const WRONG_ORDER: &str = "
apiVersion: lab.example.org/v1
kind: Widget
metadata: {name: w, namespace: late}
spec: {size: 3}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: late, labels: {a: '1'}, creationTimestamp: null}
data: {mode: '0644', answer: 'yes'}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.lab.example.org}
spec:
  group: lab.example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: late}
---
";

/// facts/cluster.md §1h and §4: definitions and webhooks need more than one try, and a reader of YAML 1.2 misreads modes.
#[test]
fn manifests_are_applied_in_any_order_again_and_through_webhooks() {
    let directory = tempfile::tempdir().unwrap();
    let Some(cluster) = cluster(directory.path()) else { return };
    let runtime = runtime();
    let to = runtime.block_on(connection(&cluster.kubeconfig()));

    let (done, _) = applied(&runtime, &to, WRONG_ORDER, LIMIT);
    assert_eq!(done.unwrap(), Applied { objects: 4, changed: 4 });
    let (done, lines) = applied(&runtime, &to, WRONG_ORDER, LIMIT);
    // The API server notes at a Namespace's second time who had its fields before, which gives it another version.
    assert_eq!(done.unwrap(), Applied { objects: 4, changed: 0 }, "{lines:?}");
    let map = cluster
        .kubectl(&["-n", "late", "get", "configmap", "settings", "-o", "json", "--show-managed-fields"])
        .unwrap();
    let map: Value = serde_json::from_str(&map).unwrap();
    assert_eq!(map["metadata"]["managedFields"][0]["manager"], "prebake");
    assert_eq!(map["metadata"]["managedFields"][0]["operation"], "Apply");

    // Somebody else changed it: that is told, and the description wins.
    let other = [
        "-n",
        "late",
        "patch",
        "configmap",
        "settings",
        "--field-manager=someone",
        "-p",
        "{\"data\":{\"answer\":\"no\"}}",
    ];
    cluster.kubectl(&other).unwrap();
    let (done, lines) = applied(&runtime, &to, WRONG_ORDER, LIMIT);
    assert_eq!(done.unwrap().changed, 1);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("ConfigMap late/settings: taken over") && line.contains("someone")),
        "{lines:?}"
    );
    let answer = cluster
        .kubectl(&["-n", "late", "get", "configmap", "settings", "-o", "jsonpath={.data.answer}"])
        .unwrap();
    assert_eq!(answer, "yes");

    refusals(&runtime, &to);
    webhook(&cluster, &runtime, &to);
    rollouts(&cluster, &runtime, &to);
    as_kubectl_reads(&cluster, directory.path());
}

/// An object that will never be taken is an error at once, with file and line; one that may be is one when its time is over.
fn refusals(runtime: &Runtime, to: &Connection) {
    let text = "
apiVersion: v1
kind: ConfigMap
metadata: {name: good}
---
apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {portz: []}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: Bad_Name}
";
    let (done, _) = applied(runtime, to, text, LIMIT);
    let error = done.unwrap_err();
    assert_eq!(error.exit(), Exit::Failed, "{error}");
    let told = error.to_string();
    assert!(told.contains("2 objects refused") && told.contains("own.yaml:6: Service bad: "), "{told}");
    assert!(told.contains("own.yaml:11: ConfigMap Bad_Name: "), "{told}");

    let unknown = "apiVersion: nobody.example.org/v1\nkind: Thing\nmetadata: {name: t}\n";
    let (done, _) = applied(runtime, to, unknown, Duration::from_secs(2));
    let error = done.unwrap_err();
    assert_eq!(error.exit(), Exit::TimedOut, "{error}");
    assert!(error.to_string().contains("own.yaml:1: Thing t: the server has no such kind"), "{error}");
    assert!(error.hint().unwrap().contains("CustomResourceDefinition"));
}

/// MetalLB's and cert-manager's webhooks answer once their pods run, and refuse everything before.
fn webhook(cluster: &Cluster, runtime: &Runtime, to: &Connection) {
    let hook = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: closed}
webhooks:
- name: closed.example.org
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {url: 'https://127.0.0.1:9/'}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: hooked}}
  rules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
";
    cluster.apply(&["create", "-f", "-"], hook).unwrap();
    cluster.kubectl(&["create", "namespace", "hooked"]).unwrap();
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: behind, namespace: hooked}\n";
    // The API server takes a moment to know a webhook.
    let mut closed = false;
    for name in 0..100 {
        let probe = object.replace("behind", &format!("probe-{name}"));
        closed = cluster.apply(&["create", "-f", "-"], &probe).is_err();
        if closed {
            break;
        }
    }
    assert!(closed);
    let (done, _) = applied(runtime, to, object, Duration::from_secs(3));
    let error = done.unwrap_err();
    assert_eq!(error.exit(), Exit::TimedOut);
    assert!(error.to_string().contains("failed calling webhook"), "{error}");
    std::thread::scope(|scope| {
        let late = scope.spawn(|| applied(runtime, to, object, LIMIT).0);
        std::thread::sleep(Duration::from_secs(2));
        cluster.kubectl(&["delete", "validatingwebhookconfiguration", "closed"]).unwrap();
        assert_eq!(late.join().unwrap().unwrap().objects, 1);
    });
}

/// Add-ons are awaited until they are rolled out; a Job that has failed ends the wait at once.
fn rollouts(cluster: &Cluster, runtime: &Runtime, to: &Connection) {
    let pod =
        "{metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: 'x:1'}]}}";
    let text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: ours}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, \
         namespace: ours}}\nspec: {{replicas: 2, selector: {{matchLabels: {{a: b}}}}, template: {}}}\n---\napiVersion: batch/v1\nkind: Job\n\
         metadata: {{name: j, namespace: ours}}\nspec: {{template: {pod}}}\n",
        pod.replace("restartPolicy: Never, ", "")
    );
    applied(runtime, to, &text, LIMIT).0.unwrap();
    // Somebody's own, which nobody awaits.
    cluster.kubectl(&["-n", "late", "create", "deployment", "theirs", "--image=y:1"]).unwrap();
    let node = "{apiVersion: v1, kind: Node, metadata: {name: \"n\"}}";
    cluster.apply(&["create", "-f", "-"], node).unwrap();
    let status = |kind: &str, name: &str, namespace: &str, status: &str| {
        let patch = format!("{{\"status\":{status}}}");
        let mut args = vec!["patch", kind, name, "--subresource=status", "--type=merge", "-p", &patch];
        if !namespace.is_empty() {
            args.extend(["-n", namespace]);
        }
        cluster.kubectl(&args).unwrap();
    };
    status("node", "n", "", "{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}");
    let limits = |seconds| Limits {
        addons: Duration::from_secs(seconds),
        stable: Duration::ZERO,
        ..Limits::default()
    };
    let wait = |seconds| {
        runtime.block_on(async {
            let mut waiter = Waiter::new(Follower::new(to), Wish::Any, limits(seconds));
            let done = waiter.complete(&mut |_, _| {}).await;
            (done, waiter.snapshot.addons.iter().map(|addon| addon.name.clone()).collect::<Vec<_>>())
        })
    };
    let (done, addons) = wait(1);
    let error = done.unwrap_err();
    assert_eq!((error.stage, error.exit()), (Stage::Addons, Exit::TimedOut), "{error}");
    assert_eq!(addons, ["d", "j"], "those of others are none of our business");
    assert!(error.to_string().contains("Deployment ours/d: its controller has not seen it yet"), "{error}");

    let done = "{\"observedGeneration\":1,\"replicas\":2,\"updatedReplicas\":2,\"readyReplicas\":2,\"availableReplicas\":2}";
    status("deployment", "d", "ours", done);
    let failed = "{\"startTime\":\"2026-01-01T00:00:00Z\",\"conditions\":[{\"type\":\"FailureTarget\",\"status\":\"True\"},\
        {\"type\":\"Failed\",\"status\":\"True\",\"reason\":\"BackoffLimitExceeded\"}]}";
    status("job", "j", "ours", failed);
    let error = wait(600).0.unwrap_err();
    assert_eq!(error.exit(), Exit::Failed, "{error}");
    assert!(error.to_string().contains("Job ours/j: BackoffLimitExceeded"), "{error}");
    // What controllers wrote about them is no change of theirs.
    assert_eq!(applied(runtime, to, &text, LIMIT).0.unwrap(), Applied { objects: 3, changed: 0 });
    cluster.kubectl(&["-n", "ours", "delete", "job", "j", "--cascade=background"]).unwrap();
    wait(600).0.unwrap();
}

/// kubectl is the judge of how a manifest is read, value by value.
fn as_kubectl_reads(cluster: &Cluster, directory: &Path) {
    let text = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: judged}
odd:
  octal: 0644
  octal_new: 0o17
  hex: 0x1F
  binary: 0b101
  negative: -0x10
  underscores: 1_000_000
  not_octal: 0899
  float: 1.50
  exponent: 1e3
  small: 1e-7
  dot: .5
  plus: +12
  word_yes: yes
  word_no: No
  word_on: on
  word_y: y
  on: the key is a truth
  "n": "n"
  tilde: ~
  empty:
  date: 2001-01-01
  time: 2001-12-14t21:59:43.10-05:00
  sexagesimal: 1:30
  version: 1.10
  address: 10.0.0.1
  quoted: "0644"
  string: !!str 0644
  bytes: !!binary aGVsbG8=
  number: !!float 3
  1: one
  1.5: one and a half
  block: |
    a
      b
  folded: >-
    a
    b
  base: &base {x: 1, y2: 2}
  merged: {<<: *base, x: 3}
  list: [0644, yes, 1.0, "yes"]
"#;
    let path = directory.join("judged.yaml");
    fs::write(&path, text).unwrap();
    let args = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", path.to_str().unwrap()];
    let theirs: Value = serde_json::from_str(&cluster.kubectl(&args).unwrap()).unwrap();
    let ours = manifest::read(&Source::new("judged.yaml", text)).unwrap();
    for (key, value) in theirs["odd"].as_object().unwrap() {
        assert_eq!(&ours[0].value["odd"][key], value, "{key}");
    }
    assert_eq!(ours[0].value["odd"].as_object().unwrap().len(), theirs["odd"].as_object().unwrap().len());
}

/// No node is Ready without its network plugin; add-ons, whose pods need nodes, come after.
#[test]
fn the_network_plugin_is_applied_before_any_node_is_ready_and_the_others_after_all_are() {
    let directory = tempfile::tempdir().unwrap();
    let Some(cluster) = cluster(directory.path()) else { return };
    let runtime = runtime();
    let place = Place::new(directory.path(), "lab");
    fs::create_dir_all(place.own()).unwrap();
    let addon = |name: &str| {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n");
        Addon::of(name, manifest::read(&Source::new("own.yaml", text)).unwrap())
    };
    let description =
        Description { nodes: vec![super::node("n", 11, Role::Controller)], ..super::description("1.33.13") };
    create(&cluster, "n");
    let course = Course {
        cluster: Arc::new(description),
        record: Record::open(&place).unwrap(),
        place,
        monitor: Arc::new(Monitor::open(None).unwrap()),
        connection: runtime.block_on(connection(&cluster.kubeconfig())),
        plan: Arc::new(Plan { network: vec![addon("plugin")], others: vec![addon("other")] }),
        awaited: ["n".to_owned()].into(),
        switches: false,
        limit: Some(2 * LIMIT),
        renew: Box::new(|| Ok(())),
        tell: Arc::new(|_| {}),
    };
    let ended = runtime.spawn(course.run());
    let is_there = |name: &str| cluster.kubectl(&["get", "configmap", name]).is_ok();
    let comes = |name: &str| {
        let deadline = Instant::now() + LIMIT;
        while !is_there(name) {
            assert!(Instant::now() < deadline && !ended.is_finished(), "{name} was never applied");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    comes("plugin");
    std::thread::sleep(Duration::from_secs(3));
    assert!(!is_there("other") && !ended.is_finished());
    ready(&cluster, "n");
    comes("other");
    runtime.block_on(ended).unwrap().unwrap();
}

/// flannel's release, of the version that prebake knows, without its images.
const FLANNEL: &str = "release/flannel-io/flannel/releases/download/v0.27.3/kube-flannel.yml";
const FLANNEL_TEXT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-flannel-cfg, namespace: kube-system}\ndata:\n  \
    net-conf.json: |\n    {\n      \"Network\": \"10.244.0.0/16\"\n    }\n";

/// A site whose description names no network plugin, which makes it flannel.
fn plain_site() -> Site {
    let site = Site::new();
    site.world.edit("cluster.yaml", "  cni: routes\n", "");
    site
}

fn give_flannel(site: &Site) {
    let path = site.world.path(FLANNEL);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, FLANNEL_TEXT).unwrap();
    // The sysext's list of the plugin's images, of one that the registry has.
    let sysext = site.world.path("sysext/kubernetes/sysext.yaml");
    let text = fs::read_to_string(&sysext).unwrap() + "  flannel: [\"ghcr.io/kube-vip/kube-vip:v1.2.1\"]\n";
    fs::write(sysext, text).unwrap();
}

/// A container has its description at /config/cluster.yaml, mounted read-only.
#[test]
fn manifests_lie_below_the_output_where_nobody_may_write_beside_the_description() {
    let site = plain_site();
    give_flannel(&site);
    let command = site.command(&[]);
    let variables = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
    let exports: String = variables.map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    let script = r#"
        mkdir config
        cp -r cluster.yaml gpu.bu recipes sysext config/
        mount --bind config config
        mount -o remount,ro,bind config
        "$PREBAKE" cluster generate config/cluster.yaml
        "$PREBAKE" cluster generate --offline --locked config/cluster.yaml
    "#;
    let Some(run) = in_namespace(&site.world, &format!("{exports}{script}")) else { return };
    let run = run.ok();
    let told = "flannel 0.27.3 is in output/.edge/addons/flannel";
    assert_eq!(run.stderr.matches(told).count(), 1, "{}", run.stderr);
    assert!(run.stdout.contains("\nunchanged edge "), "{}", run.stdout);
    assert!(site.world.path("output/.edge/addons/flannel/addon.lock").exists());
    // What lies beside the description goes before.
    let own = Place::new(&site.world.path("output"), "edge");
    let shelf = Shelf::new(&site.world.path("config"), &own);
    assert_eq!(shelf.of("flannel"), own.addons().join("flannel"));
    fs::create_dir_all(site.world.path("config/addons/flannel")).unwrap();
    assert_eq!(shelf.of("flannel"), site.world.path("config/addons/flannel"));
}

/// A bundle holds no manifests, and flannel is what a description means that says nothing.
#[test]
fn manifests_that_lack_are_told_with_their_directory_and_every_way_out() {
    let site = plain_site();
    let run = |args: &[&str]| site.run(&[&["cluster"], args].concat());
    let without = run(&["generate", "--offline"]);
    let bundle = run(&["init", "--bundle", "none.bundle"]);
    for run in [without, bundle] {
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        for words in [
            "the manifests of flannel are not here: there is no ",
            "/addons/flannel",
            "`prebake cluster addons vendor flannel`",
            "`addons/flannel` along with cluster.yaml, for no bundle has it",
            "`cni: routes`",
        ] {
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        }
    }
    let fetched = run(&["generate"]);
    assert_ne!(fetched.code, Some(0));
    for words in ["cannot fetch the add-on flannel", "addons vendor flannel", "`cni: routes`"] {
        assert!(fetched.stderr.contains(words), "{words}: {}", fetched.stderr);
    }
    give_flannel(&site);
    let there = run(&["generate"]).ok();
    assert!(there.stderr.contains("flannel 0.27.3 is in "), "{}", there.stderr);
    run(&["generate", "--offline", "--locked"]).ok();
}

/// `cni: none` lets an add-on bring the network: nodes are not Ready before, so that it must not wait for them.
#[test]
fn what_may_bring_the_network_waits_for_no_node() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["own", "later"] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        fs::write(directory.path().join(format!("{name}.yaml")), text).unwrap();
    }
    let addon = |name: &str| description::Addon {
        name: said(name.to_owned()),
        manifests: vec![said(format!("{name}.yaml").into())],
        images: Vec::new(),
    };
    let plan = |cni| {
        let cluster = Description {
            cni,
            addons: vec![addon("own"), addon("later")],
            directory: directory.path().to_owned(),
            ..super::description("1.33.13")
        };
        let shelf = Shelf::new(&cluster.directory, &Place::new(directory.path(), "lab"));
        let Plan { network, others } = Plan::read(&cluster, &shelf).unwrap();
        [network, others].map(|addons| addons.into_iter().map(|addon| addon.name).collect::<Vec<_>>())
    };
    assert_eq!(plan(Cni::None), [vec!["own", "later"], vec![]]);
    assert_eq!(plan(Cni::Routes), [vec![], vec!["own", "later"]]);
}
