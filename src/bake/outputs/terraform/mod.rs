//! Terraform for poseidon/matchbox's provider: a module that puts the profiles and groups of a tree into Matchbox,
//! `boot/terraform/matchbox.tf.json`.
//!
//! The module is the same for every tree. Its variable `tree` has the tree's path, and it reads the manifest and files
//! at each plan: Terraform follows the link `current` in a module's `source` once, at `init`, and would stay with that
//! build forever. The provider is set up by the user of the module, since a tree does not know the endpoint and its
//! certificates.
//!
//! Where the recipe asks for it, a bench for Typhoon lies beside ([`typhoon`]).

mod typhoon;

use serde_json::{Value, json};

use self::typhoon::Typhoon;
use super::{Built, Options, OutputFormat};
use crate::bake::recipe::Recipe;
use crate::base::canonical::canonical_json;
use crate::base::finding::Finding;
use crate::machine::base_url::BaseUrl;
use crate::tree::manifest::Role;
use crate::tree::names::{MANIFEST as FILE_NAME, TERRAFORM, TYPHOON, TYPHOON_BENCH, generic, ignition};
use crate::tree::row::Row;

/// The end of an error about a path.
const WHERE: &str = "A relative path begins where Terraform runs: with -chdir=DIR, in DIR.";

/// The output `terraform`.
#[derive(Debug)]
pub(crate) struct Terraform {
    typhoon: Option<Typhoon>,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    // Without a value it is a bench that was begun, and not the wish for none.
    let typhoon = match options.written("typhoon") {
        Some(node) => Some(typhoon::read(options, node)?),
        None => None,
    };
    Some(Box::new(Terraform { typhoon }))
}

impl OutputFormat for Terraform {
    fn base_url(&self) -> Option<&BaseUrl> {
        self.typhoon.as_ref().map(Typhoon::base_url)
    }

    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        self.typhoon.as_ref().map(|typhoon| typhoon.check(recipe)).unwrap_or_default()
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let row = |path: &str, value: Value| Row::text(path.into(), Role::Boot, canonical_json(&value));
        let bench = self
            .typhoon
            .iter()
            .flat_map(|typhoon| [row(TYPHOON, typhoon::module()), row(TYPHOON_BENCH, typhoon.bench(built))]);
        std::iter::once(row(TERRAFORM, module())).chain(bench).collect()
    }
}

/// The provider's arguments for a profile, each with its expression over the profile's file. `cloud_id` has no
/// argument; no tree has one.
fn profile() -> [(&'static str, String); 6] {
    let file = |id: &str, path: fn(&str) -> String| {
        let path = path(&format!("${{{id}}}"));
        format!("${{can({id}) ? file(\"${{local.tree}}/{path}\") : null}}")
    };
    [
        ("name", "${each.key}".into()),
        ("kernel", "${try(each.value.boot.kernel, null)}".into()),
        ("initrd", "${try(each.value.boot.initrd, null)}".into()),
        ("args", "${try(each.value.boot.args, null)}".into()),
        ("raw_ignition", file("each.value.ignition_id", ignition)),
        ("generic_config", file("each.value.generic_id", generic)),
    ]
}

/// The same for a group, which is created after its profile.
fn group() -> [(&'static str, String); 4] {
    [
        ("name", "${each.key}".into()),
        ("profile", "${matchbox_profile.boot[each.value.profile].name}".into()),
        ("selector", "${try(each.value.selector, null)}".into()),
        ("metadata", "${try(each.value.metadata, null)}".into()),
    ]
}

fn module() -> Value {
    let manifest = format!("${{local.tree}}/{FILE_NAME}");
    // By the manifest: a missing file fails the plan, while a search would find nothing and destroy every resource.
    let records = |role: Role| {
        let role = json!(role).as_str().unwrap_or_default().to_owned();
        format!(
            "${{{{for path, file in local.manifest.files : trimsuffix(basename(path), \".json\") => \
             jsondecode(file(\"${{local.tree}}/${{path}}\")) if file.role == \"{role}\"}}}}"
        )
    };
    let resource = |records: &str, arguments: &[(&str, String)]| {
        let arguments = arguments.iter().map(|(argument, value)| ((*argument).to_owned(), json!(value)));
        let each = ("for_each".to_owned(), json!(records));
        Value::Object(std::iter::once(each).chain(arguments).collect())
    };
    json!({
        "terraform": {
            "required_version": ">= 1.3",
            "required_providers": {"matchbox": {"source": "poseidon/matchbox", "version": ">= 0.5"}},
        },
        "variable": {"tree": {
            "type": "string",
            "description": "The tree, such as ./output/NAME/current: it is read at each plan.",
            "validation": {
                "condition": format!("${{fileexists(\"${{var.tree}}/{FILE_NAME}\")}}"),
                "error_message": format!(
                    "No tree of prebake is there: name a build, such as output/NAME/current. {WHERE}"
                ),
            },
        }},
        "locals": {
            "tree": "${trimsuffix(var.tree, \"/\")}",
            "manifest": format!("${{jsondecode(file(\"{manifest}\"))}}"),
            "profiles": records(Role::Profile),
            "groups": records(Role::Group),
        },
        "resource": {
            "matchbox_profile": {"boot": resource("${local.profiles}", &profile())},
            "matchbox_group": {"node": resource("${local.groups}", &group())},
        },
    })
}
