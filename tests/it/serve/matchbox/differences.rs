//! The table "What differs from Matchbox" of `docs/guides/matchbox.md`: one test for each row that the kit does not show.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::Directory;
use crate::world::http::get;

/// A directory whose machines get this Ignition config, served; what they are answered.
fn config(name: &str, text: &str) -> (u16, String) {
    let directory = Directory::empty();
    directory.json("profiles/p.json", &json!({"id": "p", "ignition_id": name}));
    directory.json("groups/default.json", &json!({"profile": "p"}));
    directory.write(&format!("ignition/{name}"), text);
    let reply = directory.serve().get("/ignition");
    (reply.status, reply.text())
}

#[test]
fn newer_specs_are_sent_as_they_are_and_what_is_invalid_is_not_sent_at_all() {
    for spec in ["3.5.0", "3.6.0"] {
        let text = format!("{{\n \"ignition\": {{\"version\": \"{spec}\"}} }}\n");
        assert_eq!(config("c.ign", &text), (200, text.clone()), "{spec}");
        let invalid = text.replace(" }\n", ", \"storage\": {\"files\": [{\"path\": \"relative\"}]} }\n");
        assert_eq!(config("c.ignition", &invalid).0, 404, "{spec}");
    }
    for broken in [
        "",
        "{}",
        "not json",
        "\u{feff}{\"ignition\":{\"version\":\"3.4.0\"}}",
        r#"{"ignition":{"version":"2.3.0"}}"#,
        r#"{"ignition":{"version":"3.4.0-experimental"}}"#,
        r#"{"ignition":{"version":"3.4.0"}} trailing"#,
        r#"{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/a","mode":420.0}]}}"#,
    ] {
        assert_eq!(config("c.ign", broken), (404, "404 page not found\n".into()), "{broken}");
    }
}

#[test]
fn links_lead_anywhere_inside_their_directory_and_nowhere_else() {
    let directory = Directory::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, r#"{"id":"secret","profile":"p","boot":{"kernel":"secret"}}"#).unwrap();
    directory.write("assets/inside/file.txt", "inside\n");
    directory.write("shared/t", "shared\n");
    for (target, link) in [
        (secret.to_str().unwrap(), "assets/out.txt"),
        (elsewhere.path().to_str().unwrap(), "assets/out"),
        ("inside", "assets/in"),
        ("shared", "generic"),
        (secret.to_str().unwrap(), "profiles/out.json"),
        (secret.to_str().unwrap(), "groups/out.json"),
    ] {
        symlink(target, directory.path(link)).unwrap();
    }
    directory.json("groups/out2.json", &json!({"profile": "out", "selector": {"a": "1"}}));
    let served = directory.serve();
    served.answers("/assets/in/file.txt", 200, "inside\n");
    served.answers("/generic", 200, "shared\n");
    for gone in ["/assets/out.txt", "/assets/out/", "/assets/out/secret", "/ipxe?a=1"] {
        served.lacks(gone);
    }
    assert!(
        served
            .server
            .log
            .iter()
            .any(|line| line.contains("groups/out.json: it is a link that points outside the data directory"))
    );
}

#[test]
fn of_many_groups_with_equal_selectors_the_first_file_name_wins() {
    let directory = Directory::new();
    for n in 10..40 {
        let group = json!({"profile": "p", "selector": {"a": "1"}, "metadata": {"n": format!("g{n}")}});
        directory.json(&format!("groups/g{n}.json"), &group);
    }
    let served = directory.serve();
    assert!(served.get("/metadata?a=1").text().contains("N=g10\n"));
}

#[test]
fn metadata_comes_in_order() {
    let directory = Directory::new();
    directory.json(
        "groups/default.json",
        &json!({"profile": "p", "metadata": {"b": 1, "a": {"c": true, "B": "x"}}}),
    );
    let served = directory.serve();
    let lines = "A_B=x\nA_C=true\nB=1\nREQUEST_QUERY_Z=1\nREQUEST_RAW_QUERY=z=1\n";
    served.answers("/metadata?z=1", 200, lines);
}

/// attacks.md, section 4: `x=1%0aPATH=/evil` was a line of its own.
#[test]
fn a_machine_cannot_say_lines_of_metadata() {
    let directory = Directory::new();
    let served = directory.serve();
    for query in ["x=1%0aPATH=/evil", "x=1%0dy", "x%0aPATH=/evil", "x=%00"] {
        let reply = served.get(&format!("/metadata?{query}"));
        assert_eq!(reply.status, 400, "{query}");
        assert!(!reply.text().contains("\nPATH"), "{reply:?}");
    }
    served.answers("/metadata?x=%C3%A9", 200, "REQUEST_QUERY_X=é\nREQUEST_RAW_QUERY=x=%C3%A9\nV=one\n");
}

/// attacks.md, section 4: the type follows the first bytes, as in Matchbox, and those may be a stranger's.
#[test]
fn no_browser_runs_what_a_link_has_a_template_say() {
    let directory = Directory::new();
    directory.write("generic/t", "{{.request.query.x}}");
    let served = directory.serve();
    for (query, kind, policy) in [
        ("%3Cscript%3Ealert(1)%3C/script%3E", "text/html; charset=utf-8", Some("sandbox")),
        ("%3C?xml%20version=%221.0%22?%3E", "text/xml; charset=utf-8", Some("sandbox")),
        ("plain", "text/plain; charset=utf-8", None),
    ] {
        let reply = served.get(&format!("/generic?x={query}"));
        assert_eq!(
            (reply.status, reply.header("content-type"), reply.header("content-security-policy")),
            (200, Some(kind), policy),
            "{query}"
        );
    }
}

#[test]
fn a_label_that_is_not_utf_8_is_repaired() {
    let directory = Directory::new();
    directory.write("generic/t", "{{.request.query.x}}");
    directory.serve().answers("/generic?x=a%ffb", 200, "a\u{fffd}b");
}

#[test]
fn machines_can_report_and_the_reports_be_read() {
    let directory = Directory::new();
    let served = directory.serve();
    let body = "mac=52-54-00-00-00-01&stage=booted";
    let length = body.len();
    let request =
        format!("POST /report HTTP/1.1\nHost: x\nConnection: close\nContent-Length: {length}\n\n{body}");
    assert_eq!(crate::world::http::send(&served.address, &request).status, 204);
    assert!(served.get("/report").text().contains("52:54:00:00:00:01"));
}

#[test]
fn what_is_no_file_or_too_long_is_not_read() {
    let directory = Directory::new();
    fs::create_dir_all(directory.path("generic")).unwrap();
    fs::create_dir_all(directory.path("assets")).unwrap();
    for pipe in ["generic/t", "assets/pipe"] {
        let made = std::process::Command::new("mkfifo").arg(directory.path(pipe)).status().unwrap();
        assert!(made.success());
    }
    let served = directory.serve();
    served.lacks("/generic");
    served.lacks("/assets/pipe");
    fs::remove_file(directory.path("generic/t")).unwrap();
    fs::File::create(directory.path("generic/t")).unwrap().set_len((16 << 20) + 1).unwrap();
    served.lacks("/generic");
}

#[test]
fn a_range_of_several_parts_has_a_boundary_that_never_changes() {
    let directory = Directory::new();
    directory.write("assets/a.txt", "0123456789");
    let served = directory.serve();
    let reply = get(&served.address, "/assets/a.txt", "Range: bytes=0-1,4-5\n");
    let again = get(&served.address, "/assets/a.txt", "Range: bytes=0-1,4-5\n");
    assert_eq!(reply.status, 206);
    assert_eq!(reply.body, again.body);
}
