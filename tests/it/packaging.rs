//! `packaging:` of a recipe, and the images that it makes.

use std::path::PathBuf;

use prebake::recipe::Recipe;
use prebake::report::{Findings, Source};

const HEAD: &str = "schema: 1\nname: edge\nrelease: {channel: stable}\nprofiles: {worker: {}}\npackaging: ";

fn faults(packaging: &str) -> Vec<String> {
    let source = Source::new("r.yaml", format!("{HEAD}{packaging}\n"));
    let Err(Findings(findings)) = Recipe::parse(&source, PathBuf::new()) else {
        panic!("`{packaging}` was taken")
    };
    let shown = |finding: &prebake::report::Finding| {
        let place = finding.place.as_ref().unwrap();
        format!("{}:{}: {}", place.line, place.column, finding.message)
    };
    findings.iter().map(shown).collect()
}

#[test]
fn a_packaging_that_no_format_has_is_refused_where_it_stands() {
    for (packaging, expected) in [
        ("{format: squshfs}", "5:21: unknown format `squshfs`"),
        ("{compression: lzo}", "5:26: unknown compression `lzo`"),
        ("{level: 23}", "5:20: the levels of zstd are 1 to 22"),
        ("{level: 0}", "5:20: the levels of zstd are 1 to 22"),
        ("{compression: gzip, level: 10}", "5:39: the levels of gzip are 1 to 9"),
        ("{compression: xz, level: 1}", "5:37: xz has no levels"),
        ("{block: 64KiB}", "5:20: a block of squashfs has 128KiB, 256KiB, 512KiB or 1MiB"),
        ("{block: 131072}", "5:20: `131072` is not an amount such as 8GiB or 4096MiB"),
        ("{blocks: 1MiB}", "5:13: unknown key `blocks` in `packaging`"),
    ] {
        assert_eq!(faults(packaging), [expected], "{packaging}");
    }
}
