//! Files that sops 3.13.3 wrote, read here, and every kind of change to them. `tests/data/sops/README.md` says how they were made.

use super::*;
use crate::base::yaml;

const KEYS: &str = include_str!("../../../tests/data/sops/keys.txt");
const OTHER: &str = include_str!("../../../tests/data/sops/other.txt");
const TYPES: &str = include_str!("../../../tests/data/sops/types.yaml");
const CLUSTER: &str = include_str!("../../../tests/data/sops/cluster.yaml");
const REGEX: &str = include_str!("../../../tests/data/sops/regex.yaml");
const UNREGEX: &str = include_str!("../../../tests/data/sops/unregex.yaml");
const ONLY: &str = include_str!("../../../tests/data/sops/maconly.yaml");
const SUFFIX: &str = include_str!("../../../tests/data/sops/suffix.yaml");
const COMMENT: &str = include_str!("../../../tests/data/sops/comment.yaml");
const FLOW: &str = include_str!("../../../tests/data/sops/flow.json");

fn read(text: &str, keys: &str) -> Result<Opened, Finding> {
    let source = Source::new("cluster.yaml", text);
    let root = yaml::parse(&source)?;
    assert!(is_encrypted(&root));
    open(root, &source, &Identities::parse(keys, "keys.txt").unwrap())?.merged(&source)
}

fn refused(text: &str) -> String {
    read(text, KEYS).map(|_| ()).expect_err("a finding").to_string()
}

