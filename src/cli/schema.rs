//! `prebake schema`: JSON Schemas of the files that people write, and of what prebake prints.

use clap::Args;

use super::reference::{FORMATS, PRINTED};
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::meant;

/// Print a JSON Schema, for editors and checks; without a name, list them
///
/// A file takes it by a first line such as `# yaml-language-server: $schema=recipe.schema.json`.
#[derive(Args)]
pub(crate) struct SchemaArgs {
    /// `recipe`, `nodes`, `sysext`, `lock`, `cluster`, `plan` or `events`; the list of them if absent
    name: Option<String>,
}

/// There is no schema of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no schema `{name}`")]
struct Unknown {
    name: String,
}

impl Advice for Unknown {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(meant(&self.name, names(), "schemas: "))
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|format| format.name).chain(PRINTED.iter().map(|(name, ..)| *name))
}

impl SchemaArgs {
    /// Prints the schema, or the list.
    pub(crate) fn run(self) -> Result<()> {
        let Some(name) = self.name else {
            FORMATS.iter().for_each(|format| say!("{:8}{}", format.name, format.title));
            PRINTED.iter().for_each(|(name, _, title)| say!("{name:8}{title}"));
            return Ok(());
        };
        if let Some(format) = FORMATS.iter().find(|format| format.name == name) {
            say_part!("{}", format.schema());
            return Ok(());
        }
        let (_, schema, _) = PRINTED.iter().find(|(printed, ..)| *printed == name).ok_or(Unknown { name })?;
        say_part!("{schema}");
        Ok(())
    }
}
