//! A folder in `sysext/` for a sysext of one's own: the template under another name, or a copy of one that ships.

use super::{Error, Scaffold};
use crate::base::error::Result;
use crate::base::finding::Source;
use crate::base::reader::is_plain_name;
use crate::format::tree::{Content, Contents, Entry, Tree};
use crate::sysext::description::FILE_NAME;
use crate::sysext::schema;
use crate::sysext::shipped::Shipped;

/// The folder that new ones begin with, and the word in it that becomes their name.
const TEMPLATE: &str = "template";
/// The comment at its beginning, which says to copy it, and its description: both are about the template itself.
const COMMENT_END: &str = "# All keys: ";
const DESCRIPTION: &str = "description: ";

/// The template as the sysext `name`.
///
/// # Errors
/// A name that no sysext can have, or that one has that ships.
pub(crate) fn new(name: &str) -> Result<Scaffold> {
    if Shipped::find(name).is_some() {
        return Err(Error::Ships { name: name.into() }.into());
    }
    if !is_plain_name(name) {
        return Err(Error::Name { name: name.into() }.into());
    }
    let template = folder(TEMPLATE)?;
    let mut tree = Tree::new();
    for (path, entry) in template.iter() {
        let content = match &entry.content {
            Content::File(Contents::Bytes(bytes)) => {
                let text = String::from_utf8_lossy(bytes).replace(TEMPLATE, name);
                let text = if path == FILE_NAME { described(&text, name) } else { text };
                Content::File(Contents::Bytes(text.into_bytes()))
            }
            other => other.clone(),
        };
        let path = format!("{name}/{}", path.replace(TEMPLATE, name));
        tree.insert(&path, Entry { content, ..entry.clone() }).map_err(Error::from)?;
    }
    let scaffold = Scaffold(tree);
    let text = scaffold.get(&format!("{name}/{FILE_NAME}")).unwrap_or_default();
    schema::parse(&Source::new(format!("{name}/{FILE_NAME}"), text), name)?;
    Ok(scaffold)
}

/// The folder of a sysext that ships, as it is.
///
/// # Errors
/// No such sysext ships.
pub(crate) fn copy(name: &str) -> Result<Scaffold> {
    let mut tree = Tree::new();
    for (path, entry) in folder(name)?.iter() {
        tree.insert(&format!("{name}/{path}"), entry.clone()).map_err(Error::from)?;
    }
    Ok(Scaffold(tree))
}

fn folder(name: &str) -> Result<Tree, Error> {
    let known = || Shipped::all().iter().map(|shipped| shipped.name).collect();
    let shipped = Shipped::find(name).ok_or_else(|| Error::Unknown { name: name.into(), known: known() })?;
    Ok(shipped.tree("", "prebake")?)
}

/// `sysext.yaml` of the template with words about the new sysext.
fn described(text: &str, name: &str) -> String {
    let start = text.find(COMMENT_END).unwrap_or(0);
    let mut lines = vec![format!("# The sysext {name}: change what follows.")];
    lines.extend(text[start..].lines().map(|line| match line.starts_with(DESCRIPTION) {
        true => format!("{DESCRIPTION}one sentence that says what {name} brings"),
        false => line.to_owned(),
    }));
    lines.join("\n") + "\n"
}