/// A clear tree in one line, texts in quotes.
fn shown(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(text, Style::Plain) => text.clone(),
        Kind::Scalar(text, _) => format!("{text:?}"),
        Kind::Sequence(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Kind::Mapping(entries) => {
            let entry = |(key, value): &(Node, Node)| format!("{}: {}", key.scalar().unwrap(), shown(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn every_type_of_leaf_is_opened_as_sops_opens_it() {
    let root = read(TYPES, KEYS).unwrap();
    let expected = "{text: \"hello\", empty: \"\", nothing: null, number: 42, octal: 15, hex: 255, negative: -7, float: 1.5, exponent: 1000, \
        big: 123456789012345678, yes: true, no: false, date: 2026-01-31T00:00:00Z, time: 2026-01-31T10:11:12Z, \
        block: \"line one\\nline two\\n\", folded: \"folded text\\n\", unicode: \"käse ☃\", \
        nested: {list: [\"a\", {b: {c: 1, d: [\"x\", [\"y\", \"z\"]]}}, 3], map: {k: \"v\"}}, plain_unencrypted: 5, \
        clear_unencrypted: {a: [1, 1.5, true, text, 2026-02-01T00:00:00Z, null, \"\"]}, anchor: {p: 1}, alias: {p: 1}, quoted key: \"v\"}";
    assert_eq!(shown(&root), expected);
}

#[test]
fn files_are_opened_by_each_of_their_recipients_and_rules() {
    for (text, keys) in
        [(CLUSTER, KEYS), (CLUSTER, OTHER), (REGEX, KEYS), (UNREGEX, KEYS), (ONLY, KEYS), (SUFFIX, KEYS)]
    {
        let both = format!("# comments and blank lines\n\n{keys}");
        let root = read(text, &both).unwrap_or_else(|finding| panic!("{finding}"));
        let shown = shown(&root);
        assert!(shown.contains("abcdef.0123456789abcdef") && shown.contains("correct-horse"), "{shown}");
        assert!(shown.contains("role: \"controller\"") || shown.contains("role: controller"), "{shown}");
        assert!(!shown.contains("<<") && !shown.contains("ENC["), "{shown}");
    }
    let root = read(FLOW, KEYS).unwrap();
    assert!(shown(&root).contains("memory: 5"), "{}", shown(&root));
}

#[test]
fn a_file_that_no_identity_opens_names_the_places_and_the_recipients() {
    let other = read(REGEX, OTHER).map(|_| ()).unwrap_err();
    assert!(
        other.message.contains("no age identity in keys.txt opens the file, which is for age1"),
        "{other}"
    );
    let none = read(REGEX, "# nothing\n").map(|_| ()).unwrap_err();
    assert!(
        none.message.contains("there is no age identity in keys.txt")
            && none.hint.unwrap().contains("SOPS_AGE_KEY_FILE")
    );
    for wrong in [
        "AGE-SECRET-KEY-1QQQ",
        "AGE-PLUGIN-YUBIKEY-1QQ",
        "age1fn9xtces4c2qx8qqva8f83zx5vpjn73y2ks3hs8slh7asl9n6yyqrda3jg",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ] {
        let Err(error) = Identities::parse(&format!("# k\n{wrong}\n"), "SOPS_AGE_KEY") else {
            panic!("{wrong}")
        };
        let told = format!("{error} {:?}", crate::base::error::Advice::hint(&error));
        assert!(
            told.contains("line 2 of SOPS_AGE_KEY is not an age identity") && !told.contains(wrong),
            "{told}"
        );
    }
    // Held by others alone.
    let block = &REGEX[REGEX.find("    age:").unwrap()..REGEX.find("    encrypted_regex").unwrap()];
    let kms = REGEX.replace(
        block,
        "    kms:\n        - {arn: 'arn:aws:kms:x', enc: AQ==}\n    pgp:\n        - {fp: AA, enc: x}\n",
    );
    let told = refused(&kms);
    assert!(
        told.contains("encrypted for AWS KMS and PGP")
            && told.contains("sops exec-file")
            && told.contains("sops decrypt"),
        "{told}"
    );
    assert!(refused(COMMENT).contains("chosen by comments"), "{}", refused(COMMENT));
    let shamir = REGEX.replace("    lastmodified", "    shamir_threshold: 2\n    lastmodified");
    assert!(refused(&shamir).contains("divided between groups"), "{}", refused(&shamir));
}

/// Line of the text that begins so.
fn line<'t>(text: &'t str, beginning: &str) -> &'t str {
    text.lines()
        .find(|line| line.trim_start().starts_with(beginning))
        .unwrap_or_else(|| panic!("{beginning}"))
}

/// getsops/sops#2243 and others: a change that a reader lets pass is an attack on all who trust it.
#[test]
fn every_change_to_a_file_is_an_error_at_its_line() {
    let token = line(CLUSTER, "token: ");
    let version = line(CLUSTER, "k8s_version: ");
    let user = line(CLUSTER, "user: ");
    let password = line(CLUSTER, "password: ");
    let sealed = |line: &str| line.split_once(": ").unwrap().1.to_owned();
    let mac = line(CLUSTER, "mac: ENC[AES256_GCM,data:W6yi");
    let modified = line(CLUSTER, "lastmodified: ");
    let comment = line(CLUSTER, "- ENC[AES256_GCM,data:lOs+");
    let flipped = |line: &str| line.replacen("data:", "data:AAAA", 1);
    let changes: Vec<(&str, String)> = vec![
        ("clear text in the place of a leaf", CLUSTER.replace(&sealed(token), "abcdef.0123456789abcdef")),
        ("a number in the place of a leaf", CLUSTER.replace(&sealed(token), "5")),
        ("a flag in the place of a leaf", CLUSTER.replace(&sealed(token), "true")),
        ("another leaf's value", CLUSTER.replace(&sealed(token), &sealed(version))),
        (
            "two leaves exchanged",
            CLUSTER
                .replace(&sealed(user), "\u{1}")
                .replace(&sealed(password), &sealed(user))
                .replace('\u{1}', &sealed(password)),
        ),
        ("other data", CLUSTER.replace(token, &flipped(token))),
        ("another type", CLUSTER.replace(token, &token.replace("type:str", "type:bytes2"))),
        ("a number's type", CLUSTER.replace(token, &token.replace("type:str", "type:int"))),
        ("a comment's type", CLUSTER.replace(token, &token.replace("type:str", "type:comment"))),
        ("text after a leaf", CLUSTER.replace(&sealed(token), &format!("'{} x'", sealed(token)))),
        ("a leaf left out", CLUSTER.replace(&format!("{token}\n"), "")),
        (
            "a leaf added",
            CLUSTER.replace(&format!("{token}\n"), &format!("{token}\n    more: {}\n", sealed(token))),
        ),
        ("an empty leaf", CLUSTER.replace(&sealed(token), "\"\"")),
        ("null", CLUSTER.replace(&sealed(token), "null")),
        ("another name of a key", CLUSTER.replace("    token: ENC", "    join: ENC")),
        (
            "an emptied list",
            CLUSTER.replace(
                &CLUSTER[CLUSTER.find("nodes:").unwrap()..CLUSTER.find("sops:").unwrap()],
                "nodes: []\n",
            ),
        ),
        ("a comment changed", CLUSTER.replace(comment, &flipped(comment))),
        ("another comment", CLUSTER.replace(comment, &comment.replace("type:comment", "type:str"))),
        ("the MAC changed", CLUSTER.replace(mac, &flipped(mac))),
        ("no MAC", CLUSTER.replace(&format!("{mac}\n"), "")),
        ("the MAC in clear", CLUSTER.replace(&sealed(mac), "AAAA")),
        ("the MAC of another file", CLUSTER.replace(&sealed(mac), &sealed(line(REGEX, "mac: ENC")))),
        ("another time", CLUSTER.replace(modified, "    lastmodified: \"2026-11-29T00:00:00Z\"")),
        ("no time", CLUSTER.replace(&format!("{modified}\n"), "")),
        (
            "rules that leave all clear",
            CLUSTER.replace("unencrypted_suffix: _unencrypted", "encrypted_suffix: nothing"),
        ),
        (
            "a MAC over less",
            CLUSTER.replace("    version: 3.13.3", "    mac_only_encrypted: true\n    version: 3.13.3"),
        ),
        ("a clear leaf changed", TYPES.replace("plain_unencrypted: 5", "plain_unencrypted: 6")),
        ("a clear leaf of another type", TYPES.replace("        - text\n", "        - true\n")),
        ("a clear leaf added", REGEX.replace("    name: edge\n", "    name: edge\n    join: certificate\n")),
        ("a sealed leaf in clear", ONLY.replace(&sealed(line(ONLY, "token: ")), "abcdef.0123456789abcdef")),
        (
            "the data key of another file",
            CLUSTER.replace(
                &CLUSTER[CLUSTER.find("    age:").unwrap()..CLUSTER.find("    lastmodified").unwrap()],
                &REGEX[REGEX.find("    age:").unwrap()..REGEX.find("    encrypted_regex").unwrap()],
            ),
        ),
    ];
    for (what, text) in changes {
        assert!(text != CLUSTER && text != TYPES && text != REGEX && text != ONLY, "{what}");
        let source = Source::new("cluster.yaml", text.as_str());
        let root = yaml::parse(&source).unwrap();
        let opened = match is_encrypted(&root) {
            true => open(root, &source, &Identities::parse(KEYS, "keys.txt").unwrap()).map(|_| ()),
            false => panic!("{what} is taken for a clear file"),
        };
        let Err(finding) = opened else { panic!("{what} is let pass") };
        assert!(finding.place.is_some(), "{what}: {finding}");
        let told = finding.to_string();
        for secret in ["correct-horse", "abcdef.0123456789abcdef", " | ", "ENC["] {
            assert!(!told.contains(secret), "{what}: {told}");
        }
    }
    let told = refused(&CLUSTER.replace(token, &flipped(token)));
    assert!(
        told.contains("`cluster.token` is not as SOPS left it") && told.contains("cluster.yaml:4:12"),
        "{told}"
    );
}

/// The words about a text that is no whole file of secrets.
fn said(text: &str) -> String {
    let source = Source::new("s.yaml", text);
    parse(&source).map(|_| ()).map_err(|finding| finding.to_string()).expect_err(text)
}

/// Review of issue 20: a file without its end was taken for a clear one, and its values for the values.
#[test]
fn a_file_that_lost_its_metadata_is_cut_off() {
    for text in [TYPES, CLUSTER, REGEX, UNREGEX, ONLY, SUFFIX, COMMENT] {
        assert!(parse(&Source::new("s.yaml", text)).is_ok());
        let at = text.find("\nsops:").unwrap() + 1;
        for end in [at, at + "sops:\n".len()] {
            let told = said(&text[..end]);
            assert!(told.contains("sops metadata is missing: the file was cut off"), "{told}");
            assert!(!told.contains(" | ") && !told.contains("ENC["), "{told}");
        }
    }
    assert!(said("a: [{b: 'ENC[AES256_GCM,data:AA'}]\n").contains("cut off"));
}

/// Review of issue 20: the MAC does not cover what stands behind the first document, and nobody read it.
#[test]
fn nothing_stands_behind_the_only_document() {
    let added = ["\n---\nX: hunter2\n", "---\n", "...\nX: hunter2\n", "... \n---\n{}\n"];
    for (text, behind) in [CLUSTER, "X: 1\n", "---\nX: 1\n", "# c\n---\nX: 1\n"]
        .iter()
        .flat_map(|text| added.iter().map(move |behind| (text, behind)))
    {
        let told = said(&format!("{text}{behind}"));
        assert!(told.contains("more behind the first document") && !told.contains("hunter2"), "{told}");
    }
    for text in [
        format!("{FLOW}X: hunter2\n"),
        format!("{FLOW}---\nX: hunter2\n"),
        "{\"X\": 1} hunter2\n".into(),
        "{\"X\": 1}\rY: hunter2\n".into(),
        "---\n---\nX: hunter2\n".into(),
        "'X' \nhunter2\n".into(),
    ] {
        let told = said(&text);
        assert!(!told.contains("hunter2"), "{text}: {told}");
    }
    for text in [
        "",
        "# c\n",
        "---\n",
        "%YAML 1.1\n---\nX: 1\n",
        "X: 1\n# c\n\n...\n# c\n",
        "X: |\n  a\n  ---\n\n",
        "{\"X\": 1} # c\r\n\r\n",
        "\u{feff}X: 1\r\n",
        "X: 1",
    ] {
        let finding = parse(&Source::new("s.yaml", text)).map(|_| ()).map_err(|finding| finding.to_string());
        assert_eq!(finding, Ok(()), "{text}");
    }
    assert!(parse(&Source::new("s.json", FLOW)).is_ok());
}

#[test]
fn no_complaint_about_syntax_has_a_word_of_a_value() {
    for text in [
        "X: *hunter2\n",
        "X: &hunter2 [*hunter2]\n",
        "X: hunter2: y\n",
        "X: \"hunter2\n",
        "X: @hunter2\n",
        "X: %hunter2\n",
        "X: `hunter2\n",
        "X: !hunter2!x y\n",
        "X: 1\n\thunter2\n",
        "X: {hunter2\n",
        "X: 1\nX: hunter2\n",
        "<<<<<<< a\nX: hunter2\n=======\nX: 1\n>>>>>>> b\n",
    ] {
        let told = said(text);
        assert!(told.contains("s.yaml") && !told.contains("hunter2"), "{text}: {told}");
    }
}

#[test]
fn the_clear_tree_is_overwritten_and_findings_point_at_the_encrypted_file() {
    let source = Source::new("cluster.yaml", CLUSTER);
    let root = read(CLUSTER, KEYS).unwrap();
    let token = root.get("cluster").unwrap().get("token").unwrap();
    assert_eq!((token.start.line, token.scalar()), (4, Some("abcdef.0123456789abcdef")));
    assert!(root.sealed().contains(&token.start));
    let mut node = token.clone();
    wipe(&mut node);
    assert_eq!(node.scalar(), Some(""));
    drop(source);
}

/// Numbers as sops' `ToBytes` writes what gopkg.in/yaml.v3 reads.
#[test]
fn clear_leaves_have_the_bytes_that_sops_gives_them() {
    for (text, bytes) in [
        ("5", "5"),
        ("-5", "-5"),
        ("+5", "5"),
        ("0x1f", "31"),
        ("0o17", "15"),
        ("017", "15"),
        ("0b101", "5"),
        ("1_000", "1000"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("-1.0", "-1"),
        ("1e21", "1000000000000000000000"),
        (".inf", "+Inf"),
        ("-.inf", "-Inf"),
        (".nan", "NaN"),
        ("true", "True"),
        ("False", "False"),
        ("yes", "yes"),
        ("1.33.13", "1.33.13"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("", ""),
        ("-", "-"),
        ("1-2", "1-2"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31T10:11:12Z", "2026-01-31T10:11:12Z"),
        ("10.0.0.1", "10.0.0.1"),
        ("e", "e"),
        (".", "."),
    ] {
        assert_eq!(leaf::hashed(text, Style::Plain), bytes, "{text}");
    }
    assert_eq!(leaf::hashed("0x1f", Style::Quoted), "0x1f");
}
