//! Terraform for poseidon/matchbox's provider: the profiles and groups of the tree as one child module,
//! `boot/terraform/matchbox.tf.json`.
//!
//! The provider is set up where the module is used (`module "nodes" {source = ".../boot/terraform"}`), since endpoint and
//! certificates are not the tree's to know. JSON strings are templates in Terraform: what comes from the recipe is escaped.

use serde_json::{Map, Value, json};

use super::{Built, OutputFormat, Row};
use crate::manifest::Role;
use crate::output::matchbox;
use crate::repro::canonical_json;

/// The format.
#[derive(Debug)]
pub struct Terraform;

impl OutputFormat for Terraform {
    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let profiles: Map<String, Value> = built
            .boots
            .iter()
            .map(|boot| {
                let mut profile = literal(matchbox::boot(boot, built));
                // The module lies two directories below the root of the tree.
                profile["ignition"] = json!(format!("${{path.module}}/../../ignition/{}.ign", boot.id));
                (boot.id.clone(), profile)
            })
            .collect();
        let groups: Map<String, Value> =
            matchbox::groups(built).map(|group| (group.id.clone(), literal(group.to_json()))).collect();
        let module = json!({
            "terraform": {"required_providers": {"matchbox": {"source": "poseidon/matchbox", "version": ">= 0.5"}}},
            "locals": {"profiles": profiles, "groups": groups},
            "resource": {
                "matchbox_profile": {"boot": {
                    "for_each": "${local.profiles}",
                    "name": "${each.key}",
                    "kernel": "${each.value.kernel}",
                    "initrd": "${each.value.initrd}",
                    "args": "${each.value.args}",
                    "raw_ignition": "${file(each.value.ignition)}",
                }},
                "matchbox_group": {"node": {
                    "for_each": "${local.groups}",
                    "name": "${each.key}",
                    "profile": "${matchbox_profile.boot[each.value.profile].name}",
                    "selector": "${try(each.value.selector, null)}",
                    "metadata": "${try(each.value.metadata, null)}",
                }},
            },
        });
        vec![Row::text("boot/terraform/matchbox.tf.json".into(), Role::Boot, canonical_json(&module))]
    }
}

/// The same value, with every string escaped that Terraform would take for a template.
fn literal(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${", "$${").replace("%{", "%%{")),
        Value::Array(items) => items.into_iter().map(literal).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, literal(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_in_the_recipe_stay_text() {
        let escaped = literal(json!({"args": ["a=${b}", "100%{x}"], "n": 1}));
        assert_eq!(escaped, json!({"args": ["a=$${b}", "100%%{x}"], "n": 1}));
    }
}
